"""Layers: the H-LSTM, compact layers, and masked twins of Keras's layers."""

from hlstm_tf import keras_check  # noqa: F401  # first: it checks the installation
from hlstm_tf.layers.activations import LeakyReLU, declare_elementwise
from hlstm_tf.layers.cells import CellForm
from hlstm_tf.layers.compact_layers import (
    CompactDense,
    CompactGRU,
    CompactGRUCell,
    CompactLSTM,
    CompactLSTMCell,
    CompactSimpleRNN,
    CompactSimpleRNNCell,
)
from hlstm_tf.layers.convolutions import (
    MaskedConv1D,
    MaskedConv1DTranspose,
    MaskedConv2D,
    MaskedConv2DTranspose,
    MaskedConv3D,
    MaskedConv3DTranspose,
    MaskedDepthwiseConv1D,
    MaskedDepthwiseConv2D,
    MaskedSeparableConv1D,
    MaskedSeparableConv2D,
)
from hlstm_tf.layers.fastgrnn import FastGRNN, FastGRNNCell
from hlstm_tf.layers.gates import GATES
from hlstm_tf.layers.hlstm import HLSTM
from hlstm_tf.layers.hlstm_cell import GateWeights, HLSTMCell
from hlstm_tf.layers.kernels import MaskedKernel, dense_gradients
from hlstm_tf.layers.kronecker import Kronecker
from hlstm_tf.layers.low_rank import LowRank, SharedLowRank
from hlstm_tf.layers.masking import MaskedLayer, masked_kernels
from hlstm_tf.layers.partial_area import PartialAreaConv2D
from hlstm_tf.layers.toeplitz_like import ToeplitzLike
from hlstm_tf.layers.twins import (
    MaskedDense,
    MaskedEmbedding,
    MaskedGRU,
    MaskedGRUCell,
    MaskedLSTM,
    MaskedLSTMCell,
    MaskedReversibleEmbedding,
    MaskedSimpleRNN,
    MaskedSimpleRNNCell,
    register_cell,
)

__all__ = [
    "GATES",
    "HLSTM",
    "CellForm",
    "CompactDense",
    "CompactGRU",
    "CompactGRUCell",
    "CompactLSTM",
    "CompactLSTMCell",
    "CompactSimpleRNN",
    "CompactSimpleRNNCell",
    "FastGRNN",
    "FastGRNNCell",
    "GateWeights",
    "HLSTMCell",
    "Kronecker",
    "LeakyReLU",
    "LowRank",
    "MaskedConv1D",
    "MaskedConv1DTranspose",
    "MaskedConv2D",
    "MaskedConv2DTranspose",
    "MaskedConv3D",
    "MaskedConv3DTranspose",
    "MaskedDense",
    "MaskedDepthwiseConv1D",
    "MaskedDepthwiseConv2D",
    "MaskedEmbedding",
    "MaskedGRU",
    "MaskedGRUCell",
    "MaskedKernel",
    "MaskedLSTM",
    "MaskedLSTMCell",
    "MaskedLayer",
    "MaskedReversibleEmbedding",
    "MaskedSeparableConv1D",
    "MaskedSeparableConv2D",
    "MaskedSimpleRNN",
    "MaskedSimpleRNNCell",
    "PartialAreaConv2D",
    "SharedLowRank",
    "ToeplitzLike",
    "declare_elementwise",
    "dense_gradients",
    "masked_kernels",
    "register_cell",
]
