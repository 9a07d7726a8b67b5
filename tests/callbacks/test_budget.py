"""What a model costs once it is shrunk, and where that ends the pruning."""

from typing import Any

import keras
import numpy as np
import pytest

import hlstm_tf as hl


def model() -> keras.Model:
    made = keras.Sequential([keras.Input((2,)), hl.MaskedDense(3), hl.MaskedDense(2)])
    first, second = hl.masked_kernels(made)
    # Unit 0 is read by nobody; of unit 1 one connection is gone.
    hl.edit_masks({first: np.array([[1, 1, 1], [1, 0, 1]], bool)})
    hl.edit_masks({second: np.array([[0, 0], [1, 1], [1, 1]], bool)})
    return made


@pytest.mark.parametrize(
    ("of", "cost"),
    [
        ("connections", 3 + 4),
        ("flops", 2 * (3 + 4)),
        ("bytes", 4 * (2 * 2 + 2 + 2 * 2 + 2)),  # all places that are left, and the biases
        (lambda compact: compact.layers[0].units, 2),
    ],
)
def test_it_is_the_shrunk_model_that_counts(of: Any, cost: float) -> None:
    budget = hl.Budget(of, 10)
    assert budget.measure(model()) == cost


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("weights", 3), "`of` must be one of connections, flops, bytes, or callable; got 'weigh"),
        (("flops", 0), "`limit` must be a finite number above 0; got 0"),
        (("flops", "few"), "`limit` must be a finite number above 0; got 'few'"),
        ((hl.Latency, 5), r"`of` is the class Latency; give an object of it, Latency\(\)"),
        (("flops", float("nan")), "`limit` must be a finite number above 0; got nan"),
    ],
)
def test_what_is_no_budget_says_so(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hl.Budget(*arguments)


def test_grow_and_prune_stops_within_it() -> None:
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((4,)), hl.MaskedDense(64), hl.MaskedDense(2)])
    net.compile("sgd", "mse")
    data = np.ones((4, 4), "float32"), np.zeros((4, 2), "float32")
    pruning = hl.Pruning(
        structure="neuron", step=0.5, retrain_epochs=1, budget=hl.Budget("bytes", 1000)
    )
    callback = hl.GrowAndPrune(
        data, growth=None, pruning=pruning, monitor="loss", threshold=1e9, train_epochs=0, verbose=0
    )
    net.fit(*data, epochs=9, callbacks=[callback], verbose=0)
    # 64 neurons of 7 floats each and 2 biases are 1,800 bytes; 32 are 904.
    assert hl.shrink(net).layers[0].units == 32
    assert callback.progress.reason == "within the budget: 904 bytes of 1,000"
