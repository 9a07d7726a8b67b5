import pytest

from apps.an4_study.cli import main, parser
from apps.an4_study.presets import PRESETS, preset
from apps.common.plan import changed


@pytest.mark.parametrize("command", ["an4", "train", "card", "robustness", "ablate", "table"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args([command, "--help"])
    assert end.value.code == 0
    assert len(capsys.readouterr().out) > 250


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["an4", "--data-dir", ".", "--out", "o"], ".: has no etc/an4_train.fileids"),
        (["ablate", "--tables", "speed"], "tables: got 'speed'; expected some of cells, growth"),
        (["table", "nowhere"], "nowhere: no such run record; expected"),
        (["table", "--results", "nowhere"], "nowhere: no records; give the folder"),
        (["robustness", "--model", "none.keras"], "none.keras: no such model"),
        (
            ["train", "--out", "o", "--preset", "an4-polished", "--keep-iterations"],
            "--keep-iterations: a dense training has none",
        ),
        (["train", "--out", "o", "--vocal-tract", "2"], "vocal_tract: got 2.0"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_two(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    status = main(arguments)
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_every_preset_can_be_asked_for():
    # The command line lists them itself: `--help` should not wait for what a recipe needs.
    for name in PRESETS:
        assert parser().parse_args(["train", "--preset", name, "--out", "run"]).preset == name


def test_options_of_the_study_change_a_preset_too():
    given = ["train", "--out", "x", "--vocal-tract", "0.1", "--spliced", "2", "--epochs", "9"]
    recipe = changed(preset("an4"), parser().parse_args(given))
    assert (recipe.vocal_tract, recipe.spliced, recipe.epochs) == (0.1, 2, 9)
