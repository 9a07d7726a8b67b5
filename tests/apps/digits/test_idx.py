import gzip

import numpy as np
import pytest

from apps.common.errors import InputError
from apps.digits.idx import read_idx
from tests.apps.digits.conftest import idx

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_is_read_plain_or_gzipped_whatever_its_name(tmp_path, pack):
    path = tmp_path / "images"
    path.write_bytes(pack(idx(IMAGES)))
    np.testing.assert_array_equal(read_idx(path, axes=3), IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing; expected 00 00 08 03"),
        (b"\x89PNG\r\n", "begins with 89 50 4e 47"),
        (idx(IMAGES[0]), "begins with 00 00 08 02"),
        (idx(IMAGES)[:-1], "damaged: 39 bytes, expected 40"),
        (idx(IMAGES) + b"x", "damaged: 41 bytes, expected 40"),
        (idx(IMAGES)[:9], "damaged"),
        # Without the time of day, that every test process calls the case the same.
        (gzip.compress(idx(IMAGES), mtime=0)[:-9], "damaged gzip file"),
        (b"\x1f\x8bnonsense", "damaged gzip file"),
    ],
)
def test_a_file_of_another_kind_is_named_in_one_line(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_idx(path, axes=3)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_idx(tmp_path / "nothing", axes=1)
