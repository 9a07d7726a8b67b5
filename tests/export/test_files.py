import errno
import gzip
import hashlib
from pathlib import Path

import pytest

from hlstm_tf.export.files import file_size, replaced_file, replaced_folder


def test_size_is_raw_gzipped_and_hashed(tmp_path: Path) -> None:
    content = b"abc" * 1000
    (tmp_path / "file").write_bytes(content)
    size = file_size(tmp_path / "file")
    assert size.bytes == 3000
    assert size.gzipped == len(gzip.compress(content, 9, mtime=0))
    assert size.sha256 == hashlib.sha256(content).hexdigest()


def test_a_file_appears_whole_and_replaces_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replaced_file(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def _fail_halfway(path: Path) -> None:
    with replaced_file(path) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError


def test_a_failure_leaves_the_older_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        _fail_halfway(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_no_folder_that_was_made_for_the_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        _fail_halfway(tmp_path / "a" / "b" / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, little_room: None
) -> None:
    path = tmp_path / "file"
    with (
        pytest.raises(OSError, match=r"cannot write .*/file: there is no room for it") as caught,
        replaced_file(path) as unfinished,
    ):
        unfinished.write_bytes(bytes(20_000))
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    started = []
    with (
        pytest.raises(NotADirectoryError, match=r"cannot write .*file is not a folder"),
        replaced_file(tmp_path / "file" / "model.tflite"),
    ):
        started.append(1)
    with (
        pytest.raises(IsADirectoryError, match="is a folder; give the name of a file"),
        replaced_file(tmp_path),
    ):
        started.append(2)
    with (
        pytest.raises(OSError, match=r"cannot write /proc/model\.tflite"),
        replaced_file("/proc/model.tflite"),
    ):
        started.append(3)
    assert started == []


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "name" / "1"
    with replaced_folder(path) as unfinished:
        (unfinished / "file").write_text("content")
        assert not path.exists()
    assert (path / "file").read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


def test_an_existing_folder_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "1"
    path.mkdir()
    (path / "old").write_text("")
    with (
        pytest.raises(FileExistsError, match="exists already; give the next version's folder"),
        replaced_folder(path),
    ):
        pass
    with pytest.raises(RuntimeError), replaced_folder(path, overwrite=True):
        raise RuntimeError
    assert [file.name for file in path.iterdir()] == ["old"]
    with replaced_folder(path, overwrite=True) as unfinished:
        (unfinished / "new").write_text("")
    assert [file.name for file in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_never_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("")
    with (
        pytest.raises(FileExistsError, match="is a file; give the name of a folder"),
        replaced_folder(tmp_path / "1", overwrite=True),
    ):
        pass
