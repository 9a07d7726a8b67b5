"""Lists what the same H-LSTM weighs as a file: dense, pruned by connection, pruned by neuron.

    python benchmarks/sizes.py             # 512 units
    python benchmarks/sizes.py --quick     # 128 units

Zeros among the weights cost as much as other weights, unless the file is compressed on its way to
the phone; neurons that are gone cost nothing anywhere. The pruned models have random masks: sizes
do not depend on which connections stay.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from dataclasses import dataclass

import _measure
import _peers
import keras
import numpy as np
from _progress import Progress

import hlstm_tf as hl

SPARSITY = 0.9
KINDS = {"float32": None, "int8": "dynamic"}


@dataclass(frozen=True)
class Size:
    """A line of the table.

    Attributes:
        model: What was done to the model.
        weights: Their type in the file.
        connections: Weights that are not dormant, biases apart.
        bytes, gzipped: Of the file.
    """

    model: str
    weights: str
    connections: int
    bytes: int
    gzipped: int


def masked(units: int) -> keras.Model:
    """An H-LSTM whose hidden layers are as wide as its state, all connections there."""
    keras.utils.set_random_seed(0)
    layer = hl.HLSTM(units, return_sequences=True)
    return _peers.recurrent_model([layer], units)


def models(units: int) -> dict[str, keras.Model]:
    """The model dense, thinned, and narrowed to about as many connections."""
    thin, narrow = masked(units), masked(units)
    rng = np.random.default_rng(0)
    for kernel in hl.masked_kernels(thin):
        hl.edit_masks({kernel: rng.random(kernel.variable.shape) >= SPARSITY})
    alive = np.arange(units) < round(units * (1 - SPARSITY))
    for kernel in hl.masked_kernels(narrow):
        neurons = (1, 1, alive.size) if kernel.name != "output_kernel" else (1, alive.size, 1)
        mask = np.broadcast_to(alive.reshape(neurons), kernel.variable.shape)
        hl.edit_masks({kernel: mask})
    return {
        "dense": masked(units),
        f"{SPARSITY:.0%} of the connections gone": thin,
        f"{SPARSITY:.0%} of the hidden neurons gone": hl.shrink(narrow),
    }


def sizes(units: int) -> list[Size]:
    """Exports each model in each precision."""
    found = []
    built = models(units)
    progress = Progress("exporting", len(built) * len(KINDS))
    for name, model in built.items():
        count = hl.summary(model, print_fn=None).to_dict()["connections"]
        for kind, quantization in KINDS.items():
            path = _peers.SCRATCH / "size.tflite"
            file = hl.export_tflite(model, path, form="step", quantization=quantization)
            found.append(Size(name, kind, count, file.bytes, file.gzipped))
            progress.advance()
    return found


def main() -> None:
    """Exports and prints the table."""
    given = _measure.options(__doc__)
    units = 128 if given.quick else 512
    title = f"H-LSTM, {units} units, TFLite step form"
    rows = sizes(units)
    lines = [
        f"\n### {title}\n",
        "| | weights | connections | bytes | gzipped |",
        "|---|---|--:|--:|--:|",
        *(
            f"| {r.model} | {r.weights} | {r.connections:,} | {r.bytes:,} | {r.gzipped:,} |"
            for r in rows
        ),
    ]
    text = "\n".join(lines)
    print(text)
    _measure.write(given, {title: rows}, text)


if __name__ == "__main__":
    main()
