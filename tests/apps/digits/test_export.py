from pathlib import Path

import numpy as np
import pytest

from apps.common.errors import InputError
from apps.common.export import TFLITE, compact
from apps.common.model_card import size_of
from apps.digits.batches import scoring_data
from apps.digits.classifier import load
from apps.digits.export import export_digits
from apps.digits.gathered import GatheredDense, gathered, pixel_weights
from apps.digits.model import lenet_5, lenet_300_100


@pytest.fixture(scope="module")
def pruned():
    """LeNet-300-100 with 12 and 7 living neurons that read the middle of the image."""
    model = lenet_300_100()
    first, second = model.layers[1], model.layers[2]
    kernel, bias = first.get_weights()
    middle = np.zeros((28, 28, 1), bool)
    middle[8:20, 10:18] = True
    kernel *= middle.reshape(784, 1)
    kernel[:, 12:] = 0
    first.set_weights([kernel, bias])
    kernel, bias = second.get_weights()
    kernel[:, 7:] = 0
    second.set_weights([kernel, bias])
    return model


def test_dead_neurons_and_connections_are_gone_and_the_function_is_kept(pruned, splits):
    images, _ = scoring_data(splits.valid)
    small = gathered(compact(pruned))
    assert [tuple(w.shape) for w in small.weights if w.ndim == 2] == [
        (12, 96), (12, 96), (12, 7), (7, 10),
    ]  # fmt: skip
    np.testing.assert_allclose(small(images), pruned(images), atol=1e-5)
    counts = pixel_weights(pruned)
    assert counts[8:20, 10:18].min() == 12
    assert counts.sum() == 96 * 12


def test_units_that_read_different_inputs_read_their_own():
    rng = np.random.default_rng(0)
    model = lenet_5()
    for layer in model.layers:
        if layer.name in ("third", "logits"):
            kernel, _ = layer.get_weights()
            kept = rng.random(kernel.shape) < 0.1
            kept[:, 0] = False  # a unit that reads nothing has its bias
            layer.set_weights([kernel * kept, rng.random(kernel.shape[1])])
    small = gathered(model)
    sparse = [layer for layer in small.layers if isinstance(layer, GatheredDense)]
    assert [layer.name for layer in sparse] == ["third", "logits"]
    images = rng.random((7, 28, 28, 1), np.float32)
    np.testing.assert_allclose(small(images), model(images), atol=1e-4)
    restored = type(small).from_config(small.get_config())
    restored.set_weights(small.get_weights())
    np.testing.assert_allclose(restored(images), small(images), atol=1e-6)
    with pytest.raises(ValueError, match="begins with Conv2D; expected Dense"):
        pixel_weights(model)


def test_dense_kernels_that_are_mostly_there_stay_as_they_are():
    assert not any(isinstance(layer, GatheredDense) for layer in gathered(lenet_5()).layers)


@pytest.mark.parametrize("quantization", [None, "dynamic"])
def test_the_files_run_without_keras_and_compute_the_same(pruned, splits, tmp_path, quantization):
    path = tmp_path / "model.keras"
    pruned.save(path)
    images, _ = scoring_data(splits.valid)
    exported = export_digits(path, tmp_path / "out", quantization, images)
    expected = np.asarray(pruned(images))
    near = 1e-5 if quantization is None else 0.02 * np.ptp(expected)
    np.testing.assert_allclose(load(exported.tflite)(images), expected, atol=near)
    np.testing.assert_allclose(load(exported.saved_model)(images), expected, atol=1e-5)
    np.testing.assert_allclose(load(path)(images), expected, atol=1e-6)
    assert exported.tflite == tmp_path / "out" / TFLITE
    assert exported.tflite.stat().st_size < 20_000
    assert size_of(exported.saved_model) < 60_000


def test_what_is_no_model_is_refused_in_one_line(tmp_path):
    for name in ("a.keras", "a.tflite", "a.txt"):
        (tmp_path / name).write_text("no model")
    (tmp_path / "empty").mkdir()
    for name, message in {
        "a.keras": "cannot be loaded",
        "a.tflite": "cannot be loaded",
        "a.txt": "expected a .keras file",
        "empty": "cannot be loaded",
        "missing.keras": "no such model",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            load(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="is a file; expected a folder"):
        export_digits(tmp_path / "a.keras", tmp_path / "a.txt")


@pytest.mark.parametrize("file", ["model.tflite", "model.keras", "1"])
def test_a_recogniser_of_speech_is_refused_in_one_line(file):
    import apps.speech.model  # noqa: F401  registers its classes

    path = Path(__file__).parents[3] / "saved_models" / "an4-streaming" / file
    with pytest.raises(InputError, match="cannot be run on images of 28 x 28 x 1") as caught:
        load(path)(np.zeros((1, 28, 28, 1), np.float32))
    assert "\n" not in str(caught.value)
