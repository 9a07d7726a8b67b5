import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from apps.common.errors import InputError
from apps.speech import corpus as corpus_module
from apps.speech import voices
from apps.speech.audio import load_audio
from apps.speech.corpus import MANIFEST, read_synthesised, synthesise

SIZE = {"train": 8, "valid": 3, "test": 3, "quiet": True}


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "small"
    synthesise(folder, seed=3, **SIZE)
    return folder


def test_the_splits_hold_what_was_asked_for_and_share_no_voice(folder):
    corpus = read_synthesised(folder)
    assert [len(corpus.split(name)) for name in ("train", "valid", "test")] == [8, 3, 3]
    variants = {
        name: {speaker.split("-")[2] for speaker in corpus.speakers(name)}
        for name in ("train", "valid", "test")
    }
    assert not variants["train"] & (variants["valid"] | variants["test"])
    assert not variants["valid"] & variants["test"]


def test_recordings_are_16_bit_mono_and_hold_sound_that_does_not_clip(folder):
    for utterance in read_synthesised(folder).train:
        info = soundfile.info(utterance.audio)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        audio = load_audio(utterance.audio)
        assert 0.003 < np.sqrt(np.mean(audio**2)) < 0.3
        assert np.abs(audio).max() < 1
        # Nobody says more than five words a second.
        assert len(audio) / 16000 > len(utterance.text.split()) / 5


def test_another_folder_and_process_and_number_of_workers_give_the_same_bytes(folder, tmp_path):
    code = (
        "from apps.speech.corpus import synthesise\n"
        f"synthesise({str(tmp_path / 'again')!r}, seed=3, workers=1, **{SIZE!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert files(tmp_path / "again") == files(folder)


def test_several_processes_give_the_same_bytes(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("apps.speech.corpus._SHARE", 1)
    synthesise(tmp_path / "again", seed=3, workers=3, **SIZE)
    assert files(tmp_path / "again") == files(folder)


def test_a_mistake_in_a_process_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("apps.speech.corpus._SHARE", 1)
    monkeypatch.setitem(voices.ACCENTS, "us", "no-such-accent")
    with pytest.raises(InputError, match="no-such-accent"):
        synthesise(tmp_path / "corpus", workers=2, train=20, valid=0, test=0)
    assert not list(tmp_path.iterdir())


def test_accents_and_telephone_lines_are_as_asked_for(tmp_path):
    corpus = synthesise(
        tmp_path / "c", train=6, valid=0, test=0, accents=("gb",), telephone=1.0, quiet=True
    )
    assert all(u.speaker.endswith("-gb") for u in corpus.train)
    spectrum = np.abs(np.fft.rfft(load_audio(corpus.train[0].audio)))
    hertz = np.linspace(0, 8000, len(spectrum))
    assert spectrum[hertz < 3400].mean() > 5 * spectrum[hertz > 4500].mean()
    with pytest.raises(InputError, match=r"telephone: got 1\.5"):
        synthesise(tmp_path / "d", train=1, telephone=1.5)


def test_another_seed_gives_other_sentences(folder, tmp_path):
    other = synthesise(tmp_path / "other", seed=4, **SIZE)
    assert [u.text for u in other.train] != [u.text for u in read_synthesised(folder).train]


def test_more_utterances_leave_the_first_ones_as_they_were(folder, tmp_path):
    more = synthesise(tmp_path / "more", seed=3, **{**SIZE, "valid": 5}, speakers=(8, 3, 3))
    for a, b in zip(more.valid, read_synthesised(folder).valid, strict=False):
        assert a.text == b.text
        assert a.audio.read_bytes() == b.audio.read_bytes()


def test_a_second_call_reads_what_the_first_one_made(folder):
    before = {name: (folder / name).stat().st_mtime_ns for name in files(folder)}
    synthesise(folder, seed=3, **SIZE)
    assert before == {name: (folder / name).stat().st_mtime_ns for name in files(folder)}


def test_other_parameters_do_not_overwrite_a_corpus(folder):
    before = files(folder)
    with pytest.raises(InputError, match="made with other parameters"):
        synthesise(folder, seed=5, **SIZE)
    assert files(folder) == before


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="holds other files"):
        synthesise(tmp_path, **SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_failure_half_way_leaves_nothing_behind(tmp_path, monkeypatch):
    render, calls = corpus_module._render, []

    def full_disk(*arguments):
        calls.append(arguments)
        if len(calls) > 4:
            raise OSError(28, "No space left on device")
        render(*arguments)

    monkeypatch.setattr(corpus_module, "_render", full_disk)
    with pytest.raises(OSError, match="No space left"):
        synthesise(tmp_path / "small", **SIZE)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed(tmp_path):
    # A process id that cannot exist.
    left = tmp_path / ".small.partial-999999999"
    left.mkdir()
    (left / "half.wav").write_bytes(b"")
    synthesise(tmp_path / "small", train=1, valid=0, test=0, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_damaged_manifest_and_missing_audio_are_named(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    victim = read_synthesised(copy).test[0].audio
    victim.unlink()
    with pytest.raises(InputError, match=f"{victim.name}: missing"):
        read_synthesised(copy)
    (copy / MANIFEST).write_text(json.dumps({"utterances": {}}))
    with pytest.raises(InputError, match=f"{MANIFEST}: damaged"):
        read_synthesised(copy)
    (copy / MANIFEST).write_text("{")
    with pytest.raises(InputError, match=f"{MANIFEST}: damaged"):
        read_synthesised(copy)
    (copy / MANIFEST).unlink()
    with pytest.raises(InputError, match=f"no {MANIFEST}"):
        read_synthesised(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": 0}, "train: got 0 utterances"),
        ({"test": -1}, "test: got -1"),
        ({"seed": -2}, "seed: got -2"),
        ({"speakers": (3, 0, 1)}, "speakers: got"),
        ({"sample_rate": 400}, "sample_rate: got 400"),
    ],
)
def test_impossible_parameters_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        synthesise(tmp_path / "x", **{**SIZE, **change})
    assert not (tmp_path / "x").exists()


def test_the_letter_a_is_spoken_by_its_name():
    rng = np.random.default_rng(0)
    assert corpus_module._spoken("ERASE A Q", 0.0, rng) == "erase [['eI]] q"
    assert corpus_module._spoken("ONE TWO", 1.0, rng) == "one, two"
