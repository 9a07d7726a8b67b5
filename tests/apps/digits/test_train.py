"""Trainings of seconds on tiny digits."""

import contextlib
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from apps.common.callbacks import EpochLog
from apps.common.errors import InputError
from apps.common.files import alone
from apps.common.record import read_record
from apps.digits.cost import cost_of
from apps.digits.evaluate import errors
from apps.digits.model import lenet_300_100
from apps.digits.recipe import Recipe, Stage
from apps.digits.train import (
    Trained,
    compacted,
    grow_and_prune,
    seed_architecture,
    train,
)

FINE = {"distribution": "global", "score": "activation"}
TINY = Recipe(
    "lenet-300-100",
    (
        Stage(
            "grow", growth_epochs=1, growth_ratio=0.5, births=0.02, train_epochs=4, rate=1e-2,
            shrink=True,
        ),
        Stage("prune", step=0.5, iterations=2, retrain_rate=3e-3, retrain_floor=1.0, **FINE),
    ),
    seed_sparsity=0.5,
    seed_neurons=0.1,
    batch_size=20,
    augment=None,
    teacher_epochs=1,
    seed=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def told(splits, tmp_path_factory):
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
        done = train(TINY, splits, tmp_path_factory.mktemp("run") / "tiny")
    return done, stream.getvalue().splitlines()


@pytest.fixture(scope="module")
def trained(told):
    return told[0]


def test_progress_names_the_stages_why_each_ended_and_the_time_left_of_all(told):
    line = re.compile(
        r"lenet-300-100: stage (\d)/3, (\w+): (epoch \d+/\d+, validation error \d+\.\d\d %"
        r"(?:, \w+, [\d,]+ connections)?, \d+:\d\d left|(?!epoch).+)"
    )
    found = [line.fullmatch(text) for text in told[1]]
    assert all(found), told[1]
    stages = list(dict.fromkeys((match[1], match[2]) for match in found))
    assert stages == [("1", "dense"), ("2", "grow"), ("3", "prune")]
    ends = [(match[1], match[3]) for match in found if "epoch" not in match[3]]
    assert [stage for stage, _ in ends] == ["2", "3"]
    assert "2 iterations" in ends[1][1], ends


def test_a_training_leaves_a_compact_model_and_a_record(trained, splits):
    folder = trained.folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "compact.keras", "dense.keras", "model.keras", "record.json",
    ]  # fmt: skip
    record = read_record(folder)
    compact = keras.models.load_model(trained.model)
    assert record["result"] == trained.result
    assert trained.result["parameters"] == cost_of(compact).parameters
    assert trained.result["valid"] == vars(errors(compact, splits.valid))
    assert [entry["stage"] for entry in record["epochs"]] == ["grow"] * 4 + ["prune"] * 2
    assert record["dense"]["weights"] == 266_200
    assert Recipe.from_json(record["recipe"]) == TINY
    sizes = [entry["connections_after"] for entry in record["epochs"]]
    assert sizes[0] > record["epochs"][0]["connections"]
    assert sizes[-1] < sizes[3] / 3


def test_it_learned_the_digits(trained):
    assert trained.result["valid"]["errors"] <= 4  # of 20; 18 by chance


def test_the_compact_model_computes_what_the_masked_one_does(trained, splits):
    images = splits.valid.images[..., None].astype(np.float32) / 255
    masked = keras.models.load_model(trained.folder / "model.keras")
    compact = keras.models.load_model(trained.model)
    np.testing.assert_allclose(compact(images), masked(images), atol=1e-4)
    assert not hl.masked_kernels(compact)


def test_a_finished_training_is_not_done_again(trained, splits):
    before = {p.name: p.stat().st_mtime_ns for p in trained.folder.iterdir()}
    assert train(TINY, splits, trained.folder) == trained
    assert {p.name: p.stat().st_mtime_ns for p in trained.folder.iterdir()} == before


def test_a_folder_of_another_recipe_is_refused(trained, splits):
    other = Recipe(**{**vars(TINY), "seed": 4})
    with pytest.raises(InputError, match="another recipe; give another --out"):
        train(other, splits, trained.folder)


def test_a_folder_that_another_process_trains_in_is_refused(splits, tmp_path):
    with (
        alone(tmp_path / "state"),
        pytest.raises(InputError, match="another process is training there; wait for it"),
    ):
        train(TINY, splits, tmp_path)


class Stopped(BaseException):
    """What no training catches, as a kill."""


def test_a_training_that_was_stopped_ends_as_an_uninterrupted_one(
    trained, splits, tmp_path, monkeypatch
):
    folder = tmp_path / "stopped"
    folder.mkdir()
    shutil.copy(trained.folder / "dense.keras", folder)
    original = EpochLog.on_epoch_end

    def stop(self, epoch, logs=None):
        original(self, epoch, logs)
        if self.label.endswith("prune") and epoch == 0:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "on_epoch_end", stop)
        with pytest.raises(Stopped):
            train(TINY, splits, folder)
    assert (folder / "state" / "prune").is_dir()
    again = train(TINY, splits, folder)
    assert_same(again, trained)


@pytest.mark.training
def test_a_training_that_was_killed_ends_as_an_uninterrupted_one(trained, splits, mnist, tmp_path):
    folder = tmp_path / "killed"
    script = (
        "import json, sys\n"
        "from apps.digits.mnist import load\n"
        "from apps.digits.recipe import Recipe\n"
        "from apps.digits.train import train\n"
        "train(Recipe.from_json(json.loads(sys.argv[1])), load(sys.argv[2]), sys.argv[3])\n"
    )
    command = [sys.executable, "-c", script, json.dumps(TINY.to_json()), str(mnist), str(folder)]
    # As the teacher is done, then amid growth, then amid pruning.
    for reached in ("dense.keras", "state/grow/history.csv", "state/prune/history.csv"):
        process = subprocess.Popen(
            command, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while not (folder / reached).exists() and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert "result" not in read_record(folder)
    assert_same(train(TINY, splits, folder), trained)


def assert_same(found: Trained, expected: Trained) -> None:
    """The same figures, and the same weights bit for bit."""
    assert found.result == expected.result
    for name in ("dense.keras", "model.keras", "compact.keras"):
        weights = keras.models.load_model(found.folder / name).get_weights()
        others = keras.models.load_model(expected.folder / name).get_weights()
        for one, other in zip(weights, others, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_seed_has_as_few_neurons_as_the_recipe_says():
    model = seed_architecture(TINY)
    living = [int(k.mask.numpy().any(0).sum()) for k in hl.masked_kernels(model)]
    assert living == [30, 10, 10]


def test_compacting_keeps_function_and_connections():
    model = hl.sparsify(lenet_300_100(), 0.6, neurons={"first": 20, "second": 9})
    small = compacted(model)
    masks = [kernel.mask.numpy() for kernel in hl.masked_kernels(small)]
    assert [mask.shape for mask in masks] == [(784, 20), (20, 9), (9, 10)]
    assert sum(map(np.sum, masks)) == cost_of(model).weights
    images = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)
    np.testing.assert_allclose(small(images), model(images), atol=1e-5)


@pytest.mark.parametrize(
    ("limits", "share"),
    [
        ({"parameters": 532_400}, 0.5),
        ({"flops": 266_200}, 2.0),
        ({"parameters": 532_400, "flops": 266_200}, 2.0),
        ({"parameters": 133_100, "flops": 266_200}, 2.0),
        ({"parameters": 133_100, "flops": 532_400}, 2.0),
    ],
)
def test_a_stage_goes_on_until_no_cost_exceeds_its_limit(limits, share):
    stage = Stage("prune", iterations=1, **limits)
    budget = grow_and_prune(stage, None, None, 0).plan.pruning.budget
    # 266,200 weights, no bias that is not zero, 532,400 FLOPs.
    assert budget.measure(lenet_300_100()) == share
    assert budget.limit == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed_sparsity": 1.5}, "seed_sparsity: got 1.5; expected 0 to 1"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"stages": (Stage("a"), Stage("a"))}, "two have the same name among a, a"),
    ],
)
def test_a_recipe_out_of_range_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Recipe(**{**vars(TINY), **changes})
