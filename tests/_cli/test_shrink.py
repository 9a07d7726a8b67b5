"""`hlstm shrink`: a smaller model of the same function."""

import keras
import numpy as np

from tests._cli.running import assert_one_clear_line, run


def test_shrink_writes_a_smaller_model_of_the_same_function(capfd, tmp_path, model, model_file):
    output = tmp_path / "compact.keras"
    status, printed, error = run(capfd, "shrink", model_file, output)
    assert status == 0, error
    assert str(output) in printed
    compact = keras.models.load_model(output)
    inputs = np.random.default_rng(0).normal(size=(1, 5, 6)).astype("float32")
    np.testing.assert_allclose(compact(inputs), model(inputs), atol=1e-5)
    assert compact.count_params() < model.count_params()
    assert list(tmp_path.iterdir()) == [output]


def test_shrink_names_a_folder_that_is_absent_and_a_wrong_suffix(capfd, tmp_path, model_file):
    result = run(capfd, "shrink", model_file, tmp_path / "absent" / "out.keras")
    assert_one_clear_line(result, tmp_path / "absent", "does not exist")
    assert_one_clear_line(run(capfd, "shrink", model_file, tmp_path / "out.h5"), "out.h5", ".keras")
