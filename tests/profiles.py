"""Which of the two profiles the tests run under (tests/conftest.py has them)."""

from __future__ import annotations

from hypothesis import settings


def is_soak() -> bool:
    """Whether this is `make soak`, and there is time for much."""
    return settings.default is not None and settings.default.max_examples > 1_000
