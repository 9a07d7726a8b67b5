"""What several test modules of the exports need."""

import resource
from collections.abc import Iterator

import pytest


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file may grow beyond 10 kB: the operating system refuses, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
