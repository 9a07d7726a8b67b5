"""A model's connections, sparsity, FLOPs and bytes, as a table and as data."""

from collections.abc import Callable, Iterator
from typing import Any

import keras

from hlstm_tf.transforms.counting import Part, count_model
from hlstm_tf.transforms.rewriting import check_model

_LEVELS = ("model", "layer", "kernel", "gate")
_HEADINGS = (
    "Layer, kernel, gate",
    "Shape",
    "Connections",
    "of",
    "Sparsity",
    "Biases",
    "FLOPs a step",
    "Bytes",
    "Gzipped",
)
_NOTE = (
    "FLOPs: 2 a connection at each place where its kernel is applied in a step (one step of a "
    "sequence, else one sample).\nBytes: all weights as dense float32, and each variable gzipped; "
    "masks are not counted.\nSingle connections that are gone make an exported file smaller only "
    "where it is gzipped, and not\nfaster; whole neurons and units do, once the model is shrunk."
)


class Summary:
    """What a model consists of; `str` gives the table, `to_dict` the data.

    Attributes:
        model: The counts of the whole model; its `parts` are the layers, theirs the kernels.
        connections: Connections that exist: by the masks, or weights that are not zero.
        parameters: Connections and biases (which include the vectors of normalization layers).
        sparsity: Fraction of the places in the kernels that have no connection.
        flops: 2 for each connection at each place where its kernel is applied in a step.
        bytes: Of all weights as dense float32.
        gzipped_bytes: The same, each variable compressed with gzip.
    """

    def __init__(self, model: Part, level: str = "gate") -> None:
        self.model = model
        self.connections = model.connections
        self.parameters = model.parameters
        self.sparsity = model.sparsity
        self.flops = model.flops
        self.bytes = model.bytes
        self.gzipped_bytes = model.gzipped_bytes or 0
        self._level = level

    def to_dict(self) -> dict[str, Any]:
        """Returns all counts as plain JSON data; `layers` holds those of the parts.

        Keys: `name`, `class`, `connections`, `nonzero`, `places`, `biases`, `parameters`,
        `sparsity`, `flops`, `bytes`, `gzipped_bytes`, `layers`; a layer's kernels and vectors
        and a kernel's gates are in its `parts`.
        """
        data = self.model.to_dict()
        data["layers"] = data.pop("parts", [])
        return data

    def __str__(self) -> str:
        depth = _LEVELS.index(self._level)
        rows = [_row(part, indent) for part, indent in _lines(self.model, depth)]
        total = _row(self.model, 0)
        widths = [max(len(row[i]) for row in (_HEADINGS, *rows, total)) for i in range(9)]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        lines = [_align(_HEADINGS, widths), rule, *(_align(row, widths) for row in rows)]
        if rows:
            lines.append(rule)
        return "\n".join([*lines, _align(total, widths), "", _NOTE])

    def __repr__(self) -> str:
        return (
            f"<Summary of {self.model.name}: {self.connections:,} connections, "
            f"{self.parameters:,} parameters, {100 * self.sparsity:.1f} % sparse>"
        )


def summary(
    model: keras.Model,
    *,
    level: str = "gate",
    print_fn: Callable[[str], Any] | None = print,
) -> Summary:
    """Prints what a model consists of, and returns it.

    One line a gate, a kernel, a layer, and the model: connections that exist and places there
    would be, sparsity, biases, FLOPs a step and bytes. Masked, stripped, shrunk and plain Keras
    models are counted alike: a connection exists where the mask says so or, without a mask, where
    the weight is not zero.

    Args:
        model: A built Keras model.
        level: The finest lines of the table: "gate" (default), "kernel", "layer" or "model".
        print_fn: Takes the table. Default: `print`; `None` prints nothing.

    Returns:
        The counts.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: It is not built, or there is no such level.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> counts = hl.summary(hl.sparsify(model, sparsity=0.75), print_fn=None)
    >>> counts.connections, counts.parameters, counts.flops, counts.bytes
    (8, 12, 16, 144)
    """
    check_model(model)
    if level not in _LEVELS:
        raise ValueError(f"`level` must be one of {', '.join(_LEVELS)}, got {level!r}")
    counted = Summary(count_model(model), level)
    if print_fn is not None:
        print_fn(str(counted))
    return counted


def _lines(model: Part, depth: int) -> Iterator[tuple[Part, int]]:
    def walk(parts: tuple[Part, ...], indent: int) -> Iterator[tuple[Part, int]]:
        for part in parts:
            yield part, indent
            if indent + 2 <= depth:
                yield from walk(part.parts, indent + 1)

    if depth >= 1:
        yield from walk(model.parts, 0)


def _row(part: Part, indent: int) -> tuple[str, ...]:
    name = "  " * indent + (f"{part.name} ({part.detail})" if part.detail else part.name)
    shape = " x ".join(str(axis) for axis in part.shape)
    gzipped = "" if part.gzipped_bytes is None else f"{part.gzipped_bytes:,}"
    biases = f"{part.biases:,}" if part.biases else ""
    if not part.places:
        return name, shape, "", "", "", biases, "", f"{part.bytes:,}", gzipped
    return (
        name,
        shape,
        f"{part.connections:,}",
        f"{part.places:,}",
        f"{100 * part.sparsity:.1f} %",
        biases,
        f"{part.flops:,}",
        f"{part.bytes:,}",
        gzipped,
    )


def _align(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
