"""What users of Keras 2 and of other backends are told, in processes of their own."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import pytest

from hlstm_tf._cli.command import main
from hlstm_tf.keras_check import check_keras, installation_fault

ROOT = Path(__file__).parents[1]

PROGRAM = """
import json, sys
{first}
import numpy as np
import hlstm_tf as hl
import keras
import tensorflow as tf
import tf_keras

model = {keras_2}.Sequential([{keras_2}.Input((4,)), {keras_2}.layers.Dense(3)])
model.compile("sgd", "mse")
x, y = np.ones((8, 4), "float32"), np.ones((8, 3), "float32")
sequence = {keras_2}.Input((4, 3))
own = keras.Sequential([keras.Input((4,)), hl.MaskedDense(3)])
own.compile("sgd", "mse")

def fit(callback):
    return lambda: model.fit(x, y, callbacks=[callback], verbose=0)

callbacks = [
    hl.MagnitudePruning(0.5),
    hl.GradientGrowth((x, y)),
    hl.GrowAndPrune((x, y)),
    hl.NeuronGrowth((x, y)),
    hl.AreaPruning(0.5, (x, y)),
    hl.ActivationShift(),
    hl.SparsityBoard("never"),
]
calls = {{
    "sparsify": lambda: hl.sparsify(model),
    "strip": lambda: hl.strip(model),
    "shrink": lambda: hl.shrink(model),
    "summary": lambda: hl.summary(model),
    "masked_kernels": lambda: hl.masked_kernels(model),
    "set_hidden_activation": lambda: hl.set_hidden_activation(model, "relu"),
    "export_tflite": lambda: hl.export_tflite(model, "never.tflite"),
    "export_saved_model": lambda: hl.export_saved_model(model, "never"),
    "Latency": lambda: hl.Latency()(model),
    "layer": lambda: hl.MaskedDense(3)(sequence),
    "recurrent layer": lambda: hl.HLSTM(3)(sequence),
    "twin": lambda: hl.MaskedLSTM(3)(sequence),
    **{{type(callback).__name__: fit(callback) for callback in callbacks}},
    "own": lambda: own.fit(x, y, callbacks=[hl.MagnitudePruning(0.5)], verbose=0),
}}
said = {{}}
for name, call in calls.items():
    try:
        call()
        said[name] = ""
    except Exception as error:
        said[name] = f"{{type(error).__name__}}: {{error}}"
print(json.dumps(said))
{keras_2}.Sequential([sequence, {keras_2}.layers.LSTM(3)]).save(sys.argv[1])
"""

WAYS = {
    "tf_keras": ("", "tf_keras"),
    "legacy-keras": ("import os; os.environ['TF_USE_LEGACY_KERAS'] = '1'", "tf.keras"),
    "tfmot": ("import tensorflow_model_optimization", "tf.keras"),
}


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


class Beside(NamedTuple):
    """What a process with tf_keras in it said, and a model of Keras 2 that it saved."""

    said: dict[str, str]
    model: Path


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Beside]:
    """Runs a way once for all tests."""

    @functools.cache
    def once(way: str) -> Beside:
        first, keras_2 = WAYS[way]
        path = tmp_path_factory.mktemp("keras_2") / "old.keras"
        done = run(PROGRAM.format(first=first, keras_2=keras_2), str(path))
        assert done.returncode == 0, done.stderr[-2000:]
        return Beside(json.loads(done.stdout.splitlines()[-1]), path)

    return once


@pytest.mark.representatives("tfmot")
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_whatever_is_given_something_of_tf_keras_says_that_it_needs_keras_3(
    way: str, beside: Callable[[str], Beside]
) -> None:
    said = dict(beside(way).said)
    assert said.pop("own") == "", "a model of Keras 3 trains beside tf_keras"
    for name, message in said.items():
        assert message.startswith("TypeError: "), (name, message)
        assert "tf_keras (Keras 2)" in message, (name, message)
        assert "`import keras`" in message, (name, message)
        assert ("TF_USE_LEGACY_KERAS=1" in message) == (way != "tf_keras"), (name, message)


@pytest.mark.representatives("jax")
@pytest.mark.parametrize("backend", ["jax", "torch", "openvino"])
def test_another_backend_is_told_at_import_what_to_set(backend: str) -> None:
    done = run("import hlstm_tf.sparsity", KERAS_BACKEND=backend)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("ImportError: hlstm_tf needs Keras 3 on TensorFlow; ")
    assert backend in last
    assert "set KERAS_BACKEND=tensorflow before keras is imported" in last


@pytest.mark.parametrize(
    ("version", "backend", "expected"),
    [
        ("3.15.1", "tensorflow", None),
        ("4.0.0", "tensorflow", None),
        ("2.21.0", "tensorflow", "found Keras 2.21.0"),
        ("3.15.1", "jax", "found Keras 3.15.1 on jax, which KERAS_BACKEND asks for"),
        ("3.15.1", "torch", "found Keras 3.15.1 on torch"),
    ],
)
def test_an_installation_is_judged_by_version_and_backend(
    version: str, backend: str, expected: str | None
) -> None:
    fault = installation_fault(version, backend)
    assert fault is None if expected is None else expected in str(fault)


def test_a_backend_set_in_keras_s_own_file_is_named_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND")
    assert "'backend' in keras.json asks for" in str(installation_fault("3.15.1", "jax"))


def test_another_wrong_object_is_not_taken_for_keras_2() -> None:
    with pytest.raises(TypeError, match=r"^model must be a keras.Layer; got int\.$"):
        check_keras(3, keras.Layer, "model")


def test_a_file_that_keras_2_wrote_is_told_apart_from_a_damaged_one(
    beside: Callable[[str], Beside], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["summary", str(beside("tfmot").model)]) == 2
    said = capfd.readouterr().err
    assert "wrote it; make and save the model with Keras 3" in said
    assert len(said.strip().splitlines()) == 1
