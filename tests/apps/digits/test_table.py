import json

import pytest

from apps.common.errors import InputError
from apps.common.files import write_json
from apps.common.tables import add_records
from apps.digits.table import PLOT, write_tables

README = "# Digits\n<!-- targets -->\nold\n<!-- /targets -->\n<!-- comparison -->\n"
README += "<!-- /comparison -->\n<!-- seeds -->\n<!-- /seeds -->\nend\n"


def record(wrong, parameters, seed=0, **facts):
    figures = {"parameters": parameters, "flops": 5000, "weights": parameters - 100}
    return {
        "recipe": {"arch": "lenet-300-100", "seed": seed},
        "epochs": [],
        "result": {**figures, "valid": {"errors": wrong, "total": 5000}},
        **facts,
    }


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    write_json(folder / "a.json", record(60, 2600))
    write_json(folder / "b.json", record(70, 2800, seed=1))
    for order, (kind, wrong) in enumerate([("gradient", 80), ("random", 90)]):
        facts = {"table": "comparison", "kind": kind, "order": order}
        write_json(folder / f"{kind}.json", record(wrong, 4000, **facts))
    for order, (size, wrong) in enumerate([(1000, 95), (50_000, 75)]):
        facts = {"table": "seeds", "kind": f"{size}", "order": order, "seed_connections": size}
        write_json(folder / f"seed-{size}.json", record(wrong, 4000, **facts))
    return folder


def test_tables_are_means_over_seeds_between_their_marks(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(README)
    assert write_tables(results, readme) == [readme, results / PLOT]
    text = readme.read_text()
    assert text.startswith("# Digits\n<!-- targets -->\n| network")
    assert text.endswith("<!-- /seeds -->\nend\n")
    assert "old" not in text
    [row] = [line for line in text.splitlines() if line.startswith("| lenet-300-100")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:6] == ["2", "1.30 % [1.02, 1.65]", "60, 70", "2,700", "98.7 x"]
    lines = text.splitlines()
    at = {
        name: k for k, line in enumerate(lines) for name in ("gradient", "random") if name in line
    }
    assert at["gradient"] < at["random"]
    assert (results / PLOT).read_bytes().startswith(b"\x89PNG")
    write_tables(results, readme)
    assert readme.read_text() == text


def test_the_records_of_runs_are_kept_under_their_names(results, tmp_path):
    write_json(tmp_path / "run-7" / "record.json", record(50, 2500, seed=7))
    [added] = add_records([tmp_path / "run-7"], results)
    assert added == results / "run-7.json"
    assert json.loads(added.read_text())["recipe"]["seed"] == 7
    write_json(tmp_path / "half" / "record.json", {"recipe": {}, "epochs": []})
    with pytest.raises(InputError, match="half: its training is not finished"):
        add_records([tmp_path / "half"], results)


def test_a_readme_without_marks_and_a_damaged_record_are_named(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("nothing")
    with pytest.raises(InputError, match="no mark <!-- targets -->"):
        write_tables(results, readme)
    (results / "bad.json").write_text("{}")
    with pytest.raises(InputError, match=r"bad.json: no record of a finished training"):
        write_tables(results, readme)
