import shutil

import keras
import numpy as np
import pytest

from apps.common.errors import InputError
from apps.digits.mnist import load
from tests.apps.digits.conftest import idx


def test_validation_is_the_end_of_the_training_files(mnist, splits):
    assert splits.summary() == {"train": 220, "valid": 20, "test": 40}
    everything = np.concatenate([splits.train.labels, splits.valid.labels])
    expected = np.random.default_rng(0).permutation(np.arange(240) % 10)
    np.testing.assert_array_equal(everything, expected)
    assert splits.split("test").images.shape == (40, 28, 28)


def test_a_folder_without_test_files_has_no_test_split(mnist, tmp_path):
    for path in mnist.glob("train-*"):
        shutil.copy(path, tmp_path)
    splits = load(tmp_path)
    assert splits.test is None
    with pytest.raises(InputError, match="no test split: expected t10k-images-idx3-ubyte"):
        splits.split("test")


def test_a_folder_may_have_the_test_files_alone(mnist, tmp_path):
    for path in mnist.glob("t10k-*"):
        shutil.copy(path, tmp_path)
    splits = load(tmp_path)
    assert len(splits.split("test")) == 40
    with pytest.raises(InputError, match=r"no train split: .*; use --split test"):
        splits.split("train")
    with pytest.raises(InputError, match="no valid split: expected train-images-idx3-ubyte"):
        splits.split("valid")


def test_half_a_test_split_is_an_error(mnist, tmp_path):
    for path in [*mnist.glob("train-*"), mnist / "t10k-labels-idx1-ubyte"]:
        shutil.copy(path, tmp_path)
    with pytest.raises(InputError, match=r"no t10k-images-idx3-ubyte\[.gz\]"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((30, 28, 27)), np.zeros(30), "are 28 x 27; expected 28 x 28"),
        (np.zeros((30, 28, 28)), np.zeros(29), "29 labels of 30 images"),
        (np.zeros((30, 28, 28)), np.full(30, 10), "a label is 10; expected 0 to 9"),
        (np.zeros((3, 28, 28)), np.zeros(3), "3 training digits are too few"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, images, labels, message):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    with pytest.raises(InputError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("inner", ["", "mnist"])
def test_the_environment_names_the_folder(mnist, tmp_path, monkeypatch, inner):
    shutil.copytree(mnist, tmp_path / inner, dirs_exist_ok=True)
    monkeypatch.setenv("HLSTM_DATA", str(tmp_path))
    assert len(load().train) == 220


def test_without_a_folder_and_a_network_one_line_says_what_to_do(monkeypatch):
    monkeypatch.delenv("HLSTM_DATA", raising=False)

    def fail():
        raise OSError("no route to host\nat all")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(InputError, match="could not be downloaded; give --data-dir"):
        load()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        load(tmp_path / "nowhere")
