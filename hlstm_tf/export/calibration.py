"""Full-int8 conversion, which needs samples to calibrate with and may crash."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hlstm_tf.export import calibration_worker
from hlstm_tf.export.archive import Traced
from hlstm_tf.export.calibration_worker import Calls, save_calls
from hlstm_tf.export.conversion import conversion_error
from hlstm_tf.export.layout import InputLayout
from hlstm_tf.export.preparation import repair_reversals
from hlstm_tf.export.step import Graphs
from hlstm_tf.runtime.host_loop import Arrays, HostLoop, loop_by_calls
from hlstm_tf.scoring.data import one_epoch, training_batches

Pieces = list[dict[str, np.ndarray]]

_MOST_BATCHES = 10_000


def calibration_samples(layout: InputLayout, representative: Any, quantization: Any) -> Pieces:
    """What a file is calibrated with: none where its quantization needs none."""
    if quantization == "int8" or (quantization == "best" and representative is not None):
        return representative_batches(layout, representative)
    return []


def verification_inputs(
    layout: InputLayout, verify_with: Any, representative: Pieces, batch_size: int
) -> dict[str, np.ndarray]:
    """What a file is compared on: what the user gave, else what it is calibrated with, else random
    inputs; whole batches of it."""
    if verify_with is None and not representative:
        return layout.random(batch_size)
    named = (
        layout.named(verify_with, "verify_with")
        if verify_with is not None
        else {name: array[: 8 * batch_size] for name, array in representative[0].items()}
    )
    pieces = pieces_of(named, batch_size)
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in named}


def representative_batches(layout: InputLayout, representative: Any) -> Pieces:
    """The calibration samples by input name, batch by batch.

    Args:
        layout: The model's inputs.
        representative: One batch in the model's structure; or a `tf.data.Dataset`,
            `keras.utils.PyDataset`, generator or other iterator of batches, of which a tuple's
            first part is taken, as `fit` does.

    Raises:
        ValueError: There is none, one does not fit the model, or they have no end.
    """
    if representative is None:
        raise ValueError(
            "quantization='int8' needs representative, a batch of typical inputs (some hundred "
            "samples) to measure the range of every tensor on; 'dynamic' needs none."
        )
    found = batches(representative, "representative")
    given = [layout.named(batch, "representative") for batch in found]
    if not given:
        raise ValueError("representative gave no batch; give at least one with typical inputs.")
    return given


def batches(given: Any, name: str) -> Iterator[Any]:
    """One batch as it is given, or the batches of a dataset or iterator, without their targets.

    Args:
        given: See `representative_batches`.
        name: What to call it in an error.

    Raises:
        ValueError: The batches have no end, or are more than 10,000.
    """
    is_data = isinstance(given, (tf.data.Dataset, keras.utils.PyDataset))
    given_whole = isinstance(given, (Mapping, list, tuple, np.ndarray)) or hasattr(given, "shape")
    if not is_data and (given_whole or not isinstance(given, Iterable)):
        yield given
        return
    found = training_batches(one_epoch(given, name)) if is_data else given
    for number, batch in enumerate(found):
        if number == _MOST_BATCHES:
            raise ValueError(
                f"{name} gave {_MOST_BATCHES:,} batches and did not end; give some hundred "
                "samples, such as itertools.islice(batches, 100)."
            )
        yield batch[0] if isinstance(batch, tuple) else batch


def pieces_of(named: Mapping[str, np.ndarray], batch_size: int) -> Pieces:
    """Cuts a batch into batches of `batch_size`; samples left over are dropped.

    Raises:
        ValueError: There are fewer samples than that.
    """
    samples = min(len(array) for array in named.values())
    if samples < batch_size:
        raise ValueError(
            f"the file is to take batches of {batch_size}, and only {samples} samples were given "
            "to calibrate or verify it with."
        )
    starts = range(0, samples - batch_size + 1, batch_size)
    return [
        {name: array[start : start + batch_size] for name, array in named.items()}
        for start in starts
    ]


def recorded_calls(traced: Traced, samples: Pieces) -> Calls:
    """What a host calls the signatures of a step form with, states included.

    The loop over time runs on TensorFlow's graphs, so that every state is one that the model
    itself came to.

    Args:
        traced: The step form.
        samples: The model's inputs, one batch of the file's size each.
    """
    engine = _Recorder(Graphs(traced))
    batch_size = len(next(iter(samples[0].values())))
    host = HostLoop(engine.names, engine, batch_size)
    for sample in samples:
        host.run(sample)
    return engine.calls


class _Recorder:
    """An engine of a `HostLoop` that keeps what its signatures are called with."""

    def __init__(self, engine: Graphs) -> None:
        self.names, self._engine = engine.names, engine
        self.calls: Calls = []

    def call(self, signature: str, inputs: Arrays) -> Arrays:
        """Runs a signature once."""
        self.calls.append((signature, inputs))
        return self._engine.call(signature, inputs)

    def loop(
        self,
        signature: str,
        frames: Arrays,
        states: Arrays,
        valid: np.ndarray | None,
        fixed: Arrays,
    ) -> tuple[Arrays, Arrays]:
        """Runs a step over all frames."""
        return loop_by_calls(self.call, signature, frames, states, valid, fixed)


def convert_int8(
    saved_model: Path, signatures: list[str], representative: Calls, trial: Calls, model: str
) -> bytes:
    """Calibrates, converts, and tries the result, all in a child process.

    Args:
        saved_model: The SavedModel.
        signatures: The names of its signatures.
        representative: What to calibrate each of them with.
        trial: What to call the file with once it is made.
        model: The model's name, for errors.

    Returns:
        The file's content.

    Raises:
        ValueError: The conversion was refused, or crashed, or the file does.
    """
    with tempfile.TemporaryDirectory(prefix="hlstm_tf_") as scratch:
        folder = Path(scratch)
        job = {"saved_model": str(saved_model), "signatures": signatures}
        (folder / "job.json").write_text(json.dumps(job))
        save_calls(folder / "representative.npz", representative)
        save_calls(folder / "trial.npz", trial)
        # -P: the script's own folder must not shadow installed modules.
        child = subprocess.run(
            [sys.executable, "-P", calibration_worker.__file__, str(folder)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if (folder / "error.txt").exists():
            raise conversion_error(model, (folder / "error.txt").read_text())
        if child.returncode != 0:
            raise ValueError(_crash(model, child, converted=(folder / "model.tflite").exists()))
        return repair_reversals((folder / "model.tflite").read_bytes())


def _crash(model: str, child: "subprocess.CompletedProcess[str]", converted: bool) -> str:
    what = "the int8 file" if converted else "LiteRT's int8 calibration"
    if child.returncode < 0:
        return (
            f"{what} of model {model!r} crashed (signal {-child.returncode}), as it does on loops "
            "over time; use quantization='dynamic', or form='step', which has none."
        )
    lines = child.stderr.strip().splitlines()
    return f"{what} of model {model!r} failed: {lines[-1] if lines else 'no reason given'}"
