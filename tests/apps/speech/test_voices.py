import hashlib
import itertools
import subprocess
import sys
import threading

import numpy as np
import pytest

from apps.common.errors import InputError
from apps.speech import voices
from apps.speech.utterance import SPLITS
from apps.speech.voices import Voice, speak


def test_no_family_of_variants_is_in_two_splits_and_all_are_installed():
    names = [v for split in SPLITS for family in voices.FAMILIES[split] for v in family]
    assert len(names) == len(set(names))
    assert set(names) <= set(voices.variants())


def formants(variant):
    """Formant number to its frequency, height and width, as the voice file has them."""
    text = (voices._home()[1] / "voices" / "!v" / variant).read_text(errors="replace")
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
        assert len(voices.speak("no", voices.Voice(accent, "m1"))) > 2000


@pytest.mark.parametrize(("split", "count"), [("dev", 3), ("train", 0)])
def test_unknown_splits_and_empty_casts_are_refused(split, count):
    with pytest.raises(InputError, match="cast: got"):
        voices.cast(split, count)


# Voices whose noise depends on the library's or C's random numbers and on its flutter.
VOICES = [
    Voice("en-US", "m1"),
    Voice("en", "f2"),
    Voice("en-GB-scotland", "whisper"),
    Voice("en-US-nyc", "caleb"),
]


def digest(samples):
    return hashlib.sha256(samples.tobytes()).hexdigest()


def pitch(samples):
    """Of its loud frames, by the highest peak of the autocorrelation between 50 and 500 Hz."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(float), 2048)[::512]
    loud = frames[np.std(frames, axis=1) > 0.5 * np.std(samples)]
    products = np.fft.irfft(np.abs(np.fft.rfft(loud, 4096)) ** 2)
    first, last = (voices.SAMPLE_RATE // hertz for hertz in (500, 50))
    lags = first + np.argmax(products[:, first:last], axis=1)
    return float(np.median(voices.SAMPLE_RATE / lags))


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.variant)
def test_equal_calls_give_equal_samples_whatever_was_said_before(voice):
    first = speak("erase five", voice)
    speak("something else entirely", VOICES[0])
    assert digest(speak("erase five", voice)) == digest(first)


def test_another_process_gives_the_same_samples():
    code = (
        "import hashlib; from apps.speech.voices import *\n"
        "print(hashlib.sha256(speak('erase five', Voice('en', 'f2')).tobytes()).hexdigest())"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == digest(speak("erase five", VOICES[1]))


def test_threads_take_turns():
    expected = [digest(speak("nine", voice)) for voice in VOICES]
    found = [""] * len(VOICES) * 4

    def work(k):
        found[k] = digest(speak("nine", VOICES[k % len(VOICES)]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected * 4


def test_rate_pitch_and_seed_change_what_is_heard():
    plain = speak("seven", Voice())
    assert len(speak("seven", Voice(rate=300))) < 0.8 * len(plain)
    low, high = (pitch(speak("no no no", Voice(pitch=p))) for p in (0, 99))
    assert high > 1.3 * low
    breathy = VOICES[2]
    assert digest(speak("seven", breathy, 1)) != digest(speak("seven", breathy, 2))


def test_a_comma_makes_a_pause():
    assert len(speak("one, two", Voice())) > len(speak("one two", Voice())) + 1000


def test_an_unknown_voice_is_named():
    with pytest.raises(InputError, match=r"no voice 'gmw/en-XX\+m1'"):
        speak("yes", Voice("en-XX", "m1"))


def test_a_missing_package_gives_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(InputError, match=r'pip install "hlstm_tf\[audio\]"'):
        voices._home.__wrapped__()
