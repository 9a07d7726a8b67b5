import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlstm_tf.sparsity import (
    NM,
    Block,
    Column,
    Neuron,
    Row,
    cascade,
    connect_neurons,
    dead_inputs,
    dead_outputs,
    prune_neurons,
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


CHAIN = [
    table("x.. .x."),  # 2 inputs -> 3 hidden; nobody feeds hidden 2
    table("xx .. .x"),  # 3 hidden -> 2 hidden; hidden 1 feeds nobody
    table(
        "x .",
    ),  # 2 hidden -> 1 output; hidden 1 of this axis feeds nobody
]


def test_a_chain_loses_the_connections_of_dead_neurons_until_it_is_stable():
    first, second, third = cascade(CHAIN)
    # Hidden 1 has no outputs: its input connection goes. Hidden 2 has no inputs: its output
    # connection goes. The second axis's neuron 1 has no outputs: what fed it goes.
    np.testing.assert_array_equal(first, table("x.. ..."))
    np.testing.assert_array_equal(second, table("x. .. .."))
    np.testing.assert_array_equal(third, table("x ."))


def test_death_travels_the_whole_chain_in_both_directions():
    broken = [table("xx xx"), table("xx xx"), table(".. .."), table("xx xx"), table("xx xx")]
    assert not any(mask.any() for mask in cascade(broken))


def test_the_ends_of_a_network_are_not_judged_by_the_side_they_lack():
    masks = [table("x. .."), table("x. ..")]
    for before, after in zip(masks, cascade(masks), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_neuron_lives_while_any_matrix_of_the_axis_feeds_it():
    # Two matrices into axis h, two out of it.
    masks = [table("x.."), table(".x."), table("x . ."), table(". x x")]
    axes = [("a", "h"), ("b", "h"), ("h", "y"), ("h", "z")]
    after = cascade(masks, axes)
    np.testing.assert_array_equal(after[0], table("x.."))
    np.testing.assert_array_equal(after[1], table(".x."))
    np.testing.assert_array_equal(after[2], table("x . ."))
    np.testing.assert_array_equal(after[3], table(". x ."))  # nobody feeds h2


def test_an_axis_to_keep_is_never_swept():
    after = cascade(CHAIN, keep=[1])
    np.testing.assert_array_equal(after[0], CHAIN[0])
    # Axis 2 is judged still: its neuron 1 feeds nobody.
    np.testing.assert_array_equal(after[1], table("x. .. .."))


def test_a_recurrent_matrix_may_join_an_axis_to_itself():
    # State neuron 1 feeds itself alone: it hears and it speaks, so it stays.
    axes = [("x", "h"), ("h", "h"), ("h", "y")]
    after = cascade([table("x."), table(".. .x"), table("x .")], axes)
    np.testing.assert_array_equal(after[1], table(".. .x"))


def brute_cascade(masks):
    """Remove one half-dead neuron's connections at a time, as long as there is one."""
    masks = [mask.copy() for mask in masks]
    while True:
        for (left, right), j in itertools.product(
            itertools.pairwise(masks), range(max(mask.shape[1] for mask in masks))
        ):
            if j < left.shape[1] and left[:, j].any() != right[j].any():
                left[:, j] = False
                right[j] = False
                break
        else:
            return masks


@MANY
@given(sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5), seed=st.integers(0, 9999))
def test_the_cascade_equals_removing_one_neuron_at_a_time(sizes, seed):
    rng = np.random.default_rng(seed)
    density = rng.uniform(0.1, 0.7)
    masks = [rng.random(shape) < density for shape in itertools.pairwise(sizes)]
    before = [mask.copy() for mask in masks]
    after = cascade(masks)
    for mask, expected in zip(after, brute_cascade(masks), strict=True):
        np.testing.assert_array_equal(mask, expected)
    for mask, copy in zip(masks, before, strict=True):
        np.testing.assert_array_equal(mask, copy)
    again = cascade(after)
    assert all((a == b).all() for a, b in zip(after, again, strict=True))

    # Which inputs reach the outputs has not changed.
    def reach(chain):
        return np.linalg.multi_dot([*(m.astype(int) for m in chain), np.ones((sizes[-1], 1), int)])

    np.testing.assert_array_equal(reach(after) > 0, reach(masks) > 0)


@pytest.mark.parametrize(
    ("masks", "axes", "keep", "message"),
    [
        ([table("xx"), table("x")], None, (), "axis 1 has 2 neurons in one mask and 1 in masks[1]"),
        ([table("xx")], [], (), "`axes` must have one pair a mask, 1, got 0"),
        ([np.ones((2, 2))], None, (), "`masks[0]` must be boolean"),
        ([table("xx")], None, ["h"], "`keep` names axes that no mask has: [\"'h'\"]"),
    ],
)
def test_a_malformed_chain_is_one_clear_line(masks, axes, keep, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        cascade(masks, axes, keep)


def test_the_weakest_neurons_go_with_all_their_connections() -> None:
    first = np.array([[1, 1, 0, 1], [1, 0, 1, 1]], bool)
    state = np.array([[0, 0, 1, 1]], bool)
    second = np.array([[1, 0], [1, 1], [0, 0], [0, 0]], bool)
    axes = [("x", "h"), ("s", "h"), ("h", "y")]
    # Existing scores: neuron 0 has 1 + 1 + 4, neuron 1 has 1 + 2 + 2, 2 has 1 + 3, 3 has 1 + 1 + 3.
    scores = [np.ones((2, 4)), np.full((1, 4), 3.0), np.array([[4, 9], [2, 2], [9, 9], [9, 9.0]])]
    kept = prune_neurons([first, state, second], scores, axes, "h", 2)
    np.testing.assert_array_equal(kept[0], [[1, 1, 0, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(kept[1], [[0, 0, 0, 0]])
    np.testing.assert_array_equal(kept[2], [[1, 0], [1, 1], [0, 0], [0, 0]])


def test_dead_neurons_do_not_count_as_staying() -> None:
    first = np.array([[0, 1, 1]], bool)
    second = np.array([[0], [1], [1]], bool)
    kept = prune_neurons(
        [first, second], [np.ones((1, 3)), np.ones((3, 1))], [(0, 1), (1, 2)], 1, 1
    )
    np.testing.assert_array_equal(kept[0], [[0, 1, 0]])


@pytest.mark.parametrize(
    ("structure", "width", "ratio", "expected"),
    [
        (Neuron(), 96, 0.4, 56),  # 57.6
        (Neuron(), 96, 0.03, 96),  # 93.1: less than half a multiple stays undone
        (Neuron(), 96, 1.0, 8),
        (Neuron(), 6, 0.5, 6),  # narrower than the minimum already
        (Neuron(multiple=16, minimum=32), 64, 0.9, 32),
        (Neuron(multiple=1, minimum=1), 5, 0.5, 2),
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
