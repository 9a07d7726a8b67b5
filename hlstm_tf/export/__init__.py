"""SavedModel and TFLite files, and the check that they compute what the model does."""

from hlstm_tf import keras_check  # noqa: F401  # first: it checks the installation
from hlstm_tf.export.buckets import Bucket
from hlstm_tf.export.choice import Candidate
from hlstm_tf.export.files import WeighedFile, file_size
from hlstm_tf.export.saved_model import SavedModelExport, export_saved_model
from hlstm_tf.export.tflite import TFLiteExport, export_tflite
from hlstm_tf.export.verification import TOLERANCES, VerificationError
from hlstm_tf.runtime.step_runner import StepRunner, load_tflite
from hlstm_tf.runtime.stream import Stream
from hlstm_tf.runtime.tflite_model import TFLiteModel

__all__ = [
    "TOLERANCES",
    "Bucket",
    "Candidate",
    "SavedModelExport",
    "StepRunner",
    "Stream",
    "TFLiteExport",
    "TFLiteModel",
    "VerificationError",
    "WeighedFile",
    "export_saved_model",
    "export_tflite",
    "file_size",
    "load_tflite",
]
