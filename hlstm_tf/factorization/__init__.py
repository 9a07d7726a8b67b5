"""Trained models made compact: kernels replaced by the factors nearest to them."""

from hlstm_tf import keras_check  # noqa: F401  # first: it checks the installation
from hlstm_tf.factorization.compact_model import factorize

__all__ = ["factorize"]
