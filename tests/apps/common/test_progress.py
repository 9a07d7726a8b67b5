import io
import re

import pytest

from apps.common.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_lines_with_the_time_left_and_a_last_one():
    stream = io.StringIO()
    with Progress(3, "read", stream=stream, every=0) as progress:
        for _ in range(3):
            progress.step()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert re.fullmatch(r"read: 1/3, \d+ s left", lines[0])
    assert re.fullmatch(r"read: 3/3 in \d+ s", lines[-1])


def test_a_short_job_prints_one_line():
    stream = io.StringIO()
    with Progress(100, "read", stream=stream) as progress:
        for _ in range(100):
            progress.step()
    assert len(stream.getvalue().splitlines()) == 1


def test_a_terminal_line_is_rewritten_and_ended():
    stream = Terminal()
    with Progress(2, "read", stream=stream) as progress:
        progress.step(2)
    assert stream.getvalue().startswith("\rread: 2/2 in")
    assert stream.getvalue().endswith("\n")


def test_a_failure_prints_no_success():
    stream = io.StringIO()
    with pytest.raises(RuntimeError), Progress(2, "read", stream=stream):
        raise RuntimeError
    assert stream.getvalue() == ""


def test_quiet_prints_nothing():
    stream = io.StringIO()
    with Progress(1, "read", stream=stream, quiet=True, every=0) as progress:
        progress.step()
    assert stream.getvalue() == ""
