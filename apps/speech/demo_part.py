"""One training of the demo, from recipe to measured TFLite files; runs in a process of its own.

`python -m apps.speech.demo_part JOB`, where JOB is a JSON file: the recipe, the folders, and which
of the training's models to export under which name.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.common.files import write_json
from apps.common.memory import keep_freed_memory
from apps.common.progress import say

RESULT = "rows.json"


@dataclass(frozen=True)
class Row:
    """A line of the demo's table.

    Attributes:
        name: What the table calls the model.
        words: Its word errors and words on the held-out voices, decoded greedily from the TFLite
            file.
        wer_text: The same as text, with its interval.
        connections: Of the network.
        flops: For a second of speech.
        bytes: Of the TFLite file.
        tflite: The file.
        keras: The `.keras` file that it was made from.
        saved_model: The SavedModel, where one was written.
        loop: A TFLite file with the loop over time in its graph, where one was written.
    """

    name: str
    words: tuple[int, int]
    wer_text: str
    connections: int
    flops: float
    bytes: int
    tflite: str
    keras: str
    saved_model: str | None
    loop: str | None

    @property
    def wer(self) -> float:
        """Word error rate as a share."""
        return self.words[0] / self.words[1]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Row:
        """Read what `dataclasses.asdict` gave."""
        return cls(**{**values, "words": tuple(values["words"])})


def run(job: dict[str, Any]) -> list[Row]:
    """Train as the job says and measure each of its models.

    A job has `label`, `recipe`, `corpus`, `cache`, `folder`, and `models`: a list of `[name, file
    in the folder, whether to write a SavedModel, whether to write a TFLite file with a loop, too]`.
    """
    from apps.speech.recipe import Recipe
    from apps.speech.sources import open_corpus
    from apps.speech.train import train

    corpus = open_corpus(job["corpus"])
    folder = Path(job["folder"])
    train(Recipe.from_json(job["recipe"]), corpus, folder, job["cache"], label=job["label"])
    rows = []
    for name, file, saved_model, loop in job["models"]:
        _say(job, f"export and test {name}")
        path = folder / file
        rows.append(_measure(name, path, saved_model, loop, corpus, job["cache"]))
        _say(job, f"{name}: WER {rows[-1].wer_text} on held-out voices")
    return rows


def _measure(name: str, model: Path, saved_model: bool, loop: bool, corpus: Any, cache: str) -> Row:
    from apps.speech.cost import cost_of
    from apps.speech.evaluate import recognize_all
    from apps.speech.export import export_recognizer
    from apps.speech.metrics import score
    from apps.speech.recognizer import load_keras, load_recognizer

    folder = model.with_suffix("")
    exported = export_recognizer(model, folder, saved_model=saved_model)
    looped = (
        export_recognizer(model, folder / "loop", saved_model=False, form="sequence")
        if loop
        else None
    )
    recognizer = load_recognizer(exported.tflite)
    test = corpus.split("test")
    words = score([u.text for u in test], recognize_all(recognizer, test, cache)).words
    cost = cost_of(load_keras(model))
    return Row(
        name=name,
        words=(words.errors, words.total),
        wer_text=str(words),
        connections=cost.connections,
        flops=cost.flops,
        bytes=exported.tflite_bytes,
        tflite=str(exported.tflite),
        keras=str(model),
        saved_model=str(exported.saved_model) if exported.saved_model else None,
        loop=str(looped.tflite) if looped else None,
    )


def _say(job: dict[str, Any], text: str) -> None:
    say(f"{job['label']}: {text}")


def main(path: str) -> None:
    """Run the job in a file; its rows go into its folder."""
    keep_freed_memory()
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    rows = [dataclasses.asdict(row) for row in run(job)]
    write_json(Path(job["folder"]) / RESULT, rows)


if __name__ == "__main__":
    main(sys.argv[1])
