"""Lines that callbacks print between epochs."""

from typing import Any

import keras


def own_line(callback: keras.callbacks.Callback, text: str) -> str:
    """Returns a text that stands on a line of its own, also where `fit` draws a progress bar."""
    params: dict[str, Any] = callback.params or {}
    return ("\n" if params.get("verbose") else "") + text
