"""How long clusters are harmed: seconds by default, a minute under `make soak` (the hypothesis profile tells)."""

from __future__ import annotations

import pytest
from hypothesis import settings


@pytest.fixture(scope="session")
def soak() -> bool:
    """Whether there is time."""
    return settings.default is not None and settings.default.max_examples > 1_000
