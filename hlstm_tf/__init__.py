"""Grow-and-prune training and compact recurrent layers for Keras 3 on TensorFlow."""

from hlstm_tf.layers import (
    HLSTM,
    HLSTMCell,
    MaskedConv1D,
    MaskedConv2D,
    MaskedDense,
    MaskedEmbedding,
    MaskedGRU,
    MaskedGRUCell,
    MaskedKernel,
    MaskedLSTM,
    MaskedLSTMCell,
    MaskedSimpleRNN,
    MaskedSimpleRNNCell,
    dense_gradients,
    masked_kernels,
)
from hlstm_tf.sparsity.edits import edit_masks

__version__ = "0.1.0"

__all__ = [
    "HLSTM",
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
    "MaskedSimpleRNN",
    "MaskedSimpleRNNCell",
    "dense_gradients",
    "edit_masks",
    "masked_kernels",
]
