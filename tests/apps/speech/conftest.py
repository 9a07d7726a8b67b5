"""A corpus of a few utterances and a tiny grow-and-prune run on it, made once a process."""

import dataclasses

import pytest

from apps.speech.corpus import synthesise
from apps.speech.front_end import LogMel
from apps.speech.recipe import GrowAndPruneRecipe, Recipe

TINY = Recipe(
    units=4,
    layers=1,
    channels=(2, 3),
    kernels=((3, 3), (3, 3)),
    front_end=LogMel(bands=8),
    epochs=2,
    batch_size=6,
    learning_rate=1e-2,
)


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "toy"
    return synthesise(folder, train=12, valid=3, test=3, speakers=(4, 1, 1), quiet=True)


@pytest.fixture(scope="session")
def toy_folder(toy_corpus):
    return toy_corpus.train[0].audio.parents[2]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def gp_run(toy_corpus, cache, tmp_path_factory):
    from apps.speech.train import train

    plan = GrowAndPruneRecipe(growth_epochs=1, step=0.5, retrain_epochs=1, threshold=2.0,
                              max_iterations=1)  # fmt: skip
    recipe = dataclasses.replace(TINY, grow_and_prune=plan)
    return train(recipe, toy_corpus, tmp_path_factory.mktemp("runs") / "gp", cache)


@pytest.fixture(scope="session")
def exported(gp_run, tmp_path_factory):
    from apps.speech.export import export_recognizer

    return export_recognizer(gp_run.model, tmp_path_factory.mktemp("exported") / "toy")
