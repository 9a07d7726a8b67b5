"""The widths of the gates' hidden layers: one that a layer's four gates share, or one a gate."""

from numbers import Integral
from typing import Any

GATES = ("input", "forget", "cell", "output")

FourWidths = tuple[int, int, int, int]
"""The width of each gate, in the order of `GATES`."""

HiddenUnits = tuple[int | FourWidths, ...]
"""For each hidden layer the width of all four gates, or that of each where they differ."""


def as_hidden_units(given: Any, units: int) -> HiddenUnits:
    """Returns the widths that a user gave: an int wherever the four gates are equally wide.

    Args:
        given: An int, `None` for `units`, or for each hidden layer an int or four of them.
        units: Width of the state.

    Raises:
        ValueError: It is none of these, or a width is not positive.

    >>> as_hidden_units((64, (32, 8, 8, 16), [5, 5, 5, 5]), 10)
    (64, (32, 8, 8, 16), 5)
    """
    if given is None:
        return (units,)
    layers = given if isinstance(given, (tuple, list)) else (given,)
    if not all(map(_is_entry, layers)):
        raise ValueError(
            "hidden_units must be a positive integer, a tuple with one of them or four (input, "
            f"forget, cell and output gate) a hidden layer, or () for none; got {given!r}."
        )
    return tuple(_as_entry(layer) for layer in layers)


def as_units(given: Any) -> int:
    """Returns the width of the state; a `ValueError` for what is no positive integer."""
    if not _is_width(given):
        raise ValueError(f"units must be a positive integer; got {given!r}.")
    return int(given)


def as_flag(given: Any, name: str) -> bool:
    """Returns a choice between two; a `ValueError` for what is neither `True` nor `False`."""
    if not isinstance(given, bool):
        raise ValueError(f"{name} must be True or False; got {given!r}.")
    return given


def four_widths(entry: int | FourWidths) -> FourWidths:
    """Returns the width of each gate of a hidden layer, of an entry of `hidden_units`.

    >>> four_widths(5)
    (5, 5, 5, 5)
    """
    return (entry, entry, entry, entry) if isinstance(entry, int) else entry


def widths_config(hidden_units: HiddenUnits) -> list[Any]:
    """Returns `hidden_units` as plain JSON data, for a configuration."""
    return [entry if isinstance(entry, int) else list(entry) for entry in hidden_units]


def _is_entry(entry: Any) -> bool:
    if isinstance(entry, (tuple, list)):
        return len(entry) == len(GATES) and all(map(_is_width, entry))
    return _is_width(entry)


def _is_width(width: Any) -> bool:
    return isinstance(width, Integral) and not isinstance(width, bool) and int(width) > 0


def _as_entry(entry: Any) -> int | FourWidths:
    if not isinstance(entry, (tuple, list)):
        return int(entry)
    i, f, c, o = map(int, entry)
    return i if i == f == c == o else (i, f, c, o)
