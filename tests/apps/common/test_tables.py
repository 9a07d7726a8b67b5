import pytest

from apps.common.errors import InputError
from apps.common.files import write_json
from apps.common.rate import Rate
from apps.common.tables import add_records, each, pooled, read_results, write_parts


def record(result, **more):
    return {"epochs": [], "recipe": {"seed": 1}, "result": result, **more}


def test_a_folder_of_runs_gives_the_records_of_those_that_are_finished(tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    write_json(runs / "a" / "record.json", record(1))
    write_json(runs / "b" / "record.json", {"epochs": []})
    write_json(runs / "c" / "record.json", record(3, extra=True))
    keep = lambda name, found: {"name": name, "result": found["result"]}  # noqa: E731
    added = add_records([runs], results, keep)
    assert [path.name for path in added] == ["a.json", "c.json"]
    found = read_results(results, lambda kept: kept["result"], "a run")
    assert found == {"a": {"name": "a", "result": 1}, "c": {"name": "c", "result": 3}}
    added = add_records([runs / "c"], results, needed=("result", "extra"))
    assert [path.name for path in added] == ["c.json"]
    with pytest.raises(InputError, match="b: its training is not finished; train on"):
        add_records([runs / "b"], results)
    for nothing in (runs / "none", tmp_path):
        with pytest.raises(InputError, match="no such run record; expected the folder of a"):
            add_records([nothing], results)


def test_a_record_that_cannot_be_kept_or_used_is_named(tmp_path):
    write_json(tmp_path / "run" / "record.json", record(1))
    with pytest.raises(InputError, match="run: damaged run record"):
        add_records([tmp_path / "run"], tmp_path / "results", lambda name, found: found["none"])
    write_json(tmp_path / "results" / "x.json", [1])
    with pytest.raises(InputError, match=r"x\.json: no record of a run"):
        read_results(tmp_path / "results", lambda kept: kept["result"], "a run")


def test_several_seeds_are_no_larger_sample():
    rates = [Rate(50, 1000), Rate(70, 1000)]
    assert pooled(rates) == str(Rate(60, 1000)).replace(" (60/1000)", "")
    assert pooled(rates, 2).startswith("6.00 % [")
    assert each(rates) == "50, 70"


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
