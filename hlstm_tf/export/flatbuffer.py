"""A TFLite file as objects, to be changed and written again."""

from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


def parsed(content: bytes) -> Any:
    """The file's `schema.ModelT`."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def packed(model: Any) -> bytes:
    """The file's content from its objects."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
