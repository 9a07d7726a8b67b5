"""`hlstm factorize`: what it writes and prints, and what it refuses."""

from pathlib import Path

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from tests._cli.running import assert_one_clear_line, run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of plain Keras layers, and inputs for it, in files."""
    folder = tmp_path_factory.mktemp("factorize")
    layers = keras.layers
    keras.Sequential(
        [keras.Input((None, 8)), layers.Bidirectional(layers.LSTM(16)), layers.Dense(12)]
    ).save(folder / "model.keras")
    x = np.random.default_rng(0).standard_normal((40, 9, 8)).astype("float32")
    np.save(folder / "x.npy", x)
    np.save(folder / "short.npy", x[:1, :2])
    return folder


def test_it_writes_a_compact_model_and_prints_each_kernel(capfd, trained, tmp_path):
    output = tmp_path / "compact.keras"
    order = "--parameters", "0.5", "--data", trained / "x.npy"
    status, printed, error = run(capfd, "factorize", trained / "model.keras", output, *order)
    assert (status, error) == (0, "")
    assert "forward_lstm/recurrent_kernel   SharedLowRank(rank=6)" in printed
    assert f"{output}: " in printed
    assert "train it on with model.fit" in printed
    compact = keras.models.load_model(output)
    plain = keras.models.load_model(trained / "model.keras")
    assert compact.count_params() < 0.6 * plain.count_params()
    assert isinstance(compact.layers[0].forward_layer, hl.CompactLSTM)


@pytest.mark.parametrize(
    ("order", "form"),
    [
        (["--rank", "3", "--matrix-form", "low-rank"], hl.LowRank(3)),
        (["--energy", "0.6"], hl.SharedLowRank),
        (["--parameters", "0.3", "--matrix-form", "kronecker"], hl.Kronecker),
    ],
)
def test_every_form_has_its_option(capfd, trained, tmp_path, order, form):
    output = tmp_path / "compact.keras"
    status, _, error = run(capfd, "factorize", trained / "model.keras", output, *order)
    assert (status, error) == (0, "")
    made = keras.models.load_model(output).layers[0].forward_layer.kernel_form["recurrent_kernel"]
    assert made == form if not isinstance(form, type) else isinstance(made, form)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([], ["one of the arguments --parameters --energy --rank is required"]),
        (["--rank", "3", "--energy", "0.5"], ["not allowed with argument"]),
        (["--parameters", "1.5"], ["parameters must be above 0 and below 1; got 1.5"]),
        (["--rank", "0"], ["rank must be a positive integer; got 0"]),
        (["--parameters", "0.01"], ["no kernel gets smaller by these factors"]),
        (["--rank", "2", "--data", "SHORT"], ["give 2 rows", "covariance is singular"]),
        (["--rank", "2", "--matrix-form", "kronecker"], ["hl.Kronecker takes parameters"]),
    ],
)
def test_mistakes_are_said_in_one_line(capfd, trained, tmp_path, order, words):
    order = [trained / "short.npy" if each == "SHORT" else each for each in order]
    output = tmp_path / "compact.keras"
    result = run(capfd, "factorize", trained / "model.keras", output, *order)
    assert_one_clear_line(result, *words)
    assert not output.exists()
