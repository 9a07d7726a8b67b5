"""Measurements that scores are made of: passes of the training data, and training steps."""

from hlstm_tf import keras_check  # noqa: F401  # first: it checks the installation
