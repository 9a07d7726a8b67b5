"""Every public layer through everything that Keras and TensorFlow do with a layer.

A new public layer needs a row in `CASES`; a test fails until it has one.
"""

import copy
import inspect
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import hlstm_tf as hl
from tests.layers.helpers import (
    assert_all_close,
    assert_all_equal,
    assert_dormant_are_zero,
    assert_same_masks,
    masks_of,
    prune_at_random,
)

SEQUENCE = (4, 3)
IMAGE = (5, 5, 2)
VOLUME = (3, 3, 3, 2)


@dataclass(frozen=True)
class Case:
    """A public layer in one configuration.

    Attributes:
        layer: The class.
        arguments: Its constructor's arguments.
        input_shape: Of one example.
        integers: Whether the inputs are indices.
    """

    layer: type[keras.Layer]
    arguments: dict[str, Any]
    input_shape: tuple[int, ...] = SEQUENCE
    integers: bool = False

    def make(self, **more: Any) -> keras.Layer:
        return self.layer(**{**self.arguments, **more})

    def in_model(self, **more: Any) -> keras.Layer:
        """The layer as it stands in a model: a cell needs the layer that runs it."""
        layer = self.make(**more)
        return keras.layers.RNN(layer, dtype=more.get("dtype")) if self.is_cell else layer

    @property
    def is_cell(self) -> bool:
        return self.layer.__name__.endswith("Cell")

    @property
    def is_recurrent(self) -> bool:
        return issubclass(self.layer, keras.layers.RNN)

    def inputs(self, batch: int = 4) -> np.ndarray:
        rng = np.random.default_rng(7)
        if self.integers:
            return rng.integers(0, 6, (batch, *self.input_shape))
        return rng.standard_normal((batch, *self.input_shape)).astype("float32")

    def input(self) -> keras.KerasTensor:
        return keras.Input(self.input_shape, dtype="int32" if self.integers else "float32")

    def model(self) -> keras.Model:
        """A functional model around the layer, about half of its connections dormant."""
        inputs = self.input()
        flat = keras.layers.Flatten()(self.in_model()(inputs))
        model = keras.Model(inputs, keras.layers.Dense(2)(flat))
        prune_at_random(model)
        return model


CASES = {
    "HLSTM": Case(hl.HLSTM, {"units": 3, "hidden_units": (4, 2), "return_sequences": True}),
    "HLSTM-gates-of-different-widths": Case(
        hl.HLSTM, {"units": 3, "hidden_units": ((6, 4, 3, 5),), "hidden_activation": "tanh"}
    ),
    "HLSTM-no-hidden-layers": Case(hl.HLSTM, {"units": 3, "hidden_units": (), "masked": True}),
    "HLSTMCell": Case(hl.HLSTMCell, {"units": 3, "hidden_units": 4}),
    "HLSTM-low-rank": Case(
        hl.HLSTM,
        {"units": 4, "hidden_units": (5, 4), "kernel_form": hl.LowRank(3)},
    ),
    "HLSTM-low-rank-gates-of-different-widths": Case(
        hl.HLSTM,
        {"units": 4, "hidden_units": ((6, 4, 3, 5),), "kernel_form": hl.LowRank(3)},
    ),
    "HLSTM-kronecker": Case(
        hl.HLSTM, {"units": 4, "hidden_units": 6, "kernel_form": hl.Kronecker()}
    ),
    "CompactDense-low-rank": Case(
        hl.CompactDense, {"units": 3, "kernel_form": hl.LowRank(2), "masked": True}
    ),
    "CompactDense-dense": Case(hl.CompactDense, {"units": 3, "masked": True}),
    "CompactLSTM-low-rank": Case(
        hl.CompactLSTM, {"units": 4, "kernel_form": hl.LowRank(2), "masked": True}
    ),
    "CompactLSTM-shared-low-rank": Case(
        hl.CompactLSTM,
        {"units": 4, "kernel_form": hl.SharedLowRank(parameters=0.6), "masked": True},
    ),
    "CompactLSTM-kronecker": Case(
        hl.CompactLSTM, {"units": 4, "kernel_form": hl.Kronecker((1, 2)), "masked": True}
    ),
    "CompactLSTM-toeplitz-like": Case(
        hl.CompactLSTM,
        {"units": 4, "kernel_form": {"recurrent_kernel": hl.ToeplitzLike(1)}, "masked": True},
    ),
    "CompactLSTMCell": Case(
        hl.CompactLSTMCell, {"units": 4, "kernel_form": hl.LowRank(2), "masked": True}
    ),
    "CompactGRU-low-rank": Case(
        hl.CompactGRU,
        {"units": 4, "kernel_form": hl.LowRank(2), "masked": True, "reset_after": False},
    ),
    "CompactGRU-shared-low-rank": Case(
        hl.CompactGRU, {"units": 4, "kernel_form": hl.SharedLowRank(2), "masked": True}
    ),
    "CompactGRUCell": Case(
        hl.CompactGRUCell, {"units": 4, "kernel_form": hl.SharedLowRank(2), "masked": True}
    ),
    "CompactSimpleRNN": Case(
        hl.CompactSimpleRNN, {"units": 4, "kernel_form": hl.LowRank(2), "masked": True}
    ),
    "CompactSimpleRNNCell": Case(
        hl.CompactSimpleRNNCell, {"units": 4, "kernel_form": hl.Kronecker(), "masked": True}
    ),
    "FastGRNN": Case(hl.FastGRNN, {"units": 4, "masked": True, "return_sequences": True}),
    "FastGRNN-low-rank": Case(
        hl.FastGRNN, {"units": 4, "kernel_form": hl.LowRank(2), "masked": True}
    ),
    "FastGRNNCell": Case(hl.FastGRNNCell, {"units": 4, "masked": True}),
    "MaskedLSTM": Case(hl.MaskedLSTM, {"units": 3}),
    "MaskedLSTMCell": Case(hl.MaskedLSTMCell, {"units": 3}),
    "MaskedGRU": Case(hl.MaskedGRU, {"units": 3}),
    "MaskedGRUCell": Case(hl.MaskedGRUCell, {"units": 3}),
    "MaskedSimpleRNN": Case(hl.MaskedSimpleRNN, {"units": 3}),
    "MaskedSimpleRNNCell": Case(hl.MaskedSimpleRNNCell, {"units": 3}),
    "MaskedDense": Case(hl.MaskedDense, {"units": 3, "activation": "relu"}),
    "MaskedConv1D": Case(hl.MaskedConv1D, {"filters": 3, "kernel_size": 2}),
    "MaskedConv2D": Case(hl.MaskedConv2D, {"filters": 3, "kernel_size": (2, 3)}, IMAGE),
    "MaskedConv3D": Case(hl.MaskedConv3D, {"filters": 3, "kernel_size": 2}, VOLUME),
    "MaskedConv1DTranspose": Case(
        hl.MaskedConv1DTranspose, {"filters": 4, "kernel_size": 2, "strides": 2}
    ),
    "MaskedConv2DTranspose": Case(
        hl.MaskedConv2DTranspose, {"filters": 3, "kernel_size": (2, 3)}, IMAGE
    ),
    "MaskedConv3DTranspose": Case(
        hl.MaskedConv3DTranspose, {"filters": 3, "kernel_size": 2}, VOLUME
    ),
    "MaskedDepthwiseConv1D": Case(hl.MaskedDepthwiseConv1D, {"kernel_size": 3}),
    "MaskedDepthwiseConv2D": Case(
        hl.MaskedDepthwiseConv2D, {"kernel_size": (2, 3), "depth_multiplier": 2}, IMAGE
    ),
    "MaskedSeparableConv1D": Case(
        hl.MaskedSeparableConv1D, {"filters": 3, "kernel_size": 2, "depth_multiplier": 2}
    ),
    "MaskedSeparableConv2D": Case(
        hl.MaskedSeparableConv2D,
        {"filters": 3, "kernel_size": (2, 3), "depth_multiplier": 2},
        IMAGE,
    ),
    "MaskedReversibleEmbedding": Case(
        hl.MaskedReversibleEmbedding, {"input_dim": 6, "output_dim": 3}, (4,), integers=True
    ),
    "PartialAreaConv2D": Case(hl.PartialAreaConv2D, {"filters": 3, "kernel_size": (2, 3)}, IMAGE),
    "MaskedEmbedding": Case(
        hl.MaskedEmbedding, {"input_dim": 6, "output_dim": 3}, (4,), integers=True
    ),
}


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def public_layers() -> set[type]:
    public = [getattr(hl, name) for name in hl.__all__]
    return {thing for thing in public if inspect.isclass(thing) and issubclass(thing, keras.Layer)}


def test_every_public_layer_is_in_the_table() -> None:
    missing = public_layers() - {case.layer for case in CASES.values()}
    assert not missing, f"add a row to CASES for {sorted(layer.__name__ for layer in missing)}"
    assert hl.HLSTM in public_layers()  # that the search finds layers at all


def test_every_public_layer_is_registered_for_loading_and_has_an_example(case: Case) -> None:
    assert keras.saving.get_registered_name(case.layer) == f"hlstm_tf>{case.layer.__name__}"
    assert ">>> " in (case.layer.__doc__ or "")


def test_configuration_round_trip(case: Case) -> None:
    layer = case.make(name="chosen", trainable=False, dtype="mixed_bfloat16")
    config = layer.get_config()
    assert case.layer.from_config(layer.get_config()).get_config() == config
    described = keras.saving.serialize_keras_object(layer)
    revived = keras.saving.deserialize_keras_object(described)
    assert type(revived) is case.layer
    assert revived.get_config() == config
    assert (revived.name, revived.trainable, revived.compute_dtype) == ("chosen", False, "bfloat16")


def test_build_makes_an_all_true_mask_of_each_kernel_s_shape(case: Case) -> None:
    layer = case.in_model()
    assert hl.masked_kernels(layer) == []
    layer.build((None, *case.input_shape))
    kernels = hl.masked_kernels(layer)
    assert kernels
    for kernel in kernels:
        assert kernel.mask.dtype == "bool"
        assert not kernel.mask.trainable
        assert kernel.mask.name == f"{kernel.name}_mask"
        assert tuple(kernel.mask.shape) == kernel.shape
        assert kernel.mask.numpy().all()
        assert np.prod(kernel.matrices_shape) == np.prod(kernel.shape)
        assert getattr(kernel.layer, kernel.name) is kernel.variable
        assert getattr(kernel.layer, f"{kernel.name}_mask") is kernel.mask
    assert {id(kernel.mask) for kernel in kernels} <= {id(v) for v in layer.non_trainable_weights}


def test_symbolic_eager_and_graph_calls_agree(case: Case) -> None:
    layer = case.in_model()
    x = case.inputs()
    symbolic = layer(keras.KerasTensor(x.shape, dtype=x.dtype))
    prune_at_random(layer)
    eager = layer(x)
    assert tuple(eager.shape) == tuple(symbolic.shape) == tuple(layer.compute_output_shape(x.shape))
    assert eager.dtype == symbolic.dtype == "float32"
    dynamic = tf.function(layer, input_signature=[tf.TensorSpec([None, *x.shape[1:]], x.dtype)])
    assert_all_close(eager, dynamic(x), atol=1e-6)


@pytest.mark.representatives("HLSTM", "MaskedConv1DTranspose", "CompactLSTM-low-rank")
def test_xla_gives_the_same_outputs_and_gradients(case: Case) -> None:
    arguments = {"use_cudnn": False} if hasattr(case.in_model(), "use_cudnn") else {}
    layer = case.in_model(**arguments)
    x = case.inputs()
    layer(x)
    prune_at_random(layer)

    def run(inputs: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            output = layer(inputs, training=True) if case.is_recurrent else layer(inputs)
            loss = tf.reduce_sum(tf.square(output))
        found = tape.gradient(loss, [weight.value for weight in layer.trainable_weights])
        return output, [tf.convert_to_tensor(gradient) for gradient in found]

    assert layer.supports_jit
    assert_all_close(run(x), tf.function(run, jit_compile=True)(x), rtol=1e-4, atol=1e-5)


@pytest.mark.representatives(
    "HLSTM-gates-of-different-widths",
    "HLSTMCell",
    "MaskedLSTM",
    "MaskedGRUCell",
    "MaskedSimpleRNN",
    "MaskedDense",
    "MaskedConv2D",
    "MaskedConv1DTranspose",
    "MaskedDepthwiseConv2D",
    "MaskedSeparableConv1D",
    "MaskedReversibleEmbedding",
    "PartialAreaConv2D",
    "MaskedEmbedding",
    "CompactDense-low-rank",
    "CompactLSTM-kronecker",
    "CompactGRU-shared-low-rank",
    "FastGRNNCell",
)
def test_training_keeps_dormant_weights_at_zero(case: Case) -> None:
    model = case.model()
    before = masks_of(model)
    old = [kernel.variable.numpy() for kernel in hl.masked_kernels(model)]
    # Eagerly, to save the tracing: the test with two replicas trains in a graph.
    model.compile(keras.optimizers.Adam(0.1), "mse", run_eagerly=True)
    x, y = case.inputs(), np.ones((4, 2), "float32")
    losses = [model.train_on_batch(x, y) for _ in range(4)]
    assert losses[-1] < losses[0]
    assert_dormant_are_zero(model)
    assert_same_masks(before, masks_of(model))
    for kernel, was in zip(hl.masked_kernels(model), old, strict=True):
        assert (kernel.variable.numpy() != was).any(), kernel


@pytest.mark.representatives(
    "HLSTM",
    "HLSTM-gates-of-different-widths",
    "HLSTMCell",
    "HLSTM-low-rank",
    "CompactDense-low-rank",
    "CompactLSTM-kronecker",
    "CompactLSTMCell",
    "CompactGRU-shared-low-rank",
    "CompactSimpleRNN",
    "FastGRNN-low-rank",
    "MaskedLSTM",
    "MaskedGRUCell",
    "MaskedSimpleRNN",
    "MaskedDense",
    "MaskedConv2D",
    "MaskedConv1DTranspose",
    "MaskedDepthwiseConv2D",
    "MaskedSeparableConv1D",
    "MaskedReversibleEmbedding",
    "PartialAreaConv2D",
    "MaskedEmbedding",
)
def test_keras_file_round_trip(case: Case, tmp_path: Path) -> None:
    model = case.model()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same_model(case, model, loaded)


@pytest.mark.representatives(
    "HLSTM",
    "HLSTMCell",
    "MaskedLSTM",
    "MaskedConv3D",
    "MaskedDepthwiseConv1D",
    "MaskedSeparableConv2D",
    "MaskedReversibleEmbedding",
    "PartialAreaConv2D",
    "CompactLSTM-low-rank",
    "FastGRNN",
)
def test_weights_file_round_trip(case: Case, tmp_path: Path) -> None:
    model, other = case.model(), case.model()
    prune_at_random(other, seed=1)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same_model(case, model, other)


@pytest.mark.representatives(
    "HLSTM-gates-of-different-widths",
    "MaskedLSTMCell",
    "MaskedConv2D",
    "MaskedEmbedding",
    "CompactGRU-low-rank",
)
def test_tensorflow_checkpoint_round_trip(case: Case, tmp_path: Path) -> None:
    model, other = case.model(), case.model()
    prune_at_random(other, seed=1)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(model=other).restore(path).assert_existing_objects_matched()
    assert_same_model(case, model, other)


@pytest.mark.representatives(
    "HLSTM",
    "HLSTMCell",
    "MaskedDepthwiseConv2D",
    "PartialAreaConv2D",
    "CompactLSTM-shared-low-rank",
)
def test_clone_has_masks_of_its_own(case: Case) -> None:
    model = case.model()
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert_same_model(case, model, clone)
    assert_nothing_shared(model, clone)


@pytest.mark.representatives(
    "HLSTM",
    "HLSTMCell",
    "MaskedGRU",
    "MaskedDense",
    "MaskedConv2D",
    "MaskedSeparableConv1D",
    "MaskedReversibleEmbedding",
    "PartialAreaConv2D",
    "HLSTM-low-rank",
    "CompactLSTM-toeplitz-like",
)
def test_copies_have_handles_of_their_own(case: Case) -> None:
    model = case.model()
    assert_same_model(case, model, pickle.loads(pickle.dumps(model)))
    other = copy.deepcopy(model)
    assert_same_model(case, model, other)
    assert_nothing_shared(model, other)
    kernel = hl.masked_kernels(other)[0]
    hl.edit_masks({kernel: np.zeros(kernel.shape, bool)})
    assert not kernel.variable.numpy().any()
    assert hl.masked_kernels(model)[0].mask.numpy().any()


@pytest.mark.representatives(
    "HLSTM", "MaskedGRUCell", "MaskedSeparableConv1D", "CompactLSTM-low-rank"
)
def test_saved_model_gives_the_same_outputs(case: Case, tmp_path: Path) -> None:
    model = case.model()
    x = case.inputs()
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = keras.InputSpec(shape=(None, *case.input_shape), dtype=str(model.inputs[0].dtype))
    archive.add_endpoint("serve", model.call, [spec])
    archive.write_out(tmp_path / "saved", verbose=False)
    saved = tf.saved_model.load(str(tmp_path / "saved"))
    assert_all_close(model(x), saved.serve(tf.cast(x, spec.dtype)))


@pytest.mark.representatives(
    "HLSTM-mixed_bfloat16",
    "MaskedGRU-mixed_float16",
    "MaskedDense-mixed_float16",
    "MaskedConv2D-mixed_bfloat16",
    "FastGRNN-mixed_bfloat16",
)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_computes_low_and_keeps_float32_weights(case: Case, policy: str) -> None:
    layer = case.in_model(dtype=policy)
    x = case.inputs()
    layer(x)
    prune_at_random(layer)
    with tf.GradientTape() as tape:
        output = layer(x)
        loss = tf.reduce_sum(tf.cast(output, "float32"))
    weights = layer.trainable_weights
    assert output.dtype == policy.removeprefix("mixed_")
    assert {weight.dtype for weight in weights} == {"float32"}
    found = tape.gradient(loss, [weight.value for weight in weights])
    assert {gradient.dtype for gradient in found} == {tf.float32}
    plain = case.in_model(dtype="float32")
    plain(x)
    plain.set_weights(layer.get_weights())
    assert_all_close(plain(x), tf.cast(output, "float32"), rtol=0.05, atol=0.05)


# The others differ from these in nothing that a strategy sees, and a trace for each replica is
# what takes the time here.
@pytest.mark.representatives("HLSTMCell", "MaskedEmbedding")
@pytest.mark.parametrize("name", ["HLSTMCell", "MaskedGRU", "MaskedDense", "MaskedEmbedding"])
def test_two_replicas_train_with_the_same_masks(name: str) -> None:
    case = CASES[name]
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    assert len(devices) == 2, "the test session configures two logical CPU devices"
    strategy = tf.distribute.MirroredStrategy(
        devices, cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    with strategy.scope():
        model = case.model()
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        model.compile(optimizer, "mse", jit_compile=False)
    x, y = case.inputs(), np.ones((4, 2), "float32")
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, shuffle=False)
    for kernel in hl.masked_kernels(model):
        for replica in strategy.experimental_local_results(kernel.variable.value):
            weights = replica.numpy()
            assert not weights[~kernel.mask.numpy()].any()
            assert weights.any()
    masks = {k: ~k.mask.numpy() for k in hl.masked_kernels(model)}
    hl.edit_masks(masks, optimizer)
    for kernel, mask in masks.items():
        for replica in strategy.experimental_local_results(kernel.mask.value):
            np.testing.assert_array_equal(replica.numpy(), mask)
    model.train_on_batch(x, y)
    assert_dormant_are_zero(model)


@pytest.mark.representatives(
    "HLSTM",
    "MaskedGRU",
    "MaskedSimpleRNNCell",
    "MaskedConv2D",
    "MaskedEmbedding",
    "CompactLSTM-low-rank",
    "FastGRNN",
)
def test_wrappers_run_the_layer_and_find_its_kernels(case: Case) -> None:
    x = case.inputs()
    if case.is_recurrent:
        wrapped = keras.layers.Bidirectional(case.make())
        directions = 2
    elif case.is_cell:
        wrapped = keras.layers.RNN(keras.layers.StackedRNNCells([case.make(), case.make()]))
        directions = 2
    else:
        wrapped = keras.layers.TimeDistributed(case.make())
        x = np.stack([x, x], axis=1)
        directions = 1
    model = keras.Sequential([keras.Input(x.shape[1:], dtype=str(x.dtype)), wrapped])
    kernels = hl.masked_kernels(model)
    alone = case.in_model()
    alone.build((None, *case.input_shape))
    assert len(kernels) == directions * len(hl.masked_kernels(alone))
    assert len({kernel.path for kernel in kernels}) == len(kernels)
    assert len({id(kernel.mask) for kernel in kernels}) == len(kernels)
    prune_at_random(model)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert_all_equal(model(x), clone(x))
    assert_same_masks(masks_of(model), masks_of(clone))


class Subclassed(keras.Model):
    """A user's model, which holds layers in a list and calls one of them twice."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.blocks = [case.in_model(), keras.layers.Flatten()]
        self.head = hl.MaskedDense(2)

    def call(self, inputs: Any) -> Any:
        outputs = self.blocks[1](self.blocks[0](inputs)) + self.blocks[1](self.blocks[0](inputs))
        return self.head(outputs)


@pytest.mark.representatives(
    "HLSTM", "MaskedGRUCell", "MaskedConv2D", "MaskedEmbedding", "FastGRNN-low-rank"
)
def test_sequential_and_subclassed_models(case: Case, tmp_path: Path) -> None:
    x = case.inputs()
    sequential = keras.Sequential([case.input(), case.in_model(), keras.layers.Flatten()])
    subclassed, other = Subclassed(case), Subclassed(case)
    subclassed(x), other(x)
    assert len(hl.masked_kernels(subclassed)) == len(hl.masked_kernels(sequential)) + 1
    prune_at_random(subclassed)
    subclassed.save_weights(tmp_path / "s.weights.h5")
    other.load_weights(tmp_path / "s.weights.h5")
    assert_same_model(case, subclassed, other)
    sequential.layers[0].set_weights(subclassed.blocks[0].get_weights())
    assert_all_close(subclassed(x), subclassed.head(2 * sequential(x)))


def test_frozen_layer_trains_neither_weights_nor_masks(case: Case) -> None:
    layer = case.in_model(trainable=False)
    layer.build((None, *case.input_shape))
    cell_or_layer = layer.cell if case.is_cell else layer
    assert cell_or_layer.trainable_weights == []
    assert hl.masked_kernels(layer)
    cell_or_layer.trainable = True
    assert not {id(kernel.mask) for kernel in hl.masked_kernels(layer)} & {
        id(weight) for weight in cell_or_layer.trainable_weights
    }


def test_set_weights_takes_the_weights_without_masks_and_keeps_dormant_ones_zero(
    case: Case,
) -> None:
    layer = case.make()
    shape = (None, *case.input_shape)
    layer.build(shape if not case.is_cell else (None, case.input_shape[-1]))
    masks = prune_at_random(layer)
    mask_ids = {id(kernel.mask) for kernel in hl.masked_kernels(layer)}
    plain = [np.ones(w.shape, "float32") for w in layer.weights if id(w) not in mask_ids]
    layer.set_weights(plain)
    assert_dormant_are_zero(layer)
    for kernel in hl.masked_kernels(layer):
        np.testing.assert_array_equal(kernel.variable.numpy(), masks[kernel.path])
    with pytest.raises(ValueError, match="weight list of length 0"):
        layer.set_weights([])


def assert_same_model(case: Case, model: keras.Model, other: keras.Model) -> None:
    assert not all(mask.all() for mask in masks_of(model))
    assert_same_masks(masks_of(model), masks_of(other))
    assert_all_equal([w.value for w in model.weights], [w.value for w in other.weights])
    assert_dormant_are_zero(other)
    assert_all_equal(model(case.inputs()), other(case.inputs()))


def assert_nothing_shared(model: keras.Model, other: keras.Model) -> None:
    assert not {id(v) for v in model.variables} & {id(v) for v in other.variables}
    for mine, yours in zip(hl.masked_kernels(model), hl.masked_kernels(other), strict=True):
        assert mine.layer is not yours.layer
        assert any(yours.variable is variable for variable in other.variables)
        assert any(yours.mask is variable for variable in other.variables)
