"""The cost of a model on the target engine, measured."""

from hlstm_tf import keras_check  # noqa: F401  # first: it checks the installation
from hlstm_tf.hardware.file_size import FileSize
from hlstm_tf.hardware.latency import Latency
from hlstm_tf.timing import Measurement

__all__ = ["FileSize", "Latency", "Measurement"]
