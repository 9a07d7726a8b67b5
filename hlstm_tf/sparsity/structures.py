"""The granularity at which connections come and go.

Every rule works on a matrix (inputs, outputs) that is cut into groups. A group lives or
dies as a whole: a single connection, a block, a row, a column. `NM` is the exception: its
connections come and go one by one, under a cap on each run of M consecutive inputs.

Two conventions meet here, so both are spelled out:

- `Block(rows, cols)` counts as the TFLite kernels do, which store weights as (outputs,
  inputs): `rows` runs along the OUTPUTS and `cols` along the INPUTS. A 1x4 block is four
  consecutive inputs of one output.
- `Row()` and `Column()` are rows and columns of our own matrix (inputs, outputs): a row is
  one input with all its outgoing connections, a column one output with its whole fan-in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hlstm_tf.sparsity.checks import check_count

_POOLINGS = ("mean", "max", "l2")


@dataclass(frozen=True)
class Structure:
    """What all structures can do. The base class itself cuts a matrix into tiles.

    The last tile along an axis may be ragged (a matrix of 10 inputs in blocks of 4 has
    tiles of 4, 4 and 2): it counts as a group like any other.

    Attributes:
        removes_inputs: Whether a dead group is by definition a dead input (rows).
        removes_outputs: Whether a dead group is by definition a dead output (columns).
        multiple: What the number of groups of a matrix is rounded to.
        minimum: How many groups of a matrix stay at least.
    """

    removes_inputs: ClassVar[bool] = False
    removes_outputs: ClassVar[bool] = False
    multiple = 1
    minimum = 0

    @property
    def least_sparsity(self) -> float:
        """The least sparsity that a mask of this structure has: 0 but where a pattern caps it."""
        return 0.0

    def check_sparsity(self, sparsity: float | None, name: str) -> None:
        """Raises a `ValueError` where no mask of this structure is as dense as a sparsity says.

        Args:
            sparsity: What was asked for; `None` keeps every connection.
            name: The argument's name, for the error.

        >>> NM(2, 4).check_sparsity(0.4, "sparsity")
        Traceback (most recent call last):
        ...
        ValueError: `sparsity` must be at least 0.5 with structure='2:4', whose masks are never \
denser; got 0.4
        """
        # To the digits that the message prints: a user may give back the least that it names.
        if (sparsity or 0.0) < self.least_sparsity - 1e-6:
            raise ValueError(
                f"`{name}` must be at least {self.least_sparsity:g} with structure='{self}', "
                f"whose masks are never denser; got {sparsity}"
            )

    def tile(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Returns the (inputs, outputs) extent of a group in a matrix of `shape`."""
        raise NotImplementedError

    def group_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Returns how many groups a matrix of `shape` has along its inputs and outputs.

        >>> Block(1, 4).group_shape((10, 3))
        (3, 3)
        """
        inputs, outputs = self.tile(shape)
        return -(-shape[0] // inputs), -(-shape[1] // outputs)

    def pool(self, scores: np.ndarray) -> np.ndarray:
        """Returns the score of every group, shape `group_shape(scores.shape)`.

        The mean over the connections that the group really has, unless the structure was
        made with another `pooling`; so a ragged group is not at a disadvantage.

        >>> Block(1, 2).pool(np.array([[1.0], [3.0], [7.0]]))
        array([[2.],
               [7.]])
        """
        tile = self.tile(scores.shape)
        if tile == (1, 1):
            return scores
        pooling = getattr(self, "pooling", "mean")
        if pooling == "max":
            return _reduce(np.maximum, scores, tile)
        sizes = self.sizes(scores.shape)
        if pooling == "l2":
            return np.sqrt(_reduce(np.add, np.square(scores, dtype=np.float64), tile) / sizes)
        return _reduce(np.add, scores.astype(np.float64), tile) / sizes

    def sizes(self, shape: tuple[int, int]) -> np.ndarray:
        """Returns the number of connections of every group, existing or not.

        >>> Block(1, 4).sizes((6, 1))
        array([[4],
               [2]])
        """
        lengths = [
            np.minimum(extent, length - np.arange(0, length, extent))
            for extent, length in zip(self.tile(shape), shape, strict=True)
        ]
        return np.multiply.outer(*lengths)

    def exists(self, mask: np.ndarray) -> np.ndarray:
        """Returns whether a group has any connection that exists.

        >>> Row().exists(np.array([[True, False], [False, False]]))
        array([[ True],
               [False]])
        """
        return _reduce(np.logical_or, mask, self.tile(mask.shape))

    def count(self, mask: np.ndarray) -> np.ndarray:
        """Returns the number of existing connections of every group.

        >>> Row().count(np.array([[True, True], [False, True]]))
        array([[2],
               [1]])
        """
        tile = self.tile(mask.shape)
        if tile == (1, 1):
            return mask.view(np.uint8)  # a group of one: no other memory is needed
        return _reduce(np.add, mask.astype(np.intp), tile)

    def expand(self, groups: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Returns the matrix of `shape` in which each group has its value in `groups`.

        >>> Block(1, 2).expand(np.array([[True], [False]]), (3, 1)).ravel()
        array([ True,  True, False])
        """
        inputs, outputs = self.tile(shape)
        if (inputs, outputs) == (1, 1):
            return groups
        tall = np.repeat(groups, inputs, axis=0)[: shape[0]]
        return np.repeat(tall, outputs, axis=1)[:, : shape[1]]

    def limit(
        self, mask: np.ndarray, scores: np.ndarray, protected: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns `mask` less the connections that break a pattern; here there is none.

        Args:
            mask: Boolean matrix, the connections wanted.
            scores: Matrix of the same shape; the higher score stays.
            protected: Connections that stay whatever the pattern says.
        """
        return mask

    def room(self, mask: np.ndarray, row: int) -> np.ndarray | None:
        """Return, for each output, whether input `row` may still be connected to it.

        `None`, as here, where it may to all, whatever other inputs are connected to.
        """
        return None

    def rounded(self, wanted: float, most: int) -> int:
        """Returns how many of `most` groups are to be where `wanted` would do.

        >>> Row(multiple=8, minimum=8).rounded(21, 64), Row(multiple=8, minimum=8).rounded(3, 64)
        (24, 8)
        >>> Row(multiple=8).rounded(21, 22), Row().rounded(21, 64)
        (22, 21)
        """
        multiple = self.multiple * round(wanted / self.multiple)
        return min(most, max(multiple, self.minimum))


def _reduce(ufunc: np.ufunc, array: np.ndarray, tile: tuple[int, int]) -> np.ndarray:
    for axis, extent in enumerate(tile):
        if extent > 1:
            array = ufunc.reduceat(array, np.arange(0, array.shape[axis], extent), axis=axis)
    return array


def _check_pooling(pooling: str) -> None:
    if pooling not in _POOLINGS:
        raise ValueError(f"`pooling` must be one of {', '.join(_POOLINGS)}, got {pooling!r}")


def _check_lines(lines: Row | Column) -> None:
    _check_pooling(lines.pooling)
    check_count(lines.multiple, "multiple")
    check_count(lines.minimum, "minimum", minimum=0)


@dataclass(frozen=True)
class Connection(Structure):
    """Single connections: the finest grain, the smallest models, no speed by itself.

    >>> str(Connection())
    'connection'
    """

    def __str__(self) -> str:
        return "connection"

    def tile(self, shape: tuple[int, int]) -> tuple[int, int]:
        return 1, 1


CONNECTION = Connection()


@dataclass(frozen=True)
class NM(Connection):
    """At most `n` of every `m` consecutive inputs of an output.

    The pattern is a cap: pruning further than it demands leaves fewer than `n`, and a
    sparsity below 1 - n/m cannot be had. A ragged last run of fewer than `m` inputs holds
    up to `n` too.

    Args:
        n: Connections that a run may hold, 1 <= n <= m.
        m: Length of a run along the inputs.

    Raises:
        ValueError: If `n` or `m` is not a positive integer, or `n` exceeds `m`.

    >>> mask = np.ones((4, 1), dtype=bool)
    >>> NM(2, 4).limit(mask, np.array([[3.0], [1.0], [2.0], [4.0]])).ravel()
    array([ True, False, False,  True])
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        check_count(self.n, "n")
        check_count(self.m, "m")
        if self.n > self.m:
            raise ValueError(f"`n` must be at most `m`, got {self.n}:{self.m}")

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def least_sparsity(self) -> float:
        return 1 - self.n / self.m

    def limit(
        self, mask: np.ndarray, scores: np.ndarray, protected: np.ndarray | None = None
    ) -> np.ndarray:
        inputs, outputs = mask.shape
        runs = -(-inputs // self.m)
        order = np.full((runs * self.m, outputs), -np.inf)
        order[:inputs] = np.where(mask, scores, -np.inf)
        if protected is not None:
            order[:inputs][protected] = np.inf
        order = order.reshape(runs, self.m, outputs)
        # Ties go to the earlier input: a stable sort of the negated scores.
        best = np.argsort(-order, axis=1, kind="stable")[:, : self.n]
        keep = np.zeros(order.shape, dtype=bool)
        np.put_along_axis(keep, best, True, axis=1)
        limited = keep.reshape(-1, outputs)[:inputs] & mask
        return limited if protected is None else limited | protected

    def room(self, mask: np.ndarray, row: int) -> np.ndarray:
        start = row // self.m * self.m
        return mask[start : start + self.m].sum(axis=0) < self.n


@dataclass(frozen=True)
class Block(Structure):
    """Blocks of `outputs` x `inputs`, as the TFLite kernels count them.

    What runs where, by the engines' sources:

    - 1x16: LiteRT, dense and recurrent layers with int8 weights
      (`export_tflite(quantization="sparse")`).
    - 1x4: LiteRT, the same with float32 weights (`quantization="sparse_float32"`).
    - 4x4: no engine has a kernel for it: not LiteRT, XNNPACK (whose sparse products are for 1x1
      convolutions, of up to 4x1 blocks), TensorFlow, ONNX Runtime or OpenVINO. As four 1x4 blocks
      each it runs in LiteRT in float32, at the speed of any 1x4 mask; a block that is to be fast
      in int8 as well is 1x16, or a multiple of it such as 4x16.
    - All others are stored densely, and only hand-written kernels make use of them.

    Larger than the matrix is allowed: the whole matrix is then one ragged block.

    Args:
        outputs: Extent along the outputs.
        inputs: Extent along the inputs.
        pooling: Score of a block from its connections' scores: "mean" (default), "max" or
            "l2" (root of the mean square).

    Raises:
        ValueError: If an extent is not a positive integer or the pooling is unknown.

    >>> str(Block(1, 4)), Block(1, 4).tile((8, 8))
    ('1x4', (4, 1))
    """

    outputs: int
    inputs: int
    pooling: str = "mean"

    def __post_init__(self) -> None:
        check_count(self.outputs, "outputs")
        check_count(self.inputs, "inputs")
        _check_pooling(self.pooling)

    def __str__(self) -> str:
        return f"{self.outputs}x{self.inputs}"

    def tile(self, shape: tuple[int, int]) -> tuple[int, int]:
        return self.inputs, self.outputs


@dataclass(frozen=True)
class Row(Structure):
    """All outgoing connections of one input: a row of the matrix (inputs, outputs).

    Args:
        pooling: Score of a row from its connections' scores: "mean" (default), "max" or "l2".
        multiple: How many rows of a matrix there are is rounded to the nearest multiple of it. 1
            by default: an input stays as long as one of the matrices that read it does, so that
            the rows of one of them decide no width. 8 where one matrix is all that reads them.
        minimum: How many rows of a matrix stay at least; 0 by default.

    Raises:
        ValueError: If the pooling is unknown or a number is out of its range.

    >>> Row().group_shape((10, 3))
    (10, 1)
    """

    removes_inputs: ClassVar[bool] = True
    pooling: str = "mean"
    multiple: int = 1
    minimum: int = 0

    def __post_init__(self) -> None:
        _check_lines(self)

    def __str__(self) -> str:
        return "row"

    def tile(self, shape: tuple[int, int]) -> tuple[int, int]:
        return 1, shape[1]


@dataclass(frozen=True)
class Column(Structure):
    """The whole fan-in of one output: a column of the matrix (inputs, outputs).

    Args:
        pooling: Score of a column from its connections' scores: "mean" (default), "max" or "l2".
        multiple: How many columns of a matrix there are is rounded to the nearest multiple of it;
            1 by default, as `Row` has it.
        minimum: How many columns of a matrix stay at least; 0 by default.

    Raises:
        ValueError: If the pooling is unknown or a number is out of its range.

    >>> Column().group_shape((10, 3))
    (1, 3)
    """

    removes_outputs: ClassVar[bool] = True
    pooling: str = "mean"
    multiple: int = 1
    minimum: int = 0

    def __post_init__(self) -> None:
        _check_lines(self)

    def __str__(self) -> str:
        return "column"

    def tile(self, shape: tuple[int, int]) -> tuple[int, int]:
        return shape[0], 1
