"""What this package last set masks to, to tell the changes that others make."""

from collections.abc import Iterable, Sequence

import keras
import numpy as np
from keras import ops

_NOTE = "hlstm_tf_set_to"


def set_and_note(variable: keras.Variable, value: np.ndarray) -> None:
    """Sets a boolean variable, a mask or an area, and notes the value where notes are kept."""
    variable.assign(value)
    if _NOTE in vars(variable):
        vars(variable)[_NOTE] = np.array(value, dtype=bool)


def keep_notes(variables: Iterable[keras.Variable]) -> None:
    """Forgets earlier notes of these variables, and notes from now on what they are set to."""
    for variable in variables:
        vars(variable)[_NOTE] = None


def drop_notes(variables: Iterable[keras.Variable]) -> None:
    """Forgets the notes of these variables and keeps no more."""
    for variable in variables:
        vars(variable).pop(_NOTE, None)


def noted(variables: Sequence[keras.Variable]) -> dict[int, np.ndarray]:
    """Returns what variables were last set to, by number; those that were not set are left out."""
    notes = {number: vars(variable).get(_NOTE) for number, variable in enumerate(variables)}
    return {number: note for number, note in notes.items() if note is not None}


def changed_by_others(variables: Sequence[keras.Variable]) -> dict[int, np.ndarray]:
    """Returns what variables were last set to, by number, where they hold something else now.

    >>> mask = keras.Variable([True, True], dtype="bool", trainable=False)
    >>> keep_notes([mask])
    >>> set_and_note(mask, np.array([True, False]))
    >>> _ = mask.assign([True, True])  # as `model.set_weights` does
    >>> changed_by_others([mask])
    {0: array([ True, False])}
    """
    return {
        number: note
        for number, note in noted(variables).items()
        if (note != ops.convert_to_numpy(variables[number])).any()
    }
