"""Whole-model steps: sparsify, strip, shrink, summary."""

from hlstm_tf import keras_check  # noqa: F401  # first: it checks the installation
from hlstm_tf.transforms.shrinking import shrink, strip
from hlstm_tf.transforms.sparsification import sparsify
from hlstm_tf.transforms.summaries import Summary, summary

__all__ = ["Summary", "shrink", "sparsify", "strip", "summary"]
