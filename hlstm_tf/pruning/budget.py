"""Budgets: the cost that a pruned model may have where it is deployed."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import keras

from hlstm_tf.transforms import shrink, summary

_COUNTS = ("connections", "flops", "bytes")


@dataclass(frozen=True)
class Budget:
    """A limit for the model as it will be deployed: shrunk, without masks.

    Args:
        of: "connections"; "flops", 2 for each connection a step; "bytes" of all weights as float32
            (what neurons that are gone save, and zeros do not); or something to call with the
            shrunk model that returns a number: `hl.Latency()`, `hl.FileSize()`. Where the number
            has a `spread`, a smaller difference does not count as one; what it says in `of` (the
            form that was measured) is printed with it.
        limit: What it may be at most.

    Raises:
        ValueError: There is no such count, or the limit is not a finite number above 0; when a
            model is measured, the callable returns something else than a finite number.

    Example:

    >>> import keras, hlstm_tf as hl
    >>> model = keras.Sequential([keras.Input((4,)), hl.MaskedDense(3)])
    >>> budget = hl.Budget("connections", 12)
    >>> budget.measure(model), budget.says(12)
    (12.0, '12 connections of 12')
    """

    of: str | Callable[[keras.Model], float]
    limit: float

    def __post_init__(self) -> None:
        if isinstance(self.of, type):
            name = self.of.__name__
            raise ValueError(f"Budget: `of` is the class {name}; give an object of it, {name}()")
        if not callable(self.of) and self.of not in _COUNTS:
            raise ValueError(
                f"Budget: `of` must be one of {', '.join(_COUNTS)}, or callable; got {self.of!r}"
            )
        if not isinstance(self.limit, Real) or not 0 < self.limit < math.inf:
            raise ValueError(f"Budget: `limit` must be a finite number above 0; got {self.limit!r}")

    def measure(self, model: keras.Model) -> float:
        """What a model, masked or plain, costs once it is shrunk."""
        compact = shrink(model)
        if callable(self.of):
            return _as_cost(self.of(compact), _name(self.of))
        return float(getattr(summary(compact, print_fn=None), self.of))

    def met(self, cost: float | None) -> bool:
        """Whether a cost is known and within the limit."""
        return cost is not None and cost <= self.limit

    def moves(self, before: float, after: float) -> bool:
        """Whether a cost has come down by more than measuring it again would change it.

        >>> Budget("bytes", 10).moves(20, 19), Budget("bytes", 10).moves(20, 20)
        (True, False)
        """
        return after < before - max(_spread(before), _spread(after))

    def says(self, cost: float) -> str:
        """The cost beside the limit, in words."""
        what = self.of if isinstance(self.of, str) else _name(self.of)
        spread = f" ± {_spread(cost):,.2g}" if _spread(cost) else ""
        measured = getattr(cost, "of", "")
        what = f"{what} ({measured})" if measured else what
        return f"{cost:,.6g}{spread} {what} of {self.limit:,.6g}"

    def missed(self, cost: float | None) -> str:
        """By how much a cost misses the limit, in words; empty where it does not.

        >>> Budget("bytes", 1000).missed(1500)
        'the budget is missed by 500 (50.0 %): 1,500 bytes of 1,000'
        """
        if cost is None or self.met(cost):
            return ""
        over = cost - self.limit
        share = f"{100 * over / self.limit:.1f} %"
        return f"the budget is missed by {over:,.6g} ({share}): {self.says(cost)}"


def is_measured(cost: float | None) -> bool:
    """Whether a cost was measured, so that measuring it again gives another number."""
    return hasattr(cost, "spread")


def _as_cost(cost: Any, of: str) -> float:
    try:
        number = cost if isinstance(cost, float) else float(cost)  # a float may have a spread
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(cost, str) or not math.isfinite(number):
        raise ValueError(f"Budget: {of} returned {cost!r} as a model's cost; expected a number")
    return number


def _spread(cost: float) -> float:
    return float(getattr(cost, "spread", 0.0))


def _name(of: Callable) -> str:
    # A function's `str` is its address.
    return getattr(of, "__name__", None) or str(of)
