"""A repair of full-int8 files: reversals between tensors of two scales.

LiteRT's quantizer gives all inputs of a concatenation one scale, and where one of them is a
reversed sequence (the backward half of a bidirectional layer) it changes the scale behind the
reversal but not the one before it. `REVERSE_V2` moves bytes, so the numbers come out stretched.
"""

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from hlstm_tf.export.flatbuffer import packed, parsed


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
