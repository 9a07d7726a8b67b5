"""What importing the package loads, and when, in processes of their own."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import pytest

import hlstm_tf as hl

ROOT = Path(__file__).parents[1]

BLOCKED = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "tf_keras", "librosa", "scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def assert_runs(program: str, *arguments: str) -> str:
    done = run(program, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_both_forms_run_where_tensorflow_and_keras_cannot_be_imported() -> None:
    program = (
        BLOCKED
        + """
import numpy as np
import hlstm_tf as hl
digits = hl.load_tflite("saved_models/lenet-5/model.tflite")
assert isinstance(digits, hl.TFLiteModel)
print(digits(np.zeros((2, 28, 28, 1), "float32")).shape)
speech = hl.load_tflite("saved_models/an4-streaming/model.tflite")
assert isinstance(speech, hl.StepRunner)
frames = np.zeros((1, 80, 40), "float32")
print(speech(frames).shape)
stream = speech.stream(look_back=13, look_ahead=13, stride=4)
print(np.concatenate([stream(frames), stream.finish()], axis=1).shape)
"""
    )
    assert assert_runs(program).splitlines() == ["(2, 10)", "(1, 20, 29)", "(1, 20, 29)"]


def test_the_package_and_the_runtime_load_nothing_heavy() -> None:
    program = (
        "import sys, hlstm_tf, hlstm_tf.runtime\n"
        "heavy = {'tensorflow', 'keras', 'scipy', 'h5py', 'hlstm_tf.keras_check'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert assert_runs(program) == "[]\n"


ORDERS = {
    "keras-last": "import hlstm_tf\nimport keras",
    "keras-first": "import keras\nimport hlstm_tf",
    "tensorflow-last": "import hlstm_tf\nimport tensorflow as tf\nkeras = tf.keras",
    "runtime-first": "import hlstm_tf.runtime\nimport keras",
    "a-name-first": "from hlstm_tf import edit_masks\nimport keras",
}


@pytest.mark.representatives("keras-last")
@pytest.mark.parametrize("order", ORDERS)
def test_a_saved_model_loads_with_nothing_but_the_package_imported(
    order: str, tmp_path: Path
) -> None:
    activation = hl.LeakyReLU()
    model = keras.Sequential(
        [
            keras.Input((5, 3)),
            hl.MaskedGRU(3, return_sequences=True),
            hl.HLSTM(4, hidden_activation=activation),
            hl.MaskedDense(2),
        ]
    )
    model.save(tmp_path / "model.keras")
    program = (
        f"{ORDERS[order]}\nimport sys\nmodel = keras.models.load_model(sys.argv[1])\n"
        "print(*[type(layer).__name__ for layer in model.layers])"
    )
    said = assert_runs(program, str(tmp_path / "model.keras"))
    assert said.splitlines()[-1] == "MaskedGRU HLSTM MaskedDense"


BESIDE_KERAS = """
import sys
import hlstm_tf, importlib.util, json
class Old:  # a finder of before Python 3.4
    def find_module(self, name, path=None):
        return None
sys.meta_path.insert(1, Old())
said = {
    "origin": importlib.util.find_spec("keras").origin,
    "imported": "keras" in sys.modules,  # looked at, not imported
}
import keras, inspect
def ours():
    return {name for name in keras.saving.get_custom_objects() if name.startswith("hlstm_tf>")}
early = ours()
for name in hlstm_tf.__all__:
    getattr(hlstm_tf, name)
said |= {
    "finders": [type(finder).__module__ for finder in sys.meta_path],
    "loaders": [type(each).__name__ for each in (keras.__loader__, keras.__spec__.loader)],
    "source": inspect.getsource(keras),
    "early": sorted(early),
    "late": sorted(ours() - early),
}
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def beside_keras() -> dict[str, Any]:
    """What a process finds that imports the package, then Keras, then every public name."""
    return json.loads(assert_runs(BESIDE_KERAS))


def test_importing_keras_is_as_without_the_package(beside_keras: dict[str, Any]) -> None:
    assert beside_keras["origin"].endswith("__init__.py")
    assert not beside_keras["imported"]
    assert not any("hlstm" in module for module in beside_keras["finders"])
    assert beside_keras["loaders"] == ["SourceFileLoader", "SourceFileLoader"]
    assert "import" in beside_keras["source"]
    assert "hlstm_tf>HLSTM" in beside_keras["early"]


def test_every_class_that_keras_may_meet_in_a_file_is_registered_with_the_layers(
    beside_keras: dict[str, Any],
) -> None:
    # Stands for a layer while a model is exported; no model that is saved has it.
    assert beside_keras["late"] == ["hlstm_tf>ReshapedTimeDistributed"]


@pytest.mark.representatives("hlstm_tf.HLSTM")
@pytest.mark.parametrize(
    "use",
    ["hlstm_tf.HLSTM", "hlstm_tf.seed_mask", "hlstm_tf.export_tflite", "hlstm_tf.summary"],
)
def test_a_name_that_needs_keras_says_so_when_it_is_asked_for(use: str) -> None:
    program = f"import hlstm_tf, sys\nhlstm_tf.StepRunner\nprint('so far')\n{use}"
    done = run(program, KERAS_BACKEND="jax")
    assert done.stdout == "so far\n"
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: hlstm_tf needs Keras 3 on TensorFlow; ")
    assert "set KERAS_BACKEND=tensorflow before keras is imported" in last


@pytest.mark.representatives(
    "3.15.1-jax-found Keras 3.15.1 on jax, which KERAS_BACKEND asks for-import hlstm_tf, keras"
)
@pytest.mark.parametrize("order", ["import hlstm_tf, keras", "import keras, hlstm_tf"])
@pytest.mark.parametrize(
    ("version", "backend", "found"),
    [
        ("3.15.1", "jax", "found Keras 3.15.1 on jax, which KERAS_BACKEND asks for"),
        ("2.15.0", "tensorflow", "found Keras 2.15.0. Run pip install -U"),
    ],
)
def test_beside_a_keras_that_it_cannot_use_only_what_needs_keras_fails(
    order: str, version: str, backend: str, found: str, tmp_path: Path
) -> None:
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "__init__.py").write_text(
        f"from types import SimpleNamespace\nversion = lambda: {version!r}\n"
        f"backend = SimpleNamespace(backend=lambda: {backend!r})\n"
    )
    program = (
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{order}\n"
        "hlstm_tf.StepRunner\nprint(keras.version())\nhlstm_tf.HLSTM"
    )
    done = run(program, KERAS_BACKEND=backend)
    assert done.stdout == f"{version}\n"
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: hlstm_tf needs Keras 3 on TensorFlow; {found}")


def test_names_their_modules_and_their_types_are_listed_alike() -> None:
    tree = ast.parse(Path(hl.__file__).read_text())
    [typed] = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {
        name.name: statement.module
        for statement in typed.body
        if isinstance(statement, ast.ImportFrom)
        for name in statement.names
    }
    assert imported == hl._MODULES
    assert set(hl.__all__) == {*imported, "__version__"}
    assert set(hl.__all__) <= set(dir(hl))


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'hlstm_tf' has no attribute 'HLTSM'"):
        hl.HLTSM  # noqa: B018
