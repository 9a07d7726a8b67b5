import itertools

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from apps.common.errors import InputError
from apps.speech import folder as folder_module
from apps.speech.corpus import synthesise
from apps.speech.folder import open_corpus, read_folder
from apps.speech.utterance import Utterance
from tests.apps.speech.test_an4 import TRAIN, write_audio, write_lists


@pytest.fixture
def folder(tmp_path):
    for speaker in "abcde":
        for k in range(2):
            soundfile.write(tmp_path / f"{speaker}{k}.wav", np.zeros(1600), 16000)
    return tmp_path


def write(folder, text, name="clips.csv"):
    (folder / name).write_text(text, encoding="utf-8")


def rows(*lines):
    return "path,text,speaker\n" + "".join(f"{line}\n" for line in lines)


EVERYBODY = [f"{speaker}{k}.wav,yes no,{speaker}" for speaker in "abcde" for k in range(2)]


def test_whole_speakers_are_dealt_to_the_splits(folder):
    write(folder, rows(*EVERYBODY))
    corpus = read_folder(folder)
    speakers = [corpus.speakers(split) for split in ("train", "valid", "test")]
    assert [len(names) for names in speakers] == [3, 1, 1]
    assert sorted(itertools.chain(*speakers)) == list("abcde")
    assert len(corpus.train) == 6
    assert corpus.train[0].text == "YES NO"
    assert corpus.name == folder.name


def test_the_deal_is_a_function_of_the_seed(folder):
    write(folder, rows(*EVERYBODY))
    assert read_folder(folder, seed=1) == read_folder(folder, seed=1)
    held_out = {tuple(read_folder(folder, seed=seed).speakers("test")) for seed in range(8)}
    assert len(held_out) > 1


def test_the_order_of_the_rows_does_not_change_the_deal(folder):
    write(folder, rows(*EVERYBODY))
    forward = read_folder(folder)
    write(folder, rows(*reversed(EVERYBODY)))
    assert {u.id for u in read_folder(folder).test} == {u.id for u in forward.test}


@given(
    st.lists(st.integers(0, 30), min_size=3, max_size=80).filter(lambda s: len(set(s)) > 2),
    st.integers(0, 5),
)
def test_a_deal_loses_nobody_and_splits_no_speaker(speakers, seed):
    everyone = [Utterance(str(k), str(s), "", "x.wav") for k, s in enumerate(speakers)]
    splits = folder_module._deal(everyone, seed, "x.csv")
    assert sorted(u.id for part in splits.values() for u in part) == sorted(u.id for u in everyone)
    homes = [{u.speaker for u in part} for part in splits.values()]
    assert all(homes)
    assert sum(map(len, homes)) == len(set(speakers))


def test_a_split_column_is_followed(folder):
    write(folder, "split,path,text\ntrain,a0.wav,go\nTest,b0.wav,\ntrain,c0.wav,it's\n")
    corpus = read_folder(folder)
    assert [u.id for u in corpus.train] == ["a0.wav", "c0.wav"]
    assert [(u.id, u.text) for u in corpus.test] == [("b0.wav", "")]
    assert corpus.valid == ()


def test_a_byte_order_mark_and_quoted_commas_are_read(folder):
    write(folder, '\ufeffpath,text,split\n"a0.wav","go  on",train\n')
    assert read_folder(folder).train[0].text == "GO ON"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column path and text among none"),
        ("path,txt\na0.wav,go\n", "line 1: no column text among path, txt"),
        ("path,text\n", "has no rows"),
        (rows("none.wav,go,a"), r"line 2: .*none.wav: no such file"),
        (rows(",go,a"), "line 2: the path is empty"),
        (rows("a0.wav,go"), "line 2: more or fewer fields"),
        (rows("a0.wav,go,on,a"), "line 2: more or fewer fields"),
        (rows("a0.wav,go 5,a"), r"line 2\): unknown character '5'"),
        (rows("a0.wav,go,a", "b0.wav,go,b"), r"2 speaker\(s\) cannot be split three ways"),
        ("path,text,split\na0.wav,go,dev\n", "line 2: split is 'dev'"),
        ("path,text,split\na0.wav,go,train\nb0.wav,go,\n", "1 of 2 rows have no split"),
        (
            "path,text,split,speaker\na0.wav,go,train,a\na1.wav,go,test,a\n",
            "speaker 'a' is in train and test",
        ),
        ("path,text,split\na0.wav,go,train\na0.wav,go,train\n", "'a0.wav' occurs more than once"),
        ('path,text\n"a0.wav,go\n', "is no UTF-8 CSV"),
    ],
)
def test_bad_rows_are_named(folder, text, message):
    write(folder, text)
    with pytest.raises(InputError, match=message):
        read_folder(folder)


def test_the_csv_must_be_there_be_one_and_be_text(folder, tmp_path):
    with pytest.raises(InputError, match="found none"):
        read_folder(folder)
    write(folder, rows(*EVERYBODY), "one.csv")
    write(folder, rows(*EVERYBODY), "two.csv")
    with pytest.raises(InputError, match=r"found one.csv, two.csv"):
        read_folder(folder)
    assert len(read_folder(folder, folder / "two.csv").train) == 6
    with pytest.raises(InputError, match=r"three.csv: no such file"):
        read_folder(folder, folder / "three.csv")
    (folder / "two.csv").write_bytes(b"path,text\n\xff\xfe,b\n")
    with pytest.raises(InputError, match=r"two.csv: is no UTF-8 CSV"):
        read_folder(folder, folder / "two.csv")
    with pytest.raises(InputError, match="no such folder"):
        read_folder(tmp_path / "elsewhere")


def test_a_folder_may_have_test_rows_alone(folder):
    write(folder, "path,text,split\na0.wav,go,test\n")
    corpus = read_folder(folder)
    assert [u.id for u in corpus.split("test")] == ["a0.wav"]
    with pytest.raises(InputError, match="the train split is empty; expected one of test"):
        corpus.split("train")


def test_a_synthesised_corpus_is_recognised(tmp_path):
    made = synthesise(tmp_path / "s", train=1, valid=0, test=1, quiet=True)
    assert open_corpus(tmp_path / "s") == made


def test_an4_is_recognised(tmp_path):
    texts = {name.replace("mxyz", "fjdn"): text for name, text in TRAIN.items()}
    write_lists(tmp_path, "train", texts)
    for name in texts:
        write_audio(tmp_path, name, ".raw")
    assert open_corpus(tmp_path).name == "an4"


def test_a_csv_is_recognised(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16000)
    (tmp_path / "list.csv").write_text("path,text,split\na.wav,go,train\n")
    assert open_corpus(tmp_path).train[0].text == "GO"


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="no corpus that is known"):
        open_corpus(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        open_corpus(tmp_path / "none")
