"""The latency of the models of trainings in LiteRT, one thread, measured in turns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apps.an4_study.measures import stages
from apps.an4_study.recipe import StudyRecipe
from apps.an4_study.rows import Table, jobs
from apps.an4_study.runs import Place, iterations_of, valid_features
from apps.common.export import TFLITE
from apps.common.files import alone, write_json
from apps.common.progress import say
from apps.common.record import NAME, read_record
from apps.speech.cost import REPEATS, milliseconds
from apps.speech.export import export_recognizer


def time_all(
    tables: dict[str, Table], place: Place, seeds: int | None = None, anew: bool = False
) -> bool:
    """Measure the latency of every stage of the finished trainings of the timed tables, in turns.

    Nothing is done where each has been measured, where one is not finished yet, or where another
    process is at it. The milliseconds go into the trainings' records.

    Args:
        tables, place, seeds: As in `run_all`.
        anew: Measure again what has been measured.

    Returns:
        Whether anything was measured.
    """
    recipes = {
        place.folder / job.name: job.row.of_seed(job.seed)
        for job in jobs({n: t for n, t in tables.items() if t.timed}, seeds)
    }
    if not recipes:
        return False
    with alone(place.folder / "timing") as ours:
        records = {f: read_record(f) for f in recipes if (f / NAME).exists()}
        finished = all("measures" in records.get(folder, ()) for folder in recipes)
        known = all("latency" in record for record in records.values())
        if not ours or not finished or (known and not anew):
            return False
        _time(recipes, records, valid_features(place, next(iter(recipes.values()))))
    return True


def _time(
    recipes: dict[Path, StudyRecipe],
    records: dict[Path, dict[str, Any]],
    features: list[np.ndarray],
) -> None:
    files: dict[Path, list[Path]] = {}
    for number, (folder, recipe) in enumerate(recipes.items(), 1):
        say(f"ablate: export for timing {number}/{len(recipes)}")
        kept = stages(folder, recipe, iterations_of(records[folder]))
        files[folder] = [exported(model) for model in kept.values()]
    sample = middle(features)
    found = milliseconds([path for paths in files.values() for path in paths], sample)
    for folder, paths in files.items():
        facts = {
            "seconds_of_speech": round(len(sample) * recipes[folder].front_end.hop, 2),
            "engine": "LiteRT, step form, 8-bit weights, one thread",
            "repeats": REPEATS,
        }
        ms = [round(found[path], 4) for path in paths]
        write_json(folder / NAME, {**records[folder], "latency": {**facts, "ms": ms}})


def middle(features: Sequence[np.ndarray]) -> np.ndarray:
    """Return the utterance of median length.

    >>> len(middle([np.zeros((n, 1)) for n in (5, 9, 7)]))
    7
    """
    return sorted(features, key=len)[len(features) // 2]


def exported(model: Path) -> Path:
    """Return the TFLite file of a model, in step form with 8-bit weights; made if it is missing.

    Args:
        model: A `.keras` file; the folder beside it that is named after it gets the file.
    """
    folder = model.with_suffix("")
    if not (folder / TFLITE).exists():
        export_recognizer(model, folder, saved_model=False)
    return folder / TFLITE
