"""Neuron groups: the neurons that one layer puts out, and everything that reads them.

The core of `shrink`, and of pruning by neuron, which does the same to the masks. A group is a
producer (a dense layer's units, a convolution's filters, the hidden layer of a gate, the state of a
recurrent layer) and a tree of what its output goes through until it is read
(consumers). Two rules, applied until nothing changes, find every dead neuron of a model, and both
keep the function:

* a neuron that puts out the same value whatever the input (all its incoming weights are zero) is
  read as a constant: its share goes into the consumers' biases, and they stop reading it;
* a neuron that nobody reads needs no incoming weights and no bias: they become zero, which may
  leave neurons before it unread. Units of a state that only dead units read are dead together.

Then the neurons that nobody reads are taken out of every array that has a place for them.

Positions may be merged with channels on the way (a Flatten, a Reshape): a consumer then has a
multiple of the producer's width, and its row r belongs to neuron r modulo that width.
"""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import keras
import numpy as np


class Producer(abc.ABC):
    """The end of a layer that puts out neurons."""

    is_state: bool = False
    """Whether the neurons are the units of a recurrent layer's state."""

    @property
    @abc.abstractmethod
    def layer(self) -> keras.Layer:
        """The layer, or the cell, whose neurons they are; of two directions the first one's."""

    @property
    @abc.abstractmethod
    def width(self) -> int:
        """How many neurons it puts out."""

    @property
    def parts(self) -> tuple[int, ...]:
        """Widths of runs of neurons that have to stay equally many; one run in most layers."""
        return (self.width,)

    @abc.abstractmethod
    def constants(self) -> np.ndarray:
        """Each neuron's output where it does not depend on the input, else NaN; `(width,)`."""

    def alive(self, read: np.ndarray) -> np.ndarray:
        """Whether a neuron is needed, given whether others read it; `(width,)` both.

        A layer whose neurons read each other (a state) needs more of them than are read outside.
        """
        return read

    @abc.abstractmethod
    def incoming(self) -> np.ndarray:
        """Sum of all that the arrays hold for what feeds a neuron, biases apart; `(width,)`."""

    @abc.abstractmethod
    def zero(self, dead: np.ndarray) -> bool:
        """Zeroes what feeds the neurons flagged; tells whether anything was not zero before."""

    @abc.abstractmethod
    def keep(self, indices: np.ndarray) -> None:
        """Takes out all neurons but these."""


class PassThrough(Protocol):
    """A layer through which every neuron goes by itself."""

    def constants(self, values: np.ndarray) -> np.ndarray:
        """What becomes of constants; NaN where the result depends on input or position."""

    def zero(self, dead: np.ndarray) -> bool:
        """Zeroes what the layer has for the neurons flagged; tells whether anything changed."""

    def keep(self, indices: np.ndarray, width: int) -> None:
        """Takes out all neurons but these, of `width`."""


class Consumer(Protocol):
    """The end of a layer that takes neurons in, each by a row of its weights."""

    @property
    def rows(self) -> int:
        """How many rows it has: a multiple of the producer's width."""

    def reads(self) -> np.ndarray:
        """Whether a row has a weight that is not zero; `(rows,)`."""

    def outgoing(self) -> np.ndarray:
        """Sum of all that the arrays hold for a row; `(rows,)`."""

    def fold(self, values: np.ndarray) -> bool:
        """Moves the share of constant rows into the bias and zeroes them, where that is exact.

        Args:
            values: `(rows,)`, the constant of each row, NaN where it has none.

        Returns:
            Whether any row was folded.
        """

    def keep(self, indices: np.ndarray, width: int) -> None:
        """Takes out the rows of all neurons but these, of `width`."""


class ManyConsumers:
    """Consumers of the same rows: the directions of a bidirectional layer, a cell's gates."""

    def __init__(self, consumers: Sequence[Consumer]) -> None:
        self._consumers = consumers

    @property
    def rows(self) -> int:
        return self._consumers[0].rows

    def reads(self) -> np.ndarray:
        return np.logical_or.reduce([consumer.reads() for consumer in self._consumers])

    def outgoing(self) -> np.ndarray:
        return np.sum([consumer.outgoing() for consumer in self._consumers], axis=0)

    def fold(self, values: np.ndarray) -> bool:
        changed = False
        for consumer in self._consumers:
            changed |= consumer.fold(values)
        return changed

    def keep(self, indices: np.ndarray, width: int) -> None:
        for consumer in self._consumers:
            consumer.keep(indices, width)


@dataclass(frozen=True)
class Branch:
    """The pass-through layers from a producer to one consumer, and the consumer.

    Attributes:
        pass_throughs: The layers between, in order.
        consumer: The end that takes the neurons in.
        reader: The layer that it belongs to.
    """

    pass_throughs: tuple[PassThrough, ...]
    consumer: Consumer
    reader: keras.Layer


@dataclass(frozen=True)
class NeuronGroup:
    """A producer and all its consumers."""

    producer: Producer
    branches: tuple[Branch, ...]

    def is_sound(self) -> bool:
        """Whether every consumer's rows are a multiple of the neurons, as the rules need."""
        return all(branch.consumer.rows % self.producer.width == 0 for branch in self.branches)

    def propagate(self) -> bool:
        """Applies both rules once; tells whether anything changed."""
        changed = False
        for branch in self.branches:
            values = self.producer.constants()
            for pass_through in branch.pass_throughs:
                values = pass_through.constants(values)
            changed |= branch.consumer.fold(np.tile(values, branch.consumer.rows // len(values)))
        return self._zero(~self.living()) or changed

    def living(self) -> np.ndarray:
        """Whether a neuron is needed; `(width,)`."""
        width = self.producer.width
        read = [branch.consumer.reads().reshape(-1, width).any(axis=0) for branch in self.branches]
        return self.producer.alive(np.logical_or.reduce(read))

    def strength(self) -> np.ndarray:
        """Sum of all that the arrays hold for a neuron, before and after it; `(width,)`."""
        width = self.producer.width
        after = [
            branch.consumer.outgoing().reshape(-1, width).sum(axis=0) for branch in self.branches
        ]
        return self.producer.incoming() + np.sum(after, axis=0)

    def remove(self, gone: np.ndarray) -> None:
        """Zeroes what feeds the neurons flagged and what reads them; `(width,)`."""
        self._zero(gone)
        nothing = np.where(gone, 0.0, np.nan)
        for branch in self.branches:
            branch.consumer.fold(np.tile(nothing, branch.consumer.rows // len(nothing)))

    def sweep(self) -> bool:
        """Removes the neurons that lost one of their ends; tells whether there were any.

        Where the arrays are masks, a neuron has an end if any connection of it exists.
        """
        width = self.producer.width
        read = [branch.consumer.reads().reshape(-1, width).any(axis=0) for branch in self.branches]
        dead = (self.producer.incoming() != 0) ^ np.logical_or.reduce(read)
        self.remove(dead)
        return bool(dead.any())

    def _zero(self, dead: np.ndarray) -> bool:
        changed = self.producer.zero(dead)
        for pass_through in self._pass_throughs():
            changed |= pass_through.zero(dead)
        return changed

    def compact(self) -> int:
        """Takes out the neurons that nobody needs, but never the last one; tells how many."""
        width = self.producer.width
        kept = _topped_up(self.living(), self.producer.parts)
        if kept.size == width:
            return 0
        self.producer.keep(kept)
        for branch in self.branches:
            branch.consumer.keep(kept, width)
        for pass_through in self._pass_throughs():
            pass_through.keep(kept, width)
        return width - kept.size

    def _pass_throughs(self) -> Iterator[PassThrough]:
        """Each pass-through layer once: branches that fork late have some in common."""
        pass_throughs = (
            pass_through for branch in self.branches for pass_through in branch.pass_throughs
        )
        yield from {id(pass_through): pass_through for pass_through in pass_throughs}.values()


def propagate_all(groups: Sequence[NeuronGroup]) -> None:
    """Applies the rules to all groups until nothing changes: a death may bring others with it."""
    # Every round that changes anything zeroes weights for good, so this comes to an end.
    changed = True
    while changed:
        changed = False
        for group in groups:
            changed |= group.propagate()


def _topped_up(living: np.ndarray, parts: Sequence[int]) -> np.ndarray:
    """Indices of the living and of as few dead as make each part equally wide, and not empty.

    >>> _topped_up(np.array([True, True, False, False, True, False]), (3, 3))
    array([0, 1, 3, 4])
    """
    runs = np.split(living, np.cumsum(parts)[:-1])
    width = max(1, *(int(run.sum()) for run in runs))
    # A stable sort puts the living first; then each run's choice goes back into its order.
    chosen = [np.sort(np.argsort(~run, kind="stable")[:width]) for run in runs]
    starts = np.cumsum([0, *parts[:-1]])
    return np.concatenate([start + run for start, run in zip(starts, chosen, strict=True)])


def merged(indices: np.ndarray, width: int, rows: int) -> np.ndarray:
    """Returns the rows that belong to neurons, where `rows` merges positions and neurons.

    >>> merged(np.array([0, 2]), width=3, rows=6)
    array([0, 2, 3, 5])
    """
    return (np.arange(0, rows, width)[:, None] + indices).ravel()
