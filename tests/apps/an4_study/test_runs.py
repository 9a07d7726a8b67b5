import dataclasses
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from apps.an4_study import runs, trainings
from apps.an4_study.fronts import points
from apps.an4_study.iterations import IterationModels
from apps.an4_study.latency import time_all
from apps.an4_study.measures import count_layers
from apps.an4_study.presets import AN4_EXTRA
from apps.an4_study.recipe import StudyRecipe
from apps.an4_study.records import add_records, read_results
from apps.an4_study.rows import Row, Table
from apps.common.errors import InputError
from apps.common.files import alone, write_json
from apps.common.plan import GrowAndPruneRecipe
from apps.common.record import NAME, read_record
from apps.speech.recognizer import load_keras
from tests.apps.an4_study.conftest import TINY

PLAN = GrowAndPruneRecipe(
    growth_epochs=1, step=0.5, retrain_epochs=2, tolerance=5.0, max_iterations=2
)


def tables(recipe=None, timed=False):
    recipe = recipe or dataclasses.replace(TINY, grow_and_prune=PLAN)
    return {"tiny": Table(1, (Row("tiny", "tiny", recipe),), timed)}


def totals(record):
    """Connections of each stage."""
    return {name: sum(each[1] for each in counts) for name, counts in record["measures"]["layers"]}


@pytest.fixture
def place(toy_corpus, cache, tmp_path):
    return runs.Place(toy_corpus, tmp_path / "runs", cache)


@pytest.fixture
def finished(gp_run, place):
    """A folder of runs with one that is trained, and how to go on with it."""
    folder = place.folder / "tiny-seed-0"
    shutil.copytree(gp_run.folder, folder)
    # Its only iteration is its last.
    shutil.copy(folder / "model.keras", folder / "iteration-1.keras")
    return tables(StudyRecipe.from_json(read_record(folder)["recipe"]))


def test_a_trained_row_is_measured_once_and_kept_as_a_small_record(
    finished, place, tmp_path, monkeypatch, capsys
):
    [folder] = runs.run_all(finished, place)
    assert "ablate: 1/1 trainings" in capsys.readouterr().err
    record = read_record(folder)
    sizes = totals(record)
    assert list(sizes) == ["seed", "trained", "iteration 1"]
    assert sizes["seed"] < sizes["trained"] > sizes["iteration 1"]
    assert sizes["iteration 1"] == record["result"]["connections"]
    assert [stage for stage, _ in record["measures"]["hidden"]] == ["trained", "iteration 1"]
    monkeypatch.setattr(runs, "measure", None)
    assert list(runs.run_all(finished, place)) == [folder]

    [kept] = add_records([place.folder], tmp_path / "results")
    assert kept.name == "tiny-seed-0.json"
    assert kept.stat().st_size < 20_000
    [small] = read_results(tmp_path / "results")
    assert StudyRecipe.from_json(small["recipe"]) == finished["tiny"].rows[0].recipe
    assert [cost for cost, _ in points(small)] == [sizes["trained"], sizes["iteration 1"]]
    assert points(small)[-1][1] == record["result"]["wer"]


@pytest.mark.training
def test_every_iteration_of_a_training_is_kept_as_it_went_on(place):
    [folder] = runs.run_all(tables(), place)
    record = read_record(folder)
    sizes = totals(record)
    assert list(sizes) == ["seed", "trained", "iteration 1", "iteration 2"]
    assert sizes["iteration 1"] > sizes["iteration 2"] == record["result"]["connections"]
    counts = record["measures"]["layers"][-1][1]
    assert count_layers(load_keras(folder / "iteration-2.keras")) == counts
    weights = [load_keras(folder / f"{name}.keras").get_weights()
               for name in ("model", "iteration-2")]  # fmt: skip
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert time_all(tables(timed=True), place)
    record = read_record(folder)
    assert len(record["latency"]["ms"]) == 3
    assert min(record["latency"]["ms"]) > 0
    assert not time_all(tables(timed=True), place)
    assert time_all(tables(timed=True), place, anew=True)


def test_the_best_epoch_of_each_iteration_is_kept_the_later_of_equals(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    record = SimpleNamespace(content={"epochs": []})
    gp = SimpleNamespace(progress=SimpleNamespace(phase="training", phase_epoch=0, iteration=0))
    keeper = IterationModels(tmp_path, record, gp)
    keeper.set_model(model)
    # Two iterations; in the second, the first epoch's step is tried anew, finer.
    went = [("training", 0, 0, 0.1), ("retraining", 0, 0, 0.4), ("retraining", 1, 0, 0.3),
            ("retraining", 2, 0, 0.3), ("retraining", 3, 0, 0.5), ("retraining", 0, 1, 0.2),
            ("retraining", 0, 1, 0.6), ("retraining", 1, 1, 0.7)]  # fmt: skip
    for epoch, (phase, phase_epoch, iteration, wer) in enumerate(went):
        vars(gp.progress).update(phase=phase, phase_epoch=phase_epoch, iteration=iteration)
        model.layers[0].kernel.assign([[float(epoch)]])
        keeper.on_epoch_end(epoch, {"val_wer": wer})
        record.content["epochs"].append({"epoch": epoch, "val_wer": wer})
    kept = {path.name: keras.models.load_model(path).get_weights()[0].item()
            for path in tmp_path.iterdir()}  # fmt: skip
    assert kept == {"iteration-1.keras": 3.0, "iteration-2.keras": 6.0}


def test_what_another_process_trains_is_left_until_later(place, monkeypatch):
    monkeypatch.setattr(runs, "_run", lambda job, place: place.folder / job.name)
    waited = []
    with alone(place.folder / "tiny-seed-0") as ours:
        assert ours
        monkeypatch.setattr(runs.time, "sleep", lambda seconds: waited.append(seconds) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(runs.run_all(tables(), place))
    assert waited == [runs.WAIT]
    assert list(runs.run_all(tables(), place)) == [place.folder / "tiny-seed-0"]


def test_a_loss_that_is_no_number_ends_its_own_training_only(place, monkeypatch, capsys):
    two = {"two": Table(1, (Row("bad", "bad", TINY), Row("good", "good", TINY)))}

    def run(job, place):
        if job.row.name == "bad":
            raise FloatingPointError("the loss is nan")
        return place.folder / job.name

    monkeypatch.setattr(runs, "_run", run)
    found = []
    with pytest.raises(InputError, match="no result of bad-seed-0"):
        found.extend(runs.run_all(two, place))
    assert found == [place.folder / "good-seed-0"]
    assert "bad-seed-0: the loss is nan" in capsys.readouterr().err


def test_rows_get_the_help_that_they_are_about(place, monkeypatch):
    place = dataclasses.replace(place, expert=place.folder / "expert.keras")
    helped = {}

    def train(recipe, corpus, folder, cache, *, extra, aligner, teacher, **_):
        helped[folder.name] = (extra, aligner, teacher)
        raise FloatingPointError

    monkeypatch.setattr(runs, "train", train)
    monkeypatch.setattr(trainings, "synthesise", lambda folder, **sizes: (folder, sizes))
    rows = (
        Row("plain", "plain", TINY),
        Row("extra", "extra", TINY, extra=True),
        Row("spliced", "spliced", dataclasses.replace(TINY, spliced=1)),
        Row("taught", "taught", dataclasses.replace(TINY, teacher_share=0.5)),
    )
    with pytest.raises(InputError, match="no result of plain-seed-0, extra-seed-0"):
        list(runs.run_all({"helped": Table(1, rows)}, place))
    assert helped == {
        "plain-seed-0": (None, None, None),
        "extra-seed-0": ((place.folder / "synthesised", AN4_EXTRA), None, None),
        "spliced-seed-0": (None, place.expert, None),
        "taught-seed-0": (None, None, place.expert),
    }


def test_what_has_a_record_of_the_same_recipe_can_be_left_out(place, monkeypatch):
    monkeypatch.setattr(runs, "_run", lambda job, place: job.name)
    rows = tuple(Row(name, name, TINY) for name in ("done", "changed", "new"))
    other = dataclasses.replace(TINY, seed=0, units=5)
    known = [
        {"row": "done", "seed": 0, "recipe": TINY.to_json()},
        {"row": "done", "seed": 1, "recipe": dataclasses.replace(TINY, seed=1).to_json()},
        {"row": "changed", "seed": 0, "recipe": other.to_json()},
    ]
    found = list(runs.run_all({"three": Table(2, rows)}, place, known=known))
    assert found == [f"{name}-seed-{seed}" for seed in (0, 1) for name in ("changed", "new")]


def test_nothing_is_timed_before_all_is_trained(place):
    assert not time_all(tables(), place)
    assert not time_all(tables(timed=True), place)
    write_json(place.folder / "tiny-seed-0" / NAME, {"epochs": []})
    assert not time_all(tables(timed=True), place)
