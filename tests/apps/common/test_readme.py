import pytest

from apps.common.errors import InputError
from apps.common.tables import write_parts


def test_only_what_stands_between_the_marks_changes(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- one -->\nold\n<!-- /one -->\nb <!-- two --><!-- /two -->\nc\n")
    write_parts(readme, {"two": "2", "one": "| 1 |"})
    assert readme.read_text() == (
        "a\n<!-- one -->\n| 1 |\n<!-- /one -->\nb <!-- two -->\n2\n<!-- /two -->\nc\n"
    )


def test_a_missing_mark_is_named_and_the_file_stays_as_it_was(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- one -->old<!-- /one -->")
    with pytest.raises(InputError, match="no mark <!-- two -->"):
        write_parts(readme, {"one": "new", "two": "new"})
    assert readme.read_text() == "<!-- one -->old<!-- /one -->"
    with pytest.raises(InputError, match=r"none.md: no such file"):
        write_parts(tmp_path / "none.md", {})
