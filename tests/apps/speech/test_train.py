import dataclasses
import re
import shutil

import numpy as np
import pytest

import hlstm_tf as hl
from apps.common.errors import InputError
from apps.common.files import alone, write_json
from apps.common.plan import GrowAndPruneRecipe
from apps.common.record import read_record
from apps.common.run import started
from apps.speech.cost import cost_of
from apps.speech.recipe import PRESETS, Recipe, preset
from apps.speech.recognizer import load_keras
from apps.speech.train import Training, build_from, train
from tests.apps.conftest import TINY
from tests.apps.speech.interruption import assert_an_interrupted_run_ends_as_the_whole_one


def test_grow_and_prune_leaves_a_compact_model_of_the_same_function(gp_run):
    names = {path.name for path in gp_run.folder.iterdir()}
    assert names == {"model.keras", "compact.keras", "grown.keras", "record.json"}
    masked, compact = load_keras(gp_run.folder / "model.keras"), load_keras(gp_run.model)
    assert not hl.masked_kernels(compact)
    assert read_record(gp_run.folder)["reason"] == "1 iterations are complete"
    rng = np.random.default_rng(0)
    x = {
        "features": rng.normal(size=(2, 30, 8)).astype("float32"),
        "lengths": np.array([30, 21], "int32"),
    }
    np.testing.assert_allclose(compact(x), masked(x), atol=1e-5)
    grown = load_keras(gp_run.folder / "grown.keras")
    assert cost_of(compact).connections == cost_of(masked).connections
    assert 0.4 < cost_of(masked).connections / cost_of(grown).connections < 0.6


def test_the_record_tells_phases_and_result(gp_run):
    record = read_record(gp_run.folder)
    assert [e["phase"] for e in record["epochs"]] == ["growth", "training", "retraining"]
    connections = [e["connections"] for e in record["epochs"]]
    assert connections[0] < connections[1] > connections[2]
    assert record["result"] == gp_run.result
    assert record["result"]["connections"] == connections[2]
    assert Recipe.from_json(record["recipe"]).grow_and_prune.max_iterations == 1


@pytest.mark.training
def test_a_training_that_does_not_prune_ends_with_what_pruning_would_have_begun_with(
    gp_run, toy_corpus, cache, tmp_path
):
    recipe = Recipe.from_json(read_record(gp_run.folder)["recipe"])
    plan = dataclasses.replace(recipe.grow_and_prune, max_iterations=0)
    recipe = dataclasses.replace(recipe, grow_and_prune=plan)
    run = train(recipe, toy_corpus, tmp_path, cache)
    assert [e["phase"] for e in read_record(run.folder)["epochs"]] == ["growth", "training"]
    expected = load_keras(gp_run.folder / "grown.keras").get_weights()
    for name in ("grown", "model"):
        found = load_keras(run.folder / f"{name}.keras").get_weights()
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert run.result["connections"] == cost_of(load_keras(run.model)).connections


def test_utterances_that_are_left_out_for_their_length_are_counted(
    toy_corpus, cache, tmp_path, capsys
):
    recipe = dataclasses.replace(TINY, max_seconds=3.0)
    training = Training(recipe, toy_corpus, tmp_path, cache)
    kept = len(training.material().features)
    assert 0 < kept < 12
    said = f"left out {12 - kept} of 12 training utterances, longer than 3 s"
    assert said in capsys.readouterr().err


def test_a_finished_training_is_not_done_again(gp_run, toy_corpus, cache):
    recipe = Recipe.from_json(read_record(gp_run.folder)["recipe"])
    before = (gp_run.folder / "model.keras").stat().st_mtime_ns
    assert train(recipe, toy_corpus, gp_run.folder, cache) == gp_run
    assert (gp_run.folder / "model.keras").stat().st_mtime_ns == before


def test_a_finished_training_of_an_earlier_version_is_recognised(
    gp_run, toy_corpus, cache, tmp_path
):
    folder = tmp_path / "run"
    shutil.copytree(gp_run.folder, folder)
    record = read_record(folder)
    recipe = Recipe.from_json(record["recipe"])
    del record["recipe"]["rooms"]
    write_json(folder / "record.json", record)
    assert train(recipe, toy_corpus, folder, cache).result == gp_run.result
    write_json(folder / "record.json", {**record, "recipe": {"units": 4}})
    with pytest.raises(InputError, match="holds a training with another recipe"):
        train(recipe, toy_corpus, folder, cache)


def test_another_training_in_the_folder_is_refused(gp_run, toy_corpus, cache):
    recipe = Recipe.from_json(read_record(gp_run.folder)["recipe"])
    other = dataclasses.replace(recipe, seed=5)
    with pytest.raises(InputError, match="holds a training with another recipe"):
        train(other, toy_corpus, gp_run.folder, cache)


def test_a_folder_that_another_process_trains_in_is_refused(toy_corpus, cache, tmp_path):
    with (
        alone(tmp_path / "run" / "state"),
        pytest.raises(InputError, match="run: another process is training there; wait for it"),
    ):
        train(TINY, toy_corpus, tmp_path / "run", cache)
    assert not (tmp_path / "run" / "record.json").exists()


@pytest.mark.training
def test_an_interrupted_dense_training_ends_as_the_uninterrupted_one(
    toy_corpus, cache, tmp_path, monkeypatch
):
    recipe = dataclasses.replace(TINY, cell="lstm", dropout=0.3)
    assert_an_interrupted_run_ends_as_the_whole_one(
        lambda folder: train(recipe, toy_corpus, folder, cache), tmp_path, monkeypatch
    )


@pytest.mark.representatives("demo-lstm", "streaming")
@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_networks_that_carry_their_front_end(name):
    recipe = PRESETS[name]
    model = build_from(recipe)
    assert model.speech_input.front_end == recipe.front_end.config()
    assert bool(hl.masked_kernels(model)) >= bool(recipe.grow_and_prune)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs: got 0"),
        ({"dropout": 1.0}, "dropout: got 1.0"),
        ({"speeds": (1.0, 0.0)}, "speeds: got (1.0, 0.0); expected one or more, each 0.5 to 2"),
        ({"max_seconds": 0.0}, "max_seconds: got 0.0; expected above 0, or None"),
        ({"cell": "lstm"}, "structures: got neuron connection for gates without hidden layers"),
        ({"hidden_units": ()}, "structures: got neuron connection for gates without hidden layers"),
        ({"cell": "gru", "hidden_units": (8,)}, "hidden_units: got (8,) for cell 'gru'"),
        ({"rooms": -1}, "rooms: got -1; expected 0 or more"),
        ({"learning_rate": 0.0}, "learning_rate: got 0.0"),
        ({"warmup_epochs": 50.0}, "warmup_epochs: got 50.0"),
        ({"grow_and_prune": GrowAndPruneRecipe(growth_epochs=99)}, "growth_epochs: got 99"),
    ],
)
def test_a_recipe_out_of_range_is_named(changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        preset("demo", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed_sparsity": 1.5}, "seed_sparsity: got 1.5; expected 0 to below 1"),
        ({"growth_ratio": 2.0}, "grow-and-prune: `ratio` must be a number between 0 and 1"),
        ({"growth_score": "luck"}, "grow-and-prune: `score` must be"),
        ({"step": 0.0}, "grow-and-prune: `step` must be above 0"),
        ({"structures": ("foo",)}, "grow-and-prune: `structure` must be"),
        ({"retrain_rate": -1.0}, "retrain_rate: got -1.0; expected above 0"),
        ({"threshold": 0.0}, "threshold: got 0.0; expected a share above 0"),
        ({"tolerance": -0.1}, "tolerance: got -0.1; expected 0 or more"),
        ({"target_sparsity": 1.0}, "target_sparsity: got 1.0; expected above the seed's 0.5"),
        ({"target_sparsity": 0.3}, "target_sparsity: got 0.3; expected above the seed's 0.5"),
    ],
)
def test_a_plan_out_of_range_is_named_before_anything_is_trained(changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        GrowAndPruneRecipe(**changes)


def test_an_unknown_preset_is_named():
    with pytest.raises(InputError, match="preset: got 'big'; expected one of demo"):
        preset("big")


def test_a_network_of_plain_layers_goes_on_with_its_zeros_as_masks(tmp_path):
    recipe = dataclasses.replace(TINY, grow_and_prune=GrowAndPruneRecipe(growth_epochs=1))
    before = build_from(recipe)
    other = dataclasses.replace(recipe, seed=1)
    after = started(build_from(other), hl.strip(before), "plain.keras")
    for old, new in zip(before.get_weights(), after.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert any(not kernel.mask.numpy().all() for kernel in hl.masked_kernels(after))


def test_a_training_goes_on_from_another_network_of_its_architecture(
    gp_run, toy_corpus, cache, tmp_path
):
    start = gp_run.folder / "model.keras"
    recipe = dataclasses.replace(
        Recipe.from_json(read_record(gp_run.folder)["recipe"]),
        learning_rate=1e-12,
        epochs=1,
        warmup_epochs=0.5,
        weight_decay=0.0,
        grow_and_prune=GrowAndPruneRecipe(
            growth_epochs=0, step=0.5, retrain_epochs=1, retrain_rate=1e-12, threshold=2.0,
            max_iterations=1,
        ),
    )  # fmt: skip
    run = train(recipe, toy_corpus, tmp_path / "run", cache, start=start)
    before, grown = load_keras(start), load_keras(run.folder / "grown.keras")
    for old, new in zip(before.trainable_variables, grown.trainable_variables, strict=True):
        np.testing.assert_allclose(old, new, atol=1e-6)
    assert cost_of(grown).connections == cost_of(before).connections
    wider = dataclasses.replace(recipe, units=5)
    with pytest.raises(InputError, match=r"model\.keras has another architecture than the recipe"):
        train(wider, toy_corpus, tmp_path / "wider", cache, start=start)
