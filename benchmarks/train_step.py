"""Times a training step of recurrent layers against Keras's and torch's, in one run.

    python benchmarks/train_step.py            # 256 and 800 units, 150 steps
    python benchmarks/train_step.py --quick    # 64 units, 50 steps, without torch

A step is forward, backward and the gradients' sums, on one batch of 16, on all cores. Memory has a
benchmark of its own, `train_memory.py`. bfloat16 is faster than float32 on processors that have
instructions for it (AVX512_BF16, AMX), and as fast on others.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from _measure import Row, Run, compare, options, show, try_peers, write

import hlstm_tf as hl
from hlstm_tf.layers.operators import multiplies_bfloat16

BATCH = 16
LSTM, GRU = "keras.layers.LSTM", "keras.layers.GRU"
NO_MASKS = "HLSTM without masks"
EPOCH = "an epoch"


def main() -> None:
    given = options(__doc__)
    widths, steps, rounds = ([64], 50, 3) if given.quick else ([256, 800], 150, 5)
    tables: dict[str, list[Row]] = {}
    text = ""
    bits = "has" if multiplies_bfloat16() else "has no"
    print(f"this processor {bits} bfloat16 instructions", flush=True)
    for units in widths:
        for title, peers, reference in comparisons(units, steps, not given.quick):
            title = f"{title}, {units} units, {steps} steps"
            tables[title] = compare(try_peers(peers), reference, rounds)
            text += show(title, tables[title], reference) + "\n"
    units, batches, epochs, turns = (64, 10, 6, 1) if given.quick else (256, 16, 8, 5)
    title = f"A growth event after an epoch of {batches} batches, H-LSTM, {units} units"
    tables[title] = growth_rows(units, batches, epochs, turns)
    text += show_shares(title, tables[title]) + "\n"
    write(given, tables, text)


def comparisons(
    units: int, steps: int, torch: bool
) -> list[tuple[str, dict[str, Callable[[], Run]], str]]:
    """Titles, what prepares the runs by name, and the run that the others are compared with."""
    x = tf.random.stateless_normal((BATCH, steps, units), seed=(0, 0))

    def ours(make: Callable[..., keras.Layer], **arguments: Any) -> Callable[[], Run]:
        return lambda: step_of(make(units, return_sequences=True, **arguments), x)

    low = {"matmul_dtype": "bfloat16"}
    lstms = {
        LSTM: ours(keras.layers.LSTM),
        "MaskedLSTM": ours(hl.MaskedLSTM),
        "MaskedLSTM, bfloat16": ours(hl.MaskedLSTM, **low),
        "HLSTM": ours(hl.HLSTM),
        "HLSTM, bfloat16": ours(hl.HLSTM, **low),
        "HLSTM, recompute": ours(hl.HLSTM, recompute=True),
        "keras.layers.RNN(HLSTMCell)": lambda: step_of(
            keras.layers.RNN(hl.HLSTMCell(units), return_sequences=True), x
        ),
    }
    grus = {
        GRU: ours(keras.layers.GRU),
        "MaskedGRU": ours(hl.MaskedGRU),
        "MaskedGRU, bfloat16": ours(hl.MaskedGRU, **low),
        "MaskedGRU, reset before": ours(hl.MaskedGRU, reset_after=False),
    }
    if torch:  # whose threads wait for one another by spinning, minutes long on a busy machine
        lstms["torch LSTM"] = lambda: torch_step(units, x, "LSTM")
        if multiplies_bfloat16():  # else a step takes it seconds
            lstms["torch LSTM, bfloat16"] = lambda: torch_step(units, x, "LSTM", bfloat16=True)
        grus["torch GRU"] = lambda: torch_step(units, x, "GRU")
    masks = {NO_MASKS: ours(hl.HLSTM, masked=False), "HLSTM": ours(hl.HLSTM)}
    return [("LSTM", lstms, LSTM), ("GRU", grus, GRU), ("Masks", masks, NO_MASKS)]


def step_of(layer: keras.Layer, x: tf.Tensor) -> Run:
    """A compiled training step of `layer` on the batch `x`."""
    layer(x)
    variables = [variable.value for variable in layer.trainable_variables]

    @tf.function
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=True))
        return [tf.reduce_sum(gradient) for gradient in tape.gradient(loss, variables)]

    return step


def torch_step(units: int, x: tf.Tensor, kind: str, bfloat16: bool = False) -> Run:
    """torch's training step on the batch `x`, on all cores."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    model = getattr(torch.nn, kind)(units, units, batch_first=True).to(dtype)
    batch = torch.from_numpy(x.numpy()).to(dtype)

    def step() -> list[Any]:
        model.zero_grad()
        model(batch)[0].sum().backward()
        return [parameter.grad.sum() for parameter in model.parameters()]

    return step


class EpochTimes(keras.callbacks.Callback):
    """Seconds of each epoch's training, and of what the callbacks between do at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[float] = []
        self.ended: list[float] = []
        self.after = keras.callbacks.LambdaCallback(on_epoch_end=self._mark_end)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._finished = time.perf_counter()
        self.trained.append(self._finished - self._began)

    def _mark_end(self, epoch: int, logs: Any = None) -> None:
        self.ended.append(time.perf_counter() - self._finished)


def growth_rows(units: int, batches: int, epochs: int, turns: int) -> list[Row]:
    """An epoch's training, a growth event with a pass of its own, and one by the epoch's steps.

    An event by the epoch's steps costs what its epoch takes longer than others, too. The three are
    trained in turn, and an event is taken against the epochs of its own turn.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH * batches, 50, units)).astype("float32")
    y = rng.normal(size=(BATCH * batches, 1)).astype("float32")

    def train(during: str | None) -> EpochTimes:
        layer = hl.HLSTM(units)
        model = keras.Sequential([keras.Input((50, units)), layer, keras.layers.Dense(1)])
        hl.edit_masks(
            {kernel: rng.random(kernel.shape) < 0.5 for kernel in hl.masked_kernels(model)}
        )
        model.compile("sgd", "mse")
        times = EpochTimes()
        between = []
        if during is not None:
            growth = {"during": during, "batch_size": BATCH, "epochs": epochs, "verbose": 0}
            between = [hl.GradientGrowth((x, y), **growth)]
        called = [times, *between, times.after]
        model.fit(x, y, BATCH, epochs, callbacks=called, verbose=0)
        return times

    seconds: dict[str, list[float]] = {EPOCH: [], "by a pass": [], "by the epoch's steps": []}
    shares: dict[str, list[float]] = {name: [] for name in seconds}
    for _ in range(turns):
        plain, by_pass, by_epoch = map(train, (None, "pass", "epoch"))
        epoch = statistics.median(plain.trained[2:])  # the first ones trace
        collecting = statistics.median(by_epoch.trained[2:]) - epoch
        taken = (plain.trained[2:], by_pass.ended[2:], [collecting + t for t in by_epoch.ended[2:]])
        for name, values in zip(seconds, taken, strict=True):
            seconds[name] += values
            shares[name] += [value / epoch for value in values]
    return [growth_row(name, seconds[name], shares[name]) for name in seconds]


def growth_row(name: str, seconds: list[float], shares: list[float]) -> Row:
    """A row whose ratio is the share of an epoch; of what costs nothing it may be below zero."""
    ordered = sorted(shares)
    quarter = len(ordered) // 4
    low, high = ordered[quarter], ordered[-1 - quarter]
    return Row(name, 1e6 * statistics.median(seconds), statistics.median(shares), low, high)


def show_shares(title: str, rows: list[Row]) -> str:
    """Prints and returns the growth events' Markdown table."""
    lines = [f"\n### {title}\n", "| | ms | share of an epoch | middle half |", "|---|--:|--:|---|"]
    lines += [
        f"| {row.name} | {row.us / 1e3:,.0f} | {row.ratio:.2f} | {row.low:.2f} to {row.high:.2f} |"
        for row in rows
    ]
    text = "\n".join(lines)
    print(text, flush=True)
    return text


if __name__ == "__main__":
    main()
