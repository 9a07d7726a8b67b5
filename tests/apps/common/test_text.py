import pytest

from apps.common import text
from apps.common.errors import InputError
from apps.common.text import LARGEST, VALUES, parse_json, read_json, read_lines, read_text


def test_a_text_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)  # takes no room on disk
    for read in (read_text, lambda *given: next(read_lines(*given))):
        with pytest.raises(InputError, match=r"48,000,001 bytes; expected words, of at most"):
            read(path, "words")
    path.write_text("five six")
    with pytest.raises(InputError, match="8 bytes; expected words, of at most 7 bytes"):
        read_text(path, "words", 7)


def test_a_list_ends_at_so_many_lines(tmp_path, monkeypatch):
    path = tmp_path / "list"
    path.write_text("a\n\nb")
    assert list(read_lines(path, "names")) == ["a", "", "b"]
    monkeypatch.setattr(text, "LINES", 2)
    with pytest.raises(InputError, match="list: more than 2 lines; divide the list"):
        list(read_lines(path, "names"))


@pytest.mark.parametrize("kind", [str, str.encode])
def test_a_json_text_of_too_many_values_is_refused_before_it_is_parsed(kind):
    with pytest.raises(ValueError, match="more than 2,000,000 values"):
        parse_json(kind("[" + "[]," * VALUES + "0]"))
    assert parse_json(kind('{"a": [1, 2]}')) == {"a": [1, 2]}


def test_a_damaged_json_file_is_one_line_that_says_where(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": }')
    with pytest.raises(InputError, match=r"a\.json: damaged \(Expecting value: line 1 column 7"):
        read_json(path, "facts", "make it again")
