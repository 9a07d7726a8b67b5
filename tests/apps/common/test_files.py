import json

import pytest

from apps.common.files import write_json, written_beside


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "new" / "model.bin"
    with written_beside(target) as temporary:
        temporary.write_bytes(b"half")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.suffix == target.suffix
    assert [path.name for path in target.parent.iterdir()] == ["model.bin"]


def test_a_failure_leaves_the_earlier_file_and_nothing_else(tmp_path):
    target = tmp_path / "model.bin"
    target.write_bytes(b"earlier")

    def write():
        with written_beside(target) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["model.bin"]
    assert target.read_bytes() == b"earlier"


def test_json_is_written_the_same_whatever_the_order_of_the_keys(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [2], "b": 1}
