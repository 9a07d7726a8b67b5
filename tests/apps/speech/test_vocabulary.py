import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.common.errors import InputError
from apps.speech.alphabet import Alphabet
from apps.speech.cli import main
from apps.speech.decode import VocabularySearch, greedy, log_softmax, read_words, transcripts

ALPHABET = Alphabet(" AB")
WORDS = ("A", "AB", "BB")


def logits(frames, seed):
    return np.random.default_rng(seed).standard_normal((1, frames, ALPHABET.size)) * 2


def probabilities(scores):
    """Of every text of words in `WORDS`, by summing over every path; stray spaces make no words."""
    log = log_softmax(scores)[0]
    total = {}
    for path in itertools.product(range(ALPHABET.size), repeat=len(log)):
        ids = [k for k, _ in itertools.groupby(path) if k]
        words = ALPHABET.decode(ids).split()
        if all(word in WORDS for word in words):
            text = " ".join(words)
            chance = np.exp(sum(log[t, k] for t, k in enumerate(path)))
            total[text] = total.get(text, 0.0) + chance
    return total


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(0, 200))
def test_the_most_probable_sequence_of_words_is_found(frames, seed):
    scores = logits(frames, seed)
    totals = probabilities(scores)
    [ids] = VocabularySearch(WORDS, ALPHABET)(scores, [frames])
    assert totals[ALPHABET.decode(ids)] == pytest.approx(max(totals.values()))


def test_only_words_of_the_list_are_written():
    search = VocabularySearch(["go", "on", "go  on", "Stop"], Alphabet())
    assert search.words == ("GO", "ON", "STOP")
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((20, 40, 29)) * 3
    lengths = rng.integers(0, 41, size=20)
    for found in transcripts(scores, lengths, Alphabet(), search):
        assert set(found.text.split()) <= set(search.words)
        assert " ".join(word.text for word in found.words) == found.text


def test_a_word_that_was_nearly_heard_becomes_the_one_that_it_must_have_been():
    alphabet = Alphabet()
    path = alphabet.encode("SEVAN NINE")
    scores = 5 * np.eye(alphabet.size)[None, np.stack([path, np.zeros_like(path)]).T.ravel()]
    scores[0, 6, alphabet.encode("E")[0]] = 4.0
    length = [scores.shape[1]]
    assert transcripts(scores, length, alphabet)[0].text == "SEVAN NINE"
    search = VocabularySearch(["seven", "nine", "eleven"], alphabet)
    found = transcripts(scores, length, alphabet, search)[0]
    assert found.text == "SEVEN NINE"
    assert found.words[0].confidence < found.words[1].confidence


def test_silence_has_no_words():
    scores = 9 * np.eye(ALPHABET.size)[None, [0, 0, 0]]
    search = VocabularySearch(WORDS, ALPHABET)
    assert search(scores, [3]) == search(scores, [0]) == [[]]
    assert search(scores[:0], []) == []


def test_frames_beyond_the_length_are_ignored():
    scores = np.concatenate([logits(4, 1), np.full((1, 3, ALPHABET.size), 50.0)], axis=1)
    search = VocabularySearch(WORDS, ALPHABET)
    assert search(scores, [4]) == search(scores[:, :4], [4])


def test_a_vocabulary_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(InputError, match="vocabulary: got no words"):
        VocabularySearch(["", " "], ALPHABET)
    with pytest.raises(InputError, match="the vocabulary: unknown character 'C' in 'CAB'"):
        VocabularySearch(["a", "cab"], ALPHABET)
    with pytest.raises(InputError, match="beam: got width 0"):
        VocabularySearch(["a"], ALPHABET, width=0)
    with pytest.raises(InputError, match=r"nowhere\.txt: no such file"):
        read_words(tmp_path / "nowhere.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes\.txt: no text"):
        read_words(tmp_path / "bytes.txt")


def test_the_command_takes_a_file_of_words(gp_run, toy_folder, tmp_path, capsys):
    words = tmp_path / "words.txt"
    words.write_text("one two\nthree\n")
    audio = next(toy_folder.rglob("*.wav"))
    arguments = ["transcribe", str(audio), "--model", str(gp_run.model), "--vocabulary", str(words)]
    assert main(arguments) == 0
    assert set(capsys.readouterr().out.split()) <= {"ONE", "TWO", "THREE"}
    out = tmp_path / "texts.csv"
    arguments = ["evaluate", "--model", str(gp_run.model), "--data-dir", str(toy_folder)]
    assert main([*arguments, "--vocabulary", str(words), "--out", str(out)]) == 0
    heard = [line.split(",")[-1] for line in out.read_text().splitlines()[1:]]
    assert len(heard) == 3
    assert {word for text in heard for word in text.split()} <= {"ONE", "TWO", "THREE"}


def test_the_network_is_followed_where_it_says_words_of_the_list():
    scores = 9 * np.eye(ALPHABET.size)[None, [2, 3, 1, 3, 0, 3]]
    assert VocabularySearch(WORDS, ALPHABET)(scores, [6]) == greedy(scores, [6])
