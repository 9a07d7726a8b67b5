"""Settings of the property-based tests, and what several test modules share."""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.tiers import assign_tiers

# A model is built in most examples, which takes tens of milliseconds and has
# nothing to do with how hard the example was to find: no deadline, few examples.
settings.register_profile(
    "quick",
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("thorough", parent=settings.get_profile("quick"), max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sorts the cases into tiers, before pytest leaves some out; a case named in full is run."""
    if not any("[" in argument for argument in config.args):
        assign_tiers(items)


@pytest.fixture
def tensorflow_lines() -> Iterator[list[str]]:
    """What TensorFlow logs meanwhile."""
    lines: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tensorflow")
    logger.addHandler(listener)
    yield lines
    logger.removeHandler(listener)
