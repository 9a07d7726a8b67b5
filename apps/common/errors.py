"""Errors that a user can put right, in one line."""


class InputError(ValueError):
    """A file, folder or argument that cannot be used as it is.

    The message is one line: which file or argument, what came, what was expected, what to do. The
    command line prints it without a traceback and exits with status 2.

    Example:
        >>> raise InputError("clip.wav: no samples; expected at least 0.1 s of audio")
        Traceback (most recent call last):
        ...
        apps.common.errors.InputError: clip.wav: no samples; expected at least 0.1 s of audio
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def one_line(error: BaseException) -> str:
    """Return what an error says in one line, with the file it is about.

    >>> one_line(FileNotFoundError(2, "No such file or directory", "digits"))
    'digits: No such file or directory'
    """
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return text or type(error).__name__
