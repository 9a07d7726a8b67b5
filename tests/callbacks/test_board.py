"""TensorBoard gets scalars and pictures of every matrix."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import hlstm_tf as hl
from hlstm_tf.callbacks import MagnitudePruning, SparsityBoard
from hlstm_tf.callbacks import board as board_module
from hlstm_tf.callbacks.board import shrink_picture


def events(folder: Path) -> tuple[dict, dict]:
    """Scalars and pictures by (tag, step), read back from the event file."""
    scalars, images = {}, {}
    [file] = folder.iterdir()
    for record in tf.data.TFRecordDataset(str(file)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "images":
                picture = tf.io.decode_image(value.tensor.string_val[2]).numpy()
                images[value.tag, event.step] = picture[:, :, 0] > 127
            else:
                scalars[value.tag, event.step] = tf.make_ndarray(value.tensor).item()
    return scalars, images


def test_each_epoch_tells_of_model_layer_kernel_and_gate(tmp_path: Path) -> None:
    model = keras.Sequential(
        [
            keras.Input((2, 3)),
            hl.HLSTM(2, hidden_units=3, name="gates"),
            hl.MaskedDense(4, name="head"),
        ]
    )
    model.compile("sgd", "mse", run_eagerly=True)
    x, y = np.ones((2, 2, 3), "float32"), np.ones((2, 4), "float32")
    pruning = MagnitudePruning(lambda epoch: (epoch == 1, 0.5))
    board = SparsityBoard(tmp_path)
    model.fit(x, y, epochs=2, callbacks=[pruning, board], verbose=0)
    scalars, images = events(tmp_path)
    kernels = hl.masked_kernels(model)
    places = sum(kernel.mask.numpy().size for kernel in kernels)
    connections = sum(int(kernel.mask.numpy().sum()) for kernel in kernels)
    assert scalars["connections/model", 0] == places
    assert scalars["connections/model", 1] == connections
    assert scalars["sparsity/model", 1] == pytest.approx(1 - connections / places)
    for kernel in kernels:
        masks = kernel.to_matrices(kernel.mask)
        assert scalars[f"connections/{kernel.path}", 1] == masks.sum()
        names = [f"/{gate}" for gate in "ifco"] if kernel.gates == 4 else [""]
        for name, mask in zip(names, masks, strict=True):
            np.testing.assert_array_equal(images[f"mask/{kernel.path}{name}", 1], mask)
            assert scalars[f"connections/{kernel.path}{name}", 1] == mask.sum()


def test_pictures_come_as_often_as_asked_and_no_larger(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((20,)), hl.MaskedDense(7)])
    model.compile("sgd", "mse", run_eagerly=True)
    board = SparsityBoard(tmp_path, image_freq=2, max_pixels=5)
    model.fit(np.ones((2, 20)), np.ones((2, 7)), epochs=3, callbacks=[board], verbose=0)
    _, images = events(tmp_path)
    assert sorted(step for _, step in images) == [0, 2]
    assert all(image.shape == (5, 4) for image in images.values())


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), pixels=st.integers(1, 45))
def test_a_shrunk_picture_keeps_to_its_size_and_to_the_mean(rows, columns, pixels) -> None:
    mask = np.random.default_rng(rows * columns).random((rows, columns)) < 0.3
    picture = shrink_picture(mask, pixels)
    assert max(picture.shape) <= pixels
    if pixels >= max(rows, columns):
        np.testing.assert_array_equal(picture, mask)
    if rows % picture.shape[0] == 0 and columns % picture.shape[1] == 0:
        assert picture.mean() == pytest.approx(mask.mean(), abs=1e-5)


def test_wrong_numbers_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_pixels"):
        SparsityBoard(tmp_path, max_pixels=0)
    with pytest.raises(ValueError, match="image_freq"):
        SparsityBoard(tmp_path, image_freq=0)


def test_a_core_install_without_tensorboard_writes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard.summary.v2", None)
    model = keras.Sequential([keras.Input((3,)), hl.MaskedDense(2)])
    model.compile("sgd", "mse", run_eagerly=True)
    board = SparsityBoard(tmp_path)
    model.fit(np.ones((2, 3)), np.ones((2, 2)), callbacks=[board], verbose=0)
    scalars, images = events(tmp_path)
    assert scalars["connections/model", 0] == 6
    [picture] = images.values()
    assert picture.shape == (3, 2)


def test_events_are_those_that_tensorboard_itself_writes(tmp_path: Path) -> None:
    def summaries(folder: Path, write) -> list:
        writer = tf.summary.create_file_writer(str(folder))
        with writer.as_default(step=3):
            write()
        writer.close()
        [file] = folder.iterdir()
        records = [r.numpy() for r in tf.data.TFRecordDataset(str(file))]
        found = [tf.compat.v1.Event.FromString(record) for record in records]
        return [(event.step, value) for event in found for value in event.summary.value]

    picture = np.array([[0.0, 0.5, 1.0], [1.0, 0.25, 0.0]], np.float32)

    def theirs() -> None:
        tf.summary.scalar("a", 0.5)
        tf.summary.image("b", picture[None, :, :, None])

    def ours() -> None:
        board_module._write_scalar("a", 0.5)
        board_module._write_picture("b", picture)

    assert summaries(tmp_path / "ours", ours) == summaries(tmp_path / "theirs", theirs)
