from types import SimpleNamespace

import keras
import numpy as np
import pytest

from apps.common.callbacks import BestModel, EpochLog, RunRecord
from apps.common.record import read_record

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


def test_a_resumed_record_replaces_the_epochs_done_again(tmp_path):
    first = RunRecord(tmp_path, {"recipe": {"seed": 1}})
    for epoch in range(3):
        first.on_epoch_begin(epoch)
        first.on_epoch_end(epoch, {"val_wer": 0.5 - 0.1 * epoch})
    second = RunRecord(tmp_path, {"recipe": {"seed": 1}})
    second.on_epoch_begin(2)
    second.on_epoch_end(2, {"val_wer": 0.9})
    second.finish({"wer": 0.4})
    record = read_record(tmp_path)
    assert [(e["epoch"], e["val_wer"]) for e in record["epochs"]] == [(0, 0.5), (1, 0.4), (2, 0.9)]
    assert record["recipe"] == {"seed": 1}
    assert record["result"] == {"wer": 0.4}
    assert record["versions"]["keras"] == keras.__version__


def test_the_best_epochs_model_is_kept(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    record = RunRecord(tmp_path, {})
    best = BestModel(tmp_path / "model.keras", record, "val_wer")
    best.set_model(model)
    for epoch, wer in enumerate([0.5, 0.3, 0.4, 0.3]):
        model.set_weights([np.array([[epoch]])])
        record.on_epoch_begin(epoch)
        best.on_epoch_end(epoch, {"val_wer": wer})
        record.on_epoch_end(epoch, {"val_wer": wer})
        [kept] = keras.models.load_model(tmp_path / "model.keras").get_weights()
        assert kept.item() == [0, 1, 1, 3][epoch]
