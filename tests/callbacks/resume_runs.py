"""Runs that are killed and started again; a script of its own, since each run is a process.

    python resume_runs.py DIRECTORY '{"chain": [{"epoch": 1}, {"epoch": 3}]}' [--compiled]

TensorFlow is imported once; each run is a child forked before TensorFlow has started anything, so
it is a process that really dies of SIGKILL. Writes outcome.json: how each run ended. Each run would
compile the passes of its recurrence anew, in three seconds: only with `--compiled` they are.
"""

import json
import os
import signal
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf

import hlstm_tf as hl
from hlstm_tf.callbacks import EpochData, GrowAndPrune, Growth, Pruning
from hlstm_tf.layers import passes

# What each epoch is worth, so that the sequence is the same on any machine: two epochs grow, the
# next meets the threshold; of the two of an iteration the first suffices, then neither does, so
# that it is rolled back; with a finer step the second does, and a last iteration fails for good.
QUALITY = [9.0, 9.0, 1.0, 0.8, 0.9, 5.0, 4.0, 2.0, 0.7, 6.0, 6.0]
THRESHOLD = 1.0
EPOCHS = 20


class Quality(keras.callbacks.Callback):
    """Puts the monitored value into the logs, as an app's word error rate comes there."""

    def on_epoch_end(self, epoch, logs=None):
        logs["quality"] = QUALITY[epoch]


def make_model() -> keras.Model:
    """Dropout, batch normalization, a decaying rate, momentum: all sorts of state."""
    model = keras.Sequential(
        [
            keras.Input((1, 3)),
            hl.HLSTM(4, hidden_units=3, hidden_dropout=0.2),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.Dropout(0.1),
            hl.MaskedDense(1),
        ]
    )
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.95)
    # Eager, so that nothing is traced: a run takes two seconds instead of ten.
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), "mse", run_eagerly=True)
    for number, kernel in enumerate(hl.masked_kernels(model)):
        mask = np.random.default_rng(number).random(kernel.mask.shape) < 0.6
        hl.edit_masks({kernel: mask})
    return model


def make_data(epoch):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(16, 1, 3)).astype("float32")
    y = (x[:, :, 0].sum(axis=1, keepdims=True) > 0).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, y))
    return data.shuffle(16, seed=epoch).batch(8).prefetch(2)


class Kill(keras.callbacks.Callback):
    """Dies in the second batch of an epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch, self.now = epoch, -1

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.epoch and batch == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def die_in_write(name: str, count: int, torn: bool) -> None:
    """Makes the process die between the writing of a file and its renaming, or half-way through."""
    rename, seen = os.replace, 0

    def replace(source, target):
        nonlocal seen
        if name in os.fspath(target):
            seen += 1
            if seen == count:
                if torn:
                    os.truncate(source, os.path.getsize(source) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    os.replace = replace


def run(directory: Path, kill: dict) -> None:
    warnings.simplefilter("ignore")
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    # A restart begins from other weights and other generators: all has to come from the directory.
    keras.utils.set_random_seed(99 if (directory / "state.json").exists() else 0)
    if "write" in kill:
        die_in_write(**kill["write"])
    train = EpochData(make_data)
    model = make_model()
    gp = GrowAndPrune(
        train,
        growth=Growth(epochs=2, ratio=0.7),
        pruning=Pruning(step=0.4, min_step=0.2, retrain_epochs=2),
        monitor="quality",
        threshold=THRESHOLD,
        directory=directory,
        verbose=0,
    )
    callbacks = [Quality(), gp, *([Kill(kill["epoch"])] if "epoch" in kill else [])]
    model.fit(train, epochs=EPOCHS, callbacks=callbacks, verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    bits = [keras.ops.convert_to_numpy(v).tobytes().hex() for v in variables]
    masks = [keras.ops.convert_to_numpy(k.mask).tolist() for k in hl.masked_kernels(model)]
    history = [{k: v for k, v in r.items() if k != "seconds"} for r in gp.history]
    result = {
        "variables": bits,
        "masks": masks,
        "history": history,
        "keras_history": [model.history.epoch, model.history.history],
        "reason": gp.progress.reason,
        "activation": model.layers[0].hidden_activation.__name__,
    }
    (directory / "result.json").write_text(json.dumps(result))


def in_child(directory: Path, kill: dict) -> int:
    """Runs in a child process; returns its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            run(directory, kill)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(base: Path, chains: dict[str, list[dict]]) -> None:
    """Runs once without a kill, and each chain: killed, started again, killed again, to the end."""
    outcome: dict[str, dict] = {"whole": {"statuses": [in_child(base / "whole", {})]}}
    for name, kills in chains.items():
        directory = base / name
        statuses, files = [], []
        for kill in [*kills, {}]:
            statuses.append(in_child(directory, kill))
            files.append(sorted(file.name for file in directory.glob("*")))
        outcome[name] = {"statuses": statuses, "files": files}
    for name, facts in outcome.items():
        result = base / name / "result.json"
        facts["result"] = json.loads(result.read_text()) if result.exists() else None
    (base / "outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    if "--compiled" not in sys.argv[3:]:
        passes.XLA_WEIGHTS = -1
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
