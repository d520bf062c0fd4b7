"""rsm: replicated state machines. Write one plain class; rsm keeps it durable, replayable and provably the same."""

from __future__ import annotations

from msgspec import Meta

from rsm.client.connect import connect, connect_async
from rsm.client.observing.observe import observe, observe_async
from rsm.client.observing.observed import Desync, ObserverStatus, Update
from rsm.client.observing.observer import Observer
from rsm.client.open import open, open_async
from rsm.client.pipeline import result
from rsm.desync.playback import Playback, Played, replay
from rsm.errors import (
    BadBytes,
    Busy,
    CallerError,
    Closed,
    CorruptFile,
    DefinitionError,
    DirectoryInUse,
    DivergenceError,
    EventsGap,
    HandlerFailed,
    InvalidCommand,
    KeyReused,
    KeyVoided,
    LimitExceeded,
    MediumError,
    NotLeader,
    Rejected,
    ReleaseMissing,
    RsmError,
    SequenceReused,
    SessionExpired,
    StorageError,
    UnknownFormat,
    Unreachable,
    WrongMachine,
)
from rsm.machine.calls import Pending, command, on_session_end, query
from rsm.machine.context import MILLISECOND, SECOND, Context
from rsm.machine.machine import StateMachine
from rsm.machine.outcome import ClientStats, Event, Outcome, Status
from rsm.machine.random import Random
from rsm.machine.upcasting import Drop, Split, downcast, drop, split, upcast, upcast_fields
from rsm.node.network.tls import TlsOptions
from rsm.state.arrays import Array
from rsm.state.columns import Columns
from rsm.state.containers import Map, Set, SortedMap
from rsm.state.queues import Queue, Table
from rsm.state.types import Struct

# fmt: off
__all__ = [
    "MILLISECOND", "SECOND",
    "Array", "BadBytes", "Busy", "CallerError", "ClientStats", "Closed", "Columns", "Context", "CorruptFile",
    "DefinitionError", "Desync", "DirectoryInUse", "DivergenceError", "Drop", "Event", "EventsGap", "HandlerFailed",
    "InvalidCommand", "KeyReused", "KeyVoided", "LimitExceeded", "Map", "MediumError", "Meta", "NotLeader", "Observer",
    "ObserverStatus", "Outcome", "Pending", "Playback", "Played", "Queue", "Random", "Rejected", "ReleaseMissing",
    "RsmError", "SequenceReused", "SessionExpired", "Set", "SortedMap", "Split", "StateMachine", "Status",
    "StorageError", "Struct", "Table", "TlsOptions", "UnknownFormat", "Unreachable", "Update", "WrongMachine",
    "command", "connect", "connect_async", "downcast", "drop", "observe", "observe_async", "on_session_end", "open",
    "open_async", "query", "replay", "result", "split", "upcast", "upcast_fields",
]
# fmt: on
