"""rsm: replicated state machines. Write one plain class; rsm keeps it durable, replayable and provably the same."""

from __future__ import annotations

from msgspec import Meta

from rsm.client.connect import connect, connect_async
from rsm.client.open import open, open_async
from rsm.client.pipeline import result
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
from rsm.node.tls import TlsOptions
from rsm.state.containers import Map, Set, SortedMap
from rsm.state.queues import Queue, Table
from rsm.state.types import Struct

# fmt: off
__all__ = [
    "MILLISECOND", "SECOND",
    "BadBytes", "Busy", "CallerError", "ClientStats", "Closed", "Context", "CorruptFile", "DefinitionError",
    "DirectoryInUse", "DivergenceError", "Drop", "Event", "EventsGap", "HandlerFailed", "InvalidCommand", "KeyReused",
    "KeyVoided", "LimitExceeded", "Map", "MediumError", "Meta", "NotLeader", "Outcome", "Pending", "Queue", "Random",
    "Rejected", "ReleaseMissing", "RsmError", "SequenceReused", "SessionExpired", "Set", "SortedMap", "Split",
    "StateMachine", "Status", "StorageError", "Struct", "Table", "TlsOptions", "UnknownFormat", "Unreachable",
    "WrongMachine", "command", "connect", "connect_async", "downcast", "drop", "on_session_end", "open", "open_async",
    "query", "result", "split", "upcast", "upcast_fields",
]
# fmt: on
