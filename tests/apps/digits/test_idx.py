import gzip
import tracemalloc

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
        (idx(IMAGES) + b"x", "damaged: more bytes, expected 40"),
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


def test_a_gzip_file_that_unpacks_to_more_than_its_header_says_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(idx(IMAGES))
        for _ in range(100):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(InputError, match="damaged: more bytes, expected 40"):
        read_idx(path, axes=3)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_header_that_promises_too_much_is_refused_before_anything_is_read(tmp_path, pack):
    path = tmp_path / "images"
    path.write_bytes(pack(bytes([0, 0, 8, 3]) + b"\xff\xff\xff\xff" * 3))
    with pytest.raises(InputError, match=r"bytes by its header; expected 200,000,000 at most"):
        read_idx(path, axes=3)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_idx(tmp_path / "nothing", axes=1)
