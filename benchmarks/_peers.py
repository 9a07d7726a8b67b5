"""The peers of the latency benchmarks: other engines and other layers, if installed.

Each function returns something to call that runs once, and takes the sizes of a recurrent layer.
Missing packages raise `ImportError`; the benchmarks name them and go on.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from _floor import Weights

import hlstm_tf as hl

Run = Callable[[], Any]
SCRATCH = Path(tempfile.mkdtemp(prefix="hlstm_bench_"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)


def sequence(steps: int, inputs: int) -> np.ndarray:
    """Random frames `(1, steps, inputs)`."""
    return np.random.default_rng(0).normal(size=(1, steps, inputs)).astype("float32")


def recurrent_model(layers: list[keras.Layer], inputs: int) -> keras.Model:
    """A model of nothing but `layers`, its sequence of any length."""
    return keras.Sequential([keras.Input((None, inputs), name="frames"), *layers])


def lstm_layers(units: int, count: int) -> list[keras.Layer]:
    """`count` Keras LSTM layers."""
    return [keras.layers.LSTM(units, return_sequences=True) for _ in range(count)]


def hlstm_layers(units: int, hidden: int) -> list[keras.Layer]:
    """One H-LSTM layer as it is deployed: shrunk, without masks."""
    return [hl.HLSTM(units, hidden_units=hidden, return_sequences=True, masked=False)]


def tflite(model: keras.Model, form: str, quantization: str | None) -> Path:
    """Exports a model and returns the file."""
    path = SCRATCH / f"{len(list(SCRATCH.iterdir()))}.tflite"
    hl.export_tflite(model, path, form=form, quantization=quantization)
    return path


def tflite_weights(path: Path, steps: int = 1) -> Weights:
    """What a file of ours reads: of the step form, or of a loop in the graph."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    keys = [model.SignatureDefs(i) for i in range(model.SignatureDefsLength())]
    graphs = {key.SignatureKey().decode(): key.SubgraphIndex() for key in keys}

    def size(graph: int) -> int:
        tensors = model.Subgraphs(graph)
        return sum(
            model.Buffers(tensors.Tensors(i).Buffer()).DataLength()
            for i in range(tensors.TensorsLength())
        )

    if "step" in graphs:
        # A step by itself does not project.
        return Weights(size(graphs["step"]), size(graphs["project"]) if steps > 1 else 0, steps)
    inner = [i for i in range(model.SubgraphsLength()) if i not in graphs.values()]
    return Weights(sum(map(size, inner)), size(graphs["serve"]), steps)


def layer_weights(layer: keras.Layer, steps: int) -> Weights:
    """What a recurrent layer reads in float32 where the input's kernel is taken out of the loop."""
    once = layer.cell.kernel.shape
    rest = sum(int(np.prod(each.shape)) for each in layer.weights) - int(np.prod(once))
    return Weights(4 * rest, 4 * int(np.prod(once)), steps)


def whole_sequence(path: Path, frames: np.ndarray) -> Run:
    """A TFLite file of either form on a whole sequence, one thread."""
    model = hl.load_tflite(path, threads=1)
    return lambda: model(frames)


def one_step(path: Path) -> Run:
    """The engine's time for one step of a file in step form: no copying, no Python around it."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    engine = interpreter._interpreter
    graph = engine.GetSubgraphIndexFromSignature("step")
    engine.AllocateTensors(graph)

    def run(interpreter: Any = interpreter) -> None:  # which owns the memory
        engine.Invoke(graph)

    return run


def fused_tflite_lstm(units: int, inputs: int, frames: np.ndarray) -> Run:
    """TFLite's fused LSTM operation with 8-bit weights, which only Keras 2 models convert to."""
    import tf_keras
    from ai_edge_litert.interpreter import Interpreter

    model = tf_keras.Sequential(
        [
            tf_keras.Input((frames.shape[1], inputs), batch_size=1),
            tf_keras.layers.LSTM(units, return_sequences=True),
        ]
    )
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
    interpreter.allocate_tensors()
    assert any("SEQUENCE_LSTM" in each["op_name"] for each in interpreter._get_ops_details())
    place = interpreter.get_input_details()[0]["index"]

    def run() -> None:
        interpreter.set_tensor(place, frames)
        interpreter.invoke()

    return run


def onnx_lstm(units: int, inputs: int, frames: np.ndarray, layers: int, int8: bool) -> Run:
    """ONNX Runtime's LSTM, one thread."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, weights = [], []
    source, width = "x0", inputs
    for layer in range(layers):
        shapes = {"w": (1, 4 * units, width), "r": (1, 4 * units, units), "b": (1, 8 * units)}
        for name, shape in shapes.items():
            values = rng.normal(scale=0.05, size=shape).astype("float32")
            weights.append(numpy_helper.from_array(values, f"{name}{layer}"))
        names = [f"{name}{layer}" for name in shapes]
        nodes.append(helper.make_node("LSTM", [source, *names], [f"y{layer}"], hidden_size=units))
        squeezed = f"x{layer + 1}"
        nodes.append(helper.make_node("Squeeze", [f"y{layer}", "axis"], [squeezed]))
        source, width = squeezed, units
    weights.append(numpy_helper.from_array(np.array([1]), "axis"))
    steps = frames.shape[1]
    graph = helper.make_graph(
        nodes,
        "lstm",
        [helper.make_tensor_value_info("x0", 1, (steps, 1, inputs))],
        [helper.make_tensor_value_info(source, 1, (steps, 1, units))],
        weights,
    )
    opset = helper.make_opsetid("", 17)
    path = str(SCRATCH / f"lstm_{units}_{layers}_{steps}.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    if int8:
        from onnxruntime.quantization import quantize_dynamic

        quantize_dynamic(path, path := path.replace(".onnx", "_int8.onnx"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    time_major = np.ascontiguousarray(frames.transpose(1, 0, 2))
    return lambda: session.run(None, {"x0": time_major})


def torch_lstm(units: int, inputs: int, frames: np.ndarray, layers: int) -> Run:
    """torch's `nn.LSTM`, float32, one thread."""
    import torch

    torch.set_num_threads(1)
    model = torch.nn.LSTM(inputs, units, layers, batch_first=True).eval()
    batch = torch.from_numpy(frames)

    def run() -> None:
        with torch.inference_mode():
            model(batch)

    return run


def openvino_lstm(units: int, inputs: int, frames: np.ndarray, layers: int) -> Run:
    """OpenVINO's LSTM at the precision it chooses, one thread."""
    import openvino

    onnx_lstm(units, inputs, frames, layers, int8=False)
    path = SCRATCH / f"lstm_{units}_{layers}_{frames.shape[1]}.onnx"
    core = openvino.Core()
    compiled = core.compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": 1})
    time_major = np.ascontiguousarray(frames.transpose(1, 0, 2))
    return lambda: compiled([time_major])


def saved_model(model: keras.Model, frames: np.ndarray, compiled: bool | None = None) -> Run:
    """A SavedModel of ours, as TensorFlow Serving calls it.

    Args:
        model: The model.
        frames: What it is called with.
        compiled: `None` for the signature of any length; else for that of the frames' length,
            whether XLA compiles it.
    """
    folder = _new_folder()
    lengths = [] if compiled is None else [frames.shape[1]]
    hl.export_saved_model(
        model, folder, lengths=lengths, jit_compile=bool(compiled), step=False, warmup=False
    )
    signatures = tf.saved_model.load(os.fspath(folder)).signatures
    serve = signatures[f"serve_{lengths[0]}" if lengths else "serve"]
    batch = tf.constant(frames)
    return lambda: serve(frames=batch)


def keras_saved_model(model: keras.Model, frames: np.ndarray) -> Run:
    """The SavedModel that Keras itself exports."""
    folder = _new_folder()
    model.export(os.fspath(folder), format="tf_saved_model", verbose=False)
    serve = tf.saved_model.load(os.fspath(folder)).signatures["serving_default"]
    batch = tf.constant(frames)
    (name,) = serve.structured_input_signature[1]
    return lambda: serve(**{name: batch})


def _new_folder() -> Path:
    return SCRATCH / f"{len(list(SCRATCH.iterdir()))}" / "1"
