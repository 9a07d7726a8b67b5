"""Whole-model steps: sparsify, strip, shrink, summary."""

from hlstm_tf.transforms.sparsify import sparsify
from hlstm_tf.transforms.strip import strip

__all__ = ["sparsify", "strip"]
