"""What the tests of both speech applications' trainings share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.common.callbacks import RunRecord
from apps.common.record import read_record
from apps.speech.recognizer import load_keras


def assert_an_interrupted_run_ends_as_the_whole_one(
    train: Callable[[Path], Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train` takes the folder of a run; it is broken off in the second epoch and called again."""
    whole = train(folder / "whole")
    original = RunRecord.on_epoch_begin

    def interrupted(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt
        original(self, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(RunRecord, "on_epoch_begin", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(folder / "broken")
    assert len(read_record(folder / "broken")["epochs"]) == 1
    resumed = train(folder / "broken")
    assert resumed.result == whole.result
    losses = [
        [epoch["loss"] for epoch in read_record(run.folder)["epochs"]] for run in (whole, resumed)
    ]
    assert losses[0] == losses[1]
    for a, b in zip(
        load_keras(whole.model).get_weights(), load_keras(resumed.model).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)
