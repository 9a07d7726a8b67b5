"""The sequence of GP training, as tables: values in, actions out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlstm_tf.pruning.budget import Budget
from hlstm_tf.training_run.phases import (
    Action,
    Phase,
    Plan,
    Progress,
    advance,
    begin,
    end_before_pruning,
)
from hlstm_tf.training_run.plan import Growth, Pruning

A = Action


def plan(**changes) -> Plan:
    fields = {
        "growth": Growth(epochs=2),
        "pruning": Pruning(step=0.4, min_step=0.1, retrain_epochs=2),
        "train_epochs": None,
        "threshold": 1.0,
        "tolerance": 0.0,
        "maximize": False,
    }
    return Plan(**{**fields, **changes})


def walk(the_plan: Plan, values: list[float], sparsity: float = 0.0) -> tuple[Progress, list]:
    progress, first = begin(the_plan)
    steps = [first] if first else []
    steps += [advance(the_plan, progress, value, sparsity) for value in values]
    return progress, steps


def test_each_growth_epoch_grows_and_the_last_one_shifts_the_activation() -> None:
    progress, steps = walk(plan(), [9, 9])
    assert steps == [[A.GROW], [A.GROW, A.SHIFT]]
    assert progress.phase is Phase.TRAINING


def test_training_goes_on_until_the_threshold_is_met() -> None:
    progress, steps = walk(plan(), [9, 9, 3, 2, 2.5, 1.0])
    assert steps[2:] == [
        [A.KEEP_BEST],
        [A.KEEP_BEST],
        [],
        [A.KEEP_BEST, A.COMPLETE, A.PRUNE],
    ]
    assert progress.phase is Phase.RETRAINING


def test_training_takes_its_epochs_even_where_the_threshold_is_met_before() -> None:
    _, steps = walk(plan(train_epochs=3), [9, 9, 0.9, 0.8, 0.85])
    assert steps[2:] == [[A.KEEP_BEST], [A.KEEP_BEST], [A.RESTORE_BEST, A.COMPLETE, A.PRUNE]]


def test_without_a_threshold_the_best_value_before_pruning_is_the_threshold() -> None:
    progress, _ = walk(plan(threshold=None, tolerance=0.25), [9, 9, 2, 3])
    assert progress.phase is Phase.RETRAINING
    assert progress.threshold == 2.25


def test_when_higher_is_better_the_tolerance_is_subtracted() -> None:
    progress, _ = walk(
        plan(threshold=None, tolerance=0.25, maximize=True, train_epochs=2), [0, 0, 2, 3]
    )
    assert progress.threshold == 2.75


def test_without_training_epochs_the_value_after_growth_is_the_threshold() -> None:
    progress, steps = walk(plan(threshold=None, train_epochs=0), [9, 3])
    assert steps[-1] == [A.GROW, A.SHIFT, A.COMPLETE, A.PRUNE]
    assert progress.threshold == 3


def test_an_iteration_that_meets_the_threshold_is_complete_and_the_next_begins() -> None:
    progress, steps = walk(plan(growth=None, train_epochs=1), [0.5, 2, 0.9])
    assert steps == [
        [A.KEEP_BEST, A.COMPLETE, A.PRUNE],
        [A.KEEP_BEST],
        [A.KEEP_BEST, A.COMPLETE, A.PRUNE],
    ]
    assert (progress.iteration, progress.step, progress.complete) == (1, 0.4, 0.9)


def test_the_best_epoch_of_an_iteration_counts_not_the_last() -> None:
    _, steps = walk(plan(growth=None, train_epochs=1), [0.5, 0.9, 2])
    assert steps[-1] == [A.RESTORE_BEST, A.COMPLETE, A.PRUNE]


def test_of_equal_epochs_the_later_goes_on() -> None:
    _, steps = walk(plan(train_epochs=3), [9, 9, 0.5, 0.5, 0.9])
    assert steps[2:] == [[A.KEEP_BEST], [A.KEEP_BEST], [A.RESTORE_BEST, A.COMPLETE, A.PRUNE]]


def test_an_iteration_that_fails_is_rolled_back_and_half_the_step_tried() -> None:
    progress, steps = walk(plan(growth=None, train_epochs=1), [0.5, 2, 2])
    assert steps[-1] == [A.ROLL_BACK, A.PRUNE]
    assert (progress.iteration, progress.step) == (0, 0.2)


def test_the_run_ends_with_the_last_complete_iteration_when_the_finest_step_fails() -> None:
    progress, steps = walk(plan(growth=None, train_epochs=1), [0.5, 2, 2, 2, 2, 2, 2])
    assert steps[-1] == [A.ROLL_BACK, A.FINISH]
    assert progress.phase is Phase.FINISHED
    assert "10.00%" in progress.reason


def test_a_finer_step_that_succeeds_stays() -> None:
    progress, _ = walk(plan(growth=None, train_epochs=1), [0.5, 2, 2, 0.9, 0.9])
    assert (progress.iteration, progress.step) == (1, 0.2)


def test_until_threshold_stops_retraining_at_the_first_epoch_that_meets_it() -> None:
    pruning = Pruning(step=0.4, retrain_epochs=5, retrain="until_threshold")
    _, steps = walk(plan(growth=None, train_epochs=1, pruning=pruning), [0.5, 2, 0.9])
    assert steps[-1] == [A.KEEP_BEST, A.COMPLETE, A.PRUNE]


def test_a_nan_is_never_best_and_never_meets_the_threshold() -> None:
    nan = float("nan")
    _, steps = walk(plan(growth=None, train_epochs=1), [nan, 0.5, nan, nan])
    assert steps == [[], [A.KEEP_BEST, A.COMPLETE, A.PRUNE], [], [A.ROLL_BACK, A.PRUNE]]


@pytest.mark.parametrize(
    ("choice", "sparsity"),
    [({"max_iterations": 1}, 0.0), ({"target_sparsity": 0.9}, 0.9)],
)
def test_limits_end_the_run_after_a_complete_iteration(choice: dict, sparsity: float) -> None:
    pruning = Pruning(retrain_epochs=1, **choice)
    progress, steps = walk(plan(growth=None, train_epochs=1, pruning=pruning), [0.5, 0.5], sparsity)
    assert steps[-1] == [A.KEEP_BEST, A.COMPLETE, A.FINISH]
    assert progress.iteration == 1


def test_a_budget_ends_the_run_with_the_iteration_that_is_within_it() -> None:
    pruning = Pruning(retrain_epochs=1, budget=Budget("connections", 100))
    chosen = plan(growth=None, train_epochs=1, pruning=pruning)
    progress, _ = begin(chosen)
    advance(chosen, progress, 0.5)
    progress.cost = 150.0
    assert advance(chosen, progress, 0.5)[-1] is A.PRUNE
    progress.cost = 100.0
    assert advance(chosen, progress, 0.5)[-1] is A.FINISH
    assert progress.reason == "within the budget: 100 connections of 100"


def test_a_trained_model_may_be_pruned_before_the_first_epoch() -> None:
    progress, steps = walk(plan(growth=None, train_epochs=0), [])
    assert steps == [[A.COMPLETE, A.PRUNE]]
    assert progress.phase is Phase.RETRAINING


def test_a_trained_model_without_threshold_has_nothing_to_compare_with() -> None:
    with pytest.raises(ValueError, match="threshold"):
        begin(plan(growth=None, train_epochs=0, threshold=None))


def test_growth_alone_shifts_and_then_never_stops_training() -> None:
    progress, steps = walk(plan(pruning=None), [9, 9, 1, 1])
    assert steps == [[A.GROW], [A.GROW, A.SHIFT], [], []]
    assert progress.phase is Phase.TRAINING


def test_growth_alone_with_training_epochs_stops_after_them() -> None:
    _, steps = walk(plan(pruning=None, train_epochs=1), [9, 9, 1])
    assert steps[-1] == [A.FINISH]


def test_nothing_left_to_prune_finishes() -> None:
    progress, _ = walk(plan(growth=None, train_epochs=1), [0.5])
    end_before_pruning(progress, "nothing is left")
    assert (progress.phase, progress.reason) == (Phase.FINISHED, "nothing is left")


@given(
    values=st.lists(st.floats(0, 2) | st.just(float("nan")), max_size=80),
    retrain=st.sampled_from(["full", "until_threshold"]),
    step=st.floats(0.05, 1),
)
def test_any_run_keeps_its_word(values: list[float], retrain: str, step: float) -> None:
    pruning = Pruning(step=step, retrain_epochs=2, retrain=retrain)
    the_plan = plan(pruning=pruning)
    progress, _ = begin(the_plan)
    has_complete = False
    for value in values:
        if progress.phase is Phase.FINISHED:
            break
        actions = advance(the_plan, progress, value)
        for place, action in enumerate(actions):
            if action is A.COMPLETE:
                has_complete = True
            if action is A.PRUNE:  # never from a state that is not complete
                assert actions[place - 1] in (A.COMPLETE, A.ROLL_BACK)
            if action is A.ROLL_BACK:
                assert has_complete
        # A record survives the disk.
        assert Progress.from_json(progress.as_json()) == progress
        assert pruning.finest_step * (1 - 1e-9) <= progress.step <= step
        if progress.complete is not None:
            assert progress.complete <= 1.0


def test_needed_connections_come_back_after_half_of_the_retraining_of_the_first_iterations() -> (
    None
):
    pruning = Pruning(step=0.4, retrain_epochs=4, recover=0.5, recover_iterations=1)
    _, steps = walk(plan(pruning=pruning, growth=None), [1.0, 9, 9, 9, 0.9, 0.9, 0.8, 0.7, 0.6])
    assert [A.RECOVER in actions for actions in steps] == [False, False, True] + 6 * [False]
    # A finer step of the same iteration recovers, too.
    _, steps = walk(plan(pruning=pruning, growth=None), [1.0, 9, 9, 9, 9, 9, 9, 9, 9])
    assert [n for n, actions in enumerate(steps) if A.RECOVER in actions] == [2, 6]
    pruning = Pruning(step=0.4, retrain="until_threshold", retrain_epochs=4, recover=0.5)
    _, steps = walk(plan(pruning=pruning, growth=None), [1.0, 1.0, 9, 1.0])
    assert not any(A.RECOVER in actions for actions in steps)


def test_what_new_neurons_change_is_trained_before_the_threshold_is_settled() -> None:
    grown = plan(growth=Growth(epochs=1, neurons=2), train_epochs=0)
    progress, steps = walk(grown, [0.5, 0.9])
    assert steps == [[A.GROW, A.SHIFT], [A.KEEP_BEST, A.COMPLETE, A.PRUNE]]
    assert progress.complete == 0.9
