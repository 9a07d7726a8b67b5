"""The one exception for what a user can put right."""


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
