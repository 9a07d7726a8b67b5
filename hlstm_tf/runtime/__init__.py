"""Running exported TFLite files, with NumPy and LiteRT alone."""

from hlstm_tf.runtime.step_runner import StepRunner, load_tflite
from hlstm_tf.runtime.stream import Stream
from hlstm_tf.runtime.tflite_model import TFLiteModel

__all__ = ["StepRunner", "Stream", "TFLiteModel", "load_tflite"]
