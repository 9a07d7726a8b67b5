"""How training steps run in tests: eagerly, where a test does not ask for compiled functions.

To trace a training step and to compile the passes of a recurrence takes six seconds for each new
shape; a dozen eager steps take one. Tests marked `compiled` train as a user does, and with
`--compiled`, which `make test-all` gives, all do.
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras
import pytest
import tensorflow as tf

from hlstm_tf.layers import gru_recurrence, lstm_recurrence, passes


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Runs training steps eagerly where `compile` says nothing of it, and passes without XLA."""
    _forget_passes()
    compile_model = keras.Model.compile

    @functools.wraps(compile_model)
    def compile_eager(model: keras.Model, *args: Any, **arguments: Any) -> None:
        compile_model(model, *args, **arguments)
        asked = {"run_eagerly", "steps_per_execution"} & {*arguments} or arguments.get(
            "jit_compile"
        )
        if not asked and not tf.distribute.has_strategy():
            model.run_eagerly = True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "compile", compile_eager)
        patch.setattr(passes, "XLA_WEIGHTS", -1)
        yield
    _forget_passes()


def _forget_passes() -> None:
    """Drops the passes that layers of the same sizes share."""
    for module in (gru_recurrence, lstm_recurrence):
        module._passes.cache_clear()
