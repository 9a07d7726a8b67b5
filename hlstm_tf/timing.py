"""Timing of calls on a machine that does other work too.

Everything in this package that measures a time does it here: one call by itself, or several of them
in turns.
"""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)

_CALLS = 5
"""Calls of a round: few, so that a busy machine leaves some rounds undisturbed."""
_ROUNDS = 3
"""How many of the fastest rounds have to agree."""
_AGREEMENT = 0.02


class Measurement(float):
    """A number that was measured, and how far measuring it again may be off.

    Attributes:
        spread: In the unit of the number; a difference below it says nothing.
        of: What was measured, where it was chosen among several; else empty.

    >>> figure = Measurement(93.0, 1.5, "step form")
    >>> float(figure), figure.spread, figure.of
    (93.0, 1.5, 'step form')
    >>> figure
    93.0 ± 1.5 (step form)
    """

    spread: float
    of: str

    def __new__(cls, value: float, spread: float = 0.0, of: str = "") -> "Measurement":
        figure = super().__new__(cls, value)
        figure.spread, figure.of = spread, of
        return figure

    def __repr__(self) -> str:
        return f"{float(self)} ± {self.spread:.3g}" + (f" ({self.of})" if self.of else "")

    __str__ = __repr__


def time_calls(call: Callable[[], Any], calls: int, seconds: float) -> Measurement:
    """Times a call as it is when nothing else keeps the processor busy.

    Calls are timed in rounds, whose figure is their median: one call cannot be fast by chance. The
    fastest round tells the time; other work on the machine only ever adds to it. Rounds follow one
    another for a fifth of `seconds`, as such work comes and goes, and on until the fastest three
    agree to 2 % or the time is up. Their range is the spread.

    Args:
        call: What to time.
        calls: How many calls at least.
        seconds: How long at most, once there are so many.

    Returns:
        Seconds a call takes.
    """
    rounds: list[float] = []
    began = time.perf_counter()
    while True:
        rounds.append(_median_time(call))
        fastest, passed = sorted(rounds)[:_ROUNDS], time.perf_counter() - began
        if len(rounds) < max(_ROUNDS, calls / _CALLS) or passed < seconds / 5:
            continue
        if fastest[-1] <= fastest[0] * (1 + _AGREEMENT) or passed > seconds:
            return Measurement(fastest[0], fastest[-1] - fastest[0])


def times_in_turns(calls: Mapping[Key, Callable[[], Any]], rounds: int) -> dict[Key, list[float]]:
    """Times several calls round after round, each round all in turn.

    Calls of one round can be compared: what else the machine does comes and goes. Before it is
    timed each is called once, to be in the caches again after the others.

    Args:
        calls: What to time, by name.
        rounds: How often each is timed.

    Returns:
        Seconds by name, one for each round.

    >>> times = times_in_turns({"nothing": lambda: None, "sum": lambda: sum(range(10))}, rounds=2)
    >>> {name: len(seconds) for name, seconds in times.items()}
    {'nothing': 2, 'sum': 2}
    """
    times: dict[Key, list[float]] = {key: [] for key in calls}
    for _ in range(rounds):
        for key, call in calls.items():
            call()
            times[key].append(_seconds(call))
    return times


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _median_time(call: Callable[[], Any]) -> float:
    return sorted(_seconds(call) for _ in range(_CALLS))[_CALLS // 2]
