"""One figure for what a busy machine takes now more, now less time for."""

import time

import numpy as np

from hlstm_tf.hardware.measurement import time_calls


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
