"""Which connections exist: structures, scores, growth and pruning rules, schedules.

Everything but `edit_masks` is a pure function or a frozen value on NumPy arrays. A matrix is
(inputs, outputs): one gate of one kernel, a convolution's kernel flattened to
(height * width * channels, filters). Score, structure, distribution and schedule are
independent choices.
"""

from .births import Birth, bridged_pairs, neuron_births, scaled
from .counts import grow_to, grow_to_together, kept_count, prune_to, prune_to_together
from .distributions import ERK, Distribution, Global, PerMatrix, Pool, get_distribution
from .edits import edit_masks, reset_entries
from .many import grow_all, grow_all_to, prune_all, prune_all_to
from .naming import get_structure
from .neurons import (
    connect_neurons,
    dead_inputs,
    dead_outputs,
)
from .recovery import recover
from .rules import grow, grow_together, percentile, prune, prune_together
from .schedules import Constant, Cubic, Iterative, Polynomial, Schedule, as_schedule
from .scores import NEED_DATA, SCORES, Score, get_score
from .seeds import best_masks, seed_mask, seed_masks
from .slots import Optimizers, held_optimizers, reset_slots
from .structures import NM, Block, Column, Connection, Row, Structure
from .wholes import Neuron, Unit, Whole

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
    "Optimizers",
    "PerMatrix",
    "Polynomial",
    "Pool",
    "Row",
    "Schedule",
    "Score",
    "Structure",
    "Unit",
    "Whole",
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
