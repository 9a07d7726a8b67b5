import hashlib
import subprocess
import sys
import threading

import librosa
import numpy as np
import pytest

from apps.common.errors import InputError
from apps.speech import espeak
from apps.speech.espeak import Voice, speak

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
    """Of its voiced frames, by YIN."""
    frames = librosa.yin(samples.astype(float), fmin=50, fmax=500, sr=espeak.SAMPLE_RATE)
    return float(np.median(frames))


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.variant)
def test_equal_calls_give_equal_samples_whatever_was_said_before(voice):
    first = speak("erase five", voice)
    speak("something else entirely", VOICES[0])
    assert digest(speak("erase five", voice)) == digest(first)


def test_another_process_gives_the_same_samples():
    code = (
        "import hashlib; from apps.speech.espeak import *\n"
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
        espeak._Home()
