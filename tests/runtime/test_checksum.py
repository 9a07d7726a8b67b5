"""A damaged TFLite file is refused by the checksum at its end; files without one load."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from hlstm_tf.export import StepRunner, TFLiteModel, export_tflite, file_size, load_tflite
from hlstm_tf.export.flatbuffer import packed, parsed
from hlstm_tf.runtime.interpreter import intact, with_checksum
from tests.export import models


def network() -> keras.Model:
    return models.scrambled(
        keras.Sequential(
            [
                keras.Input((None, 6), name="features"),
                keras.layers.GRU(8, return_sequences=True),
                keras.layers.Dense(3),
            ]
        )
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checksum")
    found = {}
    for name, form, quantization in (
        ("float32", "sequence", None),
        ("float16", "sequence", "float16"),
        ("dynamic", "step", "dynamic"),
    ):
        result = export_tflite(
            network(), folder / f"{name}.tflite", form=form, quantization=quantization
        )
        assert result.sha256 == file_size(result.path).sha256
        assert result.bytes == result.path.stat().st_size
        found[name] = result.path
    return found


@pytest.mark.representatives("dynamic")
@pytest.mark.parametrize("name", ["float32", "float16", "dynamic"])
def test_a_flipped_byte_anywhere_before_the_checksum_is_refused(
    files: dict[str, Path], tmp_path: Path, name: str
) -> None:
    content = files[name].read_bytes()
    path = tmp_path / "flipped.tflite"
    for place in np.random.default_rng(0).integers(8, len(content) - 48, 60):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(place) % 8
        path.write_bytes(damaged)
        for opened in (load_tflite, StepRunner, TFLiteModel):
            with pytest.raises(ValueError, match=r"flipped.tflite is damaged: .*checksum") as error:
                opened(path)
            assert "\n" not in str(error.value)


def test_every_bit_of_the_checksum_counts_but_those_that_say_there_is_one() -> None:
    content = with_checksum(bytes(range(200)))
    for bit in range(8 * 200, 8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        # Without the first eight bytes of the mark it is a file without a checksum, and whole.
        assert intact(bytes(damaged)) == (bit < 8 * 208)


def test_a_file_cut_in_its_checksum_is_refused() -> None:
    content = with_checksum(bytes(200))
    # Without the first eight bytes of the mark it is a file without a checksum, and whole.
    assert [cut for cut in range(1, 49) if intact(content[:-cut])] == list(range(41, 49))


def test_files_without_a_checksum_load(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "older.tflite"
    frames = np.random.default_rng(0).normal(size=(1, 5, 6)).astype("float32")
    for older in files.values():
        content = older.read_bytes()
        for changed in (content[:-48], packed(parsed(content)), content + b"PK appended"):
            path.write_bytes(changed)
            np.testing.assert_array_equal(load_tflite(path)(frames), load_tflite(older)(frames))


@pytest.mark.parametrize("interpreter", [Interpreter, tf.lite.Interpreter])
def test_other_readers_take_a_file_with_a_checksum(
    files: dict[str, Path], interpreter: type
) -> None:
    assert files["float32"].read_bytes()[-48:-40] == b"\xffhlstm:s"
    for opened in (
        interpreter(model_path=str(files["float32"])),
        interpreter(model_content=files["float32"].read_bytes()),
    ):
        frames = np.zeros((1, 5, 6), "float32")
        found = opened.get_signature_runner("serve")(features=frames)
        expected = load_tflite(files["float32"])(frames)
        np.testing.assert_allclose(found["outputs"], expected, atol=1e-6)
