"""`rsm.observe`: follow a cluster's log with a machine of one's own, or its events."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TypeVar

from rsm.client.observing.applying import make_replica
from rsm.client.observing.observer import Observer
from rsm.client.observing.received import Place
from rsm.client.observing.receiving import Receiver
from rsm.client.observing.record import Record
from rsm.client.open import check_machine, opened_in_thread
from rsm.client.remote.link import check_addresses
from rsm.client.tool import Access
from rsm.codec.chain import ZERO_CHAIN
from rsm.errors import CallerError
from rsm.limits import CLIENT_TIMEOUT_SECONDS, KEY_LENGTH_MAX, PRINCIPAL_LENGTH_MAX, TOPICS_MAX
from rsm.machine.machine import StateMachine
from rsm.node.network.tls import TlsOptions
from rsm.replica.replica import Replica

__all__ = ["observe", "observe_async"]

M = TypeVar("M", bound=StateMachine)


def observe(
    machine: type[M],
    addresses: str | Sequence[str],
    *,
    from_index: int | None = None,
    topics: Sequence[str] | None = None,
    events_only: bool = False,
    record: str | os.PathLike[str] | None = None,
    principal: str = "",
    tls: TlsOptions | None = None,
    timeout_seconds: float = CLIENT_TIMEOUT_SECONDS,
    trace: bool = False,
) -> Observer[M]:
    """Subscribe to a cluster's feed at any of its nodes; returns an observer, whose `next` gives one update an entry.

        with rsm.observe(Bank, "127.0.0.1:7101") as observer:
            for update in observer:
                print(update.index, observer.machine.balance("ann"))

    The observer applies each entry with this class, in the caller's thread, and compares its state roots with those of
    the cluster. What it is not told it notices and asks for again; when its node goes away it goes on at another one. A
    node skips an observer that is too slow forward: then an update has `snapshot` set.

    `from_index`: None begins with the state of now, as a snapshot, or, with a `record`, where that ends. 0 begins with
    the first entry, if a node still has it, and a higher index, for which a `record` must hold the state, behind that.
    With `events_only` there is no machine and updates hold events alone, of these `topics` (all, if none is named; one
    that ends in "/" stands for all that begin so); `from_index` then is the number of the last event that was seen
    (`observer.event_number`), and None begins with what comes next.

    `record`: a directory, new or of an earlier observer, for the log, the observer's own roots and evidence of
    differences; `rsm log`, `rsm desync compare` and `rsm desync replay` read it. `trace`: know the lines that wrote
    what differs; it costs time with every write. `principal` and `tls` are as in `rsm.connect`; a certificate of role
    "observer" will do.

    Raises `Unreachable` if no node answers within `timeout_seconds`, saying what was found at each address,
    `WrongMachine` if the cluster runs another machine, or the record is of another one, `CallerError` if it is of
    another cluster, or no record but the directory of a machine, or for arguments that do not fit together,
    `DirectoryInUse`, `CorruptFile`, `StorageError`. That the cluster's log is not the record's is for `next` to raise,
    as `DivergenceError`.
    """
    check_machine(machine)
    if not isinstance(timeout_seconds, (int, float)) or not 0 < timeout_seconds < math.inf:
        raise CallerError(f"timeout_seconds must be above 0, not {timeout_seconds!r}")
    if not isinstance(principal, str) or len(principal) > PRINCIPAL_LENGTH_MAX:
        raise CallerError(f"principal is text of at most {PRINCIPAL_LENGTH_MAX} characters")
    if from_index is not None and (type(from_index) is not int or not 0 <= from_index < 2**63):
        raise CallerError(f"from_index is an index of the log, not {from_index!r}")
    access = Access(check_addresses(addresses), tls, principal)
    wanted = _topics(topics)
    if events_only:
        if record is not None or trace:
            raise CallerError("an observer of events only has nothing to record or to trace")
        place = Place(number=from_index or 0, wants_snapshot=from_index is None)
        receiver = Receiver(access, machine.definition.name, place, topics=wanted, events_only=True)
        receiver.start(timeout_seconds)
        return Observer(machine, access, receiver, lambda: make_replica(machine, trace=False), None, None)
    if wanted:
        raise CallerError("topics are for events_only: a machine needs every entry")
    return _follow(
        machine, access, from_index, None if record is None else os.path.abspath(record), trace, timeout_seconds
    )


def _follow(
    machine: type[M], access: Access, from_index: int | None, path: str | None, trace: bool, timeout_seconds: float
) -> Observer[M]:
    name = machine.definition.name

    def make() -> Replica:
        return make_replica(machine, trace=trace)

    kept = None if path is None else Record.open(path, name)
    try:
        replica, place, cluster_id = make(), Place(chain=ZERO_CHAIN, wants_snapshot=from_index is None), b""
        if kept is not None:
            replica, cluster_id = kept.load(make, from_index), kept.directory.identity.cluster_id
            last = kept.journal.last_index
            place = Place(last, kept.journal.last_chain, wants_snapshot=from_index is None and not last)
        elif from_index:
            raise CallerError(f"from_index {from_index} needs a record that holds the state at that index")
        receiver = Receiver(access, name, place, cluster_id=cluster_id)
        head = receiver.start(timeout_seconds)
        try:
            if path is not None and kept is None:
                kept = Record.create(path, name, head.cluster_id, head.group_id)
            return Observer(machine, access, receiver, make, replica, kept)
        except BaseException:
            receiver.close()
            raise
    except BaseException:
        if kept is not None:
            kept.close()
        raise


def _topics(topics: Sequence[str] | None) -> list[str]:
    found = [] if topics is None else [topics] if isinstance(topics, str) else list(topics)
    if len(found) > TOPICS_MAX or not all(isinstance(one, str) and 0 < len(one) <= KEY_LENGTH_MAX for one in found):
        raise CallerError(f"topics are at most {TOPICS_MAX} texts of 1 to {KEY_LENGTH_MAX} characters")
    return found


async def observe_async(
    machine: type[M],
    addresses: str | Sequence[str],
    *,
    from_index: int | None = None,
    topics: Sequence[str] | None = None,
    events_only: bool = False,
    record: str | os.PathLike[str] | None = None,
    principal: str = "",
    tls: TlsOptions | None = None,
    timeout_seconds: float = CLIENT_TIMEOUT_SECONDS,
    trace: bool = False,
) -> Observer[M]:
    """`observe` for asyncio: connecting does not block the event loop.

    Use `async for update in observer`, `await observer.next_async(...)` and `async with`. A task that is cancelled
    meanwhile leaves nothing open.
    """

    def begin() -> Observer[M]:
        return observe(
            machine,
            addresses,
            from_index=from_index,
            topics=topics,
            events_only=events_only,
            record=record,
            principal=principal,
            tls=tls,
            timeout_seconds=timeout_seconds,
            trace=trace,
        )

    return await opened_in_thread(begin)
