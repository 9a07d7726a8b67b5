import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from apps.common.errors import InputError
from apps.speech import an4
from apps.speech.an4 import VALIDATION_SPEAKERS, read_an4
from apps.speech.audio import load_audio

TRAIN = {
    "clstk/fabc/cen1-fabc-b": "OPEN SEVEN",
    "clstk/fabc/cen2-fabc-b": "A'B",
    "clstk/mxyz/cen1-mxyz-b": "NINE NINE",
}
TEST = {"test_clstk/mnew/cen1-mnew-b": "YES"}


def write_lists(folder, split, texts, markers=True):
    etc = folder / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    (etc / f"an4_{split}.fileids").write_text("".join(f"{name}\n" for name in texts))
    lines = []
    for name, text in texts.items():
        body = f"<s> {text} </s>" if markers else text
        lines.append(f"{body} ({name.rsplit('/', 1)[-1]})\n")
    (etc / f"an4_{split}.transcription").write_text("".join(lines))


def write_audio(folder, name, suffix):
    path = folder / "wav" / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.round(8000 * np.sin(np.arange(4000) / 9))
    if suffix == ".sph":
        header = (
            "NIST_1A\n   1024\nsample_count -i 4000\nsample_rate -i 16000\nsample_n_bytes -i 2\n"
            "sample_byte_format -s2 01\nchannel_count -i 1\nsample_coding -s3 pcm\nend_head\n"
        )
        path.write_bytes(header.encode().ljust(1024) + samples.astype("<i2").tobytes())
    else:
        path.write_bytes(samples.astype(">i2").tobytes())


@pytest.fixture
def folder(tmp_path):
    write_lists(tmp_path, "train", TRAIN)
    for name in TRAIN:
        write_audio(tmp_path, name, ".sph")
    return tmp_path


def read(folder, **arguments):
    return read_an4(folder, validation_speakers=["mxyz"], **arguments)


def replace(folder, file, old, new):
    path = folder / "etc" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_speakers_are_folders_and_validation_is_cut_by_speaker(folder):
    corpus = read(folder)
    assert corpus.name == "an4"
    assert [(u.id, u.speaker, u.text) for u in corpus.train] == [
        ("cen1-fabc-b", "fabc", "OPEN SEVEN"),
        ("cen2-fabc-b", "fabc", "A'B"),
    ]
    assert [u.speaker for u in corpus.valid] == ["mxyz"]
    assert corpus.test == ()


def test_the_test_list_is_read_where_there_is_one_and_needs_no_sentence_marks(folder):
    write_lists(folder, "test", TEST, markers=False)
    write_audio(folder, next(iter(TEST)), ".sph")
    assert [(u.speaker, u.text) for u in read(folder).test] == [("mnew", "YES")]


def test_sphere_and_raw_editions_hold_the_same_samples(folder, tmp_path_factory):
    raw = tmp_path_factory.mktemp("raw")
    write_lists(raw, "train", TRAIN)
    for name in TRAIN:
        write_audio(raw, name, ".raw")
    for one, other in zip(read(folder).train, read(raw).train, strict=True):
        assert other.audio.suffix == ".raw"
        assert np.array_equal(load_audio(one.audio), load_audio(other.audio))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("an4_train.fileids", "has no etc/an4_train.fileids"),
        ("an4_train.transcription", "etc/an4_train.transcription: no such file"),
    ],
)
def test_a_missing_list_is_named(folder, name, message):
    (folder / "etc" / name).unlink()
    with pytest.raises(InputError, match=re.escape(message)):
        read(folder)


def test_a_test_list_without_transcripts_is_named(folder):
    write_lists(folder, "test", TEST)
    (folder / "etc" / "an4_test.transcription").unlink()
    with pytest.raises(InputError, match=r"an4_test.transcription: no such file"):
        read(folder)


def test_another_folder_is_not_an4(tmp_path):
    with pytest.raises(InputError, match=r"has no etc/an4_train\.fileids"):
        read_an4(tmp_path)
    assert not an4.is_an4(tmp_path)


def test_missing_audio_is_named(folder):
    (folder / "wav" / "clstk/fabc/cen2-fabc-b.sph").unlink()
    with pytest.raises(InputError, match=r"cen2-fabc-b.sph: no such file"):
        read(folder)


def test_an_utterance_without_transcript_and_a_transcript_without_utterance_are_named(folder):
    replace(folder, "an4_train.transcription", "<s> A'B </s> (cen2-fabc-b)\n", "")
    with pytest.raises(InputError, match=r"fileids line 2: 'cen2-fabc-b' has no transcript"):
        read(folder)
    write_lists(folder, "train", TRAIN)
    replace(folder, "an4_train.fileids", "clstk/fabc/cen2-fabc-b\n", "")
    with pytest.raises(InputError, match=r"transcription line 2: 'cen2-fabc-b' is not in"):
        read(folder)


@pytest.mark.parametrize(
    "line",
    ["<s> A'B </s>", "cen2-fabc-b", "<s> A </s> <s> B </s> (cen2-fabc-b)", "<s> A'B </s> ()"],
)
def test_a_malformed_transcript_line_is_named(folder, line):
    replace(folder, "an4_train.transcription", "<s> A'B </s> (cen2-fabc-b)", line)
    with pytest.raises(InputError, match=r"transcription line 2: got .*; expected '<s> WORDS"):
        read(folder)


@pytest.mark.parametrize("line", ["cen2-fabc-b", "/etc/passwd", "clstk/../../cen2-fabc-b"])
def test_a_malformed_file_id_is_named(folder, line):
    replace(folder, "an4_train.fileids", "clstk/fabc/cen2-fabc-b", line)
    with pytest.raises(InputError, match=r"fileids line 2: .*expected set/speaker/utterance"):
        read(folder)


def test_repeated_utterances_are_named(folder):
    with (folder / "etc" / "an4_train.fileids").open("a") as file:
        file.write("clstk/mxyz/cen1-mxyz-b\n")
    with pytest.raises(InputError, match=r"line 4: 'cen1-mxyz-b' is listed twice"):
        read(folder)
    write_lists(folder, "train", TRAIN)
    with (folder / "etc" / "an4_train.transcription").open("a") as file:
        file.write("<s> NO </s> (cen1-mxyz-b)\n")
    with pytest.raises(InputError, match=r"line 4: a second transcript of 'cen1-mxyz-b'"):
        read(folder)


def test_an_unknown_character_is_named_with_file_and_line(folder):
    replace(folder, "an4_train.transcription", "OPEN SEVEN", "OPEN 7")
    with pytest.raises(InputError, match=r"cen1-fabc-b .*transcription line 1\): .*'7'"):
        read(folder)


def test_an_empty_transcript_is_an_utterance_of_silence(folder):
    replace(folder, "an4_train.transcription", "<s> A'B </s>", "<s> </s>")
    assert read(folder).train[1].text == ""


def test_binary_lists_and_empty_lists_are_named(folder):
    (folder / "etc" / "an4_train.fileids").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"fileids: no text"):
        read(folder)
    write_lists(folder, "train", {})
    with pytest.raises(InputError, match=r"fileids: lists no utterances"):
        read(folder)


def test_validation_speakers_must_leave_both_splits_something(folder):
    with pytest.raises(InputError, match="leave 3 training and 0 validation"):
        read_an4(folder, validation_speakers=["nobody"])
    with pytest.raises(InputError, match="leave 0 training and 3 validation"):
        read_an4(folder, validation_speakers=["fabc", "mxyz"])


def test_a_test_speaker_who_trains_is_refused(folder):
    write_lists(folder, "test", {"test_clstk/fabc/cen5-fabc-b": "NO"})
    write_audio(folder, "test_clstk/fabc/cen5-fabc-b", ".sph")
    with pytest.raises(InputError, match="speakers fabc are in the training and the test list"):
        read(folder)


@pytest.mark.skipif(not os.environ.get("HLSTM_DATA"), reason="needs AN4: set HLSTM_DATA")
def test_the_real_corpus_has_its_known_size(tmp_path):
    source = Path(os.environ["HLSTM_DATA"]) / "an4"
    corpus = read_an4(source)
    assert len(corpus.train) + len(corpus.valid) == 948
    assert corpus.speakers("valid") == sorted(VALIDATION_SPEAKERS)
    assert len(corpus.speakers("train")) == 64
    assert sum(len(u.text.split()) for u in corpus.valid) == 774
    assert len(load_audio(corpus.train[0].audio)) == 16000
    shutil.copy(corpus.train[0].audio, tmp_path / "cut.sph")
    with (tmp_path / "cut.sph").open("r+b") as file:
        file.truncate(20000)
    with pytest.raises(InputError, match="promises 16000 samples, the file holds 9488"):
        load_audio(tmp_path / "cut.sph")
