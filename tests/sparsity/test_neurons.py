import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlstm_tf.sparsity import (
    NM,
    Block,
    Column,
    Connection,
    Neuron,
    Row,
    connect_neurons,
    dead_inputs,
    dead_outputs,
)
from tests.sparsity.strategies import MANY, patterns, problems, runs_hold, table, tilings


def test_dead_neurons_are_those_without_a_connection():
    mask = table("x..x .... .x..")
    np.testing.assert_array_equal(dead_inputs(mask), [False, True, False])
    np.testing.assert_array_equal(dead_outputs(mask), [False, False, True, False])


@pytest.mark.parametrize(
    ("structure", "mask", "expected"),
    [
        # Dead inputs 1, 2 and dead outputs 2, 3: two connections, the best for each input.
        ("connection", "xx.. .... ....", "xx.. ...x ..x."),
        # Dead inputs 1, 2, dead output 3: one pair, then the best place (2, 0).
        ("connection", "xxx. .... ....", "xxx. ...x x..."),
        # Dead outputs 1, 2, 3: the best input of each.
        ("connection", "x... x... x...", "x..x xx.. x.x."),
        ("connection", "x... .x.. ..xx", "x... .x.. ..xx"),
        # 1x2 blocks of inputs 0, 1 and (ragged) 2: one block connects input 1 and output 2.
        (Block(1, 2), "xx.. .... ....", "xxx. ..x. ...x"),
        # Rows: dead inputs are what the structure is about; every output hears input 0.
        (Row(), "xxxx .... ....", "xxxx .... ...."),
        (Row(), ".... .... ....", ".... .... xxxx"),
        (Column(), ".x.. .x.. .x..", ".x.. .x.. .x.."),
        # 1:3 has no room but in the dead outputs.
        (NM(1, 3), "xx.. .... ....", "xx.. ...x ..x."),
        # A full matrix under 1:3: input 2 has no room anywhere and stays dead.
        (NM(1, 3), "xxx. ...x ....", "xxx. ...x ...."),
    ],
)
def test_neurons_are_connected_as_worked_by_hand(structure, mask, expected):
    score = np.array([[1, 1, 1, 9.0], [1, 8, 1, 9], [7, 1, 6, 1]])
    if structure == Block(1, 2):
        score = np.array([[1, 1, 9, 1.0], [1, 1, 9, 1], [9, 9, 9, 1]])
    if structure == Row():
        score[2] += 10
    kwargs = {} if structure == "connection" else {"structure": structure}
    connected = connect_neurons(table(mask), score, **kwargs)
    np.testing.assert_array_equal(connected, table(expected))


@MANY
@given(problem=problems(), seed=st.integers(0, 99))
def test_every_neuron_gets_connected_by_the_fewest_additions(problem, seed):
    mask, score = problem
    for connected in (connect_neurons(mask, score), connect_neurons(mask, rng=seed)):
        assert not dead_inputs(connected).any()
        assert not dead_outputs(connected).any()
        assert (mask <= connected).all()
        fewest = max(dead_inputs(mask).sum(), dead_outputs(mask).sum())
        assert connected.sum() - mask.sum() == fewest


@MANY
@given(problem=problems(), structure=tilings())
def test_by_groups_every_neuron_that_the_structure_may_not_remove_is_connected(problem, structure):
    mask, score = problem
    connected = connect_neurons(mask, score, structure=structure)
    assert structure.removes_inputs or not dead_inputs(connected).any()
    assert structure.removes_outputs or not dead_outputs(connected).any()
    assert (mask <= connected).all()
    # What was added are whole groups.
    touched = structure.count(connected & ~mask) > 0
    full = structure.count(connected) == structure.sizes(mask.shape)
    assert (touched <= full).all()


@MANY
@given(problem=problems(), pattern=patterns())
def test_under_a_pattern_neurons_are_connected_where_there_is_room(problem, pattern):
    mask, score = problem
    mask = pattern.limit(mask, score)
    connected = connect_neurons(mask, score, structure=pattern)
    assert runs_hold(connected, pattern)
    assert (mask <= connected).all()
    assert not dead_outputs(connected).any()
    for i in np.flatnonzero(dead_inputs(connected)):
        start = i // pattern.m * pattern.m
        assert (connected[start : start + pattern.m].sum(axis=0) == pattern.n).all()


def test_connecting_needs_a_score_or_a_generator():
    with pytest.raises(ValueError, match="`connect_neurons` needs `score` or `rng`, got neither"):
        connect_neurons(table("x. .."))
    with pytest.raises(ValueError, match=r"`rng` must be a numpy.random.Generator or a seed"):
        connect_neurons(table("x. .."), rng=-1)


@pytest.mark.parametrize(
    ("structure", "width", "ratio", "expected"),
    [
        (Neuron(), 96, 0.4, 56),  # 57.6
        (Neuron(), 96, 0.03, 96),  # 93.1: less than half a multiple stays undone
        (Neuron(), 96, 1.0, 8),
        (Neuron(), 6, 0.5, 6),  # narrower than the minimum already
        (Neuron(multiple=16, minimum=32), 64, 0.9, 32),
        (Neuron(multiple=1, minimum=1), 5, 0.5, 2),
        (Neuron(), 16, 0.2, 12),  # narrower than four multiples: half of one
        (Neuron(), 12, 0.2, 10),
        (Neuron(), 61, 0.0, 61),  # 64 would be more than there are
    ],
)
def test_widths_are_rounded_to_the_multiple(
    structure: Neuron, width: int, ratio: float, expected: int
) -> None:
    assert structure.narrowed(width, ratio) == expected


@pytest.mark.parametrize("argument", ["multiple", "minimum"])
def test_a_multiple_and_a_minimum_are_counts(argument: str) -> None:
    with pytest.raises(ValueError, match=argument):
        Neuron(**{argument: 0})


def one_by_one(mask: np.ndarray, score: np.ndarray, structure: Connection) -> np.ndarray:
    """`connect_neurons` for single connections, as its docstring says it: an input at a time."""
    current = mask.copy()
    waiting = dead_outputs(mask)
    for row in np.flatnonzero(dead_inputs(mask)):
        room = np.ones(mask.shape[1], bool)
        if isinstance(structure, NM):
            start = row // structure.m * structure.m
            room = current[start : start + structure.m].sum(axis=0) < structure.n
        allowed = [c for c in range(mask.shape[1]) if room[c] and (waiting[c] or not waiting.any())]
        if allowed:
            best = max(allowed, key=lambda c: (score[row, c], -c))
            current[row, best], waiting[best] = True, False
    for column in np.flatnonzero(waiting):
        current[np.argmax(score[:, column]), column] = True
    return current


@given(
    inputs=st.integers(1, 9),
    outputs=st.integers(1, 9),
    density=st.sampled_from([0.0, 0.2, 0.6]),
    structure=st.sampled_from([Connection(), NM(1, 2), NM(2, 4)]),
    seed=st.integers(0, 10_000),
)
def test_all_inputs_are_connected_as_if_one_after_another(
    inputs: int, outputs: int, density: float, structure: Connection, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = structure.limit(rng.random((inputs, outputs)) < density, rng.random((inputs, outputs)))
    score = np.round(rng.random((inputs, outputs)), 1)  # with ties
    np.testing.assert_array_equal(
        connect_neurons(mask, score, structure=structure), one_by_one(mask, score, structure)
    )
