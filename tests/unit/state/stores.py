"""What tests of state share: a machine class made of annotations, and its store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rsm
from rsm.machine.machine import containers_of
from rsm.state.store import Store


def machine_with(defaults: dict[str, Any] | None = None, **state: Any) -> Any:
    """An instance of a new machine class that declares this state; `DefinitionError` if it may not."""
    body = {"__annotations__": state, "__module__": __name__, **(defaults or {})}
    return type("Made", (rsm.StateMachine,), body, name="made", version=1)()


def store_of(machine: Any) -> Store:
    """The store of a machine that stands alone."""
    return Store(containers_of(machine))


@contextmanager
def batch(store: Store) -> Iterator[None]:
    """One batch that succeeds."""
    store.begin()
    yield
    store.end()
