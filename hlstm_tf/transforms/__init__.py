"""Whole-model steps: sparsify, strip, shrink and summary."""
