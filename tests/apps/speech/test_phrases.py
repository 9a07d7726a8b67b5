import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.speech import phrases
from apps.speech.alphabet import Alphabet


def sentences(seed, count):
    rng = np.random.default_rng(seed)
    return [phrases.sentence(rng) for _ in range(count)]


@pytest.fixture(scope="module")
def many():
    return sentences(0, 5000)


def test_sentences_hold_every_word_of_the_vocabulary_and_no_other(many):
    assert len(phrases.VOCABULARY) == 103
    assert {word for phrase in many for word in phrase.text.split()} == phrases.VOCABULARY


def test_sentences_can_be_written_with_the_alphabet(many):
    alphabet = Alphabet()
    for phrase in many:
        assert alphabet.decode(alphabet.encode(phrase.text)) == phrase.text


def test_kinds_come_in_their_shares(many):
    counts = collections.Counter(phrase.kind for phrase in many)
    assert sum(share for share, _ in phrases.KINDS.values()) == pytest.approx(1)
    for kind, (share, _) in phrases.KINDS.items():
        assert counts[kind] / len(many) == pytest.approx(share, abs=0.02)


def test_equal_seeds_give_equal_sentences_and_others_do_not():
    one, same, other = (sentences(seed, 50) for seed in (7, 7, 8))
    assert one == same != other


def test_every_letter_is_spoken_often_enough_to_be_learned(many):
    letters = collections.Counter(word for p in many for word in p.text.split() if len(word) == 1)
    assert set(letters) == set(phrases.LETTERS)
    assert min(letters.values()) > 60  # of 5,000 sentences


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "ZERO"),
        (10, "TEN"),
        (19, "NINETEEN"),
        (20, "TWENTY"),
        (99, "NINETY NINE"),
        (100, "ONE HUNDRED"),
        (506, "FIVE HUNDRED SIX"),
        (1000, "ONE THOUSAND"),
        (12345, "TWELVE THOUSAND THREE HUNDRED FORTY FIVE"),
        (700011, "SEVEN HUNDRED THOUSAND ELEVEN"),
    ],
)
def test_numbers_are_spoken_as_people_do(value, words):
    assert " ".join(phrases.number(value)) == words


@given(st.integers(0, 999_999))
def test_number_words_add_up_to_the_number(value):
    total = part = 0
    for word in phrases.number(value):
        if word == "THOUSAND":
            total, part = part * 1000, 0
        elif word == "HUNDRED":
            part *= 100
        elif word in phrases.TENS:
            part += 10 * (phrases.TENS.index(word) + 2)
        else:
            part += (phrases.DIGITS + phrases.TEENS).index(word)
    assert total + part == value


@pytest.mark.parametrize("value", [-1, 1_000_000])
def test_numbers_out_of_range_are_refused(value):
    with pytest.raises(ValueError, match="expected 0 to 999999"):
        phrases.number(value)
