"""Growth and pruning of whole models: which connections and neurons come and go."""

from hlstm_tf import keras_check  # noqa: F401  # first: it checks the installation
