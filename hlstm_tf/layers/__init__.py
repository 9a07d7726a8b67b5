"""What a model is made of: H-LSTM layers, and masked twins of Keras's layers."""

from hlstm_tf.layers.cells import CellForm
from hlstm_tf.layers.effective import dense_gradients
from hlstm_tf.layers.elementwise import declare_elementwise
from hlstm_tf.layers.gate_widths import GATES
from hlstm_tf.layers.hlstm import HLSTM
from hlstm_tf.layers.hlstm_cell import GateWeights, HLSTMCell
from hlstm_tf.layers.kernels import MaskedKernel
from hlstm_tf.layers.masking import MaskedLayer, masked_kernels
from hlstm_tf.layers.partial_area import PartialAreaConv2D
from hlstm_tf.layers.twins import (
    MaskedConv1D,
    MaskedConv2D,
    MaskedDense,
    MaskedEmbedding,
    MaskedGRU,
    MaskedGRUCell,
    MaskedLSTM,
    MaskedLSTMCell,
    MaskedSimpleRNN,
    MaskedSimpleRNNCell,
    register_cell,
)

__all__ = [
    "GATES",
    "HLSTM",
    "CellForm",
    "GateWeights",
    "HLSTMCell",
    "MaskedConv1D",
    "MaskedConv2D",
    "MaskedDense",
    "MaskedEmbedding",
    "MaskedGRU",
    "MaskedGRUCell",
    "MaskedKernel",
    "MaskedLSTM",
    "MaskedLSTMCell",
    "MaskedLayer",
    "MaskedSimpleRNN",
    "MaskedSimpleRNNCell",
    "PartialAreaConv2D",
    "declare_elementwise",
    "dense_gradients",
    "masked_kernels",
    "register_cell",
]
