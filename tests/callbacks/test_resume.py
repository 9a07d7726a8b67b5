"""A run that is killed again and again ends as the run that was left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("resume_runs.py")

# Epochs 0 and 1 grow, 2 trains, 3 and 4 retrain the first iteration, 5 and 6 a second that is
# rolled back, 7 and 8 again with a finer step, 9 and 10 a third that fails for good. A write's
# count is within its process.
KILLS = [
    {"write": {"name": "state.json", "count": 1, "torn": True}},  # before anything is on disk
    {"epoch": 0},  # growth
    {"write": {"name": "snapshot", "count": 1, "torn": False}},  # growth's state, before renaming
    {"epoch": 2},  # after the shift: training
    {"write": {"name": "state.json", "count": 1, "torn": True}},  # the first pruning's
    {"write": {"name": "snapshot", "count": 2, "torn": True}},  # retraining, half a file
    {"write": {"name": "state.json", "count": 3, "torn": False}},  # the rollback's
    {"epoch": 7},  # retraining after it
    {"write": {"name": "history.csv", "count": 4, "torn": False}},  # the last, once it counts
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict:
    folder = tmp_path_factory.mktemp("runs")
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    more = ["--compiled"] if request.config.getoption("compiled") else []
    subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), json.dumps({"killed": KILLS}), *more],
        check=True,
        cwd=Path(__file__).parents[2],
        env=environment,
        timeout=400,
    )
    return json.loads((folder / "outcome.json").read_text())


def test_the_uninterrupted_run_passes_every_phase_and_rolls_back(runs: dict) -> None:
    assert runs["whole"]["statuses"] == [0]
    history = runs["whole"]["result"]["history"]
    assert [(record["phase"], record["events"]) for record in history] == [
        ("growth", ["grow"]),
        ("growth", ["grow", "shift"]),
        ("training", ["complete", "prune"]),
        ("retraining", []),
        ("retraining", ["restore_best", "complete", "prune"]),
        ("retraining", []),
        ("retraining", ["roll_back", "prune"]),
        ("retraining", []),
        ("retraining", ["complete", "prune"]),
        ("retraining", []),
        ("retraining", ["roll_back", "finish"]),
    ]


def test_every_process_was_killed_but_the_last(runs: dict) -> None:
    assert runs["killed"]["statuses"] == [-9] * len(KILLS) + [0]


def test_the_killed_run_ends_bit_identical(runs: dict) -> None:
    whole, killed = runs["whole"]["result"], runs["killed"]["result"]
    assert killed["masks"] == whole["masks"]
    assert killed["variables"] == whole["variables"]
    assert killed["reason"] == whole["reason"]
    assert killed["activation"] == whole["activation"] == "relu"


def test_the_killed_run_tells_the_same_history(runs: dict) -> None:
    whole, killed = runs["whole"]["result"], runs["killed"]["result"]
    assert killed["history"] == whole["history"]
    assert killed["keras_history"] == whole["keras_history"]


def test_a_kill_in_mid_write_leaves_a_file_beside_and_the_next_start_clears_it(runs: dict) -> None:
    files = runs["killed"]["files"]
    assert any(name.endswith(".partial") for name in files[0])
    assert not any(name.endswith(".partial") for name in files[-1])
    kept = [name for name in files[-1] if name.endswith(".npz")]
    assert len(kept) <= 3  # current, best of the phase, last complete iteration
