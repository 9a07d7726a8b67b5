import zipfile

import pytest

from apps.common import models, pillow
from apps.common.errors import InputError
from apps.common.models import check_model, load_keras


@pytest.mark.parametrize("name", ["model.tflite", "model.keras", "folder"])
def test_a_model_that_is_too_large_is_refused_before_it_is_read(name, tmp_path):
    path = tmp_path / name
    file = path
    if name == "folder":
        path.mkdir()
        file = path / "variables"
    with file.open("wb") as stream:
        stream.truncate(models.LARGEST + 1)  # takes no room on disk
    with pytest.raises(InputError, match=r"300,000,001 bytes; expected a \.keras file"):
        check_model(path)


def test_a_small_archive_that_unpacks_to_a_large_model_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(models.LARGEST_TEXT + 1))
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"when it is unpacked, 8,000,001 of them configuration"):
        load_keras(path)


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    pillow.Image.new("L", (30, 20)).save(path)
    monkeypatch.setattr(pillow, "PIXELS", 599)
    with (
        pytest.raises(InputError, match="30 x 20 pixels; expected an image of at most 599"),
        pillow.opened_image(path),
    ):
        pass
    monkeypatch.setattr(pillow, "BYTES", 9)
    with (
        pytest.raises(InputError, match="bytes; expected an image, of at most 9 bytes"),
        pillow.opened_image(path),
    ):
        pass
