"""Matrices of blocks in a TFLite file: what is zero is neither stored nor computed.

LiteRT has two sparse products for `FULLY_CONNECTED`, of 16 consecutive int8 weights of an output
and of 4 consecutive float32 weights. Nothing else is sparse there: the converter's own
`EXPERIMENTAL_SPARSITY` turns every other mask into a dense matrix that is unpacked at each call, or
into a file that does not load, and what it writes of int8 blocks the XNNPACK delegate takes for
dense and computes wrongly. So the converter writes dense matrices here, and those that are made of
blocks are rewritten afterwards. Only blocks that are zero are left out, which changes no output,
and what is rewritten is marked as what the delegate leaves to LiteRT's own kernels.
"""

import copy
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from hlstm_tf.export.flatbuffer import packed, parsed

_SPARSE_VERSION = 8
"""The version of `FULLY_CONNECTED` with sparse weights, which XNNPACK does not take."""

LARGEST_SHARE = 1 / 3
"""Share of blocks that are not zero up to which a matrix is rewritten.

Above it the dense product is the faster one: a block takes as long in LiteRT's sparse kernels as
two (int8) or three (float32) in XNNPACK's dense ones (`benchmarks/sparse_step.py`).
"""


_INDICES: tuple[tuple[type, int, Any], ...] = (
    (np.uint8, schema.SparseIndexVector.Uint8Vector, schema.Uint8VectorT),
    (np.uint16, schema.SparseIndexVector.Uint16Vector, schema.Uint16VectorT),
    (np.int32, schema.SparseIndexVector.Int32Vector, schema.Int32VectorT),
)


@dataclass(frozen=True)
class Kernel:
    """A sparse product of LiteRT.

    Attributes:
        block: Consecutive inputs of an output that are zero together or not.
        dtype: The weights' type.
        code: The same in the schema of TFLite files.
        most: Blocks along the inputs that it can take; `None`: any number.
    """

    block: int
    dtype: type
    code: int
    most: int | None = None

    def __str__(self) -> str:
        return f"1x{self.block}"


# The int8 kernel counts and numbers blocks in a byte, without a check.
INT8 = Kernel(16, np.int8, schema.TensorType.INT8, most=255)
FLOAT32 = Kernel(4, np.float32, schema.TensorType.FLOAT32)


def encode_blocks(content: bytes, kernel: Kernel) -> tuple[bytes, int]:
    """Rewrites the matrices of a dense TFLite file that are made of blocks.

    A matrix is rewritten where at most `LARGEST_SHARE` of its blocks hold anything but zeros, its
    inputs come in whole blocks, no more than the product takes, and nothing but `FULLY_CONNECTED`
    on float32 activations uses it. All others stay as they are.

    Args:
        content: The file.
        kernel: Which of the two sparse products.

    Returns:
        The new file, and how many matrices were rewritten.
    """
    model = parsed(content)
    rewritten = 0
    for buffer, uses in _uses(model).items():
        matrix = _matrix(model, buffer, uses, kernel)
        if matrix is None:
            continue
        filled: np.ndarray = np.any(matrix, axis=-1)
        if filled.mean() > LARGEST_SHARE:
            continue
        filled[0, 0] |= not filled.any()  # an empty buffer would be no constant
        for use in uses:
            use.weights.sparsity = _sparsity(filled, kernel)
            use.operator.opcodeIndex = _sparse_opcode(model)
        model.buffers[buffer].data = matrix[filled].reshape(-1).view(np.uint8)
        rewritten += 1
    return packed(model), rewritten


@dataclass(frozen=True)
class _Use:
    """An operator, and which of its inputs a buffer is; no operator for a graph's output."""

    graph: Any
    operator: Any
    place: int

    @property
    def weights(self) -> Any:
        return self.graph.tensors[self.operator.inputs[self.place]]


def _uses(model: Any) -> dict[int, list[_Use]]:
    """The uses of each buffer; signatures share weights."""
    found = defaultdict(list)
    for graph in model.subgraphs:
        for operator in graph.operators:
            for place, tensor in enumerate(operator.inputs):
                if tensor >= 0:  # an optional input that is not there
                    found[graph.tensors[tensor].buffer].append(_Use(graph, operator, place))
        for tensor in graph.outputs:
            found[graph.tensors[tensor].buffer].append(_Use(graph, None, 0))
    return found


def _matrix(model: Any, buffer: int, uses: list[_Use], kernel: Kernel) -> np.ndarray | None:
    """The weights `(outputs, blocks, block)`; `None` where the kernel cannot take them."""
    data = model.buffers[buffer].data
    if data is None or not all(_multiplies(model, use, kernel) for use in uses):
        return None
    outputs, inputs = uses[0].weights.shape
    blocks, rest = divmod(int(inputs), kernel.block)
    if rest or not blocks or blocks > (kernel.most or blocks):
        return None
    weights: np.ndarray = np.asarray(data, np.uint8).view(kernel.dtype)
    return weights.reshape(int(outputs), blocks, kernel.block)


def _multiplies(model: Any, use: _Use, kernel: Kernel) -> bool:
    """Whether it is a product of float32 activations and weights of the kernel's type."""
    if use.operator is None or use.place != 1:
        return False
    code = model.operatorCodes[use.operator.opcodeIndex]
    activations = use.graph.tensors[use.operator.inputs[0]]
    return (
        code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED
        and use.weights.type == kernel.code
        and use.weights.sparsity is None
        and activations.type == schema.TensorType.FLOAT32
    )


def _sparsity(filled: np.ndarray, kernel: Kernel) -> Any:
    """Which blocks are there: outputs dense, blocks compressed row by row, dense inside."""
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.blockMap = [0, 1, 2], [1]
    blocks = schema.DimensionMetadataT()
    blocks.format = schema.DimensionType.SPARSE_CSR
    ends = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
    blocks.arraySegmentsType, blocks.arraySegments = _vector(ends)
    blocks.arrayIndicesType, blocks.arrayIndices = _vector(np.nonzero(filled)[1])
    sparsity.dimMetadata = [_dense(len(filled)), blocks, _dense(kernel.block)]
    return sparsity


def _dense(size: int) -> Any:
    axis = schema.DimensionMetadataT()
    axis.format, axis.denseSize = schema.DimensionType.DENSE, size
    return axis


def _vector(values: np.ndarray) -> tuple[int, Any]:
    """Indices in the smallest type that holds them."""
    dtype, kind, make = next(each for each in _INDICES if values.max() <= np.iinfo(each[0]).max)
    vector = make()
    vector.values = values.astype(dtype)
    return kind, vector


def _sparse_opcode(model: Any) -> int:
    """The index of sparse `FULLY_CONNECTED` among the file's operators; added where missing."""
    fully_connected = [
        (index, code)
        for index, code in enumerate(model.operatorCodes)
        if code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED
    ]
    for index, code in fully_connected:
        if code.version == _SPARSE_VERSION:
            return index
    code = copy.copy(fully_connected[0][1])
    code.version = _SPARSE_VERSION
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
