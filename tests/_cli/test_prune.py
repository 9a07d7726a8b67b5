"""`hlstm prune`: what it removes, what it says of the result, and what it refuses."""

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from tests._cli.running import assert_one_clear_line, run


def two_inputs():
    a, b = keras.Input((7, 8), name="a"), keras.Input((4,), name="b")
    both = keras.layers.Concatenate()(
        [keras.layers.GRU(16)(a), keras.layers.Dense(32, "relu", name="wide")(b)]
    )
    return keras.Model([a, b], keras.layers.Dense(16)(both))


def parts(kernels):
    masks = [kernel.mask.numpy() for kernel in kernels]
    return [1 - mask.mean() for mask in masks]


def test_prune_removes_the_smallest_weights_of_a_plain_model(capfd, tmp_path):
    network = two_inputs()
    network.save(tmp_path / "plain.keras")
    output = tmp_path / "pruned.keras"
    status, printed, error = run(
        capfd, "prune", tmp_path / "plain.keras", output, "--sparsity", "0.75"
    )
    assert status == 0, error
    assert f"{output}: " in printed
    assert "sparsity 0.75 (0 before)" in printed
    assert "exported files keep their size and time" in printed
    kernels = hl.masked_kernels(keras.models.load_model(output))
    np.testing.assert_allclose(parts(kernels), 0.75, atol=0.01)
    for kernel, plain in zip(kernels, (network.layers[3], network.layers[-1]), strict=False):
        if kernel.gates == 1:
            weights = np.abs(plain.kernel.numpy())
            mask = kernel.mask.numpy()
            assert weights[mask].min() >= weights[~mask].max()
    result = run(capfd, "prune", output, tmp_path / "again.keras", "--sparsity", "0.5")
    assert_one_clear_line(result, "no connection to remove", "0.75 already")


def test_prune_says_which_widths_keep_it_from_the_sparsity(capfd, tmp_path):
    wide, narrow = keras.layers.Dense(64, name="wide"), keras.layers.Dense(8, name="narrow")
    layers = [wide, narrow, keras.layers.Dense(2)]
    keras.Sequential([keras.Input((4,)), *layers]).save(tmp_path / "model.keras")
    order = ["--sparsity", "0.5", "--structure", "neuron"]
    why = "neurons of 'narrow' stay at 8 of 8, asked for are 4 (minimum 8, multiples of 2)"
    output = tmp_path / "pruned.keras"
    status, printed, error = run(capfd, "prune", tmp_path / "model.keras", output, *order)
    assert (status, error) == (0, "")
    assert f"not all of --sparsity 0.5 by neuron is there: {why}\n" in printed
    narrow = keras.layers.Dense(8, name="narrow")
    keras.Sequential([keras.Input((4,)), narrow, keras.layers.Dense(2)]).save(
        tmp_path / "small.keras"
    )
    result = run(capfd, "prune", tmp_path / "small.keras", output, *order)
    assert_one_clear_line(result, f"no neuron to remove: {why}")


@pytest.mark.parametrize("structure", ["unit", "neuron"])
def test_prune_of_units_and_neurons_makes_the_shrunk_model_smaller(capfd, tmp_path, structure):
    keras.Sequential(
        [
            keras.Input((7, 8)),
            keras.layers.GRU(16),
            keras.layers.Dense(32, "relu", name="wide"),
            keras.layers.Dense(4),
        ]
    ).save(tmp_path / "plain.keras")
    pruned, compact = tmp_path / "pruned.keras", tmp_path / "compact.keras"
    status, printed, error = run(
        capfd, "prune", tmp_path / "plain.keras", pruned, "--sparsity", "0.5",
        "--structure", structure,
    )  # fmt: skip
    assert status == 0, error
    assert f"`hlstm shrink` takes each {structure} out" in printed
    assert run(capfd, "shrink", pruned, compact)[0] == 0
    small = keras.models.load_model(compact)
    widths = {layer.name: layer.units for layer in small.layers if hasattr(layer, "units")}
    name, width = ("gru", 8) if structure == "unit" else ("wide", 16)
    assert widths[name] == width, widths


@pytest.mark.parametrize(
    ("structure", "said"),
    [
        ("1x16", "--quantization sparse`;"),
        ("column", "takes out the inputs and outputs"),
        ("2:4", "keep their size and time"),
    ],
)
def test_prune_says_what_the_structure_makes_of_a_file(capfd, tmp_path, structure, said):
    two_inputs().save(tmp_path / "plain.keras")
    status, printed, error = run(
        capfd, "prune", tmp_path / "plain.keras", tmp_path / "pruned.keras", "--sparsity", "0.9",
        "--structure", structure,
    )  # fmt: skip
    assert status == 0, error
    assert said in printed


def test_prune_by_data_removes_what_the_inputs_never_use(capfd, tmp_path):
    two_inputs().save(tmp_path / "plain.keras")
    used = np.ones((6, 4), "float32")
    used[:, 2:] = 0
    np.savez(tmp_path / "x.npz", a=np.ones((6, 7, 8), "float32"), b=used)
    output = tmp_path / "pruned.keras"
    status, _, error = run(
        capfd, "prune", tmp_path / "plain.keras", output, "--sparsity", "0.5",
        "--data", tmp_path / "x.npz",
    )  # fmt: skip
    assert status == 0, error
    [mask] = [
        kernel.mask.numpy()
        for kernel in hl.masked_kernels(keras.models.load_model(output))
        if kernel.mask.shape == (4, 32)
    ]
    assert mask[:2].all()
    assert not mask[2:].any()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--sparsity", "1.5"], "--sparsity must be between 0 and 1"),
        (["--sparsity", "nan"], "--sparsity must be between 0 and 1"),
        (["--sparsity", "0.2", "--structure", "2:4"], "at least 0.5"),
        (["--sparsity", "0.5", "--structure", "frog"], "'frog'"),
        (["--sparsity", "0.5", "--score", "output"], "needs --data FILE"),
        (["--sparsity", "0.5", "--data", "absent.npy"], "absent.npy does not exist"),
    ],
)
def test_prune_says_in_one_line_what_it_cannot_do(
    capfd, tmp_path, monkeypatch, model_file, options, expected
):
    monkeypatch.chdir(tmp_path)
    result = run(capfd, "prune", model_file, "out.keras", *options)
    assert_one_clear_line(result, expected)
    assert list(tmp_path.iterdir()) == []
