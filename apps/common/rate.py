"""Error rates with their counts and intervals."""

import dataclasses
import math

Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def wilson(errors: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927).

    It treats units as independent; words of one speaker are not quite, so for them it is if
    anything too narrow. With more errors than units (inserted words) no proportion exists and both
    ends are NaN; so are they without any units.

    Args:
        errors: how many went wrong, at least 0.
        total: of how many.
        z: quantile; default 95 %.

    Returns:
        Lower and upper end, within [0, 1].

    Example:
        >>> [round(100 * end, 1) for end in wilson(67, 773)]
        [6.9, 10.9]
    """
    if total < 1 or errors > total:
        return math.nan, math.nan
    share = errors / total
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    center, scale = share + z * z / (2 * total), 1 + z * z / total
    return max(0.0, (center - spread) / scale), min(1.0, (center + spread) / scale)


@dataclasses.dataclass(frozen=True)
class Rate:
    """Errors among a number of units.

    Example:
        >>> print(Rate(67, 773))
        8.7 % (67/773) [6.9, 10.9]
        >>> print(Rate(5, 3))
        166.7 % (5/3)
    """

    errors: int
    total: int

    @property
    def value(self) -> float:
        """Errors over total, 0.087 for 8.7 %; may pass 1; NaN when there was nothing to get
        right and nothing went wrong, infinite when something was made up."""
        if self.total:
            return self.errors / self.total
        return math.inf if self.errors else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval."""
        return wilson(self.errors, self.total)

    def __str__(self) -> str:
        text = f"{100 * self.value:.1f} % ({self.errors}/{self.total})"
        low, high = self.interval
        return text if math.isnan(low) else f"{text} [{100 * low:.1f}, {100 * high:.1f}]"
