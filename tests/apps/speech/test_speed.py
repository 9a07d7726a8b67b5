import re

import pytest

from apps.common.errors import InputError
from apps.speech.cli import main
from apps.speech.recognizer import load_recognizer
from apps.speech.speed import PARTS, measure
from tests.apps.speech.test_transcribe import KEPT


def test_the_parts_make_up_the_whole(toy_corpus):
    recognizer = load_recognizer(KEPT)
    files = [utterance.audio for utterance in toy_corpus.test]
    found = measure(recognizer, files, rounds=2)
    assert 1 < found.audio < 30
    assert tuple(found.parts) == PARTS
    assert found.stream is None
    # What `transcribe` does between its parts is little; the clock's ticks are not.
    assert sum(found.parts.values()) == pytest.approx(found.whole, rel=0.5)
    assert 0 < found.factor < 0.5
    with pytest.raises(InputError, match="got no recordings"):
        measure(recognizer, [])


def test_the_command_prints_shares_and_a_factor(toy_folder, capsys):
    command = ["speed", "--model", str(KEPT), "--data-dir", str(toy_folder), "--rounds", "1"]
    assert main([*command, "--utterances", "2"]) == 0
    out = capsys.readouterr().out
    assert "2 recordings" in out
    assert len(re.findall(r"\| \d+% +\|", out)) == len(PARTS) + 1
    factor, times = re.search(r"real-time factor (\S+): (\d+) times faster", out).groups()
    assert float(factor) * int(times) == pytest.approx(1, rel=0.05)
