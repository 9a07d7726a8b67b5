"""What a model costs once it is shrunk, and where that ends the pruning."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.timing import Measurement


def model() -> keras.Model:
    made = keras.Sequential([keras.Input((2,)), hl.MaskedDense(3), hl.MaskedDense(2)])
    first, second = hl.masked_kernels(made)
    # Unit 0 is read by nobody; of unit 1 one connection is gone.
    hl.edit_masks({first: np.array([[1, 1, 1], [1, 0, 1]], bool)})
    hl.edit_masks({second: np.array([[0, 0], [1, 1], [1, 1]], bool)})
    return made


@pytest.mark.parametrize(
    ("of", "cost"),
    [
        ("connections", 3 + 4),
        ("flops", 2 * (3 + 4)),
        ("bytes", 4 * (2 * 2 + 2 + 2 * 2 + 2)),  # all places that are left, and the biases
        (lambda compact: compact.layers[0].units, 2),
    ],
)
def test_it_is_the_shrunk_model_that_counts(of: Any, cost: float) -> None:
    budget = hl.Budget(of, 10)
    assert budget.measure(model()) == cost


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("weights", 3), "`of` must be one of connections, flops, bytes, or callable; got 'weigh"),
        (("flops", 0), "`limit` must be a finite number above 0; got 0"),
        (("flops", "few"), "`limit` must be a finite number above 0; got 'few'"),
        ((hl.Latency, 5), r"`of` is the class Latency; give an object of it, Latency\(\)"),
        (("flops", float("nan")), "`limit` must be a finite number above 0; got nan"),
    ],
)
def test_what_is_no_budget_says_so(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hl.Budget(*arguments)


@pytest.mark.representatives("nan", "5", "cost5")
@pytest.mark.parametrize("cost", [float("nan"), float("inf"), "5", None, [1.0], np.ones(2)])
def test_a_cost_that_is_no_number_is_refused_before_training(cost: Any) -> None:
    budget = hl.Budget(lambda compact: cost, 10)
    with pytest.raises(ValueError, match=r"returned .* as a model's cost; expected a number") as e:
        run(gated(8, 8), budget)
    assert "\n" not in str(e.value)


def test_grow_and_prune_stops_within_it() -> None:
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((4,)), hl.MaskedDense(64), hl.MaskedDense(2)])
    net.compile("sgd", "mse")
    data = np.ones((4, 4), "float32"), np.zeros((4, 2), "float32")
    pruning = hl.Pruning(
        structure="neuron", step=0.5, retrain_epochs=1, budget=hl.Budget("bytes", 1000)
    )
    callback = hl.GrowAndPrune(
        data, growth=None, pruning=pruning, monitor="loss", threshold=1e9, train_epochs=0, verbose=0
    )
    net.fit(*data, epochs=9, callbacks=[callback], verbose=0)
    # 64 neurons of 7 floats each and 2 biases are 1,800 bytes; 32 are 904.
    assert hl.shrink(net).layers[0].units == 32
    assert callback.progress.reason == "within the budget: 904 bytes of 1,000"


def run(
    model: keras.Model, budget: hl.Budget, structure: Any = None, **pruning: Any
) -> hl.GrowAndPrune:
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    x = np.ones((4, *model.input_shape[1:]), "float32")
    y = np.zeros((4, *model.output_shape[1:]), "float32")
    plan = {"step": 0.5, "retrain_epochs": 1, "structure": structure, **pruning}
    threshold, verbose = plan.pop("threshold", 1e9), plan.pop("verbose", 0)
    callback = hl.GrowAndPrune(
        None,
        growth=None,
        pruning=hl.Pruning(budget=budget, **plan),
        monitor="loss",
        threshold=threshold,
        train_epochs=0,
        verbose=verbose,
    )
    model.fit(x, y, epochs=20, callbacks=[callback], verbose=0)
    return callback


def gated(units: int = 32, hidden: int = 32) -> keras.Model:
    rnn = hl.HLSTM(units, hidden_units=hidden)
    return keras.Sequential([keras.Input((3, 4)), rnn, hl.MaskedDense(2)])


def widths(model: keras.Model) -> tuple[int, int]:
    small = hl.shrink(model).layers[0]
    return small.units, small.hidden_units[0]


def test_a_structure_that_does_not_lower_the_cost_is_left_out() -> None:
    net = gated()
    callback = run(net, hl.Budget("bytes", 6000), ("unit", "neuron", "connection"))
    # Connections were due third: their zeros are bytes like all others.
    assert callback.progress.iteration > 2
    small = hl.shrink(net)
    assert hl.summary(small, print_fn=None).sparsity == 0.0
    assert callback.progress.reason.startswith("within the budget: ")


def test_by_itself_a_run_alternates_units_and_neurons() -> None:
    net = gated(64, 64)
    seen = []
    budget = hl.Budget(
        lambda m: (
            seen.append((m.layers[0].units, m.layers[0].hidden_units[0]))
            or float(hl.summary(m, print_fn=None).bytes)
        ),
        8000,
    )
    run(net, budget)
    assert list(dict.fromkeys(seen))[:4] == [(64, 64), (32, 64), (32, 32), (16, 32)]


def test_the_cost_of_every_iteration_is_kept_and_printed_beside_the_budget(
    capsys: pytest.CaptureFixture,
) -> None:
    net = gated()
    callback = run(net, hl.Budget("bytes", 6000), verbose=1)
    costs = [record["cost"] for record in callback.history]
    assert {record["budget"] for record in callback.history} == {6000}
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == len(costs) > 1
    assert callback.history[0]["cost_after"] == costs[1]
    printed = capsys.readouterr().out
    for cost in costs:
        assert f"{cost:,.6g} bytes of 6,000" in printed


@pytest.mark.representatives("structure1", "2:4")
@pytest.mark.parametrize("structure", ["connection", ("1x4", "connection"), "2:4"])
def test_what_no_structure_can_lower_ends_the_run_before_anything_is_lost(structure: Any) -> None:
    net = gated()
    with pytest.warns(UserWarning, match=r"the budget is missed by [\d,]+ \([\d.]+ %\): .* bytes"):
        callback = run(net, hl.Budget("bytes", 6000), structure)
    assert all(kernel.mask.numpy().all() for kernel in hl.masked_kernels(net))
    assert "does not lower what the budget limits" in callback.progress.reason
    assert callback.history == []


def test_a_budget_that_accuracy_does_not_allow_says_by_how_much_it_was_missed() -> None:
    net = gated()
    with pytest.warns(UserWarning, match=r"missed by .*; finished: a step of .* does not meet"):
        callback = run(net, hl.Budget("bytes", 6000), threshold=-1.0, min_step=0.5)
    assert widths(net) == (32, 32)
    assert callback.progress.cost == callback.progress.complete_cost


def test_a_model_within_its_budget_is_not_pruned() -> None:
    net = gated(8, 8)
    callback = run(net, hl.Budget("bytes", 1e6))
    assert callback.progress.reason.startswith("within the budget already: ")
    assert callback.history == []


def test_a_model_with_neither_units_nor_neurons_loses_connections() -> None:
    net = keras.Sequential([keras.Input((16,)), hl.MaskedDense(8)])
    callback = run(net, hl.Budget("connections", 40))
    assert hl.summary(net, print_fn=None).connections == 32
    assert callback.progress.iteration == 2


def test_whole_neurons_that_a_model_does_not_have_are_refused_before_training() -> None:
    net = keras.Sequential([keras.Input((16,)), hl.MaskedDense(8)])
    with pytest.raises(ValueError, match="structure='unit' found nothing to prune"):
        run(net, hl.Budget("bytes", 40), ("connection", "unit"))


def test_the_bytes_of_the_file_are_a_budget() -> None:
    with pytest.raises(ValueError, match=r"give an object of it, FileSize\(\)"):
        hl.Budget(hl.FileSize, 5)
    net = gated(32, 64)
    whole = hl.Budget(hl.FileSize(quantization=None), 1).measure(net)
    callback = run(net, hl.Budget(hl.FileSize(quantization=None), 0.7 * whole))
    assert callback.history[-1]["cost"] <= 0.7 * whole
    assert "bytes in the file of" in callback.progress.reason


def test_a_small_step_on_a_narrow_model_narrows_it_all_the_same() -> None:
    net = gated(16, 16)
    before = hl.Budget("bytes", 1).measure(net)
    callback = run(net, hl.Budget("bytes", 0.6 * before), step=0.2)
    assert callback.progress.reason.startswith("within the budget: ")
    assert widths(net)[0] < 16


def test_a_step_that_rounds_to_nothing_takes_one_multiple() -> None:
    net = gated(64, 64)
    run(net, hl.Budget("bytes", 1), "unit", step=0.01, max_iterations=1)
    assert widths(net) == (56, 64)


def test_a_miss_names_the_widths_that_cannot_fall_further() -> None:
    net = gated(16, 16)
    with pytest.warns(UserWarning, match="the budget is missed by") as caught:
        run(net, hl.Budget("bytes", 100), step=0.5)
    [said] = [str(each.message) for each in caught if "is missed" in str(each.message)]
    assert "units of 'hlstm' stay at 8 (minimum 8)" in said
    assert "hidden neurons of 'hlstm' stay at 8 (minimum 8)" in said


def test_a_miss_names_what_a_layer_without_masks_holds_in_place() -> None:
    first, middle = hl.MaskedDense(16, name="first"), hl.MaskedDense(16, name="middle")
    net = keras.Sequential([keras.Input((4,)), first, middle, keras.layers.Dense(2)])
    with pytest.warns(UserWarning, match="neurons of 'middle' stay .a kernel without a mask"):
        run(net, hl.Budget("bytes", 10), "neuron", step=0.5)


def test_what_missed_the_threshold_is_not_tried_again_with_a_finer_step() -> None:
    net = gated(64, 64)
    with pytest.warns(UserWarning, match="removes what missed the threshold before"):
        callback = run(net, hl.Budget("bytes", 1), "unit", step=0.02, threshold=-1.0)
    assert len(callback.history) == 1
    assert widths(net) == (64, 64)


class Clock:
    """Microseconds as an engine takes them: by widths, in lanes of 8, and none for a zero less.

    Every call is faster than the one before: by default by less than the spread.
    """

    def __init__(self, gain: float = 0.1) -> None:
        self.gain = gain
        self.measured: list[tuple[int, int]] = []

    def __call__(self, model: keras.Model) -> Measurement:
        layer = model.layers[0]
        self.measured.append((layer.units, layer.hidden_units[0]))
        units, hidden = (-(-width // 8) for width in self.measured[-1])
        work = 10 + 4 * units * hidden
        return Measurement(work - self.gain * len(self.measured), 3.0)

    def __str__(self) -> str:
        return "microseconds"


def classified() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(256, 3, 4)).astype("float32")
    return x, (x.sum(axis=(1, 2)) > 0).astype("int32")


def halved(
    net: keras.Model, latency: Callable[[keras.Model], float], **plan: Any
) -> tuple[hl.GrowAndPrune, float]:
    """Trains a classifier and prunes it to half of its latency; returns the run and the limit."""
    data, half = classified(), float(latency(hl.shrink(net))) / 2
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    run = hl.GrowAndPrune(
        data,
        growth=None,
        pruning=hl.Pruning(retrain_epochs=2, budget=hl.Budget(latency, half), **plan),
        monitor="accuracy",
        threshold=0.9,
    )
    net.fit(*data, epochs=60, verbose=0, callbacks=[run])
    return run, half


def assert_halved(run: hl.GrowAndPrune, half: float, net: keras.Model) -> None:
    """Checks what a run within its budget has printed, kept and left in the model."""
    complete = [record for record in run.history if "complete" in record["events"]]
    costs = [record["cost"] for record in complete if record["cost"] is not None]
    assert run.progress.reason.startswith("within the budget: ")
    assert {record["budget"] for record in run.history} == {half}
    assert all(cost > half for cost in costs[:-1])  # it stopped as soon as it was within
    assert run.progress.complete_cost <= half
    # What buys no time was left alone: no zero is left in what is deployed.
    assert hl.summary(hl.shrink(net), print_fn=None).sparsity == 0.0
    assert net.evaluate(*classified(), verbose=0)[1] >= 0.9


@pytest.mark.compiled
@pytest.mark.representatives("structure0")
@pytest.mark.parametrize("structure", [("unit", "neuron", "connection"), None])
def test_half_of_a_latency_is_reached_by_units_and_neurons_alone(structure: Any) -> None:
    keras.utils.set_random_seed(0)
    clock = Clock()
    net = keras.Sequential([keras.Input((3, 4)), hl.HLSTM(64, hidden_units=64), hl.MaskedDense(2)])
    run, half = halved(net, clock, step=0.15, structure=structure)
    assert_halved(run, half, net)
    units, hidden = widths(net)
    assert max(units, hidden) < 64  # both were narrowed
    costs = [record["cost"] for record in run.history if record["cost"] is not None]
    assert costs == sorted(costs, reverse=True)
    narrowings = list(dict.fromkeys(clock.measured))
    for before, after in pairwise(narrowings):
        assert after[0] <= before[0]
        assert after[1] <= before[1]
    assert len(narrowings) >= 4


@pytest.mark.compiled
def test_a_machine_that_gets_faster_by_itself_does_not_let_connections_count() -> None:
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((3, 4)), hl.HLSTM(64, hidden_units=64), hl.MaskedDense(2)])
    structure = ("connection", "unit", "neuron")
    assert_halved(*halved(net, Clock(gain=5.0), step=0.15, structure=structure), net)


@pytest.mark.compiled
def test_what_no_width_brings_within_a_latency_ends_with_the_miss_and_the_accuracy() -> None:
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((3, 4)), hl.HLSTM(16, hidden_units=16), hl.MaskedDense(2)])
    plan = {"step": 0.5, "structure": ("unit", "neuron", "connection")}
    clock = Clock()
    overhead = lambda model: Measurement(100 + clock(model), 3.0)  # noqa: E731
    with pytest.warns(UserWarning, match=r"the budget is missed by [\d.]+ \([\d.]+ %\).*stay at 8"):
        run, half = halved(net, overhead, **plan)
    assert run.progress.complete_cost > half
    assert "by connection does not lower what the budget limits" in run.progress.reason
    assert widths(net) == (8, 8)
    assert hl.summary(hl.shrink(net), print_fn=None).sparsity == 0.0
    assert net.evaluate(*classified(), verbose=0)[1] >= 0.9


@pytest.mark.training
def test_half_of_the_latency_measured_in_litert_is_reached() -> None:
    keras.utils.set_random_seed(0)
    layer = hl.HLSTM(256, hidden_units=256)
    net = keras.Sequential([keras.Input((3, 4)), layer, hl.MaskedDense(2)])
    before = hl.shrink(net)
    latency = hl.Latency(form="step")
    run, half = halved(net, latency, step=0.5, structure=("unit", "neuron", "connection"))
    assert_halved(run, half, net)
    assert min(widths(net)) < 256
    # Measured anew, one beside the other; a machine at work may blur a half, not three quarters.
    after = hl.shrink(net)
    ratios = [latency(after) / latency(before) for _ in range(3)]
    assert min(ratios) < 0.75


def test_a_sparsity_below_a_pattern_s_least_is_refused() -> None:
    message = "must be at least 0.5 with structure='2:4', whose masks are never denser"
    with pytest.raises(ValueError, match=f"`schedule` {message}"):
        hl.MagnitudePruning(0, structure="2:4")
    with pytest.raises(ValueError, match=f"`target_sparsity` {message}"):
        hl.Pruning(target_sparsity=0.3, structure="2:4")
    hl.MagnitudePruning(0.5, structure="2:4")
    hl.Pruning(target_sparsity=0.5, structure="2:4")
