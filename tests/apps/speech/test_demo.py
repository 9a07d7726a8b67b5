import dataclasses

import pytest

from apps.speech import demo
from apps.speech.demo_part import Row
from apps.speech.recipe import GrowAndPruneRecipe
from tests.apps.conftest import TINY


def row(name, connections, errors=10):
    return Row(name, (errors, 100), f"{errors} %", connections, 2e6 * connections, 4 * connections,
               f"{name}.tflite", "m.keras", None, None)  # fmt: skip


def test_the_comparison_states_ratios_to_the_baseline():
    rows = [row("LSTM", 1000), row("grown", 400), row("compact", 80, 9)]
    text = demo._comparison(rows, [(3.0, 9.0), (2.0, None), (1.5, None)])
    assert text == (
        "compact against LSTM: 12.5 times fewer connections, 12.5 times fewer FLOPs, 12.5 times"
        " fewer bytes, 6.0 times faster than it as TFLite converts it, 2.0 times faster than it in"
        " step form; WER 9 % against 10 %"
    )
    assert (
        demo._table(rows, [(3.0, 9.0), (2.0, None), (1.5, None)])
        .splitlines()[2]
        .endswith("| 4,000 | 3.00 | 9.00     |")
    )


def test_the_jobs_are_a_stacked_lstm_and_a_grow_and_prune_run(tmp_path):
    baseline, compact = demo.jobs(tmp_path, 3)
    assert baseline["recipe"]["cell"] == "lstm"
    assert baseline["recipe"]["layers"] > 1
    assert baseline["recipe"]["grow_and_prune"] is None
    assert compact["recipe"]["cell"] == "hlstm"
    assert compact["recipe"]["grow_and_prune"]["growth_epochs"] > 0
    assert {job["recipe"]["seed"] for job in (baseline, compact)} == {3}


@pytest.mark.training
def test_the_demo_runs_from_nothing_and_again_at_once(tmp_path, monkeypatch, capsys):
    plan = GrowAndPruneRecipe(growth_epochs=1, step=0.5, retrain_epochs=1, threshold=9.0,
                              max_iterations=1)  # fmt: skip
    tiny = {
        "demo": dataclasses.replace(TINY, grow_and_prune=plan),
        "demo-lstm": dataclasses.replace(TINY, cell="lstm", units=8),
    }
    monkeypatch.setattr(
        demo, "preset", lambda name, **changes: dataclasses.replace(tiny[name], **changes)
    )
    monkeypatch.setattr(demo, "DEMO_CORPUS", {"train": 12, "valid": 3, "test": 3})
    rows = demo.run_demo(tmp_path / "demo")
    out = capsys.readouterr().out
    assert [r.name for r in rows] == [demo.LSTM, demo.GROWN, demo.COMPACT]
    assert rows[2].connections < rows[1].connections < rows[0].connections
    files = out.split("files:\n")[1].splitlines()[:-1]
    assert all((tmp_path / file.strip()).exists() for file in files)
    assert any(file.endswith("training.png") for file in files)
    assert [dataclasses.replace(r) for r in demo.run_demo(tmp_path / "demo")] == rows


@pytest.mark.training
def test_a_failed_part_names_its_log(tmp_path):
    job = demo.jobs(tmp_path, 0)[0]
    with pytest.raises(ChildProcessError, match=r"no such folder.*see .*log\.txt"):
        demo._run_side_by_side([job])
