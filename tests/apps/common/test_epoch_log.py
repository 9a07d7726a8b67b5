from types import SimpleNamespace

import pytest

from apps.common.callbacks import EpochLog

FIGURES = {"loss": "loss {:.2f}".format, "val_wer": lambda share: f"WER {100 * share:.1f} %"}


def log_of(epochs, capsys, **options):
    """The lines of a training of so many epochs, each with its logs."""
    log = EpochLog("lstm", FIGURES, lambda iterations: len(epochs), **options)
    for number, logs in enumerate(epochs):
        log.on_epoch_begin(number)
        log.on_epoch_end(number, logs)
    log.on_train_end()
    return capsys.readouterr().err.splitlines()


def test_lines_tell_figures_and_time_left(capsys):
    logs = {"loss": 2.0, "val_wer": 0.25, "other": 1.0}
    assert log_of([logs], capsys) == ["lstm: epoch 1/1, loss 2.00, WER 25.0 %, 0:00 left"]


def test_figures_that_an_epoch_lacks_are_left_out(capsys):
    assert log_of([{"loss": 2.0}], capsys) == ["lstm: epoch 1/1, loss 2.00, 0:00 left"]


def test_some_epochs_are_told_the_last_one_and_those_in_which_something_changed(capsys):
    gp = SimpleNamespace(progress=SimpleNamespace(iteration=0, phase="training", reason="done"))
    gp.history = [{"phase": "growth", "connections": 1234, "events": []}]
    log = EpochLog("net", FIGURES, lambda iterations: 25, every=10, grow_and_prune=gp)
    for number in range(25):
        gp.history[-1]["events"] = ["grow"] if number == 3 else []
        log.on_epoch_begin(number)
        log.on_epoch_end(number, {"loss": 1.0})
    log.on_train_end()
    *lines, end = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"net: epoch {number}/25" for number in (4, 10, 20, 25)
    ]
    assert ", growth, 1,234 connections, " in lines[0]
    assert end == "net: done"


@pytest.mark.parametrize("finished", [False, True])
def test_a_training_that_ends_early_counts_the_epochs_it_had(finished, capsys):
    phase = "finished" if finished else "retraining"
    gp = SimpleNamespace(progress=SimpleNamespace(iteration=1, phase=phase, reason=""))
    gp.history = [{"phase": "retraining", "connections": 5, "events": []}]
    log = EpochLog("net", FIGURES, lambda iterations: 10 + iterations, grow_and_prune=gp)
    log.on_epoch_begin(0)
    log.on_epoch_end(0)
    assert f"epoch 1/{1 if finished else 11}," in capsys.readouterr().err


def test_the_epochs_of_later_trainings_are_part_of_the_time_left(monkeypatch, capsys):
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr("apps.common.callbacks.time.monotonic", lambda: float(next(now)))
    lines = log_of([{}, {}, {}], capsys, later=6)
    assert [line.rsplit(", ", 1)[1] for line in lines] == ["1:20 left", "1:10 left", "1:00 left"]
