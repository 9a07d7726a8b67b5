"""A model folder for `saved_models/`: exported files, record, figures and a model card."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from apps.common.errors import InputError
from apps.common.export import TFLITE, Exported
from apps.common.files import written_beside
from apps.common.model_card import finished_record, scored_once, size_of, write_card
from apps.common.plots import new_figure
from apps.common.rate import Rate
from apps.common.record import NAME
from apps.common.run import COMPACT
from apps.digits.batches import scoring_data
from apps.digits.classifier import load
from apps.digits.evaluate import errors
from apps.digits.export import export_digits
from apps.digits.gathered import pixel_weights
from apps.digits.mnist import Splits
from apps.digits.table import DENSE, WHAT

PIXELS = "pixels.png"


def write_model(
    run: str | os.PathLike[str], folder: str | os.PathLike[str], splits: Splits
) -> list[Path]:
    """Export a finished training and write its model card.

    Args:
        run: Folder of the training.
        folder: Gets `model.tflite`, the SavedModel's folder `1`, `record.json`, `README.md` and,
            of a network that looks at some of the pixels only, `pixels.png`.
        splits: The digits it was trained on; the files are compared with the Keras model on
            validation digits, and scored on them again.

    Returns:
        The files.

    Raises:
        InputError: The training is not finished.
    """
    run, folder = Path(run), Path(folder)
    record = finished_record(run)
    exported = export_digits(run / COMPACT, folder, images=scoring_data(splits.valid)[0][:500])
    rate = errors(load(exported.tflite), splits.valid)
    if (rate.errors, rate.total) != (
        record["result"]["valid"]["errors"],
        record["result"]["valid"]["total"],
    ):
        raise InputError(
            f"{exported.tflite}: {rate.errors} errors of {rate.total} validation digits, the record"
            f" has {record['result']['valid']}; give the --data-dir of the training"
        )
    counts = None
    if record["recipe"]["arch"] == "lenet-300-100":
        counts = pixel_weights(exported.network)
        plot_pixels(counts, folder / PIXELS)
    text = card(record, exported, folder.name, counts, is_mnist(splits))
    files = [*write_card(run, folder, text), *exported.files]
    return files + ([] if counts is None else [folder / PIXELS])


TEST_ERROR = {
    ("lenet-300-100", 3, 65): "1.46 % (146 of 10,000)",
    ("lenet-5", 0, 32): "0.69 % (69 of 10,000)",
}
"""Errors of `saved_models`' files on MNIST's test digits, by network, seed and
validation errors, which tell the training."""


def _test_result(arch: str, seed: int, errors: int, name: str) -> str:
    """What a card says of the test digits; nothing where they were not scored."""
    if (arch, seed, errors) not in TEST_ERROR:
        return ""
    error = TEST_ERROR[arch, seed, errors]
    return scored_once(
        "MNIST's test digits",
        f"**error {error}**. Who has\nthem",
        f"python -m apps.digits evaluate --model saved_models/{name}/{TFLITE} --data-dir MNIST"
        " --split test",
    )


MNIST_LABELS = 3_121_080_559
"""CRC-32 of the labels in MNIST's training file."""


def is_mnist(splits: Splits) -> bool:
    """Whether the training digits are MNIST's: other data sets have files of the same names."""
    labels = np.concatenate([splits.train.labels, splits.valid.labels]).astype(np.uint8)
    return zlib.crc32(labels.tobytes()) == MNIST_LABELS


def card(
    record: dict[str, Any], exported: Exported, name: str, counts: np.ndarray | None, mnist: bool
) -> str:
    """Return the text of a model card.

    Args:
        record: Of the training.
        exported: What the export wrote.
        name: Of the model's folder.
        counts: How many weights read each pixel; None where every pixel is read.
        mnist: Whether it was trained on MNIST; else on other files of that kind.
    """
    data = "MNIST's handwritten digits" if mnist else "the ten classes of its training files"
    folder = "MNIST" if mnist else "DATA"
    recipe, result = record["recipe"], record["result"]
    arch, rate = recipe["arch"], Rate(**result["valid"])
    parameters, flops = DENSE[arch]
    low, high = rate.interval
    tested = _test_result(arch, recipe["seed"], rate.errors, name) if mnist else ""
    pixels = ""
    if counts is not None:
        pixels = f"It looks at {np.count_nonzero(counts)} of the {counts.size} pixels:\n\n"
        pixels += f"![how many weights read each pixel]({PIXELS})\n\n"
    shape = (
        "one bright image on black at a time. Anything\nelse it takes for one of the classes, too."
    )
    if mnist:
        shape = (
            "single, bright on black, in\na box of 20 x 20 that is centered by mass (`classify`"
            " brings any image there). Anything else it\ntakes for a digit, too."
        )
    dense = ""
    if "dense" in record:
        whole = Rate(**record["dense"]["valid"])
        dense = f" The dense network of the same training made {whole.errors}."
    return f"""# {WHAT[arch]}, grown and pruned

Recognises 28 x 28 images of {data}, in {result["parameters"]:,} parameters.
Seed {recipe["seed"]} of the recipe, which is in `record.json`.

| file | bytes | logits against the Keras model's, largest difference as a share of their range |
|---|---|---|
| `{TFLITE}`, float32 | {size_of(exported.tflite):,} | {exported.errors[0]:.1e} |
| `1`, SavedModel, signature `serve` | {size_of(exported.files[1]):,} | \
{exported.errors[1]:.1e} |
| `{NAME}` | | every epoch of the training, and what came of it |

```
python -m apps.digits classify drawing.png --model saved_models/{name}/{TFLITE}
python -m apps.digits evaluate --model saved_models/{name}/{TFLITE} --data-dir {folder}
python -m apps.digits train --arch {arch} --seed {recipe["seed"]} --data-dir {folder} --out RUN
python -m apps.digits card RUN --data-dir {folder} --out saved_models/{name}
```

| figure | here | dense | |
|---|---|---|---|
| parameters | {result["parameters"]:,} | {parameters:,} | \
{parameters / result["parameters"]:.1f} x fewer |
| of them weights, biases | {result["weights"]:,}, {result["biases"]:,} | | |
| FLOPs an image | {result["flops"]:,} | {flops:,} | {flops / result["flops"]:.1f} x fewer |
| validation error | {100 * rate.value:.2f} % ({rate.errors} of {rate.total:,}) | | 95 % interval \
{100 * low:.2f} to {100 * high:.2f} % |

Parameters: weights and biases that are not zero. FLOPs: 2 for each weight at each place where it is
applied. All figures are printed by `train` and `evaluate`, the bytes by `export`.{dense} The
validation digits, the last {rate.total:,} of the training files, chose the recipe and the best \
epoch of
each retraining. Test digits decided nothing.{tested}

{pixels}**Made for** {data}, the data it was trained on: {shape}
"""


def plot_pixels(counts: np.ndarray, path: Path) -> Path:
    """Draw how many weights read each pixel, `(height, width)`."""
    figure = new_figure(4.2, 3.4)
    axes = figure.subplots()
    shown = axes.imshow(counts, cmap="magma", interpolation="nearest")
    figure.colorbar(shown, ax=axes, label="weights that read the pixel")
    axes.set(title=f"{(counts > 0).sum()} of {counts.size} pixels are read", xticks=[], yticks=[])
    with written_beside(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path
