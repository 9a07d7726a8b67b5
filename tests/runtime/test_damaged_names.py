"""A step form whose signatures lost a name is refused in one line, not met by a KeyError."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf.export import StepRunner, export_tflite, load_tflite
from hlstm_tf.export.flatbuffer import packed, parsed
from hlstm_tf.runtime.host_loop import check_names
from tests.export import models

layers = keras.layers
FRAMES = np.random.default_rng(0).normal(size=(1, 6, 4)).astype("float32")


def forward(x: Any) -> Any:
    return layers.Dense(2)(hl.HLSTM(3, hidden_units=2, return_sequences=True)(x))


def both_ways(x: Any) -> Any:
    return layers.Dense(2)(layers.Bidirectional(layers.LSTM(3))(layers.Masking()(x)))


@pytest.fixture(scope="module", params=[forward, both_ways], ids=lambda make: make.__name__)
def exported(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    x = keras.Input((None, 4), name="x")
    model = models.scrambled(keras.Model(x, request.param(x)))
    path = tmp_path_factory.mktemp("names") / "m.tflite"
    return export_tflite(model, path, form="step").path


def changes(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The file once for each name in it, with that name changed."""
    for s, signature in enumerate(parsed(content).signatureDefs):
        for place, count in (
            ("inputs", len(signature.inputs)),
            ("outputs", len(signature.outputs)),
        ):
            for number in range(count):
                model = parsed(content)
                entry = getattr(model.signatureDefs[s], place)[number]
                what = f"{signature.signatureKey.decode()} {place} {entry.name.decode()}"
                entry.name = b"x" + entry.name
                yield what, packed(model)
        model = parsed(content)
        model.signatureDefs[s].signatureKey = b"x" + signature.signatureKey
        yield signature.signatureKey.decode(), packed(model)


@pytest.mark.representatives("both_ways")
def test_each_name_that_is_lost_is_said_in_one_line(exported: Path, tmp_path: Path) -> None:
    expected = load_tflite(exported)(FRAMES)
    path, refused = tmp_path / "m.tflite", []
    for what, content in changes(exported.read_bytes()):
        path.write_bytes(content)
        try:
            found = load_tflite(path)(FRAMES)
        except ValueError as error:
            refused.append(str(error))
        else:  # the model's own input or output: the user's names are any
            np.testing.assert_array_equal(found, expected, err_msg=what)
    assert len(refused) >= 8
    assert all(str(path) in line and "\n" not in line for line in refused)


def without(names: dict[str, dict[str, list[str]]], signature: str, kind: str, name: str) -> Any:
    left = [each for each in names[signature][kind] if each != name]
    return {**names, signature: {**names[signature], kind: left}}


@pytest.mark.parametrize(
    "lose",
    [
        lambda names: without(names, "step", "outputs", "hlstm_h"),
        lambda names: without(names, "step", "inputs", "frame_hlstm"),
        lambda names: {name: names[name] for name in names if name != "project"},
        lambda names: {name: names[name] for name in names if name != "initial_state"},
    ],
)
def test_signatures_that_do_not_fit_together_are_no_step_form(lose: Callable[..., Any]) -> None:
    names = {
        "initial_state": {"inputs": ["batch_size"], "outputs": ["hlstm_h", "hlstm_c"]},
        "project": {"inputs": ["x"], "outputs": ["frames_hlstm"]},
        "step": {
            "inputs": ["frame_hlstm", "hlstm_h", "hlstm_c"],
            "outputs": ["outputs", "hlstm_h", "hlstm_c"],
        },
    }
    check_names(names)
    with pytest.raises(ValueError, match=r"\w") as error:
        check_names(lose(names))
    assert "\n" not in str(error.value)


@pytest.mark.representatives("both_ways")
def test_states_that_do_not_fit_a_stream_are_one_clear_line(exported: Path) -> None:
    runner = StepRunner(exported)
    if "step" not in runner.signatures:
        return
    stream = runner.stream()
    stream.states = {}
    with pytest.raises(ValueError, match=r"the states are \['hlstm_c', 'hlstm_h'\]; got \[\]"):
        stream(FRAMES)
    stream.states = {name: np.zeros((1, 99)) for name in runner.stream().states}
    with pytest.raises(ValueError, match=r"LiteRT cannot run 'step' of .*m\.tflite"):
        stream(FRAMES)
