"""How many seeds the simulations run: few by default, many under `make soak` (the hypothesis profile tells)."""

from __future__ import annotations

import pytest
from hypothesis import settings


def is_soak() -> bool:
    """Whether this is `make soak`."""
    return settings.default is not None and settings.default.max_examples > 1_000


@pytest.fixture(scope="session")
def soak() -> bool:
    """Whether there is time for many seeds."""
    return is_soak()
