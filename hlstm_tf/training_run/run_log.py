"""The log of a run: a record an epoch, for files, plots and the screen."""

import csv
import io
import time
from collections.abc import Sequence
from typing import Any

from hlstm_tf.pruning.budget import Budget
from hlstm_tf.training_run.phases import Phase, Plan, Progress

_FIELDS = (
    "epoch",
    "phase",
    "phase_epoch",
    "iteration",
    "step",
    "value",
    "threshold",
    "complete",
    "sparsity",
    "connections",
    "events",
    "sparsity_after",
    "connections_after",
    "cost",
    "cost_after",
    "budget",
    "learning_rate",
    "seconds",
)


def as_csv(history: Sequence[dict[str, Any]]) -> str:
    """Returns the records as CSV, each of an epoch's logs in a column of its own.

    >>> print(as_csv([{"epoch": 0, "events": ["grow"], "logs": {"loss": 0.5}}]).splitlines()[1])
    0,,,,,,,,,,grow,,,,,,,,0.5
    """
    names = sorted({name for record in history for name in record.get("logs", {})})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIELDS, *names])
    for record in history:
        row = {**record, "events": " ".join(record.get("events", ()))}
        logs = record.get("logs", {})
        cells = [row.get(field, "") for field in _FIELDS] + [logs.get(name, "") for name in names]
        # A measured cost prints its spread, too, which no table of numbers takes.
        writer.writerow([float(cell) if isinstance(cell, float) else cell for cell in cells])
    return text.getvalue()


class RunLog:
    """The records of a run, and the lines it prints.

    Args:
        monitor: The monitor's name.
        history: Gets a record an epoch.
        budget: What the pruned model may cost, if that is limited.
    """

    def __init__(
        self, monitor: str, history: list[dict[str, Any]], budget: Budget | None = None
    ) -> None:
        self.monitor = monitor
        self.history = history
        self.budget = budget
        self.clock = Clock()

    def open(
        self, epoch: int, progress: Progress, size: tuple[int, int], value: float, logs: dict
    ) -> dict[str, Any]:
        """Returns the record of an epoch as it stands before what its end brings about.

        Args:
            epoch: Counted from 0.
            progress: Where the run is, before it moves on.
            size: Connections, and places for them.
            value: The monitor's.
            logs: The epoch's logs.
        """
        return {
            "epoch": epoch,
            "phase": str(progress.phase),
            "phase_epoch": progress.phase_epoch + 1,
            "iteration": progress.iteration,
            "step": progress.step if progress.phase is Phase.RETRAINING else None,
            "value": value,
            "connections": size[0],
            "sparsity": 1 - size[0] / size[1],
            "cost": progress.cost,
            "budget": None if self.budget is None else self.budget.limit,
            "logs": logs,
        }

    def close(
        self,
        record: dict[str, Any],
        progress: Progress,
        size: tuple[int, int],
        events: list[str],
        learning_rate: float,
    ) -> None:
        """Completes a record with what the epoch's end brought about, and keeps it."""
        record.update(
            threshold=progress.threshold,
            complete=progress.complete,
            events=events,
            connections_after=size[0],
            sparsity_after=1 - size[0] / size[1],
            cost_after=progress.cost,
            learning_rate=learning_rate,
            seconds=round(self.clock.end_epoch(), 3),
        )
        self.history.append(record)

    def line(self, plan: Plan) -> str:
        """Returns the line that tells how the last epoch ended.

        Args:
            plan: Says how long the phases are.
        """
        record = self.history[-1]
        length = plan.length(Phase(record["phase"]))
        where = f"{record['phase']} {record['phase_epoch']}" + (f"/{length}" if length else "")
        if record["step"] is not None:
            where += f" of iteration {record['iteration'] + 1} (step {record['step']:.1%})"
        parts = [f"{self.monitor} {record['value']:.4g}"]
        if record["threshold"] is not None:
            parts.append(f"threshold {record['threshold']:.4g}")
        parts.append(f"sparsity {record['sparsity']:.1%} ({record['connections']:,} connections)")
        if self.budget is not None and record["cost"] is not None:
            parts.append(self.budget.says(record["cost"]))
        if record["events"]:
            parts.append(", ".join(event.replace("_", " ") for event in record["events"]))
        if record["connections_after"] != record["connections"]:
            parts.append(f"now {record['sparsity_after']:.1%} ({record['connections_after']:,})")
        if self.budget is not None and record["cost_after"] not in (None, record["cost"]):
            parts.append(f"now {self.budget.says(record['cost_after'])}")
        if length and record["phase_epoch"] < length:
            parts.append(self.clock.left(length - record["phase_epoch"]))
        return f"grow-and-prune: {where}: " + "; ".join(part for part in parts if part)


class Clock:
    """Tells how long an epoch took, and how long those to come will take."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._seconds: list[float] = []

    def begin_epoch(self) -> None:
        """Notes the beginning of an epoch."""
        self._begun = time.monotonic()

    def end_epoch(self) -> float:
        """Returns how many seconds the epoch took so far, and notes it."""
        self._seconds.append(time.monotonic() - self._begun)
        return self._seconds[-1]

    def left(self, epochs: int) -> str:
        """Returns, in words, how long `epochs` epochs will take, as far as is known."""
        if not self._seconds:
            return ""
        # The first epoch traces; the last few tell best how long one takes now.
        recent = self._seconds[-5:]
        return f"{duration(epochs * sum(recent) / len(recent))} left in this phase"


def duration(seconds: float) -> str:
    """Returns a time in words.

    >>> duration(75), duration(3900), duration(8)
    ('1 min 15 s', '1 h 5 min', '8 s')
    """
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
