import json

import numpy as np
import pytest
from PIL import Image

from apps.digits import recipes
from apps.digits.cli import main, parser
from apps.digits.recipe import Recipe, Stage
from tests.apps.digits.conftest import drawn

QUICK = Recipe(
    "lenet-300-100",
    (Stage("prune", train_epochs=4, rate=5e-3, step=0.5, iterations=1),),
    seed_sparsity=0.0,
    batch_size=20,
    augment=None,
)


@pytest.fixture(scope="module")
def run(mnist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.RECIPES, "lenet-300-100", QUICK)
        assert main(["train", "--data-dir", str(mnist), "--out", str(folder)]) == 0
    return folder


def test_a_trained_model_is_evaluated_on_the_test_split(run, mnist, capsys):
    model = str(run / "compact.keras")
    arguments = ["evaluate", "--model", model, "--data-dir", str(mnist)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "on test: error" in text
    assert "/40), 95 % interval" in text
    assert main([*arguments, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["total"] == 40
    assert figures["parameters"] == figures["weights"] + figures["biases"]
    assert figures["interval"][0] <= figures["error"] <= figures["interval"][1]


def test_the_test_files_alone_are_enough_to_evaluate_on_them(run, mnist, tmp_path, capsys):
    for path in mnist.glob("t10k-*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    given = ["evaluate", "--model", str(run / "compact.keras"), "--data-dir", str(tmp_path)]
    assert main(given) == 0
    assert "/40), 95 % interval" in capsys.readouterr().out
    assert main([*given, "--split", "valid"]) == 2
    err = capsys.readouterr().err
    assert "no valid split: expected train-images-idx3-ubyte[.gz]" in err
    assert err.count("\n") == 1


def test_an_exported_model_classifies_a_drawing(run, tmp_path, capsys):
    assert main(["export", "--model", str(run / "compact.keras"), "--out", str(tmp_path)]) == 0
    assert "SavedModel" in capsys.readouterr().out
    Image.fromarray(drawn(np.array([3]), 5)[0]).save(tmp_path / "three.png")
    model = str(tmp_path / "model.tflite")
    assert main(["classify", str(tmp_path / "three.png"), "--model", model]) == 0
    digit, sure = capsys.readouterr().out.split()
    assert digit in list("0123456789")
    assert sure.endswith("%)")


def test_one_bad_image_does_not_keep_the_others_from_being_read(run, tmp_path, capsys):
    Image.fromarray(drawn(np.array([3]), 5)[0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no image")
    files = [str(tmp_path / name) for name in ("bad.png", "good.png")]
    assert main(["classify", *files, "--model", str(run / "compact.keras")]) == 2
    out, err = capsys.readouterr()
    assert out.startswith(f"{files[1]}: ")
    assert err.startswith(f"python -m apps.digits classify: {files[0]}: not an image")
    assert err.count("\n") == 1


def test_a_card_states_the_figures_and_the_files_are_beside_it(run, mnist, tmp_path, capsys):
    folder = tmp_path / "small"
    assert main(["card", str(run), "--data-dir", str(mnist), "--out", str(folder)]) == 0
    for line in capsys.readouterr().out.splitlines():
        assert (folder.parent / line).exists()
    text = (folder / "README.md").read_text()
    result = json.loads((folder / "record.json").read_text())["result"]
    assert f"{result['parameters']:,} parameters" in text
    assert f"({result['valid']['errors']} of 20)" in text
    assert "**Made for** the ten classes of its training files, the data it was trained on" in text
    assert "handwritten" not in text
    assert "MNIST" not in text
    assert text.count(" --data-dir DATA") == 3
    assert f"{(folder / 'model.tflite').stat().st_size:,}" in text
    assert "![how many weights read each pixel](pixels.png)" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data-dir", "nowhere"], "nowhere: no such folder"),
        (["train", "--arch", "alexnet-cifar"], "alexnet-cifar needs --data-dir"),
        (["evaluate", "--model", "none.keras"], "none.keras: no such model"),
        (["export", "--model", "none.keras", "--out", "x"], "none.keras: no such model"),
        (["classify", "a.png", "--model", "none.tflite"], "none.tflite: no such model"),
        (["table", "nowhere"], "nowhere: no such run record"),
        (["table", "--results", "nowhere"], "nowhere: no records"),
    ],
)
def test_a_mistake_gives_one_line_and_status_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_every_option_has_a_help_text():
    commands = next(a for a in parser()._actions if a.dest == "command").choices
    assert set(commands) == {
        "train", "evaluate", "export", "classify", "compare", "table", "card",
    }  # fmt: skip
    for name, command in commands.items():
        assert len(command.description) > 40, name
        unexplained = [a.dest for a in command._actions if not a.help and a.option_strings]
        assert not unexplained, name
