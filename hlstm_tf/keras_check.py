"""Keras 3 on TensorFlow: checks that it is what is installed, and what a user hands over.

Each package that needs Keras imports this module first, so that a wrong installation is one clear
line.
"""

import os
from typing import Any

_BACKEND_ADVICE = "set KERAS_BACKEND=tensorflow before keras is imported for the first time"

try:
    import keras
except ImportError as error:
    chosen = os.environ.get("KERAS_BACKEND")
    backend = f" with KERAS_BACKEND={chosen}" if chosen else ""
    raise ImportError(
        f"hlstm_tf needs Keras 3 on TensorFlow; `import keras`{backend} failed: {error}. Install "
        f'it with pip install "keras>=3.15" tensorflow, and {_BACKEND_ADVICE}.'
    ) from error


def installation_fault(version: str, backend: str) -> str | None:
    """Says what is wrong with a Keras and what to do; `None` where nothing is.

    Args:
        version: Keras's version.
        backend: The name of its backend.

    Example:

    >>> installation_fault("3.15.1", "tensorflow") is None
    True
    >>> print(installation_fault("2.15.0", "tensorflow"))
    hlstm_tf needs Keras 3 on TensorFlow; found Keras 2.15.0. Run pip install -U "keras>=3.15".
    """
    if int(version.split(".")[0]) < 3:
        return (
            f"hlstm_tf needs Keras 3 on TensorFlow; found Keras {version}. "
            'Run pip install -U "keras>=3.15".'
        )
    if backend != "tensorflow":
        by_variable = "KERAS_BACKEND" in os.environ
        source = "KERAS_BACKEND" if by_variable else "'backend' in keras.json"
        return (
            f"hlstm_tf needs Keras 3 on TensorFlow; found Keras {version} on {backend}, which "
            f"{source} asks for; {_BACKEND_ADVICE}."
        )
    return None


def check_keras(thing: Any, kind: type, name: str) -> None:
    """Refuses what is not of a Keras 3 class, and says so where it is tf_keras's.

    Args:
        thing: What the user gave.
        kind: The class expected: `keras.Model`, `keras.Layer`...
        name: How an error calls it.

    Raises:
        TypeError: It is of another class.
    """
    if isinstance(thing, kind):
        return
    if not is_of_keras_2(thing):
        raise TypeError(f"{name} must be a keras.{kind.__name__}; got {type(thing).__name__}.")
    raise TypeError(
        f"{name} must be a keras.{kind.__name__} of Keras 3; got {type(thing).__name__} of "
        f"tf_keras (Keras 2). {_keras_2_advice()}"
    )


def refuse_keras_2(things: Any, name: str) -> None:
    """Raises a `TypeError` where one of some tensors or layers is tf_keras's; `name` says where."""
    for thing in things:
        if is_of_keras_2(thing):
            raise TypeError(
                f"{name} is a layer of Keras 3; got {type(thing).__name__} of tf_keras (Keras 2). "
                f"{_keras_2_advice()}"
            )


def is_of_keras_2(thing: Any) -> bool:
    """Whether the class of something, or one that it inherits from, is tf_keras's."""
    return any(cls.__module__.split(".")[0] == "tf_keras" for cls in type(thing).__mro__)


def _keras_2_advice() -> str:
    advice = "Make the whole model with `import keras`, not with tf_keras or tf.keras"
    if os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True"):
        advice += (
            "; TF_USE_LEGACY_KERAS=1, which tensorflow_model_optimization sets when it is "
            "imported, turns tf.keras into tf_keras"
        )
    return f"{advice}."


_fault = installation_fault(keras.version(), keras.backend.backend())
if _fault is not None:
    raise ImportError(_fault)
