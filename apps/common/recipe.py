"""Recipes of trainings: values that are checked, travel as JSON, and have names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from apps.common.errors import InputError

AnyRecipe = TypeVar("AnyRecipe", bound=Any)


def check(name: str, value: object, holds: bool, expected: str) -> None:
    """Raise an `InputError` that names a value which is not as expected.

    >>> check("epochs", 0, False, "at least 1")
    Traceback (most recent call last):
    ...
    apps.common.errors.InputError: epochs: got 0; expected at least 1
    """
    if not holds:
        raise InputError(f"{name}: got {value}; expected {expected}")


def plain(value: Any) -> Any:
    """Return a value as JSON has it: dataclasses as dictionaries, by their `config()` where they
    have one, and tuples as lists.

    >>> plain({"widths": (3, 4)})
    {'widths': [3, 4]}
    """
    if hasattr(value, "config"):
        return plain(value.config())
    if dataclasses.is_dataclass(value):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def restored(values: Mapping[str, Any], **makers: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the arguments of a dataclass of which `plain` made a dictionary.

    Args:
        values: The dictionary; lists become tuples.
        **makers: Make the values of a name, other than None, from their plain form.

    >>> restored({"widths": [3, 4], "stages": [1, 2]}, stages=sum)
    {'widths': (3, 4), 'stages': 3}
    """
    return {
        name: makers[name](value) if name in makers and value is not None else _tuples(value)
        for name, value in values.items()
    }


def _tuples(value: Any) -> Any:
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value


def named(
    recipes: Mapping[str, AnyRecipe], kind: str, name: str, changes: Mapping[str, Any]
) -> AnyRecipe:
    """Return a recipe by its name, with some of its values changed.

    Args:
        recipes: By name.
        kind: What the names are called, for the message.
        name: Of the one that is wanted.
        changes: Values by the names of fields.

    Raises:
        InputError: There is no such recipe, or a value is out of range.
    """
    check(kind, repr(name), name in recipes, f"one of {', '.join(recipes)}")
    return dataclasses.replace(recipes[name], **changes)
