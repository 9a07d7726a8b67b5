import dataclasses
from pathlib import Path

import pytest

from apps.common.plan import GrowAndPruneRecipe
from apps.common.rate import Rate
from apps.speech import demo
from apps.speech.demo import Row
from tests.apps.conftest import TINY


def row(name, connections, errors=10, loop=None):
    path = Path(f"{name}.tflite")
    size = (connections, 2e6 * connections, 4 * connections)
    return Row(name, Rate(errors, 100), *size, path, loop=loop)


def test_the_comparison_states_ratios_to_the_baseline():
    rows = [row("LSTM", 1000, loop=Path("loop")), row("grown", 400), row("compact", 80, 9)]
    latency = dict(zip([r.tflite for r in rows], (3.0, 2.0, 1.5), strict=True))
    latency[Path("loop")] = 9.0
    text = demo._comparison(rows, latency)
    assert text == (
        "compact against LSTM: 12.5 times fewer connections, 12.5 times fewer FLOPs, 12.5 times"
        " fewer bytes, 6.0 times faster than it as TFLite converts it, 2.0 times faster than it in"
        " step form; WER 9.0 % (9/100) [4.8, 16.2] against 10.0 % (10/100) [5.5, 17.4]"
    )
    assert demo._table(rows, latency).splitlines()[2].endswith("| 4,000 | 3.00 | 9.00     |")


def test_the_trainings_are_a_stacked_lstm_and_a_grow_and_prune_run():
    baseline, compact = demo.recipes(3).values()
    assert baseline.cell == "lstm"
    assert baseline.layers > 1
    assert baseline.grow_and_prune is None
    assert compact.cell == "hlstm"
    assert compact.grow_and_prune.growth_epochs > 0
    assert baseline.seed == compact.seed == 3


@pytest.mark.training
def test_the_demo_runs_from_nothing_and_again(tmp_path, monkeypatch, capsys):
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
    assert demo.run_demo(tmp_path / "demo") == rows


@pytest.mark.training
def test_a_failed_training_names_its_log(tmp_path):
    work = {"lstm": demo.recipes(0)["lstm"]}
    with pytest.raises(ChildProcessError, match=r"no such folder.*see .*log\.txt"):
        demo._train_and_measure(tmp_path, work, None)
