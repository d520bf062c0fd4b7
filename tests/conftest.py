"""What every test may use: the recorded inputs beside the clone, and how hard the property tests look.

`bounded` is the default profile: few examples, the same on every machine, so that a red run means a change. `soak`
(`make soak`) draws many fresh ones; what it finds is printed with the line that replays it.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.profiles import is_soak

ROOT = Path(__file__).resolve().parent.parent

# Processes that tests start are ended by a SIGINT, as by a person's Ctrl-C. Where a script has put the tests into the
# background it is ignored, and they would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("bounded", max_examples=30, derandomize=True, deadline=None, print_blob=True)
settings.register_profile(
    "soak",
    max_examples=2_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("bounded")


def turn_of(item: pytest.Item) -> int:
    """Clusters come one after the other, on one worker: they begin, so that the others end no later than they do."""
    groups = [mark.args[0] for mark in item.iter_markers("xdist_group")]
    return 0 if "cluster" in groups else 1 if groups else 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of the groups; and what is marked as long runs under `make soak`, and says so otherwise."""
    items.sort(key=turn_of)
    if is_soak():
        return
    for item in items:
        if item.get_closest_marker("soak") is not None:
            item.add_marker(pytest.mark.skip(reason="takes long: for make soak"))


@pytest.fixture(scope="session")
def soak() -> bool:
    """Whether there is time for many seeds, and for harming clusters for a minute."""
    return is_soak()


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of recorded markets and flows, or a skip that says why: a clone stands without it."""
    directory = ROOT.parent / "shared"
    if not (directory / "data").is_dir():
        pytest.skip(f"needs recorded inputs in {directory}, which is not part of this repository")
    return directory
