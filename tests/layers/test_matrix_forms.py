"""Matrix forms against their definitions in NumPy, what they begin with, and what they refuse."""

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.factorization.nearest import rank_for_energy
from hlstm_tf.layers.matrix_forms import KernelShape, MatrixForm, as_kernel_forms, forms_config

RNG = np.random.default_rng(5)
FORMS = {
    "low-rank": hl.LowRank(2),
    "low-rank-by-parameters": hl.LowRank(parameters=0.7),
    "shared-low-rank": hl.SharedLowRank(3),
    "kronecker": hl.Kronecker((3, 2)),
    "kronecker-by-itself": hl.Kronecker(),
    "kronecker-by-parameters": hl.Kronecker(parameters=0.5),
    "doped": hl.Kronecker(doped=0.2),
    "toeplitz-like": hl.ToeplitzLike(1),
}
SHAPES = {
    "one": KernelShape(6, 8),
    "gates": KernelShape(6, 8, 4),
    "apart": KernelShape(6, 8, 4, apart=True),
}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype("float32")


def matrices_of(form: MatrixForm, shape: KernelShape, factors: list[np.ndarray]) -> np.ndarray:
    """`(gates, inputs, outputs)` by the definition of the form, written down once more."""
    left, right, *sparse = factors
    found = []
    for gate in range(shape.gates):
        if isinstance(form, hl.ToeplitzLike):
            products = [
                cyclic(a, 1) @ cyclic(b, -1) for a, b in zip(left[gate], right[gate], strict=True)
            ]
            found.append(np.sum(products, axis=0)[: shape.inputs, : shape.outputs])
            continue
        if isinstance(form, hl.Kronecker):
            a = left[gate] if left.ndim == 3 else np.split(left, shape.gates, axis=1)[gate]
            product = np.kron(a, right[gate] if right.ndim == 3 else right)
        elif isinstance(form, hl.SharedLowRank) and not shape.apart:
            product = left @ np.split(right, shape.gates, axis=1)[gate]
        else:
            a = left[gate] if left.ndim == 3 else np.split(left, shape.gates, axis=1)[gate]
            product = a @ (right[gate] if right.ndim == 3 else right)
        for each in sparse:
            one = each[gate] if each.ndim == 3 else np.split(each, shape.gates, axis=1)[gate]
            product = product + one
        found.append(product)
    return np.stack(found)


def cyclic(column: np.ndarray, corner: int) -> np.ndarray:
    """The Krylov matrix `[v, Z v, Z^2 v, ...]` of `Z_f`, the shift whose corner is f."""
    n = len(column)
    shift = np.eye(n, k=-1)
    shift[0, -1] = corner
    columns = [column]
    for _ in range(n - 1):
        columns.append(shift @ columns[-1])
    return np.stack(columns, axis=1)


@each_shape
@each_form
def test_a_form_is_its_definition(form: MatrixForm, shape: KernelShape) -> None:
    factors = [draw(*factor.shape) for factor in form.factors(shape)]
    found = form.dense(shape, factors)
    assert found.shape == (shape.gates, shape.inputs, shape.outputs)
    np.testing.assert_allclose(found, matrices_of(form, shape, factors), rtol=1e-4, atol=1e-5)


def test_a_toeplitz_like_matrix_has_the_displacement_rank_it_is_named_for() -> None:
    shape, form = KernelShape(9, 9), hl.ToeplitzLike(2)
    [matrix] = form.dense(shape, [draw(*factor.shape) for factor in form.factors(shape)])
    up, down = np.eye(9, k=-1), np.eye(9, k=-1)
    up[0, -1], down[0, -1] = 1, -1
    displaced = up @ matrix - matrix @ down
    values = np.linalg.svd(displaced, compute_uv=False)
    assert (values > 1e-4 * values[0]).sum() == 2


@each_shape
@each_form
def test_factors_begin_with_the_variance_of_the_drawn_matrices(
    form: MatrixForm, shape: KernelShape
) -> None:
    drawn = draw(shape.gates, shape.inputs, shape.outputs)
    factors = form.initial(shape, drawn)
    assert [each.shape for each in factors] == [each.shape for each in form.factors(shape)]
    made = form.dense(shape, factors)
    np.testing.assert_allclose(np.linalg.norm(made), np.linalg.norm(drawn), rtol=1e-4)
    assert form.initial(shape, drawn)[0].tolist() == factors[0].tolist()


@given(st.integers(1, 7), st.integers(1, 7), st.data())
def test_the_nearest_matrix_of_a_rank_is_as_near_as_eckart_and_young_say(
    inputs: int, outputs: int, data: Any
) -> None:
    rank = data.draw(st.integers(1, min(inputs, outputs)))
    shape, matrix = KernelShape(inputs, outputs), draw(1, inputs, outputs)
    form = hl.LowRank(rank)
    error = np.linalg.norm(matrix - form.dense(shape, form.nearest(shape, matrix)))
    left_out = np.linalg.svd(matrix[0], compute_uv=False)[rank:]
    np.testing.assert_allclose(error, np.linalg.norm(left_out), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_has_a_form_is_found_exactly(shape: KernelShape) -> None:
    for form in (hl.LowRank(2), hl.SharedLowRank(3), hl.Kronecker((3, 2))):
        matrices = form.dense(shape, [draw(*factor.shape) for factor in form.factors(shape)])
        found = form.dense(shape, form.nearest(shape, matrices))
        np.testing.assert_allclose(found, matrices, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("form", [hl.LowRank(2), hl.SharedLowRank(2)], ids=repr)
@each_shape
def test_over_data_the_outputs_are_as_near_as_their_principal_components(
    form: Any, shape: KernelShape
) -> None:
    """Inputs of unequal size, one of which never varies: their moment is singular."""
    x = draw(200, shape.inputs) * np.array([5, 3, 1, 0.3, 0.1, 0], "float32")
    moment = x.T @ x / len(x)
    values, vectors = np.linalg.eigh(moment)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    matrices = draw(shape.gates, shape.inputs, shape.outputs)
    found = form.dense(shape, form.nearest(shape, matrices, [root]))
    shared = isinstance(form, hl.SharedLowRank) and not shape.apart
    wholes = [np.concatenate(matrices, axis=1)] if shared else matrices
    least = [np.linalg.svd(x @ whole, compute_uv=False)[2:] for whole in wholes]
    error = np.linalg.norm(x @ (matrices - found))
    np.testing.assert_allclose(error, np.linalg.norm(np.concatenate(least)), rtol=1e-2)


def test_the_rank_for_an_energy_is_the_least_that_keeps_it() -> None:
    matrix = np.diag([3.0, 2.0, 1.0, 0.0])[None]  # squares 9, 4, 1 of 14
    shape = KernelShape(4, 4)
    ranks = {
        e: rank_for_energy(hl.LowRank, shape, matrix, None, e) for e in (0.6, 0.65, 13 / 14, 0.99)
    }
    assert ranks == {0.6: 1, 0.65: 2, 13 / 14: 2, 0.99: 3}


def test_sizes_by_parameters_are_the_largest_within_the_fraction() -> None:
    shape = KernelShape(6, 8, 4)
    for fraction in (0.2, 0.5):
        sizes = [(p, q) for p in (1, 2, 3, 6) for q in (1, 2, 4, 8)]
        weights = [hl.Kronecker(size).parameters(shape) for size in sizes]
        most = max(each for each in weights if each <= fraction * shape.parameters)
        assert hl.Kronecker(parameters=fraction).parameters(shape) == most
    assert hl.ToeplitzLike(parameters=0.7).rank_of(shape) == 2  # 16 of 48 a gate and rank
    with pytest.raises(ValueError, match=r"have at least 34.3% of its weights"):
        hl.Kronecker(parameters=0.2).factors(KernelShape(5, 7))  # primes: 5 + 7 of 35


def test_parameters_are_the_weights_that_exist() -> None:
    shape = KernelShape(6, 8, 4)
    assert hl.LowRank(2).parameters(shape) == 4 * 2 * (6 + 8)
    assert hl.SharedLowRank(3).parameters(shape) == 3 * (6 + 4 * 8)
    assert hl.Kronecker((3, 2)).parameters(shape) == 3 * 4 * 2 + 2 * 4
    assert hl.Kronecker((3, 2), doped=0.25).parameters(shape) == 3 * 4 * 2 + 2 * 4 + 48
    assert hl.ToeplitzLike(1).parameters(shape) == 2 * 4 * 8
    assert hl.LowRank(parameters=0.6).rank_of(shape) == 2  # 28 of 48 a gate; rank 3 has 42


@each_form
def test_a_form_comes_back_from_its_configuration(form: MatrixForm) -> None:
    described = keras.saving.serialize_keras_object(form)
    again = keras.saving.deserialize_keras_object(described)
    assert again == form
    assert hash(again) == hash(form)
    assert again != hl.LowRank(1)
    forms = as_kernel_forms(forms_config({"kernel": form}), ("kernel", "recurrent_kernel"))
    assert forms == {"kernel": form}


REFUSED = {
    "no size": (lambda: hl.LowRank(), "takes either a rank or parameters=FRACTION"),
    "two sizes": (lambda: hl.SharedLowRank(2, parameters=0.5), "takes either a rank or"),
    "rank 0": (lambda: hl.LowRank(0), "rank must be a positive integer; got 0"),
    "sizes twice": (lambda: hl.Kronecker((3, 2), 0.5), r"either left=\(p, q\) or parameters"),
    "rank true": (lambda: hl.ToeplitzLike(True), "rank must be a positive integer; got True"),
    "all": (lambda: hl.LowRank(parameters=1.0), "parameters must be a fraction from above 0"),
    "one size": (lambda: hl.Kronecker((3,)), r"left must be two positive integers, \(p, q\)"),
    "doped all": (lambda: hl.Kronecker(doped=1), "doped must be a fraction from 0 to below 1"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_sizes_out_of_range_are_refused_in_one_line(what: str) -> None:
    make, message = REFUSED[what]
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


TOO_MUCH = {
    "rank above the matrix's": (hl.LowRank(7), r"a matrix 4 x \(6, 8\) has no rank above 6"),
    "share that no rank meets": (
        hl.LowRank(parameters=0.1),
        r"rank 1 of a matrix 4 x \(6, 8\) has 29.2% of its weights already",
    ),
    "share that no displacement rank meets": (
        hl.ToeplitzLike(parameters=0.3),
        r"rank 1 of a matrix 4 x \(6, 8\) has 33.3% of its weights already",
    ),
    "sizes that do not divide": (hl.Kronecker((4, 2)), "4 must divide 6 and 2 must divide 8"),
    "displacement rank": (
        hl.ToeplitzLike(3),
        r"48 weights a gate are as many as a matrix 4 x \(6, 8\) has",
    ),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_a_form_that_does_not_fit_a_kernel_says_so_when_the_layer_is_built(what: str) -> None:
    form, message = TOO_MUCH[what]
    layer = hl.CompactLSTM(8, kernel_form={"kernel": form})
    with pytest.raises(ValueError, match=f"CompactLSTMCell, kernel: .*{message}") as caught:
        layer.build((None, 5, 6))
    assert "\n" not in str(caught.value)


def test_what_is_no_form_and_no_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kernel_form names \['kernels'\]; the kernels of this"):
        hl.CompactLSTM(8, kernel_form={"kernels": hl.LowRank(2)})
    with pytest.raises(ValueError, match=r"kernel_form must be a form such as hl.LowRank\(32\)"):
        hl.CompactGRU(8, kernel_form="low_rank")
