"""Tables from records written by hand, with the figures worked out beside them."""

import json

import pytest

from apps.an4_study.cli import RESULTS, main
from apps.an4_study.fronts import Cost, front_of, least_cost, least_error, mean, points
from apps.an4_study.records import add_records, read_results, small
from apps.an4_study.rows import TABLES
from apps.an4_study.tables import NONE, PARTS, _an4_fronts, write_tables
from apps.common.errors import InputError
from apps.common.files import write_json

WORDS = 1000


def record(row, seed, errors, connections=600, sparsity=0.25, seconds=300.0, **more):
    """A plain training's."""
    return {
        "row": row,
        "seed": seed,
        "corpus": "ten speakers",
        "recipe": {"seed": seed},
        "seconds": 9.0,
        "cpu_seconds": seconds,
        "versions": {},
        "epochs": {},
        "measures": {"layers": [], "hidden": []},
        "result": {
            "connections": connections,
            "sparsity": sparsity,
            "words": {"errors": errors, "total": WORDS},
        },
        **more,
    }


def front(row, seed, stages, ms=None, **more):
    """A grow-and-prune run's: of each stage its connections and its epochs' errors."""
    rows = []
    for number, (connections, several) in enumerate(stages):
        phase, iteration = ("retraining", number - 1) if number else ("training", 0)
        rows += [(phase, iteration, errors, connections) for errors in several]
    names = ("phase", "iteration", "val_word_errors", "connections")
    epochs = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    latency = {"latency": {"ms": ms}} if ms else {}
    connections, errors = stages[-1]
    return record(row, seed, min(errors), connections, epochs=epochs, **latency, **more)


def rows_of(text):
    """The cells of a Markdown table's rows, by the first; the heading by "heading"."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {"heading": lines[0], **{line[0]: line[1:] for line in lines[2:]}}


def test_a_row_has_its_means_and_each_seeds_errors():
    found = PARTS["dropout"](
        [
            record("hlstm", 1, 90, seconds=360.0),
            record("hlstm", 0, 111, connections=700, sparsity=0.75),
            record("gates-0", 0, 150),
            record("elsewhere", 0, 1),
        ]
    )
    rows = rows_of(found)
    assert list(rows) == ["heading", "0.1", "0"]
    # 201 of 2 x 1,000; Wilson's interval of 100 in 1,000 is 0.083 to 0.120; 11 minutes of two.
    assert rows["0.1"] == ["2", "10.1 % [8.3, 12.0]", "111, 90", "650", "50.0%", "5.5"]
    assert rows["0"][2] == "150"


def test_a_table_without_records_says_how_to_get_them():
    assert PARTS["width"]([record("gates-0", 0, 1)]) == NONE.format("width")
    assert {PARTS[name]([]).split(":")[0] for name in PARTS} == {"No records yet"}


def test_the_best_epoch_of_each_iteration_makes_a_front():
    seen = front("gp", 0, [(800, [300, 200, 210]), (400, [220, 250]), (200, [400, 310])])
    assert points(seen) == [(800, 0.2), (400, 0.22), (200, 0.31)]
    timed = front("gp", 0, [(800, [200]), (400, [220])], ms=[1.5, 1.25])
    assert points(timed, "ms") == [(1.5, 0.2), (1.25, 0.22)]


def test_costs_are_read_off_a_front_between_its_points():
    path = [(1600, 0.10), (400, 0.12), (100, 0.11), (25, 0.31)]
    # 0.21 is half way between 25 and 100 connections, in logarithms: 50.
    assert least_cost(path, 0.21).value == pytest.approx(50)
    # The point of 100 is good enough for 0.115 although that of 400 is not.
    assert least_cost(path, 0.115).value == pytest.approx(100 * (25 / 100) ** (0.005 / 0.20))
    assert least_cost(path, 0.10) == Cost(pytest.approx(1600), False)
    assert least_cost(path, 0.09) is None
    assert least_cost(path, 0.4) == Cost(25, True)
    assert least_error(path, 50) == pytest.approx(0.21)
    # A cheaper point that is better counts.
    assert least_error(path, 500) == pytest.approx(0.11)
    assert least_error(path, 24) is None
    assert mean([[(100, 0.2)], [(400, 0.4)]]) == [(200, pytest.approx(0.3))]


def test_ways_are_compared_by_connections_at_the_least_error_of_pruning_only():
    text = PARTS["equal-error"](
        [
            # Pruning only reaches 11 % in the mean, the dense networks' 10 and 12.
            front("pruning", 0, [(1000, [100]), (250, [120])]),
            front("pruning", 1, [(1000, [120]), (250, [140])]),
            front("gp", 0, [(500, [110]), (125, [150])]),
        ]
    )
    rows = rows_of(text)
    heading = ["connections at a WER of", "11.0 %", "13.0 %", "15.0 %", "19.0 %", "23.0 %"]
    assert rows["heading"] == heading
    # Half way from 11 to 15 % is half way from 500 to 125 in logarithms: 250.
    assert rows["growth by gradient, then pruning"] == ["500", "250", *["<= 125"] * 3]
    # The mean front: 11 % at 1,000, 13 % at 250. A seed: 10 to 12 %, half way 500; 12 to 14 %.
    assert rows["pruning only, from dense"] == [
        "1,000 (500; -)", "<= 250 (<= 250; 500)", *["<= 250 (<= 250; <= 250)"] * 3,
    ]  # fmt: skip


def test_structures_are_compared_by_error_at_the_same_latency(monkeypatch):
    monkeypatch.setattr("apps.an4_study.tables.SHARES", (1.0, 0.7, 0.5, 0.35))
    text = PARTS["equal-latency"](
        [
            front("gp", 0, [(900, [100]), (100, [110])], ms=[2.0, 2.0]),
            front("gp-neuron", 0, [(900, [100]), (500, [120]), (200, [160])], ms=[2.0, 1.4, 0.7]),
            front("gp-neuron", 1, [(900, [100]), (500, [120])]),
        ]
    )
    rows = rows_of(text)
    assert rows["heading"][1:] == ["2.00 ms", "1.40 ms", "1.00 ms", "0.70 ms", "fastest"]
    assert rows["connections"] == ["10.0 %", "-", "-", "-", "2.00 ms, 10.0 %"]
    # ln(1 / 0.7) / ln(2) = 0.515 of the way from 16 to 12 %.
    assert rows["neurons"] == ["10.0 %", "12.0 %", "13.9 %", "16.0 %", "0.70 ms, 16.0 %"]


def test_sparsity_goes_layer_by_layer_and_stage_by_stage():
    def measures(kept):
        return {
            "layers": [
                ["seed", [["conv_1", 5, 10], ["bi_hlstm_1", 50, 100]]],
                ["trained", [["conv_1", 6, 10], ["bi_hlstm_1", 60, 100]]],
                ["iteration 1", [["conv_1", kept, 10], ["bi_hlstm_1", 20, 100]]],
            ],
            "hidden": [
                ["trained", [["bi_hlstm_1", 0.5, 200.0, 30.0]]],
                ["iteration 1", [["bi_hlstm_1", 0.75, 40.0, kept]]],
            ],
        }

    records = [record("gp", seed, 9, measures=measures(kept)) for seed, kept in ((0, 2), (1, 4))]
    rows = rows_of(PARTS["sparsity"](records))
    assert rows["heading"] == ["layer", "seed", "grown", "iteration 1"]
    assert rows["conv_1"] == ["50.0%", "40.0%", "70.0%"]
    # 22 and 24 of 110.
    assert rows["all"] == ["50.0%", "40.0%", "79.1%"]
    rows = PARTS["zeros"](records).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]
    assert cells == [
        ["grown", "bi_hlstm_1", "50.0%", "200", "30", "15.0%"],
        ["grown and pruned", "bi_hlstm_1", "75.0%", "40", "3", "7.5%"],
    ]


def test_tables_and_plots_are_made_from_the_records_alone(tmp_path, capsys):
    results, readme = tmp_path / "results", tmp_path / "README.md"
    readme.write_text("".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in PARTS))
    layers = [[stage, [["conv_1", 1, 2]]] for stage in ("seed", "trained")]
    measures = {"layers": layers, "hidden": [["trained", []]]}
    for row in TABLES["growth"].rows:
        stages = [(1000, [100]), (250, [120])]
        found = front(row.name, 0, stages, ms=[2.0, 1.0], measures=measures)
        write_json(results / f"{row.name}-seed-0.json", found)
    arguments = ["table", "--results", str(results), "--readme", str(readme)]
    assert main(arguments) == 0
    files = [readme, results / "fronts.png", results / "latency.png"]
    assert capsys.readouterr().out.split() == [str(path) for path in files]
    for plot in files[1:]:
        assert plot.read_bytes().startswith(b"\x89PNG")
        assert plot.stat().st_size < 60_000
    text = readme.read_text()
    assert "| growth at random, then pruning " in text
    assert main(arguments) == 0
    assert readme.read_text() == text


def test_a_record_keeps_what_tables_need_in_few_digits():
    epochs = [
        {"epoch": k, "cpu_seconds": 12.345678, "loss": 1 / 3, "val_word_errors": 7.0,
         "events": ["x"], "phase": "growth", "iteration": 0, "connections": 123_457, "val_wer": 0.1}
        for k in range(2)
    ]  # fmt: skip
    counts = dict.fromkeys(("substitutions", "deletions", "insertions", "characters"), 1)
    full = {
        **{name: {} for name in ("versions", "measures")},
        "corpus": "c",
        "recipe": {"seed": 3, "growth_share": 1 / 3},
        "seconds": 61.23456,
        "cpu_seconds": 50.0,
        "epochs": epochs,
        "result": {**counts, "words": {}, "connections": 12, "sparsity": 0.123456, "wer": 0.5},
    }
    kept = small("gp-seed-3", full)
    assert (kept["row"], kept["seed"], kept["seconds"]) == ("gp", 3, 61.23)
    assert kept["recipe"]["growth_share"] == 1 / 3
    assert kept["epochs"]["loss"] == [0.3333, 0.3333]
    assert kept["epochs"]["connections"] == [123_457, 123_457]
    assert json.dumps(kept["epochs"]["val_word_errors"]) == "[7, 7]"
    assert "wer" not in kept["result"]
    assert "events" not in kept["epochs"]


def test_a_training_that_did_not_prune_has_no_front_but_a_point(tmp_path):
    names = ("phase", "iteration", "val_word_errors", "connections")
    rows = [("training", 0, 4, 60), ("retraining", 0, 6, 40), ("retraining", 0, 5, 40)]
    epochs = [dict(zip(names, row, strict=True)) for row in rows]
    result = {"words": {"errors": 5, "total": 10}, "wer": 0.5, "connections": 40}
    assert front_of({"epochs": epochs[:1], "result": result}) == []
    assert front_of({"epochs": epochs, "result": result}) == [(60.0, 0.4), (40.0, 0.5)]
    write_json(tmp_path / "an4-plain.json", {"epochs": [{"val_word_errors": 5}], "result": result})
    write_json(tmp_path / "an4-pruned.json", {"epochs": epochs, "result": result})
    assert _an4_fronts(tmp_path) == {
        "an4-plain": [[(40, 0.5)]],
        "an4-pruned": [[(60.0, 0.4), (40.0, 0.5)]],
    }


def test_records_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such run record; expected"):
        add_records([tmp_path / "nowhere"], tmp_path)
    with pytest.raises(InputError, match="no records; give the folder"):
        write_tables(tmp_path, tmp_path / "README.md")
    write_json(tmp_path / "a.json", record("hlstm", 0, 1))
    write_json(tmp_path / "b.json", {**record("hlstm", 1, 1), "corpus": "others"})
    with pytest.raises(InputError, match=r"b.json: of another corpus .* \(others\)"):
        read_results(tmp_path)
    write_json(tmp_path / "b.json", {"row": "hlstm"})
    with pytest.raises(InputError, match=r"b.json: no record of a training of an ablation"):
        read_results(tmp_path)


def test_the_readme_of_the_app_has_a_place_for_every_table():
    text = (RESULTS.parents[1] / "README.md").read_text()
    for name in PARTS:
        assert text.count(f"<!-- {name} -->\n") == text.count(f"<!-- /{name} -->\n") == 1
