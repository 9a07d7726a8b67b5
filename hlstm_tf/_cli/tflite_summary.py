"""`hlstm summary` of a TFLite file, without TensorFlow."""

import argparse
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from hlstm_tf.runtime.interpreter import open_interpreter


def summary(args: argparse.Namespace) -> None:
    """Prints the file's bytes, form, weights by type, and its signatures (`hlstm summary`)."""
    found = describe(args.model)
    print(json.dumps(found, indent=2) if args.json else _table(found))


def describe(path: Path) -> dict[str, Any]:
    """Returns what a TFLite file holds, as plain data.

    Args:
        path: The file.

    Returns:
        `bytes` and `gzipped_bytes` of the file; its `form`, "step" or "sequence"; `weights`, the
        bytes of its constants by type; and `signatures`: for each the `inputs` and `outputs` by
        name, their `shape` (an open axis is `None`) and `dtype`.

    Raises:
        ValueError: It is no TFLite file or is damaged.
    """
    interpreter = open_interpreter(path, threads=1)
    content = path.read_bytes()
    signatures = {}
    for name in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(name)
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        signatures[name] = {"inputs": _tensors(inputs), "outputs": _tensors(outputs)}
    return {
        "bytes": len(content),
        "gzipped_bytes": len(gzip.compress(content, compresslevel=9, mtime=0)),
        "form": "step" if "initial_state" in signatures else "sequence",
        "weights": _weights(content),
        "signatures": signatures,
    }


def _tensors(details: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            "shape": [None if size < 0 else int(size) for size in detail["shape_signature"]],
            "dtype": detail["dtype"].__name__,
        }
        for name, detail in details.items()
    }


def _weights(content: bytes) -> dict[str, int]:
    """Bytes of the constants by type; one that several graphs share counts once."""
    model = schema.Model.GetRootAs(content, 0)
    names = {value: key.lower() for key, value in vars(schema.TensorType).items() if key.isupper()}
    found: Counter[str] = Counter()
    counted = set()
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            number = tensor.Buffer()
            size = model.Buffers(number).DataLength()
            if size and number not in counted:
                counted.add(number)
                found[names.get(tensor.Type(), "other")] += size
    return dict(found)


def _table(found: dict[str, Any]) -> str:
    weights = ", ".join(f"{size:,} {dtype}" for dtype, size in found["weights"].items())
    lines = [
        f"TFLite file in {found['form']} form: {found['bytes']:,} bytes, "
        f"{found['gzipped_bytes']:,} gzipped",
        f"Bytes of weights and constants: {weights or 'none'}",
    ]
    for name, signature in found["signatures"].items():
        lines.append(f"Signature {name}")
        for side in ("inputs", "outputs"):
            lines += [f"  {side[:-1]:6}  {_shown(key, t)}" for key, t in signature[side].items()]
    return "\n".join(lines)


def _shown(name: str, tensor: dict[str, Any]) -> str:
    sizes = ", ".join("any" if size is None else str(size) for size in tensor["shape"])
    return f"{name}: ({sizes}) {tensor['dtype']}"
