import dataclasses

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from apps.common.record import read_record
from apps.digits import compare
from apps.digits.compare import TARGET, Way, to_target, ways
from apps.digits.model import lenet_300_100
from apps.digits.recipe import Recipe, Stage
from apps.digits.recipes import RECIPES, SHORT_EPOCHS, recipe, short
from apps.digits.train import seed_architecture


def test_every_way_is_planned_to_end_at_the_same_size():
    for way in ways():
        if way.recipe is None:
            continue
        planned = to_target(way.recipe(0))
        first, last = planned.stages
        grown = 266_200 * (1 - planned.seed_sparsity * 0.9**first.growth_epochs)
        left = grown * (1 - first.step) ** first.iterations * (1 - last.step)
        assert left == pytest.approx(TARGET, rel=1e-6), way.kind
        assert planned.epochs == sum(SHORT_EPOCHS.values())


def test_ways_differ_in_what_they_are_named_for_alone():
    gradient, random, pruning, tfmot = [way for way in ways() if way.table == "comparison"]
    assert tfmot.recipe is None
    one, other = gradient.recipe(4), random.recipe(4)
    first = dataclasses.replace(other.stages[0], growth_score="gradient")
    assert dataclasses.replace(other, stages=(first, *other.stages[1:])) == one
    assert pruning.recipe(4).seed_sparsity == 0
    assert pruning.recipe(4).stages[0].growth_epochs == 0


def test_seeds_go_from_very_sparse_to_full():
    sparsities = [way.recipe(0).seed_sparsity for way in ways() if way.table == "seeds"]
    assert sparsities == sorted(sparsities, reverse=True)
    assert len(sparsities) >= 5
    assert sparsities[-1] == 0


@pytest.mark.parametrize("arch", ["lenet-300-100", "lenet-5"])
def test_every_recipe_begins_with_a_seed_that_is_smaller_than_the_dense_network(arch):
    chosen = recipe(arch)
    model = seed_architecture(chosen)
    dense = {"lenet-300-100": 266_200, "lenet-5": 430_500}[arch]
    masks = [kernel.mask.numpy() for kernel in hl.masked_kernels(model)]
    assert sum(int(mask.sum()) for mask in masks) < 0.6 * dense
    assert type(chosen).from_json(chosen.to_json()) == chosen


def test_recipes_come_by_name():
    assert set(RECIPES) == {"lenet-300-100", "lenet-5", "alexnet-cifar"}
    assert short(7).seed == 7


def test_tfmot_gets_the_connections_that_the_way_before_it_ends_with(
    splits, mnist, tmp_path, monkeypatch
):
    stage = Stage("prune", step=0.9, iterations=1, distribution="global")
    pruning = Recipe("lenet-300-100", (stage,), batch_size=60, augment=None)
    chosen = [Way("pruning", "comparison", lambda seed: pruning), Way("tfmot", "comparison", None)]
    monkeypatch.setattr(compare, "ways", lambda: chosen)
    monkeypatch.setattr(compare, "to_target", lambda recipe: recipe)
    jobs = []

    def process(job):
        jobs.append(job)
        weights = lenet_300_100().get_weights()
        weights[0][:, :40] = 0  # neurons of a zero bias that nothing reaches: gone when shrunk
        np.savez(job["out"], *weights)

    monkeypatch.setattr(compare, "_tfmot_process", process)
    run, other = compare.run_all(splits, mnist, tmp_path, seeds=1)
    left = keras.models.load_model(run / "compact.keras", compile=False).get_weights()
    assert jobs[0]["connections"] == [np.count_nonzero(kernel) for kernel in left[::2]]
    record = read_record(other)
    assert record["recipe"]["connections"] == jobs[0]["connections"]
    assert record["result"]["weights"] == 784 * 260 + 260 * 100 + 1000
    assert record["result"]["valid"]["total"] == len(splits.valid)
    assert [path.name for path in other.iterdir()] == ["record.json"]
    assert list(compare.run_all(splits, mnist, tmp_path, seeds=1)) == [run, other]
    assert len(jobs) == 1


@pytest.mark.training
def test_every_way_trains_to_about_the_same_size(mnist, splits, tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_model_optimization")
    chosen = [way for way in ways() if way.table == "comparison"]
    monkeypatch.setattr(compare, "ways", lambda: chosen)
    folders = list(compare.run_all(splits, mnist, tmp_path, seeds=1))
    records = [read_record(folder) for folder in folders]
    assert [record["kind"] for record in records] == [way.kind for way in chosen]
    *ours, tfmot = records
    for record in ours:
        left = record["epochs"][-1]["connections_after"]
        assert left == pytest.approx(TARGET, rel=0.1)
        assert record["result"]["weights"] <= left
    assert sum(tfmot["recipe"]["connections"]) == ours[-1]["result"]["weights"]
    assert tfmot["result"]["weights"] <= ours[-1]["result"]["weights"]
    for record in records:
        assert record["result"]["valid"]["total"] == len(splits.valid)
    assert list(compare.run_all(splits, mnist, tmp_path, seeds=1)) == folders
