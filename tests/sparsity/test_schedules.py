import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlstm_tf.sparsity import Constant, Cubic, Iterative, Polynomial, Schedule, as_schedule
from tests.sparsity.strategies import MANY, fractions


def rows(schedule, steps):
    return [schedule(step) for step in steps]


def test_a_constant_schedule_keeps_its_sparsity_and_its_window():
    schedule = Constant(0.5, begin=2, end=6, frequency=2)
    turns = [should for should, _ in rows(schedule, range(9))]
    assert turns == [False, False, True, False, True, False, True, False, False]
    assert {sparsity for _, sparsity in rows(schedule, range(9))} == {0.5}
    assert Constant(0.5)(10**9) == (True, 0.5)


def test_a_cubic_schedule_is_as_worked_by_hand():
    # 0.8 - 0.8 (1 - t)^3 at t = 0, 1/4, 1/2, 3/4, 1.
    schedule = Cubic(0.0, 0.8, begin=100, end=500, frequency=100)
    assert [s for _, s in rows(schedule, (0, 100, 200, 300, 400, 500, 900))] == pytest.approx(
        [0.0, 0.0, 0.4625, 0.7, 0.7875, 0.8, 0.8]
    )
    turns = [should for should, _ in rows(schedule, (99, 100, 150, 200, 500, 600))]
    assert turns == [False, True, False, True, True, False]


def test_a_schedule_of_one_step_goes_to_the_end_at_once():
    assert rows(Polynomial(0.2, 0.9, begin=3, end=3), (2, 3, 4)) == [
        (False, pytest.approx(0.2)),
        (True, 0.9),
        (False, 0.9),
    ]


def test_iterations_each_remove_the_same_part_of_what_is_left():
    # The density falls 0.64 -> 0.512 -> 0.4096 at a fifth each.
    schedule = Iterative(0.2, initial=0.36)
    assert schedule(0) == (False, pytest.approx(0.36))
    assert [s for _, s in rows(schedule, (1, 2, 3))] == pytest.approx([0.488, 0.5904, 0.67232])
    assert all(should for should, _ in rows(schedule, (1, 2, 3)))


@MANY
@given(
    bounds=st.tuples(fractions(), fractions()),
    begin=st.integers(0, 50),
    span=st.integers(0, 50),
    power=st.sampled_from([0.5, 1.0, 3.0]),
    frequency=st.integers(1, 7),
)
def test_polynomials_run_monotonically_between_their_ends(bounds, begin, span, power, frequency):
    initial, final = sorted(bounds)
    schedule = Polynomial(initial, final, begin, begin + span, power, frequency)
    answers = rows(schedule, range(begin + span + 5))
    sparsities = [sparsity for _, sparsity in answers]
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(sparsities))
    assert all(initial - 1e-12 <= s <= final + 1e-12 for s in sparsities)
    assert sparsities[-1] == pytest.approx(final)
    expected = [s for s in range(begin, begin + span + 1) if (s - begin) % frequency == 0]
    assert [step for step, (should, _) in enumerate(answers) if should] == expected


def test_our_schedules_come_back_as_they_are_and_are_schedules():
    for schedule in (Constant(0.5), Cubic(0, 0.5, 0, 9), Polynomial(0, 1, 0, 9), Iterative(0.1)):
        assert as_schedule(schedule) is schedule
        assert isinstance(schedule, Schedule)
        should, sparsity = schedule(1)
        assert type(should) is bool
        assert type(sparsity) is float


def test_tensors_are_turned_into_python_numbers():
    tensorflow = pytest.importorskip("tensorflow")
    schedule = as_schedule(lambda step: (tensorflow.constant(True), tensorflow.constant(0.25)))
    should, sparsity = schedule(3)
    assert should is True
    assert type(sparsity) is float
    assert sparsity == 0.25
    assert as_schedule(schedule) is schedule


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_model_optimization") is None,
    reason="tensorflow-model-optimization is not installed",
)
def test_schedules_of_the_model_optimization_toolkit_serve_as_they_are_and_ours_agree():
    # In a process of its own: importing the toolkit switches Keras 3 off.
    steps = [0, 1, 2, 3, 10, 11, 12, 15, 50, 99, 100, 101, 200]
    program = f"""
import json
import tensorflow_model_optimization as tfmot
from hlstm_tf.sparsity.schedules import as_schedule
schedules = [
    tfmot.sparsity.keras.PolynomialDecay(0.1, 0.9, 2, 100, power=3, frequency=1),
    tfmot.sparsity.keras.PolynomialDecay(0.0, 0.5, 10, 100, power=1, frequency=5),
    tfmot.sparsity.keras.ConstantSparsity(0.6, 2, 99, frequency=3),
    tfmot.sparsity.keras.ConstantSparsity(0.6, 0, -1, frequency=100),
]
print(json.dumps([[as_schedule(s)(step) for step in {steps}] for s in schedules]))
"""
    # Our package needs Keras 3, the toolkit says "legacy" only where nothing is said.
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TF_USE_LEGACY_KERAS": "0", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    theirs = json.loads(run.stdout.splitlines()[-1])
    ours = [
        Cubic(0.1, 0.9, 2, 100),
        Polynomial(0.0, 0.5, 10, 100, power=1, frequency=5),
        Constant(0.6, 2, 99, frequency=3),
        Constant(0.6, frequency=100),
    ]
    for answers, schedule in zip(theirs, ours, strict=True):
        expected = rows(schedule, steps)
        assert [should for should, _ in answers] == [should for should, _ in expected]
        np.testing.assert_allclose(
            [sparsity for _, sparsity in answers], [sparsity for _, sparsity in expected], atol=1e-6
        )


@pytest.mark.parametrize(
    "answer", [None, 0.5, (True,), (True, 1.5), (True, float("nan")), (True, "much"), (1, 2, 3)]
)
def test_a_schedule_that_answers_nonsense_is_one_clear_line(answer):
    with pytest.raises(ValueError, match=r"schedule function must return .* for step 7") as error:
        as_schedule(lambda step: answer)(7)
    assert "\n" not in str(error.value)
    assert repr(answer) in str(error.value)


@pytest.mark.parametrize("schedule", [0.5, None, "cubic", Cubic])
def test_what_is_no_schedule_is_refused(schedule):
    with pytest.raises(ValueError, match=r"`schedule` must be a callable"):
        as_schedule(schedule)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(1.5), "`sparsity` must be a number between 0 and 1, got 1.5"),
        (lambda: Constant(0.5, begin=-1), "`begin` must be an integer of at least 0, got -1"),
        (lambda: Constant(0.5, 5, 4), "`end` must not be before `begin`, got begin=5, end=4"),
        (lambda: Constant(0.5, frequency=0), "`frequency` must be an integer of at least 1, got 0"),
        (lambda: Polynomial(-0.1, 1, 0, 9), "`initial` must be a number between 0 and 1, got -0.1"),
        (lambda: Polynomial(0, 2, 0, 9), "`final` must be a number between 0 and 1, got 2"),
        (lambda: Polynomial(0, 1, 9, 0), "`end` must not be before `begin`, got begin=9, end=0"),
        (lambda: Polynomial(0, 1, 0, None), "`end` must be an integer of at least 0, got None"),
        (lambda: Polynomial(0, 1, 0, 9, power=0), "`power` must be a number above 0, got 0"),
        (lambda: Cubic(0, 1, 0, 9, power=2), "`power` of Cubic is 3, got 2; use Polynomial"),
        (lambda: Iterative(1.2), "`ratio` must be a number between 0 and 1, got 1.2"),
        (lambda: Iterative(0.2, -1), "`initial` must be a number between 0 and 1, got -1"),
    ],
)
def test_malformed_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
