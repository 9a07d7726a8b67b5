import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from apps.common.learning_rate import FiniteLoss, LearningRate, warmup_cosine


def test_the_rate_rises_then_falls_along_a_cosine():
    assert [warmup_cosine(x, 0.25) for x in (0.0, 0.125, 0.25)] == [0.0, 0.5, 1.0]
    assert warmup_cosine(0.625, 0.25) == pytest.approx(0.5)
    assert warmup_cosine(1.0, 0.25) == warmup_cosine(7.0, 0.25) == pytest.approx(0.0)
    assert warmup_cosine(0.0) == 1.0


def test_the_rate_depends_on_where_the_run_is_alone():
    gp = SimpleNamespace(progress=SimpleNamespace(phase="training", phase_epoch=0))
    rate = LearningRate(1.0, 4, 1.0, retraining=0.5, retrain_epochs=2, grow_and_prune=gp)
    rate.on_epoch_begin(0)
    assert rate.rate(0.5) == pytest.approx(0.5)
    rate.on_epoch_begin(9)
    assert rate.rate(0.0) == pytest.approx(0.01)
    gp.progress.phase = "retraining"
    assert rate.rate(0.0) == pytest.approx(0.5)
    gp.progress.phase_epoch = 1
    assert rate.rate(0.0) == pytest.approx(0.25)
    assert rate.rate(1.0) == pytest.approx(0.005)


def test_each_step_has_its_rate():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(9.0))
    callback = LearningRate(1.0, 2)
    callback.set_model(model)
    callback.set_params({"steps": 2})
    rates = []
    for epoch in range(2):
        callback.on_epoch_begin(epoch)
        for batch in range(2):
            callback.on_train_batch_begin(batch)
            rates.append(float(model.optimizer.learning_rate))
    np.testing.assert_allclose(
        rates, [0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(4)], rtol=1e-6
    )


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_an_error(loss):
    callback = FiniteLoss()
    callback.on_epoch_begin(3)
    callback.on_train_batch_end(0, {"loss": 5.0})
    with pytest.raises(FloatingPointError, match="after batch 7 of epoch 3: lower the learning"):
        callback.on_train_batch_end(7, {"loss": loss})
