import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.common.errors import InputError
from apps.common.rate import Rate, wilson
from apps.speech.evaluate import score

sentences = st.lists(st.sampled_from(["A", "B", "CD", "'"]), max_size=6).map(" ".join)


def distance(reference, hypothesis):
    """Levenshtein's, from its definition."""
    table = np.zeros((len(reference) + 1, len(hypothesis) + 1), int)
    table[0], table[:, 0] = np.arange(len(hypothesis) + 1), np.arange(len(reference) + 1)
    for i, a in enumerate(reference, 1):
        for j, b in enumerate(hypothesis, 1):
            table[i, j] = min(
                table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a != b)
            )
    return int(table[-1, -1])


@pytest.mark.parametrize(
    ("errors", "low", "high"),
    [
        (100, 10.8, 15.5),  # 12.9 % of AN4's 773 test words
        (67, 6.9, 10.9),  # 8.7 %
        (81, 8.5, 12.8),  # 10.5 %
        (0, 0.0, 0.5),  # z^2 / (n + z^2) = 3.84 / 776.84
        (773, 99.5, 100.0),
    ],
)
def test_wilson_intervals_are_those_worked_by_hand(errors, low, high):
    assert [round(100 * end, 1) for end in wilson(errors, 773)] == [low, high]


def test_a_rate_is_printed_with_counts_and_interval():
    assert str(Rate(67, 773)) == "8.7 % (67/773) [6.9, 10.9]"
    assert str(Rate(0, 10)) == "0.0 % (0/10) [0.0, 27.8]"
    assert str(Rate(5, 3)) == "166.7 % (5/3)"
    assert str(Rate(0, 0)) == "nan % (0/0)"


@given(st.integers(1, 2000), st.data())
def test_the_interval_contains_the_rate_and_shrinks_with_more_words(total, data):
    errors = data.draw(st.integers(0, total))
    low, high = wilson(errors, total)
    assert 0 <= low <= errors / total + 1e-12
    assert errors / total - 1e-12 <= high <= 1
    closer = wilson(100 * errors, 100 * total)
    assert closer[1] - closer[0] < high - low


def test_no_interval_without_a_proportion():
    assert all(math.isnan(end) for end in wilson(3, 2) + wilson(0, 0))


def test_errors_of_a_worked_example():
    rates = score(
        ["GO TO NINE", "YES", "A B C"],  # 3 + 1 + 3 words, 10 + 3 + 5 characters
        ["GO NINE NINE", "", "A B C D"],  # 1 substitution, 1 deletion, 1 insertion
    )
    assert (rates.substitutions, rates.deletions, rates.insertions) == (1, 1, 1)
    assert (rates.words.errors, rates.words.total) == (3, 7)
    assert rates.wer == 3 / 7
    # TO to NINE: 4 edits; YES: 3; " D": 2.
    assert (rates.characters.errors, rates.characters.total) == (9, 18)
    assert rates.cer == 0.5
    assert (rates.sentences.errors, rates.sentences.total) == (3, 3)
    assert str(rates).startswith("WER 42.9 % (3/7) [15.8, 75.0], CER 50.0 % (9/18)")


@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5))
def test_counts_are_levenshteins_whatever_is_empty(pairs):
    rates = score([a for a, _ in pairs], [b for _, b in pairs])
    assert rates.words.errors == sum(distance(a.split(), b.split()) for a, b in pairs)
    assert rates.words.total == sum(len(a.split()) for a, _ in pairs)
    assert rates.characters.errors == sum(distance(a, b) for a, b in pairs)
    assert rates.characters.total == sum(len(a) for a, _ in pairs)
    parts = rates.substitutions + rates.deletions + rates.insertions
    assert parts == rates.words.errors


def test_words_in_an_empty_reference_are_insertions():
    rates = score(["", "NO"], ["OH NO", "NO"])
    assert (rates.insertions, rates.words.errors, rates.words.total) == (2, 2, 1)
    assert rates.characters.errors == 5
    assert rates.wer == 2
    assert score([""], ["X"]).wer == math.inf
    assert math.isnan(score([""], [""]).wer)
    assert math.isnan(score([], []).wer)


def test_spacing_is_no_error():
    assert score(["GO  ON "], [" GO ON"]).characters.errors == 0
    assert score(["GO ON"], ["GOON"]).words.errors == 2


def test_the_record_is_plain_values():
    record = score(["GO ON"], ["GO"]).as_dict()
    assert record == json.loads(json.dumps(record))
    assert (record["wer"], record["words"]) == (0.5, {"errors": 1, "total": 2})


def test_unpaired_hypotheses_and_a_missing_package_are_refused(monkeypatch):
    with pytest.raises(InputError, match="got 2 references and 1 hypotheses"):
        score(["A", "B"], ["A"])
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(InputError, match=r'pip install "hlstm_tf\[audio\]"'):
        score(["A"], ["A"])
