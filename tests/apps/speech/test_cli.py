import csv
import dataclasses
import json
import subprocess
import sys

import pytest

from apps.common.plan import changed
from apps.speech.cli import main, parser
from apps.speech.recipe import PRESETS, Recipe, preset


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


@pytest.mark.parametrize(
    "command",
    [
        *("prepare", "train", "evaluate", "speed", "transcribe", "export"),
        *("report", "demo"),
    ],
)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args([command, "--help"])
    assert end.value.code == 0
    assert len(capsys.readouterr().out) > 250


def test_help_does_not_wait_for_tensorflow():
    code = (
        "import sys; from apps.speech.cli import parser; parser();"
        "print([m for m in ('tensorflow', 'keras', 'librosa') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"


def test_prepare_checks_a_corpus_and_caches_its_features(toy_folder, tmp_path, capsys):
    status, out, _ = run(
        capsys, "prepare", "--data-dir", toy_folder, "--cache-dir", tmp_path / "features"
    )
    assert status == 0
    assert "train 12 utterances" in out
    assert len(list((tmp_path / "features").iterdir())) == 3


def test_evaluate_states_counts_and_writes_texts(exported, toy_folder, cache, tmp_path, capsys):
    texts = tmp_path / "texts.csv"
    status, out, _ = run(
        capsys, "evaluate", "--model", exported.tflite, "--data-dir", toy_folder, "--cache-dir",
        cache, "--out", texts, "--json",
    )  # fmt: skip
    assert status == 0
    rates = json.loads(out)
    rows = list(csv.DictReader(texts.open()))
    assert len(rows) == 3
    assert rates["words"]["total"] == sum(len(row["reference"].split()) for row in rows)


@pytest.mark.parametrize("layout", ["csv", "an4"])
def test_evaluate_scores_a_folder_that_has_the_test_recordings_alone(
    layout, exported, toy_corpus, cache, tmp_path, capsys
):
    (tmp_path / "etc").mkdir()
    rows, names, texts = [["path", "text", "speaker", "split"]], [], []
    for place, utterance in enumerate(toy_corpus.test):
        audio = tmp_path / "wav" / "set" / "bbbb" / f"{place}.wav"
        audio.parent.mkdir(parents=True, exist_ok=True)
        audio.write_bytes(utterance.audio.read_bytes())
        rows.append([str(audio.relative_to(tmp_path)), utterance.text, "bbbb", "test"])
        names.append(f"set/bbbb/{place}\n")
        texts.append(f"{utterance.text} ({place})\n")
    if layout == "csv":
        with (tmp_path / "rows.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    else:
        (tmp_path / "etc" / "an4_test.fileids").write_text("".join(names))
        (tmp_path / "etc" / "an4_test.transcription").write_text("".join(texts))
    given = ("--model", exported.tflite, "--data-dir", tmp_path, "--cache-dir", cache)
    status, out, _ = run(capsys, "evaluate", *given, "--json")
    assert status == 0
    words = sum(len(utterance.text.split()) for utterance in toy_corpus.test)
    assert json.loads(out)["words"]["total"] == words
    status, out, err = run(capsys, "evaluate", *given, "--split", "valid")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "the valid split is empty; expected one of test" in err


def test_transcribe_reads_what_it_can_and_names_what_it_cannot(
    gp_run, toy_corpus, tmp_path, capsys
):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no audio at all")
    good = toy_corpus.test[0].audio
    status, out, err = run(capsys, "transcribe", bad, good, "--words", "--model", gp_run.model)
    assert status == 2
    assert out.startswith(f"{good}: ")
    lines = [line for line in err.splitlines() if "bad.wav" in line]
    assert len(lines) == 1
    assert lines[0].startswith("python -m apps.speech transcribe: ")
    status, out, err = run(capsys, "transcribe", good, "-", "--model", gp_run.model)
    assert status == 2
    assert "-: standard input is for --stream" in err


def test_export_and_report_name_their_files(gp_run, tmp_path, capsys):
    status, out, _ = run(capsys, "report", gp_run.folder, "--out", tmp_path / "report")
    assert status == 0
    assert (tmp_path / "report" / "training.png").read_bytes().startswith(b"\x89PNG")
    table = (tmp_path / "report" / "report.md").read_text()
    assert f"{gp_run.result['connections']:,}" in table
    assert out.split() == [str(tmp_path / "report" / n) for n in ("report.md", "training.png")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transcribe", "x.wav", "--model", "none.tflite"], "none.tflite: no such model"),
        (["evaluate", "--model", "none.keras"], "none.keras: no such model"),
        (["export", "--model", "none.keras", "--out", "o"], "none.keras: no such model"),
        (["report", "nowhere", "--out", "o"], "no such run record"),
        (["prepare", "--data-dir", "nowhere"], "nowhere: no such folder"),
        (["train", "--out", "o", "--data-dir", "nowhere"], "nowhere: no such folder"),
        (["train", "--out", "o", "--dropout", "2"], "dropout: got 2.0"),
        (["train", "--out", "o", "--cell", "lstm"], "structures: got neuron connection"),
        (["train", "--out", "o", "--prune-step", "0"], "grow-and-prune: `step` must be above 0"),
        (
            ["train", "--out", "o", "--no-grow-and-prune", "--prune-step", "0.3"],
            "train: got step for a dense training",
        ),
        (["evaluate", "--model", "m.keras", "--out", "no/x.csv"], "--out: got no/x.csv"),
        (["evaluate", "--model", "m.keras", "--out", "."], "--out: got .; expected a file"),
        (["transcribe", "x.wav", "--model", "m", "--chunk", "5"], "--chunk: is for --stream"),
        (
            ["transcribe", "-", "--stream", "--real-time", "--model", "m"],
            "--real-time: is for a file",
        ),
    ],
)
def test_a_users_mistake_is_one_line_and_status_two(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--out", "o", "--threshold", "9"],
        ["transcribe", "x.wav", "--model", "m", "--beam", "10000000"],
    ],
)
def test_a_number_that_cannot_be_meant_is_refused_at_once(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert f"got {arguments[-1]}; expected" in capsys.readouterr().err


def test_options_change_a_preset_at_once():
    given = ["train", "--out", "x"]

    def recipe(*options):
        return changed(preset("demo"), parser().parse_args([*given, *options]))

    # The preset's two epochs of growth do not fit into one, but nothing grows.
    dense = recipe("--epochs", "1", "--no-grow-and-prune")
    assert dense.epochs == 1
    assert dense.grow_and_prune is None
    pruned = recipe("--growth-epochs", "0", "--prune-structures", "neuron", "connection")
    plan = pruned.grow_and_prune
    assert (plan.growth_epochs, plan.structures) == (0, ("neuron", "connection"))
    fast = recipe("--speeds", "0.9", "1")
    assert fast.speeds == (0.9, 1.0)
    assert preset("demo").max_seconds == 3
    for given_seconds, found in (("0", None), ("4.5", 4.5)):
        assert recipe("--max-seconds", given_seconds).max_seconds == found
    both = dataclasses.replace(fast, grow_and_prune=plan)
    assert Recipe.from_json(json.loads(json.dumps(both.to_json()))) == both


def test_every_preset_can_be_asked_for():
    # The command line lists them itself: `--help` should not wait for what a recipe needs.
    for name in PRESETS:
        args = parser().parse_args(["train", "--preset", name, "--out", "run"])
        assert args.preset == name
