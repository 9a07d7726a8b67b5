import dataclasses
from pathlib import Path

import numpy as np
import pytest

from apps.an4_study.splice import cut, spliced
from apps.an4_study.train import train
from apps.common.errors import InputError
from apps.common.record import read_record
from apps.speech.alphabet import Alphabet
from apps.speech.batches import Material
from apps.speech.utterance import Utterance
from tests.apps.an4_study.conftest import TINY

ALPHABET = Alphabet(" AB")
SPACE, A, B = 1, 2, 3


def frames(loudness):
    return np.array(loudness, np.float32)[:, None]


def logits(path):
    return 9.0 * np.eye(4)[path]


class Scripted:
    """A recognizer that hears what its script says of an utterance's first number."""

    class card:
        alphabet = ALPHABET

    path = Path("scripted.keras")

    def __init__(self, script):
        self.script = script

    def logits(self, features):
        return logits(self.script[float(features[0, 0])])


def material(*said):
    """Utterances (speaker, text, loudness), named in order."""
    utterances = tuple(
        Utterance(f"u{number}", speaker, text, Path("u.wav"))
        for number, (speaker, text, _) in enumerate(said)
    )
    labels = [ALPHABET.encode(text) for _, text, _ in said]
    return Material(utterances, [frames(loudness) for _, _, loudness in said], labels)


def test_words_are_cut_at_the_quietest_frame_between_their_letters():
    loudness = [-2, 0, 1, 1, 0, -1, 1, 1, -2, -1]
    found = cut(frames(loudness), "A B", logits([0, 0, A, A, SPACE, 0, B, B, 0, 0]), ALPHABET)
    assert found.words == ("A", "B")
    assert found.bounds == (0, 5, 9)
    np.testing.assert_array_equal(found.word(1)[:, 0], [-1, 1, 1, -2])
    np.testing.assert_array_equal(found.after[:, 0], [-1])


def test_bounds_are_in_feature_frames_where_the_network_has_fewer():
    loudness = [0, 0, 0, 1, 1, 1, 1, 1, -3, 0, 1, 1]
    found = cut(frames(loudness), "A B", logits([A, SPACE, 0, B]), ALPHABET)
    assert found is None  # the second word would have 2 frames, and one of the output is 3
    found = cut(frames([*loudness, 1, 1, -1]), "A B", logits([A, SPACE, 0, B, 0]), ALPHABET)
    assert found.bounds == (0, 8, 15)


@pytest.mark.parametrize(
    ("text", "path"),
    [("", [0, 0, 0]), ("ABA", [A, B]), ("A B", [A, SPACE, B])],
    ids=["silence", "too few frames", "words of one frame"],
)
def test_what_cannot_be_cut_is_left_out(text, path):
    assert cut(frames(np.zeros(len(path))), text, logits(path), ALPHABET) is None


def corpus():
    """Two utterances of one speaker, at two speeds, and one of another speaker."""
    return material(
        ("ann", "A B", [10, 10, -1, 20, 20]),
        ("ann", "B", [11, 21, 21]),
        ("bob", "A", [12, 30, 30]),
    )


SCRIPT = {10.0: [A, A, SPACE, B, B], 11.0: [0, B, B], 12.0: [0, A, A]}


def test_spliced_utterances_say_what_their_labels_say_in_their_speakers_voice():
    made = spliced(corpus(), Scripted(SCRIPT), copies=20, seed=0)
    assert len(made.features) == 20 * 3
    voices = {("ann", "A"): {10}, ("ann", "B"): {20, 21}, ("bob", "A"): {30}}
    for utterance, features, labels in zip(
        made.utterances, made.features, made.labels, strict=True
    ):
        np.testing.assert_array_equal(labels, ALPHABET.encode(utterance.text))
        loud = set(features[features[:, 0] >= 15, 0])
        said = set(utterance.text.split())
        allowed = set().union(*(voices[utterance.speaker, word] for word in said)) | {10}
        assert loud <= allowed
    texts = {u.text for u in made.utterances if u.speaker == "ann"}
    assert texts >= {"B B", "A A"}  # in no recording


def test_equal_seeds_splice_equally_and_others_otherwise():
    first, again, other = (
        spliced(corpus(), Scripted(SCRIPT), copies=9, seed=seed).texts for seed in (1, 1, 2)
    )
    assert first == again != other


def test_rare_words_come_more_often_than_in_the_corpus():
    loud = [12, 30, 30]
    said = [("ann", "A", loud)] * 9 + [("ann", "B", [11, 21, 21])]
    made = spliced(material(*said), Scripted(SCRIPT), copies=200, seed=0)
    share = np.mean([text == "B" for text in made.texts])
    assert share == pytest.approx(0.25, abs=0.03)  # 1 / (1 + 9 / 9 ** 0.5)


def test_an_aligner_that_hears_nothing_is_named():
    with pytest.raises(InputError, match=r"scripted\.keras finds no utterance's words"):
        spliced(material(("ann", "AB", [10])), Scripted({10.0: [A]}), copies=1)


@pytest.mark.training
def test_a_training_takes_spliced_words_and_an_extra_corpus(gp_run, toy_corpus, cache, tmp_path):
    recipe = dataclasses.replace(TINY, spliced=1, epochs=1, warmup_epochs=0.5)
    extra = dataclasses.replace(toy_corpus, name="extra", train=toy_corpus.test, valid=(), test=())
    run = train(recipe, toy_corpus, tmp_path / "run", cache, extra=extra, aligner=gp_run.model)
    record = read_record(run.folder)
    assert record["extra"].startswith("extra: train 3 utterances")
    assert len(record["aligner"]) == 64
    with pytest.raises(InputError, match="holds a training with another aligner"):
        train(
            recipe, toy_corpus, run.folder, cache, extra=extra,
            aligner=gp_run.folder / "grown.keras",
        )  # fmt: skip


def test_spliced_copies_without_an_aligner_are_refused(toy_corpus, tmp_path):
    recipe = dataclasses.replace(TINY, spliced=2)
    with pytest.raises(InputError, match="aligner: the recipe's spliced is 2; give a model"):
        train(recipe, toy_corpus, tmp_path / "run")
