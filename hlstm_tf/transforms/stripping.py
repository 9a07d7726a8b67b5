"""From masked twins back to plain layers."""

from typing import Any

import keras

from hlstm_tf.transforms.rewriting import Entry, check_model, copy_state, rebuild
from hlstm_tf.transforms.twins import plain_entry
from hlstm_tf.transforms.verification import check_same_function


def strip(model: keras.Model, verify_with: Any = None) -> keras.Model:
    """Returns the same function as plain layers, with zeros where connections are dormant.

    Every masked twin becomes its Keras layer and every `HLSTM` one without masks; a model without
    masks is copied. Names, weights, random state and trainable flags are kept; the compiled state
    is not: compile the new model. The model given is left as it is.

    Args:
        model: A built model: Sequential, functional or subclassed, as `sparsify` takes.
        verify_with: A batch of inputs on which both models are compared. Default: no check.

    Returns:
        A new model of the same kind.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: It is not built or cannot be rewritten, or the two models differ on the batch.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((8,)), hl.MaskedDense(4)])
    >>> plain = hl.strip(model)
    >>> type(plain.layers[0]).__name__, len(plain.weights)
    ('Dense', 2)
    """
    check_model(model)
    new = rebuild(model, _plain)
    copy_state(model, new)
    if verify_with is not None:
        check_same_function(model, new, verify_with, "strip")
    return new


def _plain(layer: keras.Layer, entry: Entry, around: tuple[keras.Layer, ...]) -> Entry:
    return plain_entry(layer, entry)
