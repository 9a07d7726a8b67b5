"""Prepares a model for export: masks gone, steps and directions as engines take them."""

import logging
from functools import partial
from typing import Any

import keras
from ai_edge_litert import schema_py_generated as schema

from hlstm_tf.export.flatbuffer import packed, parsed
from hlstm_tf.export.recurrences import recurrent_layers
from hlstm_tf.keras_internals import all_layers, takes_mask, takes_training
from hlstm_tf.layers import MaskedLayer, masked_kernels
from hlstm_tf.transforms import strip
from hlstm_tf.transforms.rewriting import Entry, copy_state, rebuild
from hlstm_tf.transforms.twins import plain_entry
from hlstm_tf.transforms.verification import keeps_state
from hlstm_tf.transforms.written_down import write_down


@keras.saving.register_keras_serializable(package="hlstm_tf")
class ReshapedTimeDistributed(keras.layers.TimeDistributed):
    """Runs the inner layer on `(batch * time, ...)`, and gives `(batch, time, ...)`.

    In inference a layer treats every sample by itself, so this is what `TimeDistributed` computes
    step by step. Keras writes the steps of a known length out one after the other, and with an open
    length runs as many steps as there are samples in the batch (3.15).
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Applies the layer to every step; a mask goes to it where it takes one."""
        arguments: dict[str, Any] = {}
        if mask is not None and takes_mask(self.layer):
            arguments["mask"] = _steps_as_samples(mask)
        if takes_training(self.layer):
            arguments["training"] = training
        outputs = self.layer.call(_steps_as_samples(inputs), **arguments)
        batch, time = keras.ops.shape(inputs)[:2]
        return keras.ops.reshape(outputs, (batch, time, *keras.ops.shape(outputs)[1:]))


def _steps_as_samples(values: Any) -> Any:
    batch, time, *features = keras.ops.shape(values)
    return keras.ops.reshape(values, (batch * time, *features))


def repair_reversals(content: bytes) -> bytes:
    """Gives what is reversed the scale that it has behind the reversal.

    Only where it has just been quantized from float32, which can be done to any scale, and nothing
    else reads it. The same file where nothing is to be repaired.
    """
    model = parsed(content)
    repaired = [_repair(model, graph) for graph in model.subgraphs]
    return packed(model) if any(repaired) else content


def _repair(model: Any, graph: Any) -> bool:
    repaired = False
    for operator in graph.operators:
        if _code(model, operator) != schema.BuiltinOperator.REVERSE_V2:
            continue
        source, result = (graph.tensors[i] for i in (operator.inputs[0], operator.outputs[0]))
        if _scale(source) == _scale(result) or not _quantized_for(model, graph, operator):
            continue
        source.quantization = result.quantization
        repaired = True
    return repaired


def _quantized_for(model: Any, graph: Any, operator: Any) -> bool:
    """Whether an operator's input has been quantized from float32 for it alone."""
    tensor = operator.inputs[0]
    makers = [each for each in graph.operators if tensor in each.outputs]
    readers = [each for each in graph.operators if tensor in each.inputs]
    if len(makers) != 1 or readers != [operator] or tensor in graph.outputs:
        return False
    if _code(model, makers[0]) != schema.BuiltinOperator.QUANTIZE:
        return False
    return graph.tensors[makers[0].inputs[0]].type == schema.TensorType.FLOAT32


def _code(model: Any, operator: Any) -> int:
    return model.operatorCodes[operator.opcodeIndex].builtinCode


def _scale(tensor: Any) -> tuple[list[float], list[int]] | None:
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None:
        return None
    return list(quantization.scale), list(quantization.zeroPoint)


HALF_DTYPES = ("float16", "bfloat16")

_log = logging.getLogger("hlstm_tf.export")


def plain_model(model: keras.Model, *, unroll: bool = False) -> keras.Model:
    """The same function as plain layers that keep nothing between calls, for any batch size.

    Masked layers become plain, Toeplitz-like kernels dense, `stateful` layers stateless, and
    `TimeDistributed` runs its layer on all steps at once. The model itself where nothing in it is
    of that kind.

    Args:
        model: The model.
        unroll: Whether a recurrent layer inside `TimeDistributed` is written out step by step where
            its length is known. A TFLite file has no loop over as many samples as come.

    Raises:
        ValueError: A layer inside `TimeDistributed` is stateful, or the model cannot be rewritten.
    """
    model = write_down(model)
    layers = all_layers(model)
    masked = any(isinstance(layer, MaskedLayer) for layer in layers) and masked_kernels(model)
    if masked or any(map(keeps_state, layers)):
        _check_states(model)
        return _exportable(model, unroll)
    if not any(type(layer) is keras.layers.TimeDistributed for layer in layers):
        return model
    try:
        return _exportable(model, unroll)
    except ValueError as error:
        _log.info("TimeDistributed stays Keras's own: %s", error)
        return model


def _exportable(model: keras.Model, unroll: bool) -> keras.Model:
    new = rebuild(model, partial(_exportable_entry, unroll=unroll))
    copy_state(model, new)
    return new


def _exportable_entry(
    layer: keras.Layer, entry: Entry, around: tuple[keras.Layer, ...], unroll: bool
) -> Entry:
    entry = plain_entry(layer, entry)
    if isinstance(layer, keras.layers.InputLayer):
        return _with(entry, batch_shape=(None, *entry["config"]["batch_shape"][1:]))
    if isinstance(layer, keras.layers.RNN):
        inside = unroll and any(isinstance(each, keras.layers.TimeDistributed) for each in around)
        return _with(
            entry, stateful=False, unroll=layer.unroll or (inside and _known_length(layer))
        )
    if type(layer) is keras.layers.TimeDistributed:
        twin = ReshapedTimeDistributed
        return {
            **entry,
            "module": twin.__module__,
            "class_name": twin.__name__,
            "registered_name": keras.saving.get_registered_name(twin),
        }
    return entry


def _with(entry: Entry, **arguments: Any) -> Entry:
    return {**entry, "config": {**entry["config"], **arguments}}


def _known_length(layer: keras.layers.RNN) -> bool:
    shape = (layer.get_build_config() or {}).get("input_shape")
    return shape is not None and shape[1] is not None


def _check_states(model: keras.Model) -> None:
    reachable = {id(layer) for layer, _ in recurrent_layers(model)}
    for layer in all_layers(model):
        if keeps_state(layer) and id(layer) not in reachable:
            raise ValueError(
                f"layer {layer.name!r} is stateful=True inside another layer, from where its "
                "states cannot be taken in and given out. Build that layer with stateful=False."
            )


def full_precision(model: keras.Model) -> keras.Model:
    """The model with every layer computing in float32, which engines for phones expect.

    Args:
        model: A model that is no longer trained; layers that compute in half precision over float32
            weights (`mixed_bfloat16`, `mixed_float16`) are copied.

    Raises:
        ValueError: A layer has its weights themselves in half precision, or computes in float64.
    """
    for layer in all_layers(model):
        if layer.compute_dtype == "float64" and not isinstance(
            layer, (keras.Model, keras.layers.InputLayer)
        ):
            raise ValueError(
                f"layer {layer.name!r} computes in float64, and a TFLite file computes in float32. "
                "Build the model with the policy 'float32' and give it the same weights."
            )
    halves = [layer for layer in all_layers(model) if layer.compute_dtype in HALF_DTYPES]
    if not halves:
        return model
    for layer in halves:
        if layer.variable_dtype in HALF_DTYPES and layer.weights:
            raise ValueError(
                f"layer {layer.name!r} has its weights in {layer.variable_dtype}; a TFLite file "
                "needs float32 weights. Build the model with the policy 'mixed_bfloat16' or "
                "'float32'."
            )
    copy = strip(model)
    for layer in all_layers(copy):
        if layer.compute_dtype in HALF_DTYPES:
            layer.dtype_policy = "float32"
    return copy
