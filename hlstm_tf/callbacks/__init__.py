"""When masks change: growth, pruning and their sequence, as Keras callbacks."""

from hlstm_tf import keras_check  # noqa: F401  # first: it checks the installation

from .activation_shift import ActivationShift, set_hidden_activation
from .area_pruning import AreaPruning
from .births import Births
from .board import SparsityBoard
from .budget import Budget
from .epoch_data import EpochData
from .grow_and_prune import GrowAndPrune
from .growth import GradientGrowth
from .growth_score import DenseGradients
from .neuron_growth import NeuronGrowth
from .plan import Growth, Pruning
from .pruning import MagnitudePruning

__all__ = [
    "ActivationShift",
    "AreaPruning",
    "Births",
    "Budget",
    "DenseGradients",
    "EpochData",
    "GradientGrowth",
    "GrowAndPrune",
    "Growth",
    "MagnitudePruning",
    "NeuronGrowth",
    "Pruning",
    "SparsityBoard",
    "set_hidden_activation",
]
