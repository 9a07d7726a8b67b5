import numpy as np
import pytest

from hlstm_tf.sparsity import SCORES, Score, get_score

WEIGHT = np.array([[0.5, -2.0], [0.0, 1.0]], dtype=np.float32)
GRADIENT = np.array([[-3.0, 1.0], [4.0, 0.0]], dtype=np.float32)
MOMENTUM = np.array([[-1.0, 0.5], [0.0, -0.25]], dtype=np.float32)
ACTIVATION = np.array([[2.0], [0.5]])
OUTPUT = np.array([[3.0, 0.25]])
EVERYTHING = {
    "weight": WEIGHT,
    "gradient": GRADIENT,
    "momentum": MOMENTUM,
    "activation": ACTIVATION,
    "output": OUTPUT,
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gradient", [[3.0, 1.0], [4.0, 0.0]]),
        ("magnitude", [[0.5, 2.0], [0.0, 1.0]]),
        ("momentum", [[1.0, 0.5], [0.0, 0.25]]),
        ("activation", [[1.0, 4.0], [0.0, 0.5]]),
        ("output", [[3.0, 0.25], [3.0, 0.25]]),
        ("saliency", [[1.5, 2.0], [0.0, 0.0]]),
    ],
)
def test_a_score_is_as_worked_by_hand(name, expected):
    np.testing.assert_array_equal(get_score(name)(**EVERYTHING), expected)


def test_the_random_score_is_drawn_from_the_generator_given():
    score = get_score("random")
    once = score(weight=WEIGHT, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(once, score(weight=WEIGHT, rng=np.random.default_rng(7)))
    np.testing.assert_array_equal(once, score(weight=WEIGHT, rng=7))
    assert (once != score(weight=WEIGHT, rng=8)).any()
    assert once.shape == WEIGHT.shape
    assert 0 <= once.min() <= once.max() < 1


@pytest.mark.parametrize("score", SCORES.values(), ids=str)
def test_every_score_uses_exactly_what_it_says_it_needs(score):
    given = {**EVERYTHING, "rng": 0}
    for need in score.needs:
        with pytest.raises(ValueError, match=f"score '{score}' needs `{need}`, got none"):
            score(**{name: value for name, value in given.items() if name != need})
    score(**{need: given[need] for need in score.needs})


def test_a_score_of_ones_own_comes_back_as_it_is():
    mine = Score("mine", ("weight",), lambda weight: weight**2)
    assert get_score(mine) is mine
    np.testing.assert_array_equal(mine(weight=WEIGHT, gradient=None), WEIGHT**2)


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match=r"`needs` may name .*; got loss"):
        Score("mine", ("loss",), abs)
    with pytest.raises(ValueError, match=r"`score` must be a Score or one of .*, got 'hessian'"):
        get_score("hessian")
