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

UNSAID = {"run_eagerly": False, "steps_per_execution": 1}
"""What the configuration of a model says where its `compile` said nothing."""

# Where Keras defines it: a model whose own class has another is not compiled when it is loaded.
TRAINER = next(each for each in keras.Model.__mro__ if "compile" in vars(each))


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Runs training steps eagerly where `compile` says nothing of it, and passes without XLA."""
    _forget_passes()
    compile_model, compile_from_config = TRAINER.compile, TRAINER.compile_from_config

    @functools.wraps(compile_model)
    def compile_eager(model: keras.Model, *args: Any, **arguments: Any) -> None:
        compile_model(model, *args, **arguments)
        asked = UNSAID.keys() & {*arguments} or arguments.get("jit_compile") is True
        if not asked and not tf.distribute.has_strategy():
            model.run_eagerly = True

    def compile_loaded(model: keras.Model, config: dict[str, Any]) -> None:
        said = {k: v for k, v in config.items() if k not in UNSAID or v != UNSAID[k]}
        compile_from_config(model, said)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TRAINER, "compile", compile_eager)
        patch.setattr(TRAINER, "compile_from_config", compile_loaded)
        patch.setattr(passes, "XLA_WEIGHTS", -1)
        yield
    _forget_passes()


def _forget_passes() -> None:
    """Drops the passes that layers of the same sizes share."""
    for module in (gru_recurrence, lstm_recurrence):
        module._passes.cache_clear()
