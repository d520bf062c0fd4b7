"""What an observer tells: updates, its own desyncs, and where it stands."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from rsm.machine.outcome import Event

__all__ = ["Desync", "DesyncCommand", "DesyncLine", "DesyncPath", "ObserverStatus", "Update"]


class DesyncCommand(msgspec.Struct, frozen=True):
    """A command by name; `values` by field. `position` in its batch, below 0 for a timer, whose `version` is 0."""

    name: str
    version: int
    values: dict[str, Any]
    position: int


class DesyncPath(msgspec.Struct, frozen=True):
    """A path of the state, such as `orders/17/quantity`, with the observer's value and the cluster's; None: it has
    none.
    """

    path: str
    mine: Any
    theirs: Any


class DesyncLine(msgspec.Struct, frozen=True):
    """The line of the user's code that wrote a leaf which differs. `what` names the leaf, `index` the entry."""

    file: str
    line: int
    text: str
    what: str
    index: int


class Desync(msgspec.Struct, frozen=True, kw_only=True):
    """Two states where there must be one.

    At `index` the observer's root is `root`, and `source` (the address of a node, or "rsm.confirmed", for what a quorum
    has confirmed in the log) has `expected`. Up to `good_index` they agreed. `reason` says it in words; where the
    observer could not apply an entry, or found its state changed behind its containers' back, both roots are empty.

    It is told twice. First, as soon as it is seen, `verdict` is "open". Then, with a confirmed snapshot of
    `healed_index` in hand: "observer" if that is not the observer's state at that index, which it has given up for the
    snapshot's; or "node", if it is: then the node has another one, and the observer has left it.

    `paths` are where the observer's state at `healed_index` differs from the snapshot's, the machine's own first, at
    most `DIFFERENT_PATHS_MAX`. `command` is the one that did it, if there was no other between the two roots, or if the
    observer traces and still has every write since the first of them; `lines`, only if it traces, are those of its
    writes of leaves that differ, in order. `evidence` is a bundle for `rsm desync replay`, if the observer records.
    """

    index: int
    root: bytes
    expected: bytes
    source: str
    reason: str
    good_index: int
    verdict: Literal["open", "observer", "node"] = "open"
    healed_index: int = 0
    command: DesyncCommand | None = None
    paths: tuple[DesyncPath, ...] = ()
    lines: tuple[DesyncLine, ...] = ()
    evidence: str = ""


class Update(msgspec.Struct, frozen=True):
    """One entry of the log, as the observer's machine has it now.

    `log_time` in nanoseconds (0 with `events_only`); `root` is the observer's own, at hash points. `snapshot`: the
    state was replaced by that of a snapshot, or, with `events_only`, events were left out: of what lies between this
    update and the one before nothing is known. `event_number`: how many events the log had emitted when
    it came here.
    """

    index: int
    log_time: int
    events: tuple[Event, ...]
    root: bytes | None = None
    snapshot: bool = False
    desync: Desync | None = None
    event_number: int = 0


class ObserverStatus(msgspec.Struct, frozen=True):
    """Where an observer stands.

    `index` of its machine, `applied_index` as the node at `address` last said it. `roots_checked`: own roots that were
    compared with a node's or a quorum's. `snapshots`: taken in instead of entries; `skipped`: times that a node left
    something out since the observer was too slow, or came too late. `reconnects`: subscriptions after the first.
    `round_trips`: connections made (with their hello) and subscriptions. Bytes are those on the network. `error`: why
    there is no subscription now; empty while there is one.
    """

    index: int
    applied_index: int
    address: str
    roots_checked: int
    snapshots: int
    reconnects: int
    skipped: int
    bytes_in: int
    bytes_out: int
    round_trips: int
    error: str = ""
