"""Small models of each kind that is exported."""

from typing import Any

import keras
import numpy as np

import hlstm_tf as hl

RNG = np.random.default_rng(7)


@keras.saving.register_keras_serializable("tests")
class LengthMask(keras.layers.Layer):
    """`(batch, time)` booleans from a sequence and its lengths."""

    def call(self, sequence: Any, lengths: Any) -> Any:
        return keras.ops.arange(keras.ops.shape(sequence)[1])[None] < lengths[:, None]

    def compute_output_spec(self, sequence: Any, lengths: Any) -> Any:
        return keras.KerasTensor(sequence.shape[:2], "bool")


def scrambled(model: keras.Model) -> keras.Model:
    """Gives biases and moving statistics values of their own, so that no term is zero."""
    for variable in model.weights:
        if variable.dtype == "float32" and len(variable.shape) <= 2:
            noise = np.random.default_rng(3).uniform(0.05, 0.3, variable.shape)
            variable.assign(variable.numpy() + noise.astype("float32"))
    return model


def dense() -> keras.Model:
    """Feed-forward, one unnamed input."""
    layers = keras.layers
    return scrambled(
        keras.Sequential(
            [keras.Input((16,)), hl.MaskedDense(32, activation="relu"), layers.Dense(4)]
        )
    )


def language_model() -> keras.Model:
    """Ids in, logits for each step out; every kind of recurrent layer, forward in time."""
    layers = keras.layers
    return scrambled(
        keras.Sequential(
            [
                keras.Input((None,), dtype="int32", name="words"),
                hl.MaskedEmbedding(11, 6),
                hl.HLSTM(5, hidden_units=(7, (6, 3, 5, 2)), return_sequences=True, name="first"),
                layers.Dropout(0.3),
                hl.MaskedGRU(4, return_sequences=True, name="second"),
                layers.LayerNormalization(),
                hl.MaskedLSTM(3, return_sequences=True, name="third"),
                hl.MaskedSimpleRNN(3, return_sequences=True, name="fourth"),
                hl.MaskedDense(11),
            ],
            name="language_model",
        )
    )


def tagger() -> keras.Model:
    """Ids in, logits for each step out, by one recurrent layer: converted in a moment."""
    layers = keras.layers
    return scrambled(
        keras.Sequential(
            [
                keras.Input((None,), dtype="int32", name="words"),
                layers.Embedding(11, 4),
                layers.GRU(4, return_sequences=True),
                hl.MaskedDense(3),
            ]
        )
    )


def recognizer(recurrent_layers: int = 3) -> keras.Model:
    """Features and lengths in: convolution, normalization, masked bidirectional layers."""
    layers = keras.layers
    features = keras.Input((None, 8), name="features")
    lengths = keras.Input((), dtype="int32", name="lengths")
    mask = LengthMask()(features, lengths)
    x = layers.Reshape((-1, 8, 1))(features)
    x = hl.MaskedConv2D(3, (3, 3), padding="same", strides=(1, 2))(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Reshape((-1, 12))(x)
    cells = (
        hl.HLSTM(5, hidden_units=6, return_sequences=True),
        hl.MaskedGRU(4, return_sequences=True),
        hl.MaskedLSTM(4, return_sequences=True),
    )
    for cell in cells[:recurrent_layers]:
        x = layers.Bidirectional(cell)(x, mask=mask)
        x = layers.BatchNormalization()(x)
    outputs = hl.MaskedDense(6)(x)
    inputs = {"features": features, "lengths": lengths}
    return scrambled(keras.Model(inputs, outputs, name="recognizer"))


def utterances(samples: int = 3, frames: int = 13) -> dict[str, np.ndarray]:
    """Inputs of `recognizer`, of different lengths."""
    return {
        "features": RNG.normal(size=(samples, frames, 8)).astype("float32"),
        "lengths": np.array([frames, 4, 9, 1][:samples], "int32"),
    }


def prune(model: keras.Model, sparsity: float, seed: int = 0) -> None:
    """Makes a random part of every masked kernel dormant."""
    rng = np.random.default_rng(seed)
    hl.edit_masks(
        {
            kernel: rng.random(kernel.variable.shape) >= sparsity
            for kernel in hl.masked_kernels(model)
        }
    )
