"""A checksum at the end of a TFLite file.

LiteRT reads a file whose weights were damaged as if nothing were wrong. What follows a flatbuffer
is read by nobody, so that a file with a checksum is as good as any other to every reader.
"""

import hashlib

_MARK = b"\xffhlstm:sha-256:\xff"  # of no text, so that no name in a model is like it
_BEGIN = _MARK[:8]
_LENGTH = len(_MARK) + hashlib.sha256().digest_size


def with_checksum(content: bytes) -> bytes:
    """The content of a file followed by a mark and its SHA-256.

    Example:

    >>> from hlstm_tf.runtime.checksum import intact, with_checksum
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
