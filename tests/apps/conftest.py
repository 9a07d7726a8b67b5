"""A corpus of a few utterances and a tiny grow-and-prune run on it, made once for all processes."""

import contextlib
import dataclasses
import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.common.plan import GrowAndPruneRecipe
from apps.speech.corpus import synthesise
from apps.speech.front_end import LogMel
from apps.speech.recipe import Recipe

TINY = Recipe(
    units=4,
    layers=1,
    channels=(2, 3),
    kernels=((3, 3), (3, 3)),
    front_end=LogMel(bands=8),
    epochs=2,
    batch_size=6,
    buckets=2,
    learning_rate=1e-2,
)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """One test process at a time; the next one finds what it needs done, and goes on from there."""
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id):
    """A folder of all test processes of this run."""
    own = tmp_path_factory.getbasetemp()
    return (own if worker_id == "master" else own.parent) / "speech"


@pytest.fixture(scope="session")
def toy_corpus(shared):
    sizes = {"train": 12, "valid": 3, "test": 3, "speakers": (4, 1, 1)}
    with _alone(shared) as folder:
        return synthesise(folder / "corpus" / "toy", quiet=True, **sizes)


@pytest.fixture(scope="session")
def toy_folder(toy_corpus):
    return toy_corpus.train[0].audio.parents[2]


@pytest.fixture(scope="session")
def cache(shared):
    return shared / "features"


@pytest.fixture(scope="session")
def gp_run(toy_corpus, cache, shared):
    from apps.speech.train import train

    plan = GrowAndPruneRecipe(growth_epochs=1, step=0.5, retrain_epochs=1, threshold=2.0,
                              max_iterations=1)  # fmt: skip
    recipe = dataclasses.replace(TINY, grow_and_prune=plan)
    with _alone(shared) as folder:
        return train(recipe, toy_corpus, folder / "runs" / "gp", cache)


@pytest.fixture(scope="session")
def exported(gp_run, shared):
    from apps.common.export import TFLITE, Exported
    from apps.speech.export import export_recognizer
    from apps.speech.recognizer import load_keras

    with _alone(shared) as folder:
        target = folder / "exported" / "toy"
        if (target / "1").exists():
            file = target / TFLITE
            return Exported(load_keras(gp_run.model), file, target / "1")
        return export_recognizer(gp_run.model, target)
