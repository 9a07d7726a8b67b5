"""What every test and doctest runs in: a quiet TensorFlow, two logical CPUs, fixed seeds."""

import contextlib
import gc
import os
from collections.abc import Iterator

import pytest

from apps.common.memory import keep_freed_memory

# Read by TensorFlow when it is first imported. One thread a pool: the suite
# runs two processes on two cores, and sums come out in one order.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "Agg")
# Tests compile hundreds of small loops and run each a few times.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")
# For the processes that tests start; `pytest_configure` does the same for this one. What TensorFlow
# frees it wants again in the next step, and getting it from the system took a third of a training.
os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**31 - 1))
os.environ.setdefault("MALLOC_TOP_PAD_", str(64 << 20))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--compiled`, which the run of all tests before a release gives."""
    parser.addoption(
        "--compiled",
        action="store_true",
        help="train in compiled functions in every test, not only in those marked `compiled`",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Give this process two logical CPU devices before anything else starts TensorFlow."""
    only_dispatches = getattr(config.option, "numprocesses", None) and not hasattr(
        config, "workerinput"
    )
    if only_dispatches or config.option.help or config.option.version:
        return  # importing TensorFlow would only delay the workers

    keep_freed_memory(top_pad=64 << 20)
    with _silent_stderr():
        import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device, device])
    tf.get_logger().setLevel("ERROR")


def pytest_collection_finish() -> None:
    """Leave what lives as long as the process out of every later garbage collection.

    TensorFlow, Keras and the tests are half a million objects, and each full collection visited
    all of them.
    """
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drops what TensorFlow's C++ code writes before it reads its log level."""
    screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)


@pytest.fixture(autouse=True)
def _fresh_keras_state() -> Iterator[None]:
    """Seed every generator, and undo global Keras state (names, dtype policy) afterwards."""
    import keras

    keras.utils.set_random_seed(0)
    yield
    keras.utils.clear_session(free_memory=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Train eagerly, in fixtures too, unless the test or the command line says otherwise."""
    from tests.compilation import uncompiled

    compiled = item.config.getoption("compiled") or item.get_closest_marker("compiled")
    with contextlib.nullcontext() if compiled else uncompiled():
        return (yield)
