"""Grow-and-prune training and compact recurrent layers for Keras 3 on TensorFlow.

`import hlstm_tf` loads nothing heavy. A name brings in what it needs when it is first asked for:
the layers TensorFlow, `StepRunner` and `TFLiteModel` no more than NumPy and LiteRT.
"""

import importlib
from typing import TYPE_CHECKING, Any

from hlstm_tf._registration import load_layers_with_keras

if TYPE_CHECKING:
    from hlstm_tf.callbacks import (
        ActivationShift,
        AreaPruning,
        Budget,
        EpochData,
        GradientGrowth,
        GrowAndPrune,
        Growth,
        MagnitudePruning,
        NeuronGrowth,
        NeuronGrowthRule,
        Pruning,
        SparsityBoard,
        set_hidden_activation,
    )
    from hlstm_tf.export import (
        SavedModelExport,
        TFLiteExport,
        VerificationError,
        WeighedFile,
        export_saved_model,
        export_tflite,
        file_size,
    )
    from hlstm_tf.factorization import factorize
    from hlstm_tf.hardware import FileSize, Latency
    from hlstm_tf.layers import (
        HLSTM,
        CellForm,
        CompactDense,
        CompactGRU,
        CompactGRUCell,
        CompactLSTM,
        CompactLSTMCell,
        CompactSimpleRNN,
        CompactSimpleRNNCell,
        FastGRNN,
        FastGRNNCell,
        HLSTMCell,
        Kronecker,
        LeakyReLU,
        LowRank,
        MaskedConv1D,
        MaskedConv1DTranspose,
        MaskedConv2D,
        MaskedConv2DTranspose,
        MaskedConv3D,
        MaskedConv3DTranspose,
        MaskedDense,
        MaskedDepthwiseConv1D,
        MaskedDepthwiseConv2D,
        MaskedEmbedding,
        MaskedGRU,
        MaskedGRUCell,
        MaskedKernel,
        MaskedLSTM,
        MaskedLSTMCell,
        MaskedReversibleEmbedding,
        MaskedSeparableConv1D,
        MaskedSeparableConv2D,
        MaskedSimpleRNN,
        MaskedSimpleRNNCell,
        PartialAreaConv2D,
        SharedLowRank,
        ToeplitzLike,
        declare_elementwise,
        dense_gradients,
        masked_kernels,
        register_cell,
    )
    from hlstm_tf.quiet import quiet_import
    from hlstm_tf.runtime import StepRunner, TFLiteModel, load_tflite
    from hlstm_tf.sparsity import (
        ERK,
        NM,
        Block,
        Column,
        Connection,
        Constant,
        Cubic,
        Global,
        Iterative,
        Neuron,
        PerMatrix,
        Polynomial,
        Row,
        Score,
        Unit,
        as_schedule,
        edit_masks,
        get_distribution,
        get_score,
        get_structure,
        seed_mask,
    )
    from hlstm_tf.transforms import (
        Summary,
        shrink,
        sparsify,
        strip,
        summary,
    )

__version__ = "0.1.0"

__all__ = [
    "ERK",
    "HLSTM",
    "NM",
    "ActivationShift",
    "AreaPruning",
    "Block",
    "Budget",
    "CellForm",
    "Column",
    "CompactDense",
    "CompactGRU",
    "CompactGRUCell",
    "CompactLSTM",
    "CompactLSTMCell",
    "CompactSimpleRNN",
    "CompactSimpleRNNCell",
    "Connection",
    "Constant",
    "Cubic",
    "EpochData",
    "FastGRNN",
    "FastGRNNCell",
    "FileSize",
    "Global",
    "GradientGrowth",
    "GrowAndPrune",
    "Growth",
    "HLSTMCell",
    "Iterative",
    "Kronecker",
    "Latency",
    "LeakyReLU",
    "LowRank",
    "MagnitudePruning",
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
    "MaskedReversibleEmbedding",
    "MaskedSeparableConv1D",
    "MaskedSeparableConv2D",
    "MaskedSimpleRNN",
    "MaskedSimpleRNNCell",
    "Neuron",
    "NeuronGrowth",
    "NeuronGrowthRule",
    "PartialAreaConv2D",
    "PerMatrix",
    "Polynomial",
    "Pruning",
    "Row",
    "SavedModelExport",
    "Score",
    "SharedLowRank",
    "SparsityBoard",
    "StepRunner",
    "Summary",
    "TFLiteExport",
    "TFLiteModel",
    "ToeplitzLike",
    "Unit",
    "VerificationError",
    "WeighedFile",
    "__version__",
    "as_schedule",
    "declare_elementwise",
    "dense_gradients",
    "edit_masks",
    "export_saved_model",
    "export_tflite",
    "factorize",
    "file_size",
    "get_distribution",
    "get_score",
    "get_structure",
    "load_tflite",
    "masked_kernels",
    "quiet_import",
    "register_cell",
    "seed_mask",
    "set_hidden_activation",
    "shrink",
    "sparsify",
    "strip",
    "summary",
]

_NAMES = {
    "hlstm_tf.callbacks": (
        "ActivationShift AreaPruning Budget EpochData GradientGrowth GrowAndPrune "
        "Growth MagnitudePruning NeuronGrowth NeuronGrowthRule Pruning SparsityBoard "
        "set_hidden_activation"
    ),
    "hlstm_tf.export": (
        "SavedModelExport TFLiteExport VerificationError WeighedFile export_saved_model "
        "export_tflite file_size"
    ),
    "hlstm_tf.factorization": "factorize",
    "hlstm_tf.hardware": "FileSize Latency",
    "hlstm_tf.layers": (
        "HLSTM CellForm CompactDense CompactGRU CompactGRUCell "
        "CompactLSTM CompactLSTMCell CompactSimpleRNN CompactSimpleRNNCell FastGRNN "
        "FastGRNNCell HLSTMCell "
        "Kronecker LeakyReLU LowRank "
        "SharedLowRank ToeplitzLike MaskedConv1D MaskedConv1DTranspose "
        "MaskedConv2D MaskedConv2DTranspose MaskedConv3D MaskedConv3DTranspose "
        "MaskedDense MaskedDepthwiseConv1D MaskedDepthwiseConv2D MaskedEmbedding "
        "MaskedGRU MaskedGRUCell MaskedKernel MaskedLSTM MaskedLSTMCell "
        "MaskedReversibleEmbedding MaskedSeparableConv1D MaskedSeparableConv2D "
        "MaskedSimpleRNN MaskedSimpleRNNCell PartialAreaConv2D declare_elementwise "
        "dense_gradients masked_kernels register_cell"
    ),
    "hlstm_tf.quiet": "quiet_import",
    "hlstm_tf.runtime": "StepRunner TFLiteModel load_tflite",
    "hlstm_tf.sparsity": (
        "ERK NM Block Column Connection Constant Cubic Global Iterative Neuron PerMatrix "
        "Polynomial Row Score Unit as_schedule edit_masks get_distribution get_score "
        "get_structure seed_mask"
    ),
    "hlstm_tf.transforms": "Summary shrink sparsify strip summary",
}
"""The public names of each module."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first asked for (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


load_layers_with_keras()
