"""Random matrices, scores and structures for the property-based tests, and small helpers."""

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from hlstm_tf.sparsity import NM, Block, Column, Connection, Row, Structure

# An example here takes a millisecond, so there can be more of them than of those with models.
MANY = settings(max_examples=max(60, settings.default.max_examples))  # type: ignore[union-attr]


def table(text: str) -> np.ndarray:
    """Read a mask drawn with x (exists) and . (dormant), one row (input) a line."""
    return np.array([[place == "x" for place in line] for line in text.split()])


def shapes(most: int = 9) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(1, most), st.integers(1, most))


def fractions() -> st.SearchStrategy[float]:
    nice = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3, 0.5, 0.7, 0.9, 1.0])
    return nice | st.floats(0.0, 1.0)


@st.composite
def problems(draw: st.DrawFn, most: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """A mask and a score of one shape; scores have ties in some, float32 in some."""
    shape = draw(shapes(most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = rng.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))
    score: Any = rng.random(shape)
    if draw(st.booleans()):
        score = np.floor(score * 4)
    return mask, score.astype(draw(st.sampled_from([np.float32, np.float64])))


def tilings() -> st.SearchStrategy[Structure]:
    extents = st.integers(1, 5)
    poolings = st.sampled_from(["mean", "max", "l2"])
    return (
        st.builds(Connection)
        | st.builds(Block, extents, extents, poolings)
        | st.builds(Row, poolings)
        | st.builds(Column, poolings)
    )


@st.composite
def patterns(draw: st.DrawFn) -> NM:
    m = draw(st.integers(1, 5))
    return NM(draw(st.integers(1, m)), m)


def structures() -> st.SearchStrategy[Structure]:
    return tilings() | patterns()


def groups_of(structure: Structure, shape: tuple[int, int]) -> list[list[tuple[int, int]]]:
    """List the places of every group, told by loops over the definition alone."""
    if isinstance(structure, Block):
        height, width = structure.inputs, structure.outputs
    elif isinstance(structure, Row):
        height, width = 1, shape[1]
    elif isinstance(structure, Column):
        height, width = shape[0], 1
    else:
        height, width = 1, 1
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i in range(shape[0]):
        for j in range(shape[1]):
            groups.setdefault((i // height, j // width), []).append((i, j))
    return [groups[key] for key in sorted(groups)]


def runs_hold(mask: np.ndarray, pattern: NM) -> bool:
    """Whether no run of m inputs of an output holds more than n connections."""
    return all(
        mask[start : start + pattern.m, j].sum() <= pattern.n
        for start in range(0, mask.shape[0], pattern.m)
        for j in range(mask.shape[1])
    )
