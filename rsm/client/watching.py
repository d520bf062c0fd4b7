"""Waiting for a query's result to change: `client.watch(Bank.balance, "ann")`.

The node looks at the result after what it applies and answers when its digest is another than the one that the client
has seen, so a watch costs nothing while nothing changes. It does not know who watches: a client asks again whenever it
has an answer, at the node that leads then. An answer from a state before the one that was seen is passed over.

Where the machine is in this process, asking is reading, and no command is applied meanwhile: then the watch rests for
longer than that took, as a node does, however often there is news.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Generic, Self, TypeVar

from rsm.client.pending import PendingValue
from rsm.client.runtime import Runtime
from rsm.errors import CallerError
from rsm.limits import FEED_INTERVAL_SECONDS, WATCH_REST_FACTOR, WATCH_REST_SECONDS_MAX
from rsm.machine.definition import Definition, QuerySpec
from rsm.state.leaf import digest128

__all__ = ["Watch", "watched_query"]

R = TypeVar("R")
NOTHING = bytes(16)  # the digest of no result


def watched_query(definition: Definition, query: object) -> tuple[str, QuerySpec]:
    """The name and the query that `Machine.query` is; `CallerError` if it is none of this machine, or a generator."""
    for name, spec in definition.queries.items():
        if spec.handler is getattr(query, "handler", None):
            if spec.is_stream:
                raise CallerError(f"{name} is a generator: what it gives one by one cannot be watched")
            return name, spec
    raise CallerError(f"{definition.name} has no query {query!r}: give it as {definition.owner.__name__}.name")


class Watch(Generic[R]):
    """An iterator, and an asynchronous one, over the results of one query: the first at once, then each that differs
    from the one before. It begins anew with each one made; it ends only with an error.
    """

    def __init__(self, runtime: Runtime, name: str, spec: QuerySpec, values: list[Any]) -> None:
        self._runtime = runtime
        self._name = name
        self._spec = spec
        self._values = values
        self._seen = NOTHING
        self._index = -1
        self._not_before = 0.0

    @property
    def index(self) -> int:
        """The index of the state that the last result was read from; 0 before the first."""
        return max(0, self._index)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        while True:
            time.sleep(self._rest_seconds())
            found = self._take(*self._ask().result())
            if found is not None:
                return self._decode(found)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        while True:
            await asyncio.sleep(self._rest_seconds())
            found = self._take(*await self._ask())
            if found is not None:
                return self._decode(found)

    def _ask(self) -> PendingValue[tuple[int, bytes | None]]:
        pending: PendingValue[tuple[int, bytes | None]] = PendingValue(self._name)
        began = time.monotonic()
        self._runtime.watch_later(self._name, self._values, self._seen, pending, wait=True)
        ended = time.monotonic()
        took = ended - began  # the reading, if the machine is in this process; else next to nothing
        self._not_before = ended + max(took, min(took * WATCH_REST_FACTOR, WATCH_REST_SECONDS_MAX))
        return pending

    def _take(self, index: int, packed: bytes | None) -> bytes | None:
        """The result, if it is news; else it is too early to ask again."""
        if packed is None or index < self._index:
            self._not_before = max(self._not_before, time.monotonic() + FEED_INTERVAL_SECONDS)
            return None
        self._index, self._seen = index, digest128(packed)
        return packed

    def _rest_seconds(self) -> float:
        return max(0.0, self._not_before - time.monotonic())

    def _decode(self, packed: bytes) -> R:
        found: R = self._spec.decode_result(packed)
        return found
