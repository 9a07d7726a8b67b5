import json

import pytest

from apps.common.errors import InputError
from apps.common.files import alone
from apps.common.record import NAME
from apps.common.run import STATE, carry_out

FACTS = {"recipe": {"units": 4}}


def work(folder, done, result=1):
    def train():
        done.append(result)
        record = {**FACTS, "epochs": [], "result": result}
        (folder / NAME).write_text(json.dumps(record))

    return train


def test_a_training_is_done_once_and_leaves_no_state(tmp_path):
    done = []
    for _ in range(2):
        assert carry_out(tmp_path, FACTS, 0, work(tmp_path, done)) == 1
    assert done == [1]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_what_was_interrupted_keeps_its_state_and_is_done_again(tmp_path):
    def broken():
        (tmp_path / STATE / "weights").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path, FACTS, 0, broken)
    assert (tmp_path / STATE / "weights").exists()
    assert carry_out(tmp_path, FACTS, 0, work(tmp_path, [])) == 1


def test_a_folder_of_another_training_a_file_and_a_folder_in_use_are_refused(tmp_path):
    folder = tmp_path / "run"
    with alone(folder / STATE), pytest.raises(InputError, match="another process is training"):
        carry_out(folder, FACTS, 0, work(folder, []))
    carry_out(folder, FACTS, 0, work(folder, []))
    with pytest.raises(InputError, match="holds a training with another recipe"):
        carry_out(folder, {"recipe": {"units": 5}}, 0, work(folder, []))
    with pytest.raises(InputError, match="is a file; expected a folder for the training"):
        carry_out(folder / NAME, FACTS, 0, work(folder, []))


def test_a_recipe_of_an_earlier_version_is_brought_to_todays_fields(tmp_path):
    carry_out(tmp_path, FACTS, 0, work(tmp_path, []))
    today = {"recipe": {"units": 4, "more": 0}}
    found = carry_out(tmp_path, today, 0, work(tmp_path, []), lambda recipe: {**recipe, "more": 0})
    assert found == 1
