"""Keras callbacks that change masks: growth, pruning and their sequence."""

from hlstm_tf import keras_check  # noqa: F401  # first: it checks the installation
from hlstm_tf.callbacks.activation_shift import ActivationShift
from hlstm_tf.callbacks.area_pruning import AreaPruning
from hlstm_tf.callbacks.board import SparsityBoard
from hlstm_tf.callbacks.epoch_data import EpochData
from hlstm_tf.callbacks.grow_and_prune import GrowAndPrune
from hlstm_tf.callbacks.growth import GradientGrowth
from hlstm_tf.callbacks.neuron_growth import NeuronGrowth
from hlstm_tf.callbacks.pruning import MagnitudePruning
from hlstm_tf.pruning.budget import Budget
from hlstm_tf.pruning.neuron_growth import NeuronGrowthRule
from hlstm_tf.scoring.gradients import DenseGradients
from hlstm_tf.training_run.plan import Growth, Pruning
from hlstm_tf.transforms.activations import set_hidden_activation

__all__ = [
    "ActivationShift",
    "AreaPruning",
    "Budget",
    "DenseGradients",
    "EpochData",
    "GradientGrowth",
    "GrowAndPrune",
    "Growth",
    "MagnitudePruning",
    "NeuronGrowth",
    "NeuronGrowthRule",
    "Pruning",
    "SparsityBoard",
    "set_hidden_activation",
]
