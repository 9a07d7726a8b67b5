"""Trainings that average their weights."""

import dataclasses

import keras
import numpy as np
import pytest

from apps.an4_study.presets import PRESETS, preset
from apps.an4_study.recipe import StudyRecipe
from apps.an4_study.train import SwapBack, train
from apps.common.errors import InputError
from apps.speech.train import build_from
from tests.apps.an4_study.conftest import TINY
from tests.apps.speech.interruption import assert_an_interrupted_run_ends_as_the_whole_one


@pytest.mark.training
def test_an_interrupted_training_that_averages_its_weights_ends_as_the_uninterrupted_one(
    toy_corpus, cache, tmp_path, monkeypatch
):
    recipe = dataclasses.replace(TINY, cell="lstm", dropout=0.3, averaged=0.9)
    assert_an_interrupted_run_ends_as_the_whole_one(
        lambda folder: train(recipe, toy_corpus, folder, cache), tmp_path, monkeypatch
    )


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_travels_as_json(name):
    assert StudyRecipe.from_json(PRESETS[name].to_json()) == PRESETS[name]


@pytest.mark.representatives("an4-polished", "an4-streaming-tuned")
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_its_network(name):
    recipe = PRESETS[name]
    assert build_from(recipe).speech_input.front_end == recipe.front_end.config()


def test_the_presets_that_stream_hear_forward_only():
    for name in ("an4-streaming-pretrained", "an4-streaming-tuned"):
        assert preset(name).front_end.streams
        assert not preset(name).bidirectional


def test_averages_with_grow_and_prune_are_refused():
    with pytest.raises(InputError, match=r"averaged: got 0\.99 with grow-and-prune"):
        dataclasses.replace(PRESETS["an4"], averaged=0.99)


def test_an_epoch_is_scored_by_the_average_of_the_weights_and_the_training_goes_on_without():
    x, y = np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32)

    def fit(**average):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        model.set_weights([np.ones((1, 1))])
        model.compile(keras.optimizers.SGD(0.1, **average), loss="mse")
        seen = {"scored": [], "saved": []}

        def look(name):
            def record(epoch, logs):
                seen[name].append(model.get_weights()[0].item())

            return keras.callbacks.LambdaCallback(on_epoch_end=record)

        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        around = [swap, look("scored"), SwapBack(swap)] if average else []
        model.fit(x, y, batch_size=2, epochs=3, verbose=0, callbacks=[*around, look("saved")])
        return seen

    # The gradient of w ** 2 is 2 w: each of an epoch's two steps leaves 0.8 of the weight.
    weights = 0.8 ** np.arange(1, 7)
    averages = [weights[0]]
    for weight in weights[1:]:
        averages.append(0.5 * averages[-1] + 0.5 * weight)
    found = fit(use_ema=True, ema_momentum=0.5)
    np.testing.assert_allclose(found["scored"], averages[1::2], rtol=1e-5)
    # After the last epoch Keras keeps the average.
    np.testing.assert_allclose(found["saved"][:2], fit()["saved"][:2], rtol=1e-5)
