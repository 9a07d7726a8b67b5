"""A run of grow-and-prune training: its plan, how it is carried out, kept and resumed."""

from hlstm_tf import keras_check  # noqa: F401  # first: it checks the installation
