import itertools

import pytest

from apps.common.errors import InputError
from apps.speech import espeak, voices
from apps.speech.utterance import SPLITS


def test_no_family_of_variants_is_in_two_splits_and_all_are_installed():
    names = [v for split in SPLITS for family in voices.FAMILIES[split] for v in family]
    assert len(names) == len(set(names))
    assert set(names) <= set(espeak.variants())


def formants(variant):
    """Formant number to its frequency, height and width, as the voice file has them."""
    text = (espeak._home().data / "voices" / "!v" / variant).read_text(errors="replace")
    lines = [line.split("//")[0].split() for line in text.splitlines()]
    return {line[1]: tuple(line[2:5]) for line in lines if line[:1] == ["formant"]}


def test_voices_of_different_splits_share_less_than_half_of_their_formants():
    heard = {v: split for split in SPLITS for family in voices.FAMILIES[split] for v in family}
    shapes = {variant: formants(variant) for variant in heard}
    for one, other in itertools.combinations(heard, 2):
        places = shapes[one].keys() | shapes[other].keys()
        equal = sum(shapes[one].get(place) == shapes[other].get(place) for place in places)
        if heard[one] != heard[other]:
            assert 2 * equal < len(places), (one, other)


def test_casts_of_different_splits_share_no_variant():
    heard = {split: {s.voice.variant for s in voices.cast(split, 90)} for split in SPLITS}
    for one, other in [("train", "valid"), ("train", "test"), ("valid", "test")]:
        assert not heard[one] & heard[other]


def test_speakers_of_a_cast_differ_and_every_accent_is_heard_in_training():
    cast = voices.cast("train", 60)
    assert len({speaker.code for speaker in cast}) == len({s.voice for s in cast}) == 60
    accents = {*voices.ACCENTS.values(), *voices.REGIONAL.values()}
    assert {speaker.voice.accent for speaker in cast} == accents


def test_a_cast_is_a_function_of_its_seed():
    assert voices.cast("test", 9, seed=1) == voices.cast("test", 9, seed=1)
    assert voices.cast("test", 9, seed=1) != voices.cast("test", 9, seed=2)


def test_accents_can_be_chosen_and_leave_everything_else_as_it_was():
    chosen = voices.cast("train", 40, accents=("us", "scot"))
    assert {s.voice.accent for s in chosen} == {"en-US", "en-GB-scotland"}
    with_all = voices.cast("train", 40)
    assert [s.voice.variant for s in chosen] == [s.voice.variant for s in with_all]
    assert [s.voice.pitch for s in voices.cast("train", 40, accents=("us",))] == [
        s.voice.pitch for s in voices.cast("train", 40, accents=("gb",))
    ]
    for accents, named in ((("us", "mars"), "mars"), ((), "none")):
        with pytest.raises(InputError, match=f"accents: got {named}"):
            voices.cast("train", 3, accents=accents)


def test_every_accent_can_speak():
    for accent in (*voices.ACCENTS.values(), *voices.REGIONAL.values()):
        assert len(espeak.speak("no", espeak.Voice(accent, "m1"))) > 2000


@pytest.mark.parametrize(("split", "count"), [("dev", 3), ("train", 0)])
def test_unknown_splits_and_empty_casts_are_refused(split, count):
    with pytest.raises(InputError, match="cast: got"):
        voices.cast(split, count)
