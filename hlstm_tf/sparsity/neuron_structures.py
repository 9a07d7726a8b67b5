"""Structures that span several matrices: whole neurons and units; and structures by name.

Only what is physically gone makes a layer faster, and a neuron goes only with all its connections,
those before it and those after it. `hlstm_tf.shrink` then takes it out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from hlstm_tf.sparsity.checks import check_count
from hlstm_tf.sparsity.structures import NM, Block, Column, Connection, Row, Structure

_FEW = 4
"""How many multiples a layer is to be wide for its widths to go by them."""


@dataclass(frozen=True)
class NeuronStructure(Structure):
    """What the structures of neurons have in common: widths that engines like.

    The rules on one matrix do not take them, and they are for pruning: a neuron without
    connections hears nothing and has no gradient to grow by.

    Args:
        multiple: A layer's width is rounded to the nearest multiple of it; 8 by default, the lanes
            of a vector register of float32: one neuron more costs as much as eight
            (`benchmarks/width_sweep.py` shows it for your machine). In a layer narrower than four
            multiples half of it counts, and so on, or a small step would round to nothing.
        minimum: Width that stays at least; 8 by default.
    """

    name: ClassVar[str]
    multiple: int = 8
    minimum: int = 8

    def __post_init__(self) -> None:
        check_count(self.multiple, "multiple")
        check_count(self.minimum, "minimum")

    def __str__(self) -> str:
        return self.name

    def left(self, alive: int, size: int, ratio: float | None, sparsity: float | None) -> int:
        """Returns how many of `alive` neurons, of `size` places, stay.

        Args:
            ratio: The part of the living that is to go, or
            sparsity: the part of all that is to be gone.

        >>> Neuron().left(80, 96, ratio=0.2, sparsity=None), Unit().left(80, 96, None, 0.5)
        (64, 48)
        """
        if sparsity is not None:
            return min(alive, self.narrowed(size, sparsity))
        assert ratio is not None
        return self.narrowed(alive, ratio)

    def narrowed(self, width: int, ratio: float) -> int:
        """Returns how many of `width` neurons stay when the part `ratio` goes."""
        return self.rounded(width * (1 - ratio), width)

    def rounded(self, wanted: float, most: int) -> int:
        """Returns how many of `most` neurons stay where `wanted` would do.

        >>> Neuron().rounded(51.2, 64), Neuron().rounded(12.8, 16), Neuron().rounded(3, 16)
        (48, 12, 8)
        """
        multiple = self.multiple_of(most)
        return min(most, max(multiple * round(wanted / multiple), self.minimum))

    def one_multiple_less(self, alive: int) -> int:
        """Returns the next width below `alive` neurons, or `alive` at the minimum.

        >>> [Neuron().one_multiple_less(alive) for alive in (96, 9, 8)]
        [88, 8, 8]
        """
        multiple = self.multiple_of(alive)
        return min(alive, max(multiple * ((alive - 1) // multiple), self.minimum))

    def multiple_of(self, width: int) -> int:
        """Return what the width of a layer of `width` neurons is rounded to a multiple of.

        >>> [Neuron().multiple_of(width) for width in (64, 31, 8)]
        [8, 4, 2]
        """
        multiple = self.multiple
        while multiple > 1 and width < _FEW * multiple:
            multiple //= 2
        return multiple

    def tile(self, shape: tuple[int, int]) -> tuple[int, int]:
        raise ValueError(
            f"structure '{self}' spans several matrices: it is for pruning whole models. To grow, "
            "or to prune a matrix, choose 'connection', 'row', 'column' or a block."
        )


@dataclass(frozen=True)
class Neuron(NeuronStructure):
    """A neuron with all its connections, before it and after it: for pruning.

    Neurons are the hidden neurons of H-LSTM gates, the units of dense layers, the filters of
    convolutions and the columns of embeddings, wherever `hlstm_tf.shrink` could take them out and
    all that feeds or reads them has masks. The units of recurrent states are `Unit`'s. A neuron
    counts by the sum of its connections' scores, or by its own where a score has one ("output").

    Args:
        multiple: A layer's width is rounded to the nearest multiple of it, in a layer narrower than
            four of them to half of it, and so on; 8 by default.
        minimum: Width that stays at least; 8 by default.
        equal: Whether the four gates of an H-LSTM layer keep equally many (a gate that is narrower
            keeps all it has). Otherwise the weakest neurons of all four go, and each gate's width
            is rounded by itself.
        of: "all"; "gates", hidden neurons of H-LSTM gates only; or "layers", all others only.

    Raises:
        ValueError: An argument is none of these.

    >>> Neuron().narrowed(96, 0.4), Neuron(multiple=1, minimum=1).narrowed(96, 0.4)
    (56, 58)
    """

    name: ClassVar[str] = "neuron"
    equal: bool = True
    of: str = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.equal, bool):
            raise ValueError(f"`equal` must be True or False, got {self.equal!r}")
        if self.of not in ("all", "gates", "layers"):
            raise ValueError(f"`of` must be 'all', 'gates' or 'layers', got {self.of!r}")


@dataclass(frozen=True)
class Unit(NeuronStructure):
    """A unit of a recurrent layer's state: h and c together, wherever it is made or read.

    With it go its part of every gate, the recurrent connections that read it and those of the
    layers after: for pruning of LSTM, GRU, simple recurrent and H-LSTM layers whose output reaches
    layers with masks only. The two directions of a bidirectional layer stay equally wide.

    Args:
        multiple: A layer's width is rounded to the nearest multiple of it, in a layer narrower than
            four of them to half of it, and so on; 8 by default.
        minimum: Width that stays at least; 8 by default.

    >>> str(Unit()), Unit(minimum=32).narrowed(64, 0.9)
    ('unit', 32)
    """

    name: ClassVar[str] = "unit"


def get_structure(name: str | Structure) -> Structure:
    """Returns the structure of that name; a structure comes back as it is.

    Args:
        name: "connection", "row", "column", "neuron", "unit", a pattern such as "2:4" (2 of every
            4), or a block such as "1x4", with or without the word "block" before it.

    Raises:
        ValueError: If there is no structure of that name.

    >>> get_structure("block 1x16"), get_structure("2:4")
    (Block(outputs=1, inputs=16, pooling='mean'), NM(n=2, m=4))
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
