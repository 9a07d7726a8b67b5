"""The one function through which masks change, with every optimizer and in any order of events."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import optimizers

import hlstm_tf as hl
from hlstm_tf.sparsity.edits import held_optimizers, optimizer_slots
from tests.layers.helpers import assert_all_equal, assert_dormant_are_zero, masks_of, numpy

OPTIMIZERS: dict[str, Callable[[], optimizers.Optimizer]] = {
    "sgd": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "nesterov": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda: optimizers.Adam(0.05, amsgrad=True),
    "adamw": lambda: optimizers.AdamW(0.05, weight_decay=0.1),
    "adamax": lambda: optimizers.Adamax(0.05),
    "nadam": lambda: optimizers.Nadam(0.05),
    "lamb": lambda: optimizers.Lamb(0.05),
    "rmsprop": lambda: optimizers.RMSprop(0.05, momentum=0.5, centered=True),
    "adagrad": lambda: optimizers.Adagrad(0.1, initial_accumulator_value=0.3),
    "adadelta": lambda: optimizers.Adadelta(0.5),
    "adafactor": lambda: optimizers.Adafactor(0.05),
    "ftrl": lambda: optimizers.Ftrl(0.1, initial_accumulator_value=0.2),
    "lion": lambda: optimizers.Lion(0.01),
    "muon": lambda: optimizers.Muon(0.05),
    "schedule_free": lambda: optimizers.ScheduleFreeAdamW(0.05),
    "global_clipnorm": lambda: optimizers.Adam(0.05, global_clipnorm=0.1),
    "moving_average": lambda: optimizers.Adam(0.05, use_ema=True, ema_overwrite_frequency=2),
    "accumulation": lambda: optimizers.Adam(0.05, gradient_accumulation_steps=2),
    "loss_scale": lambda: optimizers.LossScaleOptimizer(
        optimizers.SGD(0.1, momentum=0.9), initial_scale=8.0
    ),
    "several": lambda: optimizers.MultiOptimizer(
        optimizers.OptimizerMap(
            optimizers.Adam(0.05), {".*0/kernel": optimizers.SGD(0.1, momentum=0.9)}
        )
    ),
}
X = np.random.default_rng(0).standard_normal((6, 4)).astype("float32")
Y = np.random.default_rng(1).standard_normal((6, 2)).astype("float32")
SEQUENCES = np.random.default_rng(2).standard_normal((6, 3, 4)).astype("float32")


def feed_forward() -> keras.Model:
    layers = [hl.MaskedDense(5, "tanh", name="dense_0"), hl.MaskedDense(2, name="dense_1")]
    return keras.Sequential([keras.Input((4,)), *layers])


def recurrent() -> keras.Model:
    return keras.Sequential([keras.Input((None, 4)), hl.HLSTM(3, 2), hl.MaskedDense(2)])


def compiled(optimizer: optimizers.Optimizer, make: Callable[[], keras.Model]) -> keras.Model:
    model = make()
    model.compile(optimizer, "mse", run_eagerly=True)
    return model


def train(model: keras.Model, steps: int = 1) -> None:
    x = X if len(model.inputs[0].shape) == 2 else SEQUENCES
    for _ in range(steps):
        model.train_on_batch(x, Y)


def random_masks(model: keras.Model, seed: int, keep: float = 0.5) -> dict[Any, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {kernel: rng.random(kernel.shape) < keep for kernel in hl.masked_kernels(model)}


def dense(weights: list[list[float]]) -> tuple[hl.MaskedDense, Any]:
    layer = hl.MaskedDense(len(weights[0]), use_bias=False)
    layer.build((None, len(weights)))
    layer.kernel.assign(weights)
    return layer, hl.masked_kernels(layer)[0]


@pytest.mark.parametrize(
    ("before", "after", "weights", "values", "expected", "changed"),
    [
        # A connection goes, and its weight with it.
        ([1, 1, 1], [1, 0, 1], [5, 6, 7], None, [5, 0, 7], 1),
        # A connection comes, at zero.
        ([1, 0, 1], [1, 1, 1], [5, 0, 7], None, [5, 0, 7], 1),
        # It comes with a value; other entries of the values are not used.
        ([1, 0, 1], [1, 1, 0], [5, 0, 7], [1, 2, 3], [5, 2, 0], 2),
        # What an optimizer wrote behind the mask's back is not taken for the new weight.
        ([1, 0, 0], [1, 1, 0], [5, 6, 7], None, [5, 0, 0], 1),
        # The same mask again puts dormant weights back to zero.
        ([1, 0, 1], [1, 0, 1], [5, 6, 7], None, [5, 0, 7], 0),
        # A zero weight may well be connected.
        ([1, 1, 1], [1, 1, 1], [0, 6, 7], None, [0, 6, 7], 0),
    ],
)
def test_an_edit_zeroes_dormant_weights_and_starts_new_ones(
    before: list[int],
    after: list[int],
    weights: list[float],
    values: list[float] | None,
    expected: list[float],
    changed: int,
) -> None:
    layer, kernel = dense([weights])
    kernel.mask.assign([[bool(m) for m in before]])
    given_values = None if values is None else {kernel: np.array([values])}
    assert hl.edit_masks({kernel: np.array([after])}, values=given_values) == changed
    assert layer.kernel.numpy().tolist() == [expected]
    assert kernel.mask.numpy().tolist() == [[bool(m) for m in after]]


@pytest.mark.parametrize(
    ("second", "values", "message"),
    [
        (np.ones((3, 1), bool), None, r"dense_1/kernel: an array of shape \(3, 1\) was given for"),
        (np.full((5, 2), 2), None, "dense_1/kernel: a mask holds only True and False, or 1 and 0"),
        (np.full((5, 2), 0.5), None, "a mask holds only True and False"),
        (np.full((5, 2), np.nan), None, "a mask holds only True and False"),
        (np.ones((5, 2), bool), np.ones((2, 5)), r"dense_1/kernel: an array of shape \(2, 5\)"),
        (np.ones((5, 2), bool), np.full((5, 2), np.inf), "must be finite numbers"),
        (None, np.ones((5, 2)), "dense_1/kernel: values were given for a kernel whose mask is not"),
    ],
)
def test_a_bad_edit_is_one_clear_line_and_changes_nothing(
    second: Any, values: Any, message: str
) -> None:
    model = feed_forward()
    one, two = hl.masked_kernels(model)
    hl.edit_masks({two: np.zeros((5, 2), bool)})
    before = model.get_weights()
    edits = {one: np.zeros((4, 5), bool)} | ({} if second is None else {two: second})
    with pytest.raises(ValueError, match=message) as error:
        hl.edit_masks(edits, values=None if values is None else {two: values})
    assert "\n" not in str(error.value)
    assert_all_equal(before, model.get_weights())


@pytest.mark.representatives(
    "accumulation",
    "adafactor",
    "adamw",
    "ftrl",
    "loss_scale",
    "momentum",
    "muon",
    "schedule_free",
    "several",
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_start_anew_at_edited_places_and_stay_elsewhere(name: str) -> None:
    optimizer = OPTIMIZERS[name]()
    model = compiled(optimizer, feed_forward)
    hl.edit_masks(random_masks(model, 1))
    train(model, 3)
    edits = random_masks(model, 2)
    edits.pop(hl.masked_kernels(model)[1])  # the second kernel keeps its mask
    before = {k: k.mask.numpy() for k in hl.masked_kernels(model)}
    old = {id(v): v.numpy() for v in model.optimizer.variables}
    values = {kernel: np.full(kernel.shape, 0.25) for kernel in edits}
    assert hl.edit_masks(edits, model.optimizer, values) == sum(
        (before[kernel] != mask).sum() for kernel, mask in edits.items()
    )
    edited = {}
    fresh = fresh_slots(name, model)
    for kernel, mask in edits.items():
        changed = before[kernel] != mask
        assert changed.any()
        assert not changed.all()
        slots = list(optimizer_slots(model.optimizer, kernel.variable))
        assert bool(slots) == (name != "sgd")
        for place, (_, kind, slot) in enumerate(slots):
            edited[id(slot)] = slot
            now, then, start = slot.numpy(), old[id(slot)], fresh[kernel][place]
            if kind == "_model_variables_moving_average":
                start = kernel.variable.numpy()  # a new one starts at its first step only
            np.testing.assert_array_equal(now[~changed], then[~changed])
            np.testing.assert_array_equal(now[changed], start[changed])
    others = [v for v in model.optimizer.variables if id(v) not in edited]
    assert_all_equal([v.value for v in others], [old[id(v)] for v in others])
    train(model, 2)
    assert_dormant_are_zero(model)


def fresh_slots(name: str, model: keras.Model) -> dict[Any, list[np.ndarray]]:
    """The slots of a new optimizer, built on the model's weights as they now are."""
    optimizer = OPTIMIZERS[name]()
    optimizer.build(model.trainable_variables)
    return {
        kernel: [slot.numpy() for _, _, slot in optimizer_slots(optimizer, kernel.variable)]
        for kernel in hl.masked_kernels(model)
    }


@pytest.mark.representatives(
    "accumulation",
    "adafactor",
    "adamw",
    "ftrl",
    "loss_scale",
    "momentum",
    "muon",
    "schedule_free",
    "several",
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimizer_state_of_a_kernel_is_overlooked(name: str) -> None:
    model = compiled(OPTIMIZERS[name](), feed_forward)
    train(model)
    for kernel in hl.masked_kernels(model):
        found = {id(slot) for _, _, slot in optimizer_slots(model.optimizer, kernel.variable)}
        of_kernel_s_shape = [
            variable
            for variable in model.optimizer.variables
            if tuple(variable.shape) == kernel.shape
        ]
        assert found == {id(variable) for variable in of_kernel_s_shape}


def test_an_optimizer_that_is_not_built_or_trains_something_else_has_no_slots() -> None:
    _, kernel = dense([[1.0, 2.0]])
    other, _ = dense([[1.0, 2.0]])
    built = optimizers.Adam()
    built.build(other.trainable_variables)
    for optimizer in (optimizers.Adam(), built):
        assert list(optimizer_slots(optimizer, kernel.variable)) == []
        assert hl.edit_masks({kernel: ~kernel.mask.numpy()}, optimizer) == 2


def test_muon_s_moving_average_reaches_neither_files_nor_new_connections(tmp_path: Path) -> None:
    # Muon moves dormant weights too, and the moving average is taken before the constraint; Keras
    # writes it into the weights after the last step of `fit`, where no constraint runs.
    model = compiled(optimizers.Muon(0.05, use_ema=True, ema_momentum=0.5), feed_forward)
    masks = random_masks(model, 1)
    hl.edit_masks(masks)
    train(model, 3)
    assert_dormant_are_zero(model)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    outputs = model(X)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_dormant_are_zero(loaded)
    assert_all_equal(loaded(X), outputs)
    hl.edit_masks(masks)
    assert_dormant_are_zero(model)
    assert_all_equal(model(X), outputs)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("train"), st.integers(1, 2)),
        st.tuples(st.just("edit"), st.integers(0, 99)),
        st.tuples(st.just("grow"), st.integers(0, 99)),
        st.tuples(st.just("file"), st.sampled_from(["weights", "keras"])),
        st.tuples(st.just("set_weights"), st.just(0)),
        st.tuples(st.just("activation"), st.sampled_from(["relu", "leaky_relu"])),
        st.tuples(st.just("finalize"), st.just(0)),
    ),
    min_size=2,
    max_size=6,
)


@given(name=st.sampled_from(sorted(OPTIMIZERS)), seed=st.integers(0, 99), events=EVENTS)
def test_dormant_weights_are_zero_after_any_events(
    name: str, seed: int, events: list[tuple[str, Any]]
) -> None:
    live_through(compiled(OPTIMIZERS[name](), feed_forward), seed, events)


# An H-LSTM's steps take longer, and what happens to its kernels is the same.
@settings(max_examples=max(1, settings().max_examples // 3))
@given(
    name=st.sampled_from(["adamw", "nesterov", "muon", "loss_scale", "ftrl"]),
    seed=st.integers(0, 99),
    events=EVENTS,
)
def test_dormant_weights_of_an_hlstm_are_zero_after_any_events(
    name: str, seed: int, events: list[tuple[str, Any]]
) -> None:
    live_through(compiled(OPTIMIZERS[name](), recurrent), seed, events)


def live_through(model: keras.Model, seed: int, events: list[tuple[str, Any]]) -> None:
    hl.edit_masks(random_masks(model, seed))
    for event, argument in events:
        masks = masks_of(model)
        if event == "train":
            train(model, argument)
        elif event == "edit":
            edits = random_masks(model, argument)
            hl.edit_masks(edits, model.optimizer)
            masks = list(edits.values())
        elif event == "grow":
            edits = {
                kernel: kernel.mask.numpy() | more
                for kernel, more in random_masks(model, argument, 0.2).items()
            }
            values = {kernel: np.full(kernel.shape, 0.1) for kernel in edits}
            hl.edit_masks(edits, model.optimizer, values)
            masks = list(edits.values())
        elif event == "file":
            model = through_file(model, argument)
        elif event == "set_weights":
            for layer in model.layers:
                layer.set_weights(layer.get_weights())
        elif event == "activation" and isinstance(model.layers[0], hl.HLSTM):
            model.layers[0].hidden_activation = argument
        elif event == "finalize" and model.optimizer.built:
            model.optimizer.finalize_variable_values(model.trainable_variables)
        assert_dormant_are_zero(model)
        for mask, expected in zip(masks_of(model), masks, strict=True):
            np.testing.assert_array_equal(mask, expected)


def through_file(model: keras.Model, form: str) -> keras.Model:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.{'weights.h5' if form == 'weights' else 'keras'}"
        before = numpy([weight.value for weight in model.weights])
        if form == "weights":
            model.save_weights(path)
            hl.edit_masks({kernel: ~kernel.mask.numpy() for kernel in hl.masked_kernels(model)})
            model.load_weights(path)
        else:
            model.save(path)
            model = keras.saving.load_model(path)
            model.run_eagerly = True
        assert_all_equal([weight.value for weight in model.weights], before)
        return model


class Lookahead(optimizers.Optimizer):
    """An optimizer of a user's, which steps by another one."""

    def __init__(self, base: Any) -> None:
        super().__init__(learning_rate=0.001)
        self.base = base

    def build(self, variables: Any) -> None:
        super().build(variables)
        self.base.build(variables)

    def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        if not self.built:
            self.build(trainable_variables)
        return self.base.apply(grads, trainable_variables)


class SlotsByPath(optimizers.Optimizer):
    """Keeps its slots in a dictionary."""

    def build(self, variables: Any) -> None:
        if not self.built:
            super().build(variables)
            make = self.add_variable_from_reference
            self.traces = {v.path: make(v, name="trace") for v in variables}

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        traces = list(self.traces.values())
        traces[self._get_variable_index(variable)].assign_add(gradient)
        variable.assign_sub(learning_rate * gradient)


class Box:
    """Any object of a user's."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


def hold_as_attribute(model: Any, inner: Any, optimizer: Any) -> None:
    model.generator_optimizer = optimizer


def hold_in_list(model: Any, inner: Any, optimizer: Any) -> None:
    model.several = [optimizers.SGD(), optimizer]


def hold_in_dictionary(model: Any, inner: Any, optimizer: Any) -> None:
    model.by_name = {"first": {"second": (optimizer,)}}


def hold_in_object(model: Any, inner: Any, optimizer: Any) -> None:
    model.trainer = Box(optimizers=[optimizer])


def hold_in_part(model: Any, inner: Any, optimizer: Any) -> None:
    inner.compile(optimizer, "mse")


def hold_in_layer(model: Any, inner: Any, optimizer: Any) -> None:
    inner.layers[0].own = optimizer


HOLDERS = [
    hold_as_attribute, hold_in_list, hold_in_dictionary, hold_in_object, hold_in_part,
    hold_in_layer,
]  # fmt: skip


@pytest.mark.parametrize("hold", HOLDERS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda adam: adam,
        optimizers.LossScaleOptimizer,
        Lookahead,
        lambda adam: optimizers.LossScaleOptimizer(Lookahead(adam)),
        lambda adam: SlotsByPath(learning_rate=0.001),
    ],
    ids=["plain", "loss scale", "wrapped", "wrapped twice", "slots by path"],
)
def test_every_optimizer_that_a_model_holds_starts_anew_at_edited_places(hold, wrap) -> None:
    class Outer(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inner = keras.Sequential([keras.Input((3,)), hl.MaskedDense(4)])

        def call(self, x: Any) -> Any:
            return self.inner(x)

    model, optimizer = Outer(), wrap(optimizers.Adam())
    model(np.ones((2, 3)))
    model.compile("sgd", "mse")
    hold(model, model.inner, optimizer)
    [kernel] = hl.masked_kernels(model)
    optimizer.apply([np.ones(v.shape, "float32") for v in model.trainable_variables],
                    model.trainable_variables)  # fmt: skip
    slots = [slot for _, _, slot in optimizer_slots(optimizer, kernel.variable)]
    assert slots
    assert all((slot.numpy() != 0).all() for slot in slots)
    assert optimizer in held_optimizers(model)
    mask = np.arange(12).reshape(3, 4) % 2 == 0
    hl.edit_masks({kernel: mask}, held_optimizers(model))
    assert all(np.array_equal(slot.numpy() != 0, mask) for slot in slots)
