import numpy as np
import pytest
from PIL import Image

from apps.common.errors import InputError
from apps.digits.image import normalize, read_digit


def seven(height: int = 140, width: int = 110) -> np.ndarray:
    """Strokes of a 7, 0 or 1."""
    strokes = np.zeros((height, width))
    strokes[20:34, 20:90] = 1
    for row in range(30, 120):
        column = 82 - (row - 30) // 2
        strokes[row, column - 8 : column + 8] = 1
    return strokes


def saved(path, pixels, mode=None):
    Image.fromarray(pixels, mode).save(path)
    return path


def variants(folder):
    ink = seven()
    light = (255 * ink).astype(np.uint8)
    dark = 255 - light
    blue = np.stack([dark, dark, np.full_like(dark, 200)], axis=-1)
    alpha = np.stack([np.zeros_like(light)] * 3 + [light], axis=-1)
    opaque = np.stack([dark] * 3 + [np.full_like(dark, 255)], axis=-1)
    big = np.kron(dark, np.ones((5, 5), np.uint8))
    moved = np.pad(dark, ((90, 3), (0, 200)), constant_values=255)
    return {
        "light on dark": saved(folder / "light.png", light),
        "dark on light": saved(folder / "dark.png", dark),
        "color": saved(folder / "blue.png", blue),
        "transparent": saved(folder / "alpha.png", alpha),
        "opaque alpha": saved(folder / "opaque.png", opaque),
        "large": saved(folder / "large.png", big),
        "off center": saved(folder / "moved.png", moved),
        "16 bits": saved(folder / "deep.png", dark.astype(np.uint16) * 200),
        "gray paper": saved(folder / "paper.png", (dark * 0.6 + 60).astype(np.uint8)),
        "JPEG": saved(folder / "seven.jpg", dark),
        "palette": saved(folder / "seven.gif", dark),
        "bilevel": saved(folder / "one-bit.png", dark > 127),
    }


def test_a_digit_looks_the_same_in_every_kind_of_file(tmp_path):
    files = variants(tmp_path)
    expected = read_digit(files["light on dark"]).astype(float)
    assert expected.max() > 200
    for name, path in files.items():
        found = read_digit(path).astype(float)
        assert found.shape == (28, 28), name
        assert np.abs(found - expected).mean() < 6, name


def test_the_longest_side_is_twenty_and_the_center_of_mass_in_the_middle(tmp_path):
    image = normalize(seven()).astype(float)
    rows, columns = np.nonzero(image > 20)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    for axis in (0, 1):
        mass = image.sum(1 - axis)
        assert abs((mass * np.arange(28)).sum() / mass.sum() - 13.5) <= 0.5


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 5)])
def test_tiny_and_thin_drawings_fit_in(shape):
    image = normalize(np.ones(shape))
    assert image.max() > 200


def test_what_is_no_image_is_refused_in_one_line(tmp_path):
    text = tmp_path / "text.png"
    text.write_text("seven")
    whole = saved(tmp_path / "whole.png", (255 * seven()).astype(np.uint8))
    half = tmp_path / "half.png"
    half.write_bytes(whole.read_bytes()[:-60])
    blank = saved(tmp_path / "blank.png", np.full((30, 30), 255, np.uint8))
    clear = saved(tmp_path / "clear.png", np.zeros((30, 30, 4), np.uint8))
    for path, message in {
        text: "not an image",
        half: "cannot be read as an image",
        blank: "nothing is on it",
        clear: "nothing is on it",
        tmp_path / "missing.png": "no such file",
        tmp_path: "cannot be read as an image",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            read_digit(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
