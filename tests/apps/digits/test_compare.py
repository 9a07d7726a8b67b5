import dataclasses

import pytest

import hlstm_tf as hl
from apps.common.record import read_record
from apps.digits import compare
from apps.digits.compare import TARGET, to_target, ways
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


@pytest.mark.training
def test_every_way_trains_to_about_the_same_size(mnist, splits, tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_model_optimization")
    chosen = [way for way in ways() if way.table == "comparison"]
    monkeypatch.setattr(compare, "ways", lambda: chosen)
    folders = list(compare.run_all(splits, mnist, tmp_path, seeds=1))
    records = [read_record(folder) for folder in folders]
    assert [record["kind"] for record in records] == [way.kind for way in chosen]
    for record in records:
        epochs = record["epochs"]
        left = epochs[-1]["connections_after"] if epochs else record["result"]["weights"]
        assert left == pytest.approx(TARGET, rel=0.1)
        assert record["result"]["weights"] <= left
        assert record["result"]["valid"]["total"] == len(splits.valid)
    assert list(compare.run_all(splits, mnist, tmp_path, seeds=1)) == folders
