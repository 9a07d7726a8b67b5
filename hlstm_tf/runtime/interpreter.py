"""Opening TFLite files: their checksum, a quiet start, and what is wrong with one in a line."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hlstm_tf.quiet import held_stderr

_MARK = b"\xffhlstm:sha-256:\xff"  # of no text, so that no name in a model is like it
_BEGIN = _MARK[:8]
_LENGTH = len(_MARK) + hashlib.sha256().digest_size


def with_checksum(content: bytes) -> bytes:
    """The content of a file followed by a mark and its SHA-256.

    Example:

    >>> from hlstm_tf.runtime.interpreter import intact, with_checksum
    >>> file = with_checksum(b"weights")
    >>> intact(file), intact(b"W" + file[1:]), intact(file[:-1])
    (True, False, False)
    """
    return content + _checksum(content)


def intact(content: bytes) -> bool:
    """Whether a file is what its checksum says; a file without one counts as intact."""
    mark = content.find(_BEGIN, max(0, len(content) - _LENGTH))
    return mark < 0 or content[mark:] == _checksum(memoryview(content)[:mark])


def _checksum(content: bytes | memoryview) -> bytes:
    return _MARK + hashlib.sha256(content).digest()


_LINE = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
_started = False


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Keeps LiteRT's one line off the terminal when it lays out memory for the first time.

    LiteRT says once in a process which delegate it computes with, and has no switch for it: no
    option, no environment variable; its least severity is a constant. So what is written to the
    standard error in these milliseconds is held back, and printed without the line. Only a process
    of one thread does so: with others the line is printed rather than something of theirs lost.
    """
    global _started
    if _started or threading.active_count() > 1:
        _started = True
        yield
        return
    _started = True
    held = None
    try:
        with held_stderr() as held:
            yield
    finally:
        if held and (others := held.text.replace(_LINE, b"")):
            os.write(2, others)


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
