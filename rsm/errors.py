"""Every error that rsm raises, in three families that never mix.

::

    RsmError
    ├── CallerError                the caller's mistake: change the call, the class or the arguments
    │   ├── DefinitionError        a machine class that cannot work (found when the class is created)
    │   ├── InvalidCommand         unknown command, or values that fail its schema; names the field; reached no log
    │   ├── Rejected               the handler said no; nothing it did was kept
    │   │   └── HandlerFailed      the handler raised; nothing it did was kept, the traceback is in the local log
    │   ├── SessionExpired         outcome unknown: the session ended before the answer could be given
    │   ├── SequenceReused         the same session and sequence with another payload
    │   ├── KeyReused              the same idempotency key with other arguments
    │   ├── KeyVoided              the key was settled as "not applied" before this copy arrived
    │   ├── EventsGap              the cursor is older than the oldest event kept
    │   ├── Busy                   a bounded queue is full; carries a retry hint
    │   ├── NotLeader              another node leads; carries where, if it is known
    │   ├── Closed                 the machine is closed
    │   ├── DirectoryInUse         another process has the directory open
    │   ├── WrongMachine           the directory or cluster belongs to another machine, or to another version of it
    │   │   └── ReleaseMissing     the log goes on under a machine version that this release does not have
    │   └── LimitExceeded          a named bound was reached by what the caller sent
    ├── MediumError                what came from, or went to, a disk or a peer
    │   ├── BadBytes               bytes that are not what was written: never applied, never silently dropped
    │   │   └── CorruptFile        the same, with file and offset
    │   ├── UnknownFormat          what a newer release wrote: whole, but not for this one to read
    │   ├── StorageError           the disk said no: full, not permitted, failed to sync
    │   └── Unreachable            no member of the cluster could be talked to; says why, for each address
    └── DivergenceError            our own state is not what the log says it must be: the node stops
"""

from __future__ import annotations

__all__ = [
    "BadBytes",
    "Busy",
    "CallerError",
    "Closed",
    "CorruptFile",
    "DefinitionError",
    "DirectoryInUse",
    "DivergenceError",
    "EventsGap",
    "HandlerFailed",
    "InvalidCommand",
    "KeyReused",
    "KeyVoided",
    "LimitExceeded",
    "MediumError",
    "NotLeader",
    "Rejected",
    "ReleaseMissing",
    "RsmError",
    "SequenceReused",
    "SessionExpired",
    "StorageError",
    "UnknownFormat",
    "Unreachable",
    "WrongMachine",
]


class RsmError(Exception):
    """Base of every error that rsm raises on purpose."""


class CallerError(RsmError):
    """The caller's mistake: nothing was changed, another call may succeed."""


class DefinitionError(CallerError):
    """A machine class that cannot work; raised when the class is created, naming the offending part."""


class InvalidCommand(CallerError):
    """An unknown command, or values that fail its schema. It reached no log. `field` names the parameter at fault."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Rejected(CallerError):
    """The handler rejected the command with `reason`; nothing it did was kept, on any replica.

    `step`: which command of a pipeline it was, from 0; None outside pipelines.
    """

    def __init__(self, reason: str, step: int | None = None) -> None:
        super().__init__(reason if step is None else f"step {step} of the pipeline: {reason}")
        self.reason = reason
        self.step = step


class HandlerFailed(Rejected):
    """The handler raised an exception; nothing it did was kept. The traceback is in the local log only."""


class SessionExpired(CallerError):
    """Outcome unknown: the session that sent the command has ended, or its answer was dropped."""


class SequenceReused(CallerError):
    """The same session and sequence number came with another payload."""


class KeyReused(CallerError):
    """The same idempotency key came with another command or other arguments."""


class KeyVoided(CallerError):
    """The idempotency key was settled as "not applied" by `outcome(key)`; this late copy was not run."""


class EventsGap(CallerError):
    """The cursor points before the oldest event still kept; `oldest_index` is where reading can resume."""

    def __init__(self, message: str, oldest_index: int) -> None:
        super().__init__(message)
        self.oldest_index = oldest_index


class Busy(CallerError):
    """A bounded queue is full. Nothing was accepted; try again after `retry_seconds`."""

    def __init__(self, message: str, retry_seconds: float) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class NotLeader(CallerError):
    """Another node leads, or none does. Nothing was decided here; the same command may be sent to the leader.

    `leader_id` is None and `address` (where clients reach it) is "" where they are not known.
    """

    def __init__(
        self, message: str = "this node does not lead", leader_id: int | None = None, address: str = ""
    ) -> None:
        super().__init__(message)
        self.leader_id = leader_id
        self.address = address


class Closed(CallerError):
    """The machine is closed, or its node has stopped; the cause is chained where there is one."""


class DirectoryInUse(CallerError):
    """Another process (or another handle in this one) has the directory open."""


class WrongMachine(CallerError):
    """The directory, or the cluster, belongs to another machine, or its log has another version or schema."""


class ReleaseMissing(WrongMachine):
    """The log goes on, or begins, under a machine `version` that this release does not ship: nothing was applied."""

    def __init__(self, message: str, version: int = 0) -> None:
        super().__init__(message)
        self.version = version  # 0: it came from another process, which says it in its text only


class LimitExceeded(CallerError):
    """A named bound of `rsm.limits` was reached."""


class MediumError(RsmError):
    """Something came wrong from, or could not go to, a disk or a peer."""


class BadBytes(MediumError):
    """Bytes that are not what was written. They are never applied and never silently cut out."""


class CorruptFile(BadBytes):
    """Bad bytes in a file, at an offset in bytes."""

    def __init__(self, path: str, offset: int, what: str) -> None:
        super().__init__(f"{path}: offset {offset}: {what}")
        self.path = path
        self.offset = offset
        self.what = what


class UnknownFormat(MediumError):
    """Bytes that a newer release wrote, nothing being wrong with them. They are not read: use that release."""


class StorageError(MediumError):
    """The disk said no: full, not permitted, or failed to sync (which is fatal: a retry would lie)."""


class Unreachable(MediumError):
    """No member of the cluster could be talked to: nobody listens, something else does, or we were refused."""


class DivergenceError(RsmError):
    """The state is not what the log says it must be. The node stops; nothing is served from such a state."""
