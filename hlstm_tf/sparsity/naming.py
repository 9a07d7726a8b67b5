"""Structures by their names."""

from __future__ import annotations

import re

from .structures import NM, Block, Column, Connection, Row, Structure
from .wholes import Neuron, Unit

__all__ = ["get_structure"]


def get_structure(name: str | Structure) -> Structure:
    """Return the structure of that name; a structure comes back as it is.

    Args:
        name: "connection", "row", "column", "neuron", "unit", a pattern such as "2:4" (2 of every
            4), or a block such as "1x4", with or without the word "block" before it.

    Raises:
        ValueError: If there is no structure of that name.

    >>> get_structure("block 1x16"), get_structure("2:4")
    (Block(rows=1, cols=16, pooling='mean'), NM(n=2, m=4))
    """
    if isinstance(name, Structure):
        return name
    text = name.strip().lower() if isinstance(name, str) else ""
    simple: dict[str, Structure] = {
        "connection": Connection(),
        "row": Row(),
        "column": Column(),
        "neuron": Neuron(),
        "unit": Unit(),
    }
    if text in simple:
        return simple[text]
    if match := re.fullmatch(r"(?:block[ _-]?)?(\d+)x(\d+)", text):
        return Block(int(match[1]), int(match[2]))
    if match := re.fullmatch(r"(\d+):(\d+)", text):
        return NM(int(match[1]), int(match[2]))
    raise ValueError(
        f"`structure` must be a Structure or one of 'connection', 'row', 'column', 'neuron', "
        f"'unit', a block such as '1x4' or a pattern such as '2:4', got {name!r}"
    )
