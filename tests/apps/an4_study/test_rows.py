import dataclasses

import pytest

import hlstm_tf as hl
from apps.an4_study.presets import preset
from apps.an4_study.recipe import StudyRecipe
from apps.an4_study.rows import PLAIN, TABLES, Job, jobs, select
from apps.common.errors import InputError
from apps.speech.train import build_from

ROWS = [row for table in TABLES.values() for row in table.rows]


def row(name):
    return next(row for row in ROWS if row.name == name)


def differences(recipe, base=PLAIN):
    """Which fields of two recipes differ, those of grow-and-prune by their own names."""
    found = set()
    for field in dataclasses.fields(recipe):
        one, other = getattr(recipe, field.name), getattr(base, field.name)
        if one != other:
            nested = dataclasses.is_dataclass(one) and dataclasses.is_dataclass(other)
            found |= differences(one, other) if nested else {field.name}
    return found


def test_rows_of_one_name_are_one_training():
    for one in ROWS:
        assert row(one.name).recipe == one.recipe, one.name
        assert one.recipe.seed == 0


def test_labels_of_a_table_differ():
    for name, table in TABLES.items():
        labels = [row.label for row in table.rows]
        assert len(set(labels)) == len(labels), name


def test_plain_rows_differ_from_the_setting_in_what_they_are_named_for():
    expected = {
        "hlstm": set(),
        "lstm-3x96": {"cell", "layers"},
        "gates-0": {"hidden_dropout"},
        "hidden-24": {"hidden_units"},
        "one-speed": {"speeds", "epochs", "warmup_epochs", "sorted_epochs"},
        "spec-4": {"frequency_masks", "time_masks"},
        "batch-16": {"batch_size"},
        "vocal-0.1": {"vocal_tract"},
        "stride-2": {"strides"},
        "averaged": {"averaged"},
        "taught": {"teacher_share"},
        "spliced": {"spliced", "epochs"},
        "synthesised": {"epochs"},
    }
    assert {name: differences(row(name).recipe) for name in expected} == expected


def test_ways_to_grow_and_prune_share_one_schedule():
    base = row("gp").recipe
    assert differences(row("gp-random").recipe, base) == {"growth_score"}
    assert differences(row("gp-static").recipe, base) == {"growth_epochs"}
    assert differences(row("gp-neuron").recipe, base) == {"step", "structures"}
    assert differences(row("gp-mixed").recipe, base) == {"step", "structures"}
    assert differences(row("pruning").recipe, base) == {
        "growth_epochs", "seed_sparsity", "max_iterations",
    }  # fmt: skip
    for name in ("gp", "pruning"):
        plan = row(name).recipe.grow_and_prune
        # No iteration may be refused: a front needs them all.
        assert (plan.tolerance, plan.threshold, plan.target_sparsity) == (1.0, None, None)


def test_one_speed_takes_as_many_steps_as_three():
    one, three = row("one-speed").recipe, PLAIN
    assert one.epochs * len(one.speeds) == three.epochs * len(three.speeds)
    assert one.warmup_epochs * len(one.speeds) == three.warmup_epochs * len(three.speeds)


@pytest.mark.parametrize("name", ["lstm-1x120", "gru-1x146", "lstm-2x74", "units-2x63"])
def test_networks_at_equal_size_are_within_two_percent_of_the_setting(name):
    size = {key: hl.summary(build_from(row(key).recipe), print_fn=None).connections
            for key in (name, "hlstm")}  # fmt: skip
    assert size[name] == pytest.approx(size["hlstm"], rel=0.02)


def test_the_setting_is_a_smaller_preset():
    changed = {"layers", "units", "channels", "epochs", "grow_and_prune"}
    assert differences(PLAIN, preset("an4")) == changed


def test_trainings_go_seed_by_seed_each_once():
    names = [job.name for job in jobs(select(["dropout", "width"]))]
    assert names == [
        f"{name}-seed-{seed}"
        for seed in (0, 1)
        for name in ("hlstm", "gates-0", "gates-0.2", "hidden-72", "hidden-48", "hidden-24")
    ]
    assert len(jobs(select(["growth"]), seeds=1)) == len(TABLES["growth"].rows)
    # Each table has as many seeds as it needs, also beside one that needs more.
    both = [job.name for job in jobs(select(["growth", "dropout"]))]
    assert "gp-seed-2" in both
    assert "gates-0-seed-2" not in both


def test_a_seed_changes_nothing_else():
    job = Job(row("gp"), 2)
    recipe = job.row.of_seed(job.seed)
    assert differences(recipe, job.row.recipe) == {"seed"}
    assert StudyRecipe.from_json(recipe.to_json()) == recipe


def test_an_unknown_table_is_named():
    with pytest.raises(InputError, match="tables: got 'speed'; expected some of cells, growth"):
        select(["cells", "speed"])


def test_rows_can_be_picked_from_the_tables_that_have_them():
    found = select(["growth", "dropout"], ["gates-0", "gp"])
    assert [job.name for job in jobs(found, seeds=1)] == ["gp-seed-0", "gates-0-seed-0"]
    assert list(select(["growth", "dropout"], ["pruning"])) == ["growth"]
    with pytest.raises(InputError, match="rows: got 'gp'; expected some of hlstm, gates-0"):
        select(["dropout"], ["gp"])
