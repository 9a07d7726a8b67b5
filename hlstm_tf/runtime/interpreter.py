"""Opening TFLite files: what is wrong with one is said in a line."""

from pathlib import Path
from typing import Any

from hlstm_tf.runtime.checksum import intact
from hlstm_tf.runtime.quiet import quiet_start


def open_interpreter(path: Path, threads: int) -> Any:
    """LiteRT's interpreter of a file; raises as `LiteRT` does."""
    from ai_edge_litert.interpreter import Interpreter

    content = _read(path)
    if not intact(content):
        raise ValueError(
            f"{path} is damaged: its content is not what the checksum at its end says; copy or "
            "export it again."
        )
    try:
        interpreter = Interpreter(model_content=content, num_threads=threads)
        # An open axis is one long until it is set, which a convolution may find too short.
        if all((detail["shape_signature"] > 0).all() for detail in interpreter.get_input_details()):
            with quiet_start():
                interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise damaged(path, one_line(error)) from error
    return interpreter


def signature_names(path: Path) -> list[str]:
    """The names of a file's signatures, read without starting an engine.

    Empty for a damaged file, of which the engine can say what is wrong.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no TFLite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = _read(path)
    try:
        model = schema.Model.GetRootAs(content, 0)
        signatures = [model.SignatureDefs(i) for i in range(model.SignatureDefsLength())]
        return [signature.SignatureKey().decode() for signature in signatures]
    except Exception:  # whatever a place that is not in the file leads to
        return []


def check_threads(threads: int) -> None:
    """Raises a `ValueError` for a number of threads that cannot be."""
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a positive integer; got {threads!r}.")


def one_line(error: Exception) -> str:
    """What LiteRT says of an error, short enough to be read."""
    return " ".join(str(error).split())[:300]


def _read(path: Path) -> bytes:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a .tflite file.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a .tflite file.")
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ValueError(
            f"{path} is no TFLite file or is damaged ({len(content):,} bytes, without the mark "
            "'TFL3'); export the model again."
        )
    return content


def damaged(path: Path, reason: str) -> ValueError:
    """What to raise for a file that LiteRT cannot run."""
    return ValueError(f"{path} is no TFLite file that LiteRT can run, or is damaged: {reason}")
