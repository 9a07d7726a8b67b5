"""`TimeDistributed` in exports: one call of its layer on all steps, for any length."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.export.preparation import ReshapedTimeDistributed, plain_model

layers = keras.layers
Each = layers.TimeDistributed


def _images(*after: keras.Layer) -> keras.Model:
    """Images of an open number of steps, a convolution on each."""
    return keras.Sequential(
        [
            keras.Input((None, 6, 6, 1), name="images"),
            Each(layers.Conv2D(2, 3)),
            Each(layers.Flatten()),
            *after,
        ]
    )


def _inner_model() -> keras.Model:
    image = keras.Input((6, 6, 1))
    x = layers.BatchNormalization()(layers.Conv2D(2, 3)(image))
    each = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    images = keras.Input((None, 6, 6, 1), name="images")
    return keras.Model(images, layers.Bidirectional(layers.GRU(2))(Each(each)(images)))


def _masked() -> keras.Model:
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = layers.Embedding(9, 4, mask_zero=True)(ids)
    return keras.Model(ids, layers.LSTM(3, return_sequences=True)(Each(layers.Dense(3))(x)))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "forward": lambda: _images(layers.LSTM(3, return_sequences=True), layers.Dense(2)),
    "last output": lambda: _images(layers.SimpleRNN(3)),
    "a model on each step": _inner_model,
    "a mask": _masked,
    "a pruned model": lambda: hl.sparsify(
        _images(hl.HLSTM(3, return_sequences=True)), sparsity=0.3, seed=0
    ),
    "one inside another": lambda: keras.Sequential(
        [
            keras.Input((None, 3, 4)),
            Each(Each(layers.Dense(2))),
            Each(layers.Flatten()),
            layers.GRU(2, return_sequences=True),
        ]
    ),
    "a recurrent layer on each step": lambda: keras.Sequential(
        [keras.Input((None, 5, 4)), Each(layers.LSTM(3)), layers.LSTM(2)]
    ),
}


@pytest.mark.representatives(
    "sequence-a mask", "step-a pruned model", "saved_model-a model on each step"
)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", ["sequence", "step", "saved_model"])
def test_an_open_length_is_exported_in_every_form(name: str, form: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    if form == "saved_model":
        result = hl.export_saved_model(model, tmp_path / "toy" / "1", warmup=False)
    else:
        result = hl.export_tflite(model, tmp_path / "model.tflite", form=form)
    assert result.error <= 1e-4
    if form == "sequence":  # another length and batch than it was verified with
        rng = np.random.default_rng(1)
        run = hl.TFLiteModel(tmp_path / "model.tflite")
        ((key, spec),) = run.inputs.items()
        batch = rng.integers(1, 9, (2, 11, *spec.shape[2:])).astype(spec.dtype)
        np.testing.assert_allclose(run({key: batch}), model(batch), rtol=1e-3, atol=1e-5)


def test_the_layer_runs_once_and_not_once_a_step() -> None:
    model = _images(layers.GRU(2))
    plain = plain_model(model)
    assert [type(layer) for layer in plain.layers[:2]] == [ReshapedTimeDistributed] * 2
    calls = []
    inner = plain.layers[0].layer
    original = inner.call
    inner.call = lambda x, **arguments: calls.append(x.shape) or original(x, **arguments)
    plain(np.zeros((2, 7, 6, 6, 1), "float32"))
    assert calls == [(14, 6, 6, 1)]
    assert type(model.layers[0]) is Each


def test_a_layer_of_your_own_that_is_one_keeps_its_own_way() -> None:
    class Own(Each):
        def call(self, inputs: object, training: bool | None = None, mask: object = None) -> object:
            return super().call(inputs, training=training, mask=mask)

    model = keras.Sequential([keras.Input((4, 3)), Own(layers.Dense(2))])
    assert plain_model(model) is model
