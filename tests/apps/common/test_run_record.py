import keras
import numpy as np

from apps.common.callbacks import BestModel, RunRecord
from apps.common.record import read_record


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
