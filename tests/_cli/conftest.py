"""A model and its file, for the tests of every subcommand."""

import keras
import numpy as np
import pytest

import hlstm_tf as hl


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((5, 6)),
            hl.HLSTM(8, hidden_units=16),
            hl.MaskedDense(4),
        ]
    )
    handles = {handle.name: handle for handle in hl.masked_kernels(network.layers[0])}
    alive = np.ones(16, bool)
    alive[3:7] = False  # four hidden neurons of each gate lose all their inputs
    hl.edit_masks(
        {
            handles[name]: np.broadcast_to(alive, handles[name].mask.shape)
            for name in ("kernel", "recurrent_kernel")
        }
    )
    return network


@pytest.fixture(scope="module")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "model.keras"
    model.save(path)
    return path
