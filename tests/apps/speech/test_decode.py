import itertools
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.common.errors import InputError
from apps.speech.alphabet import Alphabet
from apps.speech.decode import Transcript, align, beam, greedy, log_softmax, transcripts


def logits_of(path, classes=5, sure=9.0):
    return sure * np.eye(classes)[None, path]


def random_logits(frames, classes=3, seed=0):
    return np.random.default_rng(seed).standard_normal((1, frames, classes)) * 2


def collapse(path):
    return tuple(k for k, _ in itertools.groupby(path) if k)


def sums_over_paths(logits):
    """Probability of every text, by summing over every path."""
    log = log_softmax(logits)[0]
    total: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log.shape[1]), repeat=len(log)):
        text = collapse(path)
        total[text] = total.get(text, 0.0) + np.exp(sum(log[t, k] for t, k in enumerate(path)))
    return total


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([1, 1, 0, 1, 2], [1, 1, 2]),
        ([0, 0, 0], []),
        ([3, 3, 3], [3]),
        ([1, 2, 1, 0, 0, 4], [1, 2, 1, 4]),
    ],
)
def test_greedy_merges_repeats_then_removes_blanks(path, expected):
    assert greedy(logits_of(path), [len(path)]) == [expected]
    assert beam(logits_of(path), [len(path)]) == [expected]


@pytest.mark.parametrize("decoder", [greedy, beam])
def test_frames_beyond_the_length_are_ignored(decoder):
    logits = np.concatenate([logits_of([1, 2, 3, 4]), logits_of([4, 4, 4, 4])])
    assert decoder(logits, [2, 0]) == [[1, 2], []]


@pytest.mark.parametrize("decoder", [greedy, beam])
def test_another_blank_can_be_used(decoder):
    assert decoder(logits_of([0, 0, 4, 0, 1]), [5], blank=4) == [[0, 0, 1]]


@given(st.integers(1, 6), st.integers(0, 500))
def test_a_wide_beam_finds_the_most_probable_text(frames, seed):
    logits = random_logits(frames, seed=seed)
    totals = sums_over_paths(logits)
    found = tuple(beam(logits, [frames], width=200)[0])
    assert totals[found] == pytest.approx(max(totals.values()), rel=1e-4)


def test_beam_and_greedy_differ_where_paths_add_up():
    probabilities = np.array([[[0.4, 0.3, 0.3], [0.4, 0.35, 0.25]]])
    assert greedy(np.log(probabilities), [2]) == [[]]  # .16 for the path, but .16 for the text too
    assert beam(np.log(probabilities), [2]) == [[1]]  # .3 x .4 + .4 x .35 + .3 x .35


@given(st.integers(1, 6), st.integers(0, 500), st.lists(st.integers(1, 2), max_size=3))
def test_alignment_is_the_best_path_that_writes_the_text(frames, seed, ids):
    log = log_softmax(random_logits(frames, seed=seed))[0]
    paths = [p for p in itertools.product(range(3), repeat=frames) if collapse(p) == tuple(ids)]
    if not paths:
        with pytest.raises(InputError, match="do not fit into"):
            align(log, ids)
        return
    places = align(log, ids)
    path = [ids[k] if k >= 0 else 0 for k in places]
    assert collapse(path) == tuple(ids)
    best = max(sum(log[t, k] for t, k in enumerate(p)) for p in paths)
    assert sum(log[t, k] for t, k in enumerate(path)) == pytest.approx(best)
    written = [k for k in places if k >= 0]
    assert written == sorted(written)


def test_words_carry_their_frames_and_their_confidence():
    alphabet = Alphabet()
    path = [0, *(c for c in alphabet.encode("GO"))] + [0, 1, 0, *alphabet.encode("A"), 0]
    probabilities = np.full((1, len(path), 29), 1e-9)
    for frame, k in enumerate(path):
        probabilities[0, frame, k] = 1
    probabilities[0, 1] = probabilities[0, 2] = 0.2 / 28
    probabilities[0, 1, path[1]] = 0.8
    probabilities[0, 2, path[2]] = 0.5
    (found,) = transcripts(np.log(probabilities), [len(path)], alphabet)
    assert found.text == "GO A"
    assert [(w.text, w.start, w.end) for w in found.words] == [("GO", 1, 3), ("A", 6, 7)]
    normalised = 0.5 / (0.5 + 28 * 0.2 / 28)
    assert found.words[0].confidence == pytest.approx(np.sqrt(0.8 * normalised), rel=0.01)
    assert found.words[1].confidence == pytest.approx(1, abs=1e-6)
    assert found.confidence == found.words[0].confidence


@pytest.mark.parametrize("search", [greedy, partial(beam, width=16)])
def test_stray_spaces_make_no_words(search):
    path = [1, 2, 1, 0, 1, 3, 1]
    (found,) = transcripts(logits_of(path, 29), [7], Alphabet(), search)
    assert found.text == "A B"
    assert [word.text for word in found.words] == ["A", "B"]


def test_silence_gives_an_empty_transcript():
    assert transcripts(logits_of([0, 0], 29), [2], Alphabet()) == [Transcript()]
    assert transcripts(logits_of([1, 1], 29), [2], Alphabet()) == [Transcript()]
    assert transcripts(np.zeros((1, 4, 29)), [0], Alphabet(), beam) == [Transcript()]
    assert (Transcript().text, Transcript().confidence) == ("", 1)


@given(st.integers(1, 30), st.integers(0, 300))
def test_confidences_are_probabilities_and_words_do_not_overlap(frames, seed):
    logits = np.random.default_rng(seed).standard_normal((1, frames, 29)) * 3
    for search in (greedy, partial(beam, width=4)):
        (found,) = transcripts(logits, [frames], Alphabet(), search)
        assert found.text == " ".join(word.text for word in found.words)
        assert all(0 < word.confidence <= 1 for word in found.words)
        edges = [edge for word in found.words for edge in (word.start, word.end)]
        assert edges == sorted(edges)
        assert not edges or edges[-1] <= frames


@pytest.mark.parametrize(
    ("logits", "lengths", "message"),
    [
        (np.zeros((4, 29)), [4], r"expected \(batch, frames, classes\)"),
        (np.zeros((2, 4, 29)), [4], r"lengths of shape \(1,\)"),
        (np.zeros((1, 4, 29)), [5], "lengths go from 5 to 5; expected 0 to the 4 frames"),
        (np.full((1, 4, 29), np.nan), [4], "holds NaN; the model is damaged"),
    ],
)
def test_outputs_that_cannot_be_decoded_are_refused(logits, lengths, message):
    for decode in (greedy, beam):
        with pytest.raises(InputError, match=message):
            decode(logits, lengths)


def test_another_number_of_classes_and_a_beam_of_nothing_are_refused():
    with pytest.raises(InputError, match="the model has 28 classes, the alphabet 29"):
        transcripts(np.zeros((1, 4, 28)), [4], Alphabet())
    with pytest.raises(InputError, match="width 0; expected at least 1"):
        beam(np.zeros((1, 4, 29)), [4], width=0)
