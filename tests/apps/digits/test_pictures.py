import numpy as np
import pytest
from PIL import Image

from apps.common.errors import InputError
from apps.digits.pictures import read_pictures


def fill(folder, count, seed=0):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 255, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")


def test_every_tenth_image_of_a_class_is_for_validation(tmp_path):
    fill(tmp_path / "cat", 21)
    fill(tmp_path / "dog", 3)
    pictures = read_pictures(tmp_path)
    assert pictures.names == ("cat", "dog")
    splits = pictures.splits
    assert (splits.train.labels == 0).sum() == 19
    assert (splits.valid.labels == 0).sum() == 2
    assert splits.valid.labels.tolist() == [0, 0, 1]
    assert splits.train.images.shape == (21, 32, 32, 3)
    assert splits.train.classes == 2
    assert splits.test is None


def test_splits_of_the_folders_own_are_taken_as_they_are(tmp_path):
    for split, count in (("train", 4), ("valid", 2), ("test", 3)):
        for seed, name in enumerate(("cat", "dog")):
            fill(tmp_path / split / name, count, seed)
    splits = read_pictures(tmp_path).splits
    assert splits.summary() == {"train": 8, "valid": 4, "test": 6}


def test_mistakes_are_named_in_one_line(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read_pictures(tmp_path / "nowhere")
    fill(tmp_path / "cat", 3)
    with pytest.raises(InputError, match="1 subfolders; expected one for each of 2 classes"):
        read_pictures(tmp_path)
    fill(tmp_path / "dog", 1)
    with pytest.raises(InputError, match="dog: 1 images; expected 2 at least"):
        read_pictures(tmp_path)
    (tmp_path / "dog" / "bad.png").write_text("no image")
    with pytest.raises(InputError, match=r"bad.png: not an image"):
        read_pictures(tmp_path)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "dog").mkdir()
    with pytest.raises(InputError, match="train without valid"):
        read_pictures(tmp_path)
