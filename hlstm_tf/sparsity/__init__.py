"""Rules on masks: structures, scores, growth, pruning, schedules.

Everything but `edit_masks` is a pure function or a frozen value on NumPy arrays. A matrix is
(inputs, outputs): one gate of one kernel, a convolution's kernel flattened to
(height * width * channels, filters). Score, structure, distribution and schedule are
independent choices.
"""

from hlstm_tf import keras_check  # noqa: F401  # first: it checks the installation
from hlstm_tf.sparsity.counts import (
    grow_to,
    grow_to_together,
    kept_count,
    prune_to,
    prune_to_together,
)
from hlstm_tf.sparsity.distributions import (
    ERK,
    Distribution,
    Global,
    PerMatrix,
    Pool,
    get_distribution,
)
from hlstm_tf.sparsity.edits import (
    Optimizers,
    edit_masks,
    held_optimizers,
    reset_entries,
    reset_slots,
)
from hlstm_tf.sparsity.many import grow_all, grow_all_to, prune_all, prune_all_to
from hlstm_tf.sparsity.neuron_growth import Birth, bridged_pairs, neuron_births, scaled
from hlstm_tf.sparsity.neuron_structures import Neuron, NeuronStructure, Unit, get_structure
from hlstm_tf.sparsity.rules import grow, grow_together, percentile, prune, prune_together, recover
from hlstm_tf.sparsity.schedules import (
    Constant,
    Cubic,
    Iterative,
    Polynomial,
    Schedule,
    as_schedule,
)
from hlstm_tf.sparsity.scores import NEED_DATA, SCORES, Score, get_score
from hlstm_tf.sparsity.seeds import (
    best_masks,
    connect_neurons,
    dead_inputs,
    dead_outputs,
    seed_mask,
    seed_masks,
)
from hlstm_tf.sparsity.structures import NM, Block, Column, Connection, Row, Structure

__all__ = [
    "ERK",
    "NEED_DATA",
    "NM",
    "SCORES",
    "Birth",
    "Block",
    "Column",
    "Connection",
    "Constant",
    "Cubic",
    "Distribution",
    "Global",
    "Iterative",
    "Neuron",
    "NeuronStructure",
    "Optimizers",
    "PerMatrix",
    "Polynomial",
    "Pool",
    "Row",
    "Schedule",
    "Score",
    "Structure",
    "Unit",
    "as_schedule",
    "best_masks",
    "bridged_pairs",
    "connect_neurons",
    "dead_inputs",
    "dead_outputs",
    "edit_masks",
    "get_distribution",
    "get_score",
    "get_structure",
    "grow",
    "grow_all",
    "grow_all_to",
    "grow_to",
    "grow_to_together",
    "grow_together",
    "held_optimizers",
    "kept_count",
    "neuron_births",
    "percentile",
    "prune",
    "prune_all",
    "prune_all_to",
    "prune_to",
    "prune_to_together",
    "prune_together",
    "recover",
    "reset_entries",
    "reset_slots",
    "scaled",
    "seed_mask",
    "seed_masks",
]
