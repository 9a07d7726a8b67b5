from pathlib import Path

import pytest

from apps.common.errors import InputError
from apps.speech.utterance import Corpus, Utterance


def utterance(name, speaker="a", text="YES NO"):
    return Utterance(name, speaker, text, Path(f"{name}.wav"))


def test_splits_are_kept_in_order_as_tuples():
    corpus = Corpus("mine", [utterance("2"), utterance("1")], [utterance("3", "b")])
    assert [u.id for u in corpus.split("train")] == ["2", "1"]
    assert corpus.valid == (utterance("3", "b"),)
    assert corpus.speakers("valid") == ["b"]


def test_the_summary_counts_utterances_speakers_and_words():
    corpus = Corpus("mine", [utterance("1"), utterance("2", "b", "GO")], [utterance("3", "c", "")])
    assert corpus.summary() == (
        "mine: train 2 utterances, 2 speakers, 3 words; valid 1 utterance, 1 speaker, 0 words;"
        " test empty"
    )


def test_an_id_in_two_splits_is_refused():
    with pytest.raises(InputError, match="utterance id '1' occurs more than once"):
        Corpus("mine", [utterance("1")], [utterance("1")])


def test_unknown_and_empty_splits_are_refused():
    corpus = Corpus("mine", [utterance("1")], [])
    with pytest.raises(InputError, match="got 'dev'; expected one of train, valid, test"):
        corpus.split("dev")
    with pytest.raises(InputError, match="the test split is empty"):
        corpus.split("test")


def test_an_error_message_is_one_line():
    assert str(InputError("one\ntwo   three")) == "one two three"
