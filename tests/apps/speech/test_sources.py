import numpy as np
import pytest
import soundfile

from apps.common.errors import InputError
from apps.speech.corpus import synthesise
from apps.speech.sources import open_corpus
from tests.apps.speech.test_an4 import TRAIN, write_audio, write_lists


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
