"""A model and its file, for the tests of every subcommand."""

import functools
import sys

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from tests._cli.running import TRAP, installed


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [
            keras.Input((5, 6)),
            hl.HLSTM(8, hidden_units=16),
            hl.MaskedDense(4),
        ]
    )
    handles = {handle.name: handle for handle in hl.masked_kernels(made.layers[0])}
    alive = np.ones(16, bool)
    alive[3:7] = False  # four hidden neurons of each gate lose all their inputs
    hl.edit_masks(
        {
            handles[name]: np.broadcast_to(alive, handles[name].mask.shape)
            for name in ("kernel", "recurrent_kernel")
        }
    )
    return made


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "model.keras"
    model.save(path)
    return path


COMMANDS = {
    "summary": ["model.keras"],
    "export": [
        "model.keras", "--tflite", "out.tflite", "--quantization", "int8",
        "--representative", "x.npy",
    ],
}  # fmt: skip


@pytest.fixture(scope="session")
def in_hostile_folder(tmp_path_factory):
    """Runs the installed command, once for all tests, among modules that end whoever imports them.

    Each run starts TensorFlow, which takes longer than all else.
    """
    folder = tmp_path_factory.mktemp("hostile")
    names = {name.partition(".")[0] for name in sys.modules} | {"torch", "jax", "tf_keras", "rich"}
    for name in (name for name in names if name.isidentifier()):
        (folder / f"{name}.py").write_text(TRAP)
    (folder / "hlstm_tf").mkdir()
    (folder / "hlstm_tf" / "__init__.py").write_text(TRAP)
    network().save(folder / "model.keras")
    np.save(folder / "x.npy", np.zeros((2, 5, 6), "float32"))
    return functools.cache(lambda name: installed(name, *COMMANDS[name], folder=folder))
