"""The trainings of the ablation tables: each done once, gone on with where it was, and measured."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from apps.an4_study.measures import measure
from apps.an4_study.recipe import StudyRecipe
from apps.an4_study.rows import Job, Table, jobs
from apps.an4_study.train import train
from apps.an4_study.trainings import synthesise_extra
from apps.common.errors import InputError
from apps.common.files import alone, write_json
from apps.common.progress import say
from apps.common.record import NAME, read_record
from apps.speech.batches import prepare
from apps.speech.utterance import Corpus

WAIT = 20.0
"""Seconds between looks at a training that another process has."""


@dataclass(frozen=True)
class Place:
    """Where trainings come from and go to.

    Attributes:
        corpus: With a training and a validation split.
        folder: Of the runs.
        cache: Folder of the features' cache.
        expert: `.keras` file of a recogniser that has learnt the corpus: the teacher, and the
            aligner of spliced words, of the rows that need one.
    """

    corpus: Corpus
    folder: Path
    cache: str | os.PathLike[str] | None = None
    expert: Path | None = None


def run_all(
    tables: dict[str, Table],
    place: Place,
    seeds: int | None = None,
    known: Sequence[dict[str, Any]] = (),
) -> Iterator[Path]:
    """Train every row of some tables from every seed; yield the folders, each when it is done.

    Several processes may do this in one folder, with the same or other tables: a training that
    another process has at the time is left until later. Killed and started again, all goes on.

    Args:
        tables: From `rows.select`.
        place: Corpus and folders.
        seeds: Trainings of each row; None for what each table says.
        known: Records (`records.read_results`) of trainings that need not be done here.

    Raises:
        InputError: A folder holds another run, or, when all others are done, a loss became NaN or
            infinite in some trainings; they are named.
    """
    wanted = [job for job in jobs(tables, seeds) if not _known(job, known)]
    clock = _Clock(wanted, place.folder)
    left, failed = list(wanted), []
    while left:
        before = len(left)
        for job in list(left):
            with alone(place.folder / job.name) as ours:
                if not ours:
                    continue
                left.remove(job)
                try:
                    yield _run(job, place)
                except FloatingPointError as error:
                    failed.append(job.name)
                    say(f"{job.name}: {error}")
            clock.tell(left)
        if len(left) == before:
            time.sleep(WAIT)
    if failed:
        raise InputError(
            f"no result of {', '.join(failed)}: the loss is no number; the rest is done"
        )


def _known(job: Job, records: Sequence[dict[str, Any]]) -> bool:
    recipe = job.row.of_seed(job.seed)
    return any(
        record["row"] == job.row.name and StudyRecipe.from_json(record["recipe"]) == recipe
        for record in records
    )


def _run(job: Job, place: Place) -> Path:
    folder, recipe = place.folder / job.name, job.row.of_seed(job.seed)
    train(
        recipe,
        place.corpus,
        folder,
        place.cache,
        extra=synthesise_extra(place.folder) if job.row.extra else None,
        aligner=place.expert if recipe.spliced else None,
        teacher=place.expert if recipe.teacher_share else None,
        drop_impossible=True,  # of AN4 at 1.1 times its speed, a few
        keep_iterations=True,
    )
    record = read_record(folder)
    if "measures" not in record:
        features = valid_features(place, recipe)
        found = measure(folder, recipe, iterations_of(record), features)
        write_json(folder / NAME, {**record, "measures": found})
        # Dozens of trainings in a process: their graphs would stay.
        keras.utils.clear_session()
        gc.collect()
    return folder


def iterations_of(record: dict[str, Any]) -> int:
    """Return how many pruning iterations of a finished training are complete.

    >>> epochs = [{"events": ["complete", "prune"]}, {"events": ["complete", "finish"]}]
    >>> iterations_of({"epochs": epochs})
    1
    """
    # The first to be complete is the trained model, before any pruning.
    done = sum("complete" in entry.get("events", ()) for entry in record["epochs"])
    return max(0, done - 1)


def valid_features(place: Place, recipe: StudyRecipe) -> list[np.ndarray]:
    """Return the features of the validation split, `(frames, bands)` each."""
    valid = prepare(
        place.corpus, "valid", recipe.front_end, recipe.alphabet, place.cache, quiet=True
    )
    return valid.features


class _Clock:
    """Says how many trainings are done, and about how long the others take.

    A training counts by the audio that it hears: other networks take other times, but there are few
    of them.
    """

    def __init__(self, wanted: list[Job], folder: Path) -> None:
        self.total = len(wanted)
        self.work = {job.name: _work(job.row.recipe) for job in wanted}
        self.folder = folder

    def tell(self, left: list[Job]) -> None:
        """Print the line."""
        names = {job.name for job in left}
        seconds = work = 0.0
        for name in self.work.keys() - names:
            record = _finished(self.folder / name)
            if record:
                seconds += record["seconds"]
                work += self.work[name]
        line = f"ablate: {self.total - len(left)}/{self.total} trainings"
        if work and left:
            minutes = seconds / work * sum(self.work[name] for name in names) / 60
            line += f", about {int(minutes // 60)} h {round(minutes % 60)} min left in one process"
        say(line)


def _finished(folder: Path) -> dict[str, Any]:
    record = read_record(folder) if (folder / NAME).exists() else {}
    return record if "seconds" in record else {}


def _work(recipe: StudyRecipe) -> float:
    return recipe.expected_epochs() * sum(1 / speed for speed in recipe.speeds)
