"""Sparsify: which layers become masked, which masks they get, and what is kept."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.sparsity import kept_count, seed_mask
from hlstm_tf.transforms import sparsify
from tests.transforms.models import (
    MODELS,
    dense_net,
    embedding_net,
    lenet,
    mask_at_random,
    model_and_batch,
    outputs,
    randomize,
    recurrent_net,
    weights_of,
)

layers = keras.layers


def _masks(model: keras.Model) -> list[np.ndarray]:
    return [kernel.mask.numpy() for kernel in hl.masked_kernels(model)]


@pytest.mark.representatives("dense", "recurrent", "functional")
@pytest.mark.parametrize("name", MODELS)
def test_without_sparsity_nothing_changes_and_with_it_every_matrix_has_it(name: str) -> None:
    model, batch = model_and_batch(name)
    before, expected = weights_of(model), outputs(model, batch)
    new = sparsify(model, sparsity=0.0)
    np.testing.assert_array_equal(outputs(new, batch), expected)
    assert type(new) is type(model)
    assert [layer.name for layer in new.layers] == [layer.name for layer in model.layers]
    sparse = sparsify(model, sparsity=0.6, seed=4, seed_architecture="random")
    assert np.isfinite(outputs(sparse, batch)).all()
    _check_seed_architecture(hl.masked_kernels(sparse), 0.6)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def _check_seed_architecture(kernels: list[hl.MaskedKernel], sparsity: float) -> None:
    assert kernels
    for kernel in kernels:
        for matrix in kernel.to_matrices(kernel.mask):
            assert matrix.any(axis=0).all()
            assert matrix.any(axis=1).all()
            assert matrix.sum() == max(kept_count(matrix.size, sparsity), *matrix.shape)
        assert not kernel.variable.numpy()[~kernel.mask.numpy()].any()


def test_every_supported_layer_of_a_recurrent_model_becomes_its_twin() -> None:
    new = sparsify(recurrent_net(), 0.5, seed=0)
    bidirectional, stack, distributed, hlstm, gru, simple = new.layers
    assert type(bidirectional.forward_layer) is type(bidirectional.backward_layer) is hl.MaskedLSTM
    kinds = [type(cell) for cell in stack.cell.cells]
    assert kinds == [hl.MaskedLSTMCell, hl.MaskedGRUCell, hl.HLSTMCell]
    assert type(distributed.layer) is hl.MaskedDense
    assert type(hlstm) is hl.HLSTM
    assert hlstm.masked
    assert type(gru) is hl.MaskedGRU
    assert type(simple) is hl.MaskedSimpleRNN
    forward, backward = bidirectional.forward_layer.cell, bidirectional.backward_layer.cell
    assert (forward.kernel_mask.numpy() != backward.kernel_mask.numpy()).any()


def test_weights_of_existing_connections_are_carried_over_and_biases_are_whole() -> None:
    model = randomize(dense_net())
    new = sparsify(model, 0.5, seed=1, seed_architecture="random")
    for old, twin in zip(model.layers, new.layers, strict=True):
        if old.weights:
            kernel = np.where(twin.kernel_mask.numpy(), old.kernel.numpy(), 0)
            np.testing.assert_array_equal(twin.kernel.numpy(), kernel)
            np.testing.assert_array_equal(twin.bias.numpy(), old.bias.numpy())


def test_the_first_matrix_has_the_mask_that_the_seed_draws_first() -> None:
    model = keras.Sequential([keras.Input((8,)), layers.Dense(6), layers.Dense(2)])
    first = _masks(sparsify(model, sparsity=0.7, seed=11))[0]
    np.testing.assert_array_equal(first, seed_mask((8, 6), 0.7, np.random.default_rng(11)))


def test_masks_follow_from_the_seed_and_not_from_names_or_weights() -> None:
    first, second = embedding_net(), randomize(embedding_net(), seed=9)
    masks = _masks(sparsify(first, 0.5, seed=2))
    again = sparsify(second, 0.5, seed=2, seed_architecture="random")
    for a, b in zip(masks, _masks(again), strict=True):
        np.testing.assert_array_equal(a, b)
    other = _masks(sparsify(first, 0.5, seed=3))
    assert any((a != b).any() for a, b in zip(masks, other, strict=True))


@given(
    sparsity=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**31),
    structure=st.sampled_from(["connection", "1x4", "2x2", "2:4"]),
    distribution=st.sampled_from(["per_matrix", "global", "erk"]),
)
def test_any_seed_architecture_connects_every_neuron_at_both_ends(
    sparsity: float, seed: int, structure: str, distribution: str
) -> None:
    model = keras.Sequential([keras.Input((9,)), layers.Dense(7), layers.Dense(4)])
    sparsity = max(sparsity, 0.5 if structure == "2:4" else 0.0)
    new = sparsify(model, sparsity, seed, structure=structure, distribution=distribution)
    for mask in _masks(new):
        assert mask.any(axis=0).all()
        assert mask.any(axis=1).all()


def test_erk_leaves_small_kernels_denser_than_big_ones() -> None:
    sparse = sparsify(lenet(), sparsity=0.5, distribution="erk")
    density = {kernel.path: kernel.mask.numpy().mean() for kernel in hl.masked_kernels(sparse)}
    values = list(density.values())
    assert values[-1] > values[2]  # 8 x 3 against 80 x 8
    connections = sum(mask.sum() for mask in _masks(sparse))
    assert connections == pytest.approx(0.5 * sum(mask.size for mask in _masks(sparse)), abs=3)


def test_layers_that_have_masks_already_get_new_ones_and_keep_their_weights() -> None:
    first = mask_at_random(sparsify(randomize(dense_net()), 0.0), 0.3)
    again = sparsify(first, sparsity=0.0)
    assert all(mask.all() for mask in _masks(again))
    batch = np.ones((2, 6), "float32")
    np.testing.assert_array_equal(outputs(again, batch), outputs(first, batch))


def test_names_and_functions_choose_the_layers() -> None:
    model = recurrent_net()
    by_name = sparsify(model, include=[model.layers[0].name])
    assert {kernel.path.split("/")[0] for kernel in hl.masked_kernels(by_name)} >= {
        kernel.path.split("/")[0] for kernel in hl.masked_kernels(by_name.layers[0])
    }
    assert type(by_name.layers[0].forward_layer) is hl.MaskedLSTM
    assert type(by_name.layers[4]) is layers.GRU
    left_out = sparsify(model, exclude=lambda layer: isinstance(layer, layers.GRU))
    assert type(left_out.layers[4]) is layers.GRU
    assert type(left_out.layers[5]) is hl.MaskedSimpleRNN


def test_an_excluded_layer_keeps_the_masks_it_has() -> None:
    model = keras.Sequential(
        [keras.Input((6,)), hl.MaskedDense(5, name="first"), layers.Dense(3, name="second")]
    )
    mask_at_random(model, 0.5)
    before = model.layers[0].kernel_mask.numpy()
    new = sparsify(model, 0.3, exclude="first")
    np.testing.assert_array_equal(new.layers[0].kernel_mask.numpy(), before)


class Doubled(layers.Dense):
    """A user's own dense layer, registered nowhere."""

    def call(self, inputs: object) -> object:
        return 2 * super().call(inputs)


def test_a_subclass_of_a_keras_layer_is_left_alone_and_named_in_a_warning() -> None:
    model = keras.Sequential([keras.Input((4,)), Doubled(3, name="mine"), layers.Dense(2)])
    with pytest.warns(UserWarning, match=r"without masks: 'mine' \(Doubled\); only exactly"):
        new = sparsify(model)
    assert type(new.layers[0]) is Doubled
    np.testing.assert_array_equal(new.layers[0].kernel.numpy(), model.layers[0].kernel.numpy())


def test_layers_that_hold_vectors_alone_raise_no_warning(
    recwarn: pytest.WarningsRecorder,
) -> None:
    model = keras.Sequential(
        [keras.Input((4, 3)), layers.BatchNormalization(), layers.PReLU(), layers.Dense(2)]
    )
    sparsify(model)
    assert not [warning for warning in recwarn if "without masks" in str(warning.message)]


def test_a_sparse_model_survives_its_file(tmp_path: object) -> None:
    model, batch = model_and_batch("recurrent")
    new = sparsify(model, 0.5)
    new.save(f"{tmp_path}/model.keras")
    loaded = keras.models.load_model(f"{tmp_path}/model.keras")
    np.testing.assert_array_equal(outputs(loaded, batch), outputs(new, batch))
    for a, b in zip(_masks(new), _masks(loaded), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_sparse_model_trains_and_its_dormant_weights_stay_zero() -> None:
    model, batch = model_and_batch("dense")
    new = sparsify(model, 0.5)
    assert not new.compiled
    new.compile("adam", "mse")
    new.fit(batch, np.ones((4, 3), "float32"), epochs=2, verbose=0)
    for kernel in hl.masked_kernels(new):
        assert not kernel.variable.numpy()[~kernel.mask.numpy()].any()


@pytest.mark.parametrize("sparsity", [-0.1, 1.5, "half", "", True, False, float("nan")])
def test_a_sparsity_outside_0_to_1_is_refused(sparsity: object) -> None:
    with pytest.raises(ValueError, match="`sparsity` must be a number between 0 and 1"):
        sparsify(dense_net(), sparsity)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("structure", "sparsity", "least"),
    [("2:4", 0.0, "0.5"), ("2:4", None, "0.5"), ("1:4", 0.5, "0.75"), (hl.NM(3, 4), 0.2, "0.25")],
)
@pytest.mark.parametrize("seed", [None, 0])
def test_a_sparsity_that_a_pattern_cannot_have_is_refused(
    structure: object, sparsity: float | None, least: str, seed: int | None
) -> None:
    said = f"`sparsity` must be at least {least} with structure=.*; got {sparsity}$"
    with pytest.raises(ValueError, match=said):
        sparsify(dense_net(), sparsity, seed, structure=structure)  # type: ignore[arg-type]


@pytest.mark.parametrize("structure", ["6:7", "4:7", "1:3"])
def test_the_least_sparsity_that_a_message_names_is_accepted(structure: str) -> None:
    with pytest.raises(ValueError, match="must be at least") as refused:
        sparsify(dense_net(), 0, structure=structure)
    least = re.search(r"at least (\S+)", str(refused.value))
    assert least is not None
    sparsify(dense_net(), float(least[1]), structure=structure)


@pytest.fixture(scope="module")
def recurrent() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """A recurrent model, a batch and its outputs; `sparsify` leaves the model as it is."""
    model, batch = model_and_batch("recurrent")
    return model, batch, outputs(model, batch)


@pytest.mark.representatives("None-4x4", "None-row", "0-4:4", "0-column")
@pytest.mark.parametrize("structure", ["4:4", "connection", "1x16", "4x4", "row", "column"])
@pytest.mark.parametrize("seed", [None, 0])
def test_a_sparsity_of_0_keeps_the_function_in_every_structure(
    structure: str, seed: int | None, recurrent: tuple[keras.Model, np.ndarray, np.ndarray]
) -> None:
    model, batch, expected = recurrent
    new = sparsify(model, 0, seed, structure=structure)
    np.testing.assert_array_equal(outputs(new, batch), expected)


@pytest.mark.parametrize("name", ["recurrent", "embedding", "lenet", "functional"])
def test_without_arguments_the_function_is_kept(name: str) -> None:
    model, batch = model_and_batch(name)
    new = sparsify(model)
    assert all(mask.all() for mask in _masks(new))
    np.testing.assert_array_equal(outputs(new, batch), outputs(model, batch))


def test_without_arguments_masks_that_are_there_stay() -> None:
    first = mask_at_random(sparsify(dense_net()), 0.3)
    for mask, before in zip(_masks(sparsify(first)), _masks(first), strict=True):
        np.testing.assert_array_equal(mask, before)


@pytest.mark.representatives("lenet", "recurrent", "attributes")
@pytest.mark.parametrize("name", MODELS)
def test_the_zeros_of_a_model_of_plain_layers_become_its_masks_again(name: str) -> None:
    model, batch = model_and_batch(name)
    sparse = sparsify(model, sparsity=0.6, seed=4, seed_architecture="random")
    plain = hl.strip(sparse)
    again = sparsify(plain, seed_architecture="zeros")
    np.testing.assert_array_equal(outputs(again, batch), outputs(plain, batch))
    for kernel in hl.masked_kernels(again):
        np.testing.assert_array_equal(kernel.mask.numpy(), kernel.variable.numpy() != 0)
    counts = [sum(int(mask.sum()) for mask in _masks(each)) for each in (again, sparse)]
    assert 0 < counts[0] <= counts[1] < sum(mask.size for mask in _masks(again))


def test_zeros_become_masks_where_it_is_asked_for_and_stay_zero_in_training() -> None:
    plain = hl.strip(sparsify(randomize(dense_net()), 0.5))
    names = [layer.name for layer in plain.layers if layer.weights]
    again = sparsify(plain, seed_architecture="zeros", exclude=names[-1])
    kernels = hl.masked_kernels(again)
    assert len(kernels) == len(names) - 1
    dormant = [~kernel.mask.numpy() for kernel in kernels]
    again.compile("adam", "mse")
    again.fit(np.ones((8, 6)), np.ones((8, 3)), verbose=0)
    for kernel, mask in zip(kernels, dormant, strict=True):
        assert mask.any()
        assert not kernel.variable.numpy()[mask].any()


@pytest.mark.representatives("connection-global", "2:4-per_matrix", "1x4-erk")
@pytest.mark.parametrize("distribution", ["per_matrix", "global", "erk"])
@pytest.mark.parametrize("structure", ["connection", "2:4", "1x4"])
def test_without_a_seed_the_largest_weights_stay(structure: str, distribution: str) -> None:
    model = randomize(keras.Sequential([keras.Input((32,)), layers.Dense(24), layers.Dense(16)]))
    new = sparsify(model, 0.75, structure=structure, distribution=distribution)
    drawn = sparsify(
        model, 0.75, 0, structure=structure, distribution=distribution, seed_architecture="random"
    )
    kept, by_chance = (
        sum(np.abs(k.variable.numpy()).sum() for k in hl.masked_kernels(each))
        for each in (new, drawn)
    )
    assert kept > 1.3 * by_chance
    assert hl.summary(new, print_fn=None).sparsity == pytest.approx(0.75, abs=0.01)
    if (structure, distribution) == ("connection", "per_matrix"):
        for kernel, old in zip(hl.masked_kernels(new), model.layers, strict=True):
            weight, mask = np.abs(old.kernel.numpy()), kernel.mask.numpy()
            # All but what connects a neuron that would have nothing.
            assert (weight[mask] > np.quantile(weight, 0.75)).mean() > 0.95
            assert mask.any(axis=0).all()
            assert mask.any(axis=1).all()


def test_a_pruned_model_that_is_sparsified_less_keeps_its_function() -> None:
    first = sparsify(randomize(dense_net()), 0.8)
    batch = np.ones((2, 6), "float32")
    again = sparsify(first, 0.4)
    np.testing.assert_array_equal(outputs(again, batch), outputs(first, batch))


def _trained(model: keras.Model, batch: object) -> keras.Model:
    model.compile("adam", "mse")
    model.fit(batch, outputs(model, batch), epochs=1, verbose=0)
    return model


@pytest.mark.parametrize("known_by", ["optimizer", "biases", "statistics", "file"])
def test_a_trained_model_is_not_made_random_unless_that_is_said(
    known_by: str, tmp_path: Path
) -> None:
    inner = layers.BatchNormalization() if known_by == "statistics" else layers.ReLU()
    bias = known_by in ("biases", "file")
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4, use_bias=bias), inner, layers.Dense(3, use_bias=bias)]
    )
    model = _trained(model, np.random.default_rng(0).normal(size=(8, 6)).astype("float32"))
    if known_by != "optimizer":
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras", compile=False)
    with pytest.raises(ValueError, match=r"has been trained \(.*seed_architecture='random'"):
        sparsify(model, 0.5, seed=0)
    sparsify(model, 0.5, seed=0, seed_architecture="random")
    sparsify(model, 0.0, seed=0)


@pytest.mark.representatives("lenet", "recurrent", "attributes")
@pytest.mark.parametrize(
    "name", ["dense", "lenet", "recurrent", "embedding", "functional", "attributes"]
)
def test_a_fresh_model_takes_a_seed(name: str) -> None:
    model = MODELS[name][0]()
    model.compile("adam", "mse")
    assert hl.summary(sparsify(model, 0.5, seed=0), print_fn=None).sparsity > 0.4


def test_the_two_ways_to_choose_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="leave one of them out"):
        sparsify(dense_net(), 0.5, 3, seed_architecture="magnitude")
    with pytest.raises(ValueError, match="`seed_architecture` must be one of 'random', 'magnitu"):
        sparsify(dense_net(), 0.5, seed_architecture="chance")
    with pytest.raises(ValueError, match="leave one of them out"):
        sparsify(dense_net(), seed=3, seed_architecture="zeros")
    with pytest.raises(ValueError, match="leave out `sparsity` and `neurons`"):
        sparsify(dense_net(), 0.5, seed_architecture="zeros")


@pytest.mark.parametrize("seed", [-1, 1.5, "one"])
def test_a_seed_that_is_no_count_is_refused(seed: object) -> None:
    with pytest.raises(ValueError, match="`seed` must be an integer of at least 0"):
        sparsify(dense_net(), seed=seed)  # type: ignore[arg-type]


def test_malformed_arguments_are_refused_in_one_line() -> None:
    model = dense_net()
    cases: list[tuple[type[Exception], str, dict[str, object]]] = [
        (ValueError, "`structure` must be", {"structure": "spiral"}),
        (ValueError, "`distribution` must be", {"distribution": "fair"}),
        (ValueError, "`include` names layers that the model does not have: nobody; it has", {
            "include": ["nobody"]
        }),
        (TypeError, "`exclude` must be layer names or a function of a layer, got 3", {
            "exclude": 3
        }),
    ]  # fmt: skip
    for kind, message, arguments in cases:
        with pytest.raises(kind, match=message) as caught:
            sparsify(model, **arguments)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_what_is_no_built_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model; got Dense"):
        sparsify(layers.Dense(2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not built, so its layers have no weights yet"):
        sparsify(keras.Sequential([layers.Dense(2)]))


def test_a_model_without_any_supported_layer_is_refused() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization()])
    with pytest.raises(ValueError, match="has no layer to mask; supported are Conv1D"):
        sparsify(model)
    with pytest.raises(ValueError, match="has no layer to mask"):
        sparsify(dense_net(), include=[])


def test_masks_are_plain_data_of_the_layers_configuration() -> None:
    config = json.loads(sparsify(recurrent_net()).to_json())
    assert config["config"]["layers"][4]["config"]["masked"] is True
