"""Which frames of the input an output is made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Which frames of the input an output is made of: output k of those from `k * stride -
    look_back` to `k * stride + look_ahead`, as many as there are.

    Attributes:
        look_back, look_ahead: Frames.
        stride: Frames an output; a sequence has one for every `stride` begun.
        block: Outputs that are computed at a time.

    Raises:
        ValueError: A number that cannot be.
    """

    look_back: int = 0
    look_ahead: int = 0
    stride: int = 1
    block: int = 1

    def __post_init__(self) -> None:
        for name, least in (("look_back", 0), ("look_ahead", 0), ("stride", 1), ("block", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}.")

    @property
    def single(self) -> bool:
        """Whether an output is made of the one frame in its place."""
        return (self.look_back, self.look_ahead, self.stride) == (0, 0, 1)

    def begin(self, output: int) -> int:
        """The first frame to give the model for that output on: a multiple of the stride."""
        return self.stride * max(0, output - -(-self.look_back // self.stride))

    def end(self, output: int) -> int:
        """The end of the frames to give the model for the block that begins with that output."""
        return (output + self.block - 1) * self.stride + self.look_ahead + 1
