"""The command `hlstm`, run as a user runs it: as a process, on real files."""

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import hlstm_tf as hl
from hlstm_tf._cli.command import main

ROOT = Path(__file__).parents[2]


def run(capfd, *arguments):
    """Runs the command in this process, which spares the start of TensorFlow."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code
    output, error = capfd.readouterr()
    return status, output, error


def assert_one_clear_line(result, *expected):
    status, _, error = result
    assert status == 2, error
    lines = [line for line in error.split("\n") if line]
    assert len(lines) == 1, error
    assert lines[0].startswith("hlstm")
    for words in expected:
        assert str(words) in lines[0]


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


def test_help_answers_without_loading_tensorflow():
    program = (
        "import sys\n"
        "from hlstm_tf._cli import main\n"
        "try: main(['export', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--quantization" in done.stdout
    assert time.perf_counter() - start < 3


def test_a_tflite_file_is_summarized_without_loading_tensorflow():
    path = ROOT / "saved_models" / "an4-streaming" / "model.tflite"
    program = (
        "import sys\n"
        "from hlstm_tf._cli import main\n"
        f"assert main(['summary', {str(path)!r}, '--json']) == 0\n"
        "assert not {'tensorflow', 'keras', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["bytes"] == path.stat().st_size
    assert found["form"] == "step"
    assert 0 < sum(found["weights"].values()) < found["bytes"]
    assert found["signatures"]["step"]["outputs"]["outputs"] == {
        "shape": [1, 29], "dtype": "float32",
    }  # fmt: skip
    assert found["signatures"]["project"]["inputs"]["features"]["shape"] == [1, None, 40]


def test_a_table_of_a_tflite_file_names_its_inputs_and_a_damaged_one_is_refused(capfd, tmp_path):
    whole = ROOT / "saved_models" / "lenet-5" / "model.tflite"
    status, output, _ = run(capfd, "summary", whole)
    assert status == 0
    assert "sequence form" in output
    assert "inputs: (1, 28, 28, 1) float32" in output
    content = whole.read_bytes()
    broken = tmp_path / "broken.tflite"
    for damaged in (b"", content[: len(content) // 2]):
        broken.write_bytes(damaged)
        assert_one_clear_line(run(capfd, "summary", broken), broken)


def test_the_installed_command_summarizes_a_model_and_keeps_stderr_clean(model_file):
    command = Path(sys.executable).with_name("hlstm")
    done = subprocess.run([command, "summary", model_file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "hlstm" in done.stdout
    assert done.stderr == ""


def test_version_names_what_computes(capfd):
    status, output, _ = run(capfd, "version")
    assert status == 0
    assert f"hlstm_tf {hl.__version__}" in output
    assert f"keras {keras.__version__}" in output
    assert run(capfd, "--version") == (0, f"hlstm_tf {hl.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "frobnicate"),
        (["summary"], "MODEL.keras"),
        (["summary", "a.keras", "--colour"], "--colour"),
        (["export", "a.keras", "--quantization", "int3"], "int3"),
        (["shrink", "a.keras"], "OUTPUT.keras"),
    ],
)
def test_a_wrong_option_is_said_in_one_line(capfd, arguments, expected):
    assert_one_clear_line(run(capfd, *arguments), expected, "--help")


def test_a_missing_model_and_a_folder_are_named(capfd, tmp_path):
    absent = tmp_path / "absent.keras"
    assert_one_clear_line(run(capfd, "summary", absent), absent, "does not exist")
    assert_one_clear_line(run(capfd, "summary", tmp_path), tmp_path, "is a folder")


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_truncated_model_is_named_and_leaves_no_output(capfd, tmp_path, model_file, kept):
    content = model_file.read_bytes()
    broken = tmp_path / "broken.keras"
    broken.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    result = run(capfd, "shrink", broken, tmp_path / "out.keras")
    assert_one_clear_line(result, broken, "damaged")
    assert list(tmp_path.iterdir()) == [broken]


def test_a_model_with_a_flipped_byte_in_its_weights_is_refused(capfd, tmp_path, model_file):
    content = bytearray(model_file.read_bytes())
    with zipfile.ZipFile(model_file) as archive:
        weights = archive.getinfo("model.weights.h5")
    content[weights.header_offset + 200 + weights.compress_size // 2] ^= 0xFF
    broken = tmp_path / "broken.keras"
    broken.write_bytes(content)
    assert_one_clear_line(run(capfd, "summary", broken), broken, "cannot read the model")


def test_a_zip_archive_that_is_no_model_is_refused(capfd, tmp_path):
    other = tmp_path / "other.keras"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    assert_one_clear_line(run(capfd, "summary", other), other, "cannot read the model")


def test_an_unregistered_class_is_named_with_what_to_do(capfd, tmp_path, monkeypatch):
    module = (
        "import keras\n"
        "@keras.saving.register_keras_serializable(package='mine')\n"
        "class Doubled(keras.layers.Dense):\n"
        "    pass\n"
    )
    (tmp_path / "my_layers.py").write_text(module)
    elsewhere = {"__name__": "elsewhere"}
    exec(module, elsewhere)
    path = tmp_path / "mine.keras"
    keras.Sequential([keras.Input((3,)), elsewhere["Doubled"](2)]).save(path)
    del keras.saving.get_custom_objects()["mine>Doubled"]

    assert_one_clear_line(run(capfd, "summary", path), path, "'Doubled'", "--import MODULE")
    result = run(capfd, "summary", path, "--import", "no_such_module")
    assert_one_clear_line(result, "no_such_module")
    monkeypatch.chdir(tmp_path)
    try:
        status, output, error = run(capfd, "summary", path, "--import", "my_layers")
    finally:
        sys.modules.pop("my_layers", None)
        keras.saving.get_custom_objects().pop("mine>Doubled", None)
    assert status == 0, error
    assert "doubled" in output


TRAP = "raise SystemExit('the current folder was executed: ' + __name__)\n"


def installed(*arguments, folder):
    """Runs the installed command as a process of its own, in a folder."""
    command = Path(sys.executable).with_name("hlstm")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [command, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def hostile_folder(tmp_path):
    """A folder full of modules that end whoever imports them."""
    names = {name.partition(".")[0] for name in sys.modules} | {"torch", "jax", "tf_keras", "rich"}
    for name in (name for name in names if name.isidentifier()):
        (tmp_path / f"{name}.py").write_text(TRAP)
    (tmp_path / "hlstm_tf").mkdir()
    (tmp_path / "hlstm_tf" / "__init__.py").write_text(TRAP)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ["summary"],
        ["export", "--tflite", "out.tflite", "--quantization", "int8", "--representative", "x.npy"],
    ],
    ids=lambda command: command[0],
)
def test_nothing_in_the_current_folder_is_executed(hostile_folder, model, command):
    model.save(hostile_folder / "model.keras")
    np.save(hostile_folder / "x.npy", np.zeros((2, 5, 6), "float32"))
    name, *options = command
    done = installed(name, "model.keras", *options, folder=hostile_folder)
    assert "was executed" not in done.stdout + done.stderr
    # LiteRT cannot calibrate a loop over time: the child process that found out was safe, too.
    assert done.returncode == (0 if name == "summary" else 2), done.stderr


def test_a_model_that_names_a_module_of_the_current_folder_does_not_run_it(
    capfd, tmp_path, monkeypatch, model_file
):
    with zipfile.ZipFile(model_file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    config["module"], config["class_name"], config["registered_name"] = "trap", "Trap", None
    content["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    (tmp_path / "trap.py").write_text(TRAP)
    (tmp_path / "fine.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert_one_clear_line(run(capfd, "summary", "model.keras"), "cannot read the model")
    result = run(capfd, "summary", "model.keras", "--import", "fine")
    assert_one_clear_line(result, "cannot read the model")


def test_import_prefers_the_installed_package_to_the_current_folder(
    capfd, tmp_path, monkeypatch, model_file
):
    (tmp_path / "colorsys.py").write_text(TRAP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    status, _, error = run(capfd, "summary", model_file, "--import", "colorsys")
    assert status == 0, error


def test_a_named_module_gets_others_of_the_current_folder_only_when_they_are_named(
    capfd, tmp_path, monkeypatch, model_file
):
    (tmp_path / "my_net.py").write_text("import my_parts.bricks\n")
    (tmp_path / "my_parts").mkdir()
    (tmp_path / "my_parts" / "__init__.py").write_text("")
    (tmp_path / "my_parts" / "bricks.py").write_text("")
    monkeypatch.chdir(tmp_path)
    before = list(sys.meta_path)
    try:
        result = run(capfd, "summary", model_file, "--import", "my_net")
        assert_one_clear_line(result, "my_net", "add --import my_parts")
        status, _, error = run(
            capfd, "summary", model_file, "--import", "my_net", "--import", "my_parts"
        )
        assert status == 0, error
    finally:
        for name in ("my_net", "my_parts", "my_parts.bricks"):
            sys.modules.pop(name, None)
    assert sys.meta_path == before


def test_summary_as_json_counts_the_connections(capfd, model, model_file):
    status, output, _ = run(capfd, "summary", model_file, "--json")
    assert status == 0
    assert json.loads(output) == json.loads(json.dumps(hl.summary(model).to_dict()))


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


def test_shrink_writes_a_smaller_model_of_the_same_function(capfd, tmp_path, model, model_file):
    output = tmp_path / "compact.keras"
    status, printed, error = run(capfd, "shrink", model_file, output)
    assert status == 0, error
    assert str(output) in printed
    compact = keras.models.load_model(output)
    inputs = np.random.default_rng(0).normal(size=(1, 5, 6)).astype("float32")
    np.testing.assert_allclose(compact(inputs), model(inputs), atol=1e-5)
    assert compact.count_params() < model.count_params()
    assert list(tmp_path.iterdir()) == [output]


def test_shrink_names_a_folder_that_is_absent_and_a_wrong_suffix(capfd, tmp_path, model_file):
    result = run(capfd, "shrink", model_file, tmp_path / "absent" / "out.keras")
    assert_one_clear_line(result, tmp_path / "absent", "does not exist")
    assert_one_clear_line(run(capfd, "shrink", model_file, tmp_path / "out.h5"), "out.h5", ".keras")


def test_export_writes_both_forms_that_compute_what_the_model_does(
    capfd, tmp_path, model, model_file
):
    inputs = np.random.default_rng(1).normal(size=(3, 5, 6)).astype("float32")
    np.save(tmp_path / "inputs.npy", inputs)
    saved_model, tflite = tmp_path / "served" / "1", tmp_path / "model.tflite"
    status, printed, error = run(
        capfd, "export", model_file, "--saved-model", saved_model, "--tflite", tflite,
        "--quantization", "dynamic", "--verify-with", tmp_path / "inputs.npy", "--shrink",
    )  # fmt: skip
    assert status == 0, error
    assert (saved_model / "saved_model.pb").is_file()
    assert str(tflite) in printed

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(tflite))
    interpreter.allocate_tensors()
    [place] = interpreter.get_input_details()
    interpreter.set_tensor(place["index"], inputs[:1])
    interpreter.invoke()
    result = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(result, model(inputs[:1]), atol=0.05)


def test_export_tries_all_and_says_what_it_kept(capfd, tmp_path, model_file):
    tflite = tmp_path / "model.tflite"
    status, printed, error = run(
        capfd, "export", model_file, "--tflite", tflite, "--quantization", "best", "--for", "size"
    )
    assert status == 0, error
    *candidates, done = printed.splitlines()
    assert [line[2:].split(":")[0] for line in candidates] == [
        "float32", "float16", "dynamic", "sparse", "sparse_float32",
    ]  # fmt: skip
    [kept] = [line for line in candidates if line.startswith("* ")]
    assert f"{tflite.stat().st_size:,} bytes" in kept
    assert f"{tflite.stat().st_size:,} bytes" in done


def test_export_writes_the_step_form(capfd, tmp_path, model, model_file):
    tflite = tmp_path / "model.tflite"
    status, _, error = run(capfd, "export", model_file, "--tflite", tflite, "--form", "step")
    assert status == 0, error
    inputs = np.random.default_rng(1).normal(size=(3, 5, 6)).astype("float32")
    np.testing.assert_allclose(hl.StepRunner(tflite)(inputs), model(inputs), atol=1e-5)


def test_export_measures_both_forms_and_says_which_it_kept(capfd, tmp_path, model_file):
    tflite = tmp_path / "model.tflite"
    status, printed, error = run(
        capfd, "export", model_file, "--tflite", tflite, "--form", "best", "--for", "latency"
    )
    assert status == 0, error
    *candidates, _ = printed.splitlines()
    assert [line[2:].split(":")[0] for line in candidates] == ["float32", "float32 in step form"]
    [kept] = [line for line in candidates if line.startswith("* ")]
    assert ("in step form" in kept) == isinstance(hl.load_tflite(tflite), hl.StepRunner)


def test_export_writes_the_largest_entries_alone(capfd, tmp_path, model_file):
    tflite, saved_model = tmp_path / "model.tflite", tmp_path / "served" / "1"
    status, _, error = run(
        capfd, "export", model_file, "--tflite", tflite, "--saved-model", saved_model, "--top-k", 1
    )
    assert status == 0, error
    assert set(hl.TFLiteModel(tflite).outputs) == {"outputs_values", "outputs_ids"}
    serve = keras.layers.TFSMLayer(saved_model, call_endpoint="serve")
    assert set(serve(np.zeros((1, 5, 6), "float32"))) == {"outputs_values", "outputs_ids"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "--saved-model DIR, --tflite FILE"),
        (["--tflite", "x.tflite", "--top-k", "0"], "top_k must be a positive integer"),
        (["--saved-model", "x", "--quantization", "dynamic"], "--tflite FILE"),
        (["--tflite", "x.tflite", "--lengths", "50"], "--saved-model DIR"),
        (["--saved-model", "x", "--form", "step"], "--tflite FILE"),
        (["--saved-model", "x", "--for", "size"], "--tflite FILE"),
        (["--tflite", "x.tflite", "--for", "size"], "--quantization best"),
        (["--tflite", "model.keras"], "must end in .tflite"),
        (["--tflite", "x.tflite", "--quantization", "int8"], "--representative"),
        (["--tflite", "x.tflite", "--verify-with", "absent.npy"], "absent.npy does not exist"),
    ],
)
def test_export_options_that_do_not_fit_together_are_explained(
    capfd, tmp_path, monkeypatch, model_file, options, expected
):
    monkeypatch.chdir(tmp_path)
    assert_one_clear_line(run(capfd, "export", model_file, *options), expected)
    assert list(tmp_path.iterdir()) == []


def npy(header):
    """A file of NumPy's with any text as its header."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        b"PK\x03\x04",
        b"\x93NUMPY\x01\x00v\x00{'",
        npy(
            b"{'descr': ('<f4',), 'fortran_order': False, 'shape': (2,)}\n"
        ),  # an IndexError of NumPy's
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,\n"),  # a TokenError of Python's
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}\n"),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': ('x',)}\n"),
        npy(b"(" * 5000 + b"\n"),
    ],
    ids=range(9),
)
def test_a_damaged_input_file_is_named(capfd, tmp_path, model_file, content):
    inputs = tmp_path / "inputs.npy"
    inputs.write_bytes(content)
    result = run(
        capfd, "export", model_file, "--tflite", tmp_path / "x.tflite", "--verify-with", inputs
    )
    assert_one_clear_line(result, "--verify-with", inputs)
    assert list(tmp_path.iterdir()) == [inputs]
