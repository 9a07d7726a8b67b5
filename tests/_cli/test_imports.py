"""What `hlstm` imports: what `--import` names, and nothing else of the current folder."""

import json
import sys
import zipfile

import keras
import pytest

from tests._cli.running import TRAP, assert_one_clear_line, run


@pytest.mark.representatives("summary")
@pytest.mark.parametrize("command", ["summary", "export"])
def test_nothing_in_the_current_folder_is_executed(in_hostile_folder, command):
    done = in_hostile_folder(command)
    assert "was executed" not in done.stdout + done.stderr
    # LiteRT cannot calibrate a loop over time: the child process that found out was safe, too.
    assert done.returncode == (0 if command == "summary" else 2), done.stderr


def test_a_model_that_names_a_module_of_the_current_folder_does_not_run_it(
    capfd, tmp_path, monkeypatch, model_file
):
    with zipfile.ZipFile(model_file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    config["module"], config["class_name"], config["registered_name"] = "trap", "Trap", None
    content["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    (tmp_path / "trap.py").write_text(TRAP)
    (tmp_path / "fine.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert_one_clear_line(run(capfd, "summary", "model.keras"), "cannot read the model")
    result = run(capfd, "summary", "model.keras", "--import", "fine")
    assert_one_clear_line(result, "cannot read the model")


def test_import_prefers_the_installed_package_to_the_current_folder(
    capfd, tmp_path, monkeypatch, model_file
):
    (tmp_path / "colorsys.py").write_text(TRAP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    status, _, error = run(capfd, "summary", model_file, "--import", "colorsys")
    assert status == 0, error


def test_a_named_module_gets_others_of_the_current_folder_only_when_they_are_named(
    capfd, tmp_path, monkeypatch, model_file
):
    (tmp_path / "my_net.py").write_text("import my_parts.bricks\n")
    (tmp_path / "my_parts").mkdir()
    (tmp_path / "my_parts" / "__init__.py").write_text("")
    (tmp_path / "my_parts" / "bricks.py").write_text("")
    monkeypatch.chdir(tmp_path)
    before = list(sys.meta_path)
    try:
        result = run(capfd, "summary", model_file, "--import", "my_net")
        assert_one_clear_line(result, "my_net", "add --import my_parts")
        status, _, error = run(
            capfd, "summary", model_file, "--import", "my_net", "--import", "my_parts"
        )
        assert status == 0, error
    finally:
        for name in ("my_net", "my_parts", "my_parts.bricks"):
            sys.modules.pop(name, None)
    assert sys.meta_path == before


def test_an_unregistered_class_is_named_with_what_to_do(capfd, tmp_path, monkeypatch):
    module = (
        "import keras\n"
        "@keras.saving.register_keras_serializable(package='mine')\n"
        "class Doubled(keras.layers.Dense):\n"
        "    pass\n"
    )
    (tmp_path / "my_layers.py").write_text(module)
    elsewhere = {"__name__": "elsewhere"}
    exec(module, elsewhere)
    path = tmp_path / "mine.keras"
    keras.Sequential([keras.Input((3,)), elsewhere["Doubled"](2)]).save(path)
    del keras.saving.get_custom_objects()["mine>Doubled"]

    assert_one_clear_line(run(capfd, "summary", path), path, "'Doubled'", "--import MODULE")
    result = run(capfd, "summary", path, "--import", "no_such_module")
    assert_one_clear_line(result, "no_such_module")
    monkeypatch.chdir(tmp_path)
    try:
        status, output, error = run(capfd, "summary", path, "--import", "my_layers")
    finally:
        sys.modules.pop("my_layers", None)
        keras.saving.get_custom_objects().pop("mine>Doubled", None)
    assert status == 0, error
    assert "doubled" in output
