"""The recogniser: two convolutions, recurrent layers with batch normalisation, CTC.

The shape is Deep Speech 2's (Amodei et al., arXiv 1512.02595, section 3) at a size for short
utterances, with H-LSTM layers (arXiv 1805.11797) where that has plain recurrent ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

import hlstm_tf as hl
from apps.speech.layers import SpeechInput, ValidFrames, ZeroInvalid, ctc_loss, reduced_lengths

CELLS = ("hlstm", "lstm", "gru")
_FORMS = {
    "low-rank": hl.LowRank,
    "shared-low-rank": hl.SharedLowRank,
    "kronecker": hl.Kronecker,
    "toeplitz-like": hl.ToeplitzLike,
}
MATRIX_FORMS = ("dense", *_FORMS, "hybrid")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the recogniser's architecture.

    Attributes:
        front_end: Configuration of the front end, as JSON data; travels in the model file.
        alphabet: Output symbols after the blank (`Alphabet.characters`).
        bands: Features a frame.
        channels: Channels of the two convolutions.
        kernels: (frames, bands) of the two convolutions' kernels; odd, so that "same" padding is
            symmetric.
        strides: (frames, bands) of the two strides. 2 x 2 in time: 25 frames a second from a hop
            of 10 ms, the fewest that spelled letters leave CTC enough of.
        cell: "hlstm", "lstm" or "gru".
        layers: Recurrent layers.
        units: Units of each (a direction).
        hidden_units: Widths of the H-LSTM's hidden layers; None for one as wide as `units`.
        hidden_dropout: Dropout inside the H-LSTM's gates.
        matrix_form: Of the recurrent layers' matrices: "dense", "low-rank", "shared-low-rank",
            "kronecker", "toeplitz-like", or "hybrid", which is Toeplitz-like in the lower half of
            the layers and of shared low rank in the upper (arXiv 1604.02594, section 4).
        matrix_parameters: The fraction of a dense matrix's weights that a form has.
        dropout: Dropout before each recurrent layer but the first, and before the output.
        bidirectional: False for a network that can run while the speaker is speaking.
        seed: Seed of the initial weights and of dropout.
    """

    front_end: dict[str, Any]
    alphabet: str
    bands: int = 40
    channels: tuple[int, int] = (16, 32)
    kernels: tuple[tuple[int, int], tuple[int, int]] = ((11, 11), (7, 5))
    strides: tuple[tuple[int, int], tuple[int, int]] = ((2, 2), (2, 2))
    cell: str = "hlstm"
    layers: int = 2
    units: int = 128
    hidden_units: tuple[int, ...] | None = None
    hidden_dropout: float = 0.0
    matrix_form: str = "dense"
    matrix_parameters: float = 0.25
    dropout: float = 0.0
    bidirectional: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}; got {self.cell!r}.")
        if self.matrix_form not in MATRIX_FORMS:
            raise ValueError(
                f"matrix_form must be one of {', '.join(MATRIX_FORMS)}; got {self.matrix_form!r}."
            )
        for count in ("bands", "layers", "units"):
            if getattr(self, count) < 1:
                raise ValueError(f"{count} must be at least 1; got {getattr(self, count)}.")
        if any(size % 2 == 0 for kernel in self.kernels for size in kernel):
            raise ValueError(f"kernels must have odd sizes; got {self.kernels}.")


@keras.saving.register_keras_serializable("hlstm_tf.speech")
class SpeechRecognizer(keras.Model):
    """A functional model from padded features and lengths to logits, trained by CTC.

    Inputs: `{"features": (batch, frames, bands) float32, "lengths": (batch,) int32}`. Output:
    `(batch, ceil(frames / time_stride), symbols)` logits, of which the first
    `model.output_lengths(lengths)` frames of each utterance mean something. Targets:
    `{"labels": (batch, max_labels) int32, "label_lengths": (batch,) int32}`.

    Adding padding to an utterance changes none of its logits. Made by `build`; its `.keras` file
    loads with `keras.models.load_model` once this module is imported, front end and alphabet
    included.

    Attributes:
        blend: What changes the losses of a batch while the model is trained, `(losses, x, logits,
            lengths) -> losses`; None for CTC alone. No file keeps it.
    """

    blend: Callable[[Any, Any, Any, Any], Any] | None = None

    @property
    def speech_input(self) -> SpeechInput:
        """The layer that carries the front end's configuration and the alphabet."""
        for layer in self.layers:
            if isinstance(layer, SpeechInput):
                return layer
        raise ValueError(f"Model {self.name!r} has no SpeechInput layer: it is no recognizer.")

    @property
    def time_stride(self) -> int:
        """Feature frames an output frame stands for."""
        return max(layer.stride for layer in self.layers if isinstance(layer, ValidFrames))

    def output_lengths(self, lengths: Any) -> Any:
        """Return the number of output frames of utterances of `lengths` feature frames."""
        return reduced_lengths(lengths, self.time_stride)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the mean loss of a batch, CTC as `blend` changes it, plus the layers' own losses.

        Args:
            x: The model's inputs; their `lengths` are used.
            y: `labels` and `label_lengths`.
            y_pred: The logits.
            sample_weight: `(batch,)` weights of the utterances, or None.
            training: Whether `blend` counts.
        """
        lengths = self.output_lengths(x["lengths"])
        losses = ctc_loss(y["labels"], y_pred, y["label_lengths"], lengths)
        if self.blend is not None and training:
            losses = self.blend(losses, x, y_pred, lengths)
        if sample_weight is not None:
            losses = losses * keras.ops.cast(sample_weight, losses.dtype)
        loss = keras.ops.mean(losses)
        return loss + sum(self.losses) if self.losses else loss


def _recurrent(config: ModelConfig, index: int) -> keras.layers.Layer:
    seed, name = config.seed + 100 * index, f"{config.cell}_{index}"
    arguments: dict[str, Any] = {
        "return_sequences": True,
        "seed": config.seed + index,
        "kernel_initializer": keras.initializers.GlorotUniform(seed=seed),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=seed + 1),
    }
    kinds = {"hlstm": hl.HLSTM, "lstm": hl.MaskedLSTM, "gru": hl.MaskedGRU}
    form = _matrix_form(config, index)
    if config.cell == "hlstm":
        arguments["hidden_units"] = config.hidden_units
        arguments["hidden_dropout"] = config.hidden_dropout
        arguments["kernel_form"] = form
    elif form is not None:
        kinds |= {"lstm": hl.CompactLSTM, "gru": hl.CompactGRU}
        arguments |= {"kernel_form": form, "masked": True}
    kind = kinds[config.cell]
    layer = kind(config.units, name=name, **arguments)
    return keras.layers.Bidirectional(layer, name=f"bi_{name}") if config.bidirectional else layer


def _matrix_form(config: ModelConfig, index: int) -> Any:
    """The form of the matrices of a recurrent layer, the first of which has the index 1."""
    name = config.matrix_form
    if name == "hybrid":
        name = "toeplitz-like" if 2 * index <= config.layers else "shared-low-rank"
    return None if name == "dense" else _FORMS[name](parameters=config.matrix_parameters)


def _convolution(
    config: ModelConfig, index: int, x: Any, lengths: Any, stride: int
) -> tuple[Any, Any]:
    """Convolve with symmetric zero padding; return the result and its mask of valid frames.

    `stride` is the time stride of the result.

    "same" padding would not do: with a stride TensorFlow pads an even number of frames otherwise
    than an odd one, so that an utterance's output would depend on how long its batch is.
    """
    kernel = config.kernels[index]
    number = index + 1
    padding = tuple((size - 1) // 2 for size in kernel)
    x = keras.layers.ZeroPadding2D(padding, name=f"pad_{number}")(x)
    x = keras.layers.Conv2D(
        config.channels[index],
        kernel,
        strides=config.strides[index],
        use_bias=False,
        kernel_initializer=keras.initializers.HeNormal(seed=config.seed + 1000 + index),
        name=f"conv_{number}",
    )(x)
    mask = ValidFrames(stride, name=f"valid_{number}")(x, lengths)
    x = keras.layers.BatchNormalization(momentum=0.95, name=f"conv_{number}_norm")(
        x, mask=keras.ops.expand_dims(mask, -1)
    )
    x = keras.layers.ReLU(name=f"conv_{number}_relu")(x)
    return ZeroInvalid(name=f"conv_{number}_valid")(x, mask), mask


def build(config: ModelConfig) -> SpeechRecognizer:
    """Build the recogniser that `config` describes.

    Example:

    >>> model = build(ModelConfig(front_end={}, alphabet="abc", bands=8, channels=(2, 2),
    ...                           kernels=((3, 3), (3, 3)), cell="lstm", layers=1, units=3))
    >>> model.output_shape, model.time_stride
    ((None, None, 4), 4)
    """
    features = keras.Input((None, config.bands), name="features")
    lengths = keras.Input((), dtype="int32", name="lengths")
    x = SpeechInput(config.front_end, config.alphabet, name="speech_input")(features, lengths)
    stride, mask = 1, None
    for index in range(len(config.channels)):
        stride *= config.strides[index][0]
        x, mask = _convolution(config, index, x, lengths, stride)
    x = keras.layers.Reshape((-1, x.shape[2] * x.shape[3]), name="flatten_bands")(x)
    for index in range(1, config.layers + 1):
        if index > 1 and config.dropout:
            x = keras.layers.Dropout(config.dropout, seed=config.seed + index)(x)
        x = _recurrent(config, index)(x, mask=mask)
        x = keras.layers.BatchNormalization(momentum=0.95, name=f"norm_{index}")(x, mask=mask)
    if config.dropout:
        x = keras.layers.Dropout(config.dropout, seed=config.seed)(x)
    logits = keras.layers.Dense(
        len(config.alphabet) + 1,
        kernel_initializer=keras.initializers.GlorotUniform(seed=config.seed + 2000),
        dtype="float32",
        name="logits",
    )(x)
    inputs = {"features": features, "lengths": lengths}
    return SpeechRecognizer(inputs=inputs, outputs=logits, name="recognizer")


Batch = Mapping[str, Any]


class Recognition:
    """A model's outputs for whole batches, through one compiled function.

    The function is traced once for all lengths and batch sizes, and reads the model's current
    weights and masks; it is traced anew where the model's hidden activation was changed. So one
    object serves every epoch of a training.

    Args:
        model: A `SpeechRecognizer`.

    Example:

    >>> model = build(ModelConfig({}, " AB", bands=8, channels=(2, 2),
    ...                           kernels=((3, 3), (3, 3)), cell="lstm", layers=1, units=3))
    >>> batch = {"features": tf.zeros((2, 9, 8)), "lengths": tf.constant([9, 5])}
    >>> logits, lengths = Recognition(model).logits(batch)
    >>> logits.shape, lengths.tolist()
    ((2, 3, 4), [3, 2])
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._infer: Any = None
        self._activations: list[Any] = []

    def logits(self, batch: Batch) -> tuple[Any, Any]:
        """Return `(batch, frames, symbols)` logits and `(batch,)` output lengths, as NumPy."""
        layers = self.model._flatten_layers()
        activations = [getattr(layer, "hidden_activation", None) for layer in layers]
        if self._infer is None or activations != self._activations:  # what was traced has them
            bands = self.model.input["features"].shape[-1]
            features = tf.TensorSpec((None, None, bands), tf.float32)
            lengths = tf.TensorSpec((None,), tf.int32)
            self._activations = activations
            self._infer = tf.function(
                lambda features, lengths: self.model(
                    {"features": features, "lengths": lengths}, training=False
                ),
                input_signature=[features, lengths],
            )
        logits = self._infer(batch["features"], batch["lengths"])
        return logits.numpy(), self.model.output_lengths(
            tf.cast(batch["lengths"], tf.int32)
        ).numpy()
