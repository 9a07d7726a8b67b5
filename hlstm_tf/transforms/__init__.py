"""Whole-model steps: sparsify, strip, shrink, summary."""

from hlstm_tf.transforms.sparsify import sparsify
from hlstm_tf.transforms.strip import strip
from hlstm_tf.transforms.summary import Summary, summary

__all__ = ["Summary", "sparsify", "strip", "summary"]
