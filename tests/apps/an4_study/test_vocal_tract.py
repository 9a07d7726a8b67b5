import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from apps.an4_study.presets import preset
from apps.an4_study.recipe import StudyRecipe
from apps.an4_study.vocal_tract import VocalTractLength
from apps.common.errors import InputError
from apps.speech.front_end import MFCC, LogMel

CENTRES = LogMel().centres


def formant(frequency):
    """Bands of one utterance of one frame with one formant."""
    return np.exp(-(((np.array(CENTRES) - frequency) / 300) ** 2)).astype(np.float32)[None, None]


def test_the_centres_are_those_of_the_filters():
    for centre, band in ((CENTRES[5], 5), (CENTRES[30], 30)):
        tone = np.sin(2 * np.pi * centre * np.arange(16000) / 16000).astype(np.float32)
        assert LogMel(normalise=False)(tone)[50].argmax() == band


@given(st.integers(0, 40))
def test_a_formant_moves_by_the_factor(step):
    warp = VocalTractLength(CENTRES, spread=0.2)
    factor = 0.8 + 0.4 * step / 40
    moved = formant(1500) @ warp.warps()[step]
    fine = np.linspace(500, 3000, 5001)
    peak = fine[np.interp(fine, CENTRES, moved[0, 0]).argmax()]
    assert peak == pytest.approx(1500 * factor, abs=130)  # half the distance of two bands


def test_a_flat_spectrum_and_padding_stay():
    warp = VocalTractLength(CENTRES, spread=0.3)
    flat = np.ones((8, 3, 40), np.float32)
    flat[:, 2] = 0
    np.testing.assert_allclose(warp(flat, None, [1, 2]), flat, atol=1e-6)


def test_every_utterance_has_a_factor_of_its_own_that_its_seed_decides():
    warp = VocalTractLength(CENTRES, spread=0.2)
    batch = np.repeat(formant(1500), 16, axis=0)
    first, again = warp(batch, None, [3, 4]).numpy(), warp(batch, None, [3, 4]).numpy()
    assert (first == again).all()
    assert len(np.unique(first[:, 0], axis=0)) > 8
    assert (first != warp(batch, None, [3, 5]).numpy()).any()


def test_no_spread_changes_nothing():
    batch = tf.random.normal((2, 5, 40))
    np.testing.assert_array_equal(VocalTractLength(CENTRES, 0.0)(batch, None, [0, 0]), batch)


def test_a_recipe_warps_before_it_masks_and_stays_so_in_a_file():
    recipe = preset("an4", vocal_tract=0.1)
    assert StudyRecipe.from_json(recipe.to_json()) == recipe
    batch = tf.random.normal((4, 60, 40))
    out = recipe.augmentation(batch, tf.fill([4], 60), tf.constant([0, 1])).numpy()
    assert (out == 0).any()
    assert (out != batch.numpy())[out != 0].mean() > 0.5
    assert StudyRecipe(augment=None).augmentation is None


def test_bad_values_are_refused():
    with pytest.raises(InputError, match=r"spread 1\.5"):
        VocalTractLength(CENTRES, 1.5)
    with pytest.raises(InputError, match="0 steps"):
        VocalTractLength(CENTRES, steps=0)
    with pytest.raises(InputError, match="ascending"):
        VocalTractLength((2.0, 1.0))
    with pytest.raises(InputError, match="log-mel"):
        StudyRecipe(front_end=MFCC(), vocal_tract=0.1)
