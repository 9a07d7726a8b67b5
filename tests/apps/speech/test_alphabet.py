import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.common.errors import InputError
from apps.speech.alphabet import CHARACTERS, Alphabet

words = st.lists(st.text(CHARACTERS.strip(), min_size=1, max_size=6), max_size=5)


def test_blank_is_class_0_and_characters_follow_in_order():
    alphabet = Alphabet()
    assert alphabet.blank == 0
    assert alphabet.size == len(CHARACTERS) + 1 == 29
    encoded = alphabet.encode("A Z'")
    assert encoded.dtype == np.int32
    assert encoded.tolist() == [2, 1, 27, 28]


@given(words)
def test_decoding_undoes_encoding_of_normalised_text(parts):
    alphabet, text = Alphabet(), " ".join(parts)
    assert alphabet.decode(alphabet.encode(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  yes\tno\n", "YES NO"),
        ("it’s", "IT'S"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_normalisation_leaves_upper_case_words_and_single_spaces(text, expected):
    assert Alphabet().normalise(text) == expected
    assert Alphabet().decode(Alphabet().encode(text)) == expected


def test_unknown_characters_are_named_with_their_utterance():
    with pytest.raises(InputError, match=r"transcript of cen7-fash.* '5', '\?' in 'ROOM 5\?'"):
        Alphabet().encode("room 5?", "cen7-fash-b")


def test_a_class_outside_the_alphabet_is_refused():
    with pytest.raises(InputError, match="29 is outside this alphabet of 29"):
        Alphabet().decode([1, 29])


def test_repeated_characters_and_a_missing_space_are_refused():
    with pytest.raises(InputError, match=r"\['A'\] occur more than once"):
        Alphabet(" AAB")
    with pytest.raises(InputError, match="no space"):
        Alphabet("ABC")


def test_config_restores_the_alphabet():
    alphabet = Alphabet(" ABCÄ")
    assert Alphabet(alphabet.characters) == alphabet
    assert alphabet.decode(alphabet.encode("bä")) == "BÄ"
