"""One figure for what a busy machine takes now more, now less time for."""

import copy
import json
import pickle
import time
from typing import Any

import numpy as np
import pytest

from hlstm_tf.timing import Measurement, time_calls
from hlstm_tf.training_run.run_log import as_csv


def test_work_beside_it_does_not_change_the_figure() -> None:
    rng = np.random.default_rng(0)
    began = time.perf_counter()

    def call() -> None:
        # For half of the time something else takes the processor.
        busy = int((time.perf_counter() - began) / 0.03) % 2
        time.sleep(0.001 + busy * rng.uniform(0.0005, 0.003))

    figures = [time_calls(call, 15, seconds=1.0) for _ in range(4)]
    assert max(figures) < 1.15 * min(figures)
    assert max(figures) < 0.0015
    assert all(0 <= figure.spread < 0.0005 for figure in figures)


def test_a_slow_call_is_not_repeated_beyond_what_is_asked() -> None:
    calls = []
    time_calls(lambda: (calls.append(0), time.sleep(0.03)), 15, seconds=0.1)
    assert len(calls) == 15


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_a_copy_of_a_figure_keeps_its_spread(copied: Any) -> None:
    figure = copied(Measurement(93.0, 1.5, "step form"))
    assert (figure, figure.spread, figure.of) == (93.0, 1.5, "step form")


def test_a_figure_is_a_plain_number_in_the_files_of_a_run() -> None:
    figure = Measurement(93.0, 1.5, "step form")
    assert json.dumps({"cost": figure}) == '{"cost": 93.0}'
    header, row = as_csv([{"epoch": 0, "cost": figure}]).splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True))["cost"] == "93.0"
