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

import argparse

import _peers
import keras
import numpy as np

import hlstm_tf as hl

SPARSITY = 0.9


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


def main() -> None:
    """Exports and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="128 units")
    units = 128 if parser.parse_args().quick else 512
    print(f"H-LSTM, {units} units, TFLite step form\n")
    print("| | weights | connections | bytes | gzipped |\n|---|---|--:|--:|--:|")
    for name, model in models(units).items():
        count = hl.summary(model, print_fn=None).to_dict()["connections"]
        for kind, quantization in (("float32", None), ("int8", "dynamic")):
            path = _peers.SCRATCH / "size.tflite"
            found = hl.export_tflite(model, path, form="step", quantization=quantization)
            print(f"| {name} | {kind} | {count:,} | {found.bytes:,} | {found.gzipped:,} |")


if __name__ == "__main__":
    main()
