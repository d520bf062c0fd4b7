"""Running a log whose first releases are not shipped any more: as if it had begun under the oldest that is.

Theory of operation. An entry runs under the release that was in force at its index. Where that class was deleted, its
commands still run, through upcasters: each entry from below the floor is handed to the replica as one of the floor, and
the declarations of older schemas become the floor's. So the state is what today's code makes of all that was ever sent.
It is not the state that was there: the old code may have kept other leaves, and answered otherwise. No recorded root
can be held against it, from the first entry to the last, and none is: they are counted, and reported as unchecked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rsm.codec.record import Entry, RecordKind
from rsm.desync.finding import Finding
from rsm.desync.recording import Recording
from rsm.desync.replaying import Unreplayable, check_class
from rsm.errors import BadBytes, CorruptFile, DivergenceError, WrongMachine
from rsm.machine.definition import Definition
from rsm.machine.machine import StateMachine
from rsm.node.log import describe
from rsm.replica.batch import ACTIVATE, ATTEST, CONFIRMED, DISPUTE, FLAG_UPGRADE, Batch, decode_batch
from rsm.replica.replica import Replica

__all__ = ["BelowFloor", "replay_below_floor"]

# What the log says about roots, which are not those of this state. The place of each is kept: identities count places.
ABOUT_ROOTS: Final = frozenset({CONFIRMED, DISPUTE, ATTEST})
NOTHING: Final[list[Any]] = []
NAME, VALUES = 3, 5  # places in an item


class BelowFloor:
    """Batches as the floor's release would have them. `entries`: how many of them were of older releases."""

    def __init__(self, definition: Definition) -> None:
        self.floor = definition.releases()[-1]
        self.entries = 0
        self.oldest = 0  # the oldest release that was met, 0: none
        self.confirmed = 0  # roots that the log confirms

    def translate(self, entry: Entry) -> Batch | None:
        """What to apply as the entry's batch; None if it is none. `BadBytes` if it is no batch though it says so."""
        if entry.kind != RecordKind.BATCH:
            return None
        batch, floor = decode_batch(entry.payload), self.floor
        if batch.machine_version < floor.version:
            self.entries += 1
            self.oldest = min(self.oldest or batch.machine_version, batch.machine_version)
        flags, items = batch.flags, batch.items
        for place, item in enumerate(items):
            name = _name(item)
            if name in ABOUT_ROOTS:
                self.confirmed += name == CONFIRMED
                items[place] = NOTHING
            elif name == ACTIVATE and type(item[VALUES]) is list and len(item[VALUES]) == 4:
                machine, version, _, seed = item[VALUES]
                if machine == floor.name and type(version) is int and version <= floor.version:
                    item[VALUES] = [machine, floor.version, floor.schema(), seed]
                    flags &= ~FLAG_UPGRADE
        return Batch(max(batch.machine_version, floor.version), batch.stamp, flags, items)


def _name(item: Any) -> str:
    """The name of a leader's item; "" for a session's, which may not run these."""
    if type(item) is list and 6 <= len(item) <= 7 and item[0] == 0 and type(item[NAME]) is str:
        return str(item[NAME])
    return ""


def replay_below_floor(
    recording: Recording, machine_class: type[StateMachine], *, beat: Callable[[int], None] = lambda _: None
) -> tuple[Finding, Replica]:
    """Run the whole recording under the class, whatever releases it began under; and the replica at its end.

    The finding is never "agree": recorded roots are unchecked. `Unreplayable` if the log does not begin at index 1, or
    nothing of it is below the floor. `WrongMachine` for the log of another machine, `CorruptFile` for damage.
    """
    check_class(recording, machine_class)
    if recording.first_index != 1:
        raise Unreplayable(
            f"{recording.path}: the log begins at {recording.first_index}, and a snapshot of a release that is gone "
            f"cannot be loaded: run it with a release that ships it"
        )
    definition = machine_class.definition
    below, replica = BelowFloor(definition), Replica(machine_class)
    commands, stop = 0, ""
    for scanned in recording.entries(0):
        entry = scanned.entry
        try:
            applied = replica.apply(entry, below.translate(entry))
        except BadBytes as error:
            raise CorruptFile(scanned.path, scanned.offset, f"entry {entry.index}: {error}") from error
        except WrongMachine as error:
            raise WrongMachine(f"{scanned.path}: entry {entry.index}: {error}") from error
        except (DivergenceError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            stop = f"entry {entry.index} cannot be applied: {describe(error)}"
            break
        commands += len(applied.answers)
        beat(entry.index)
    if not below.entries and not stop:
        raise Unreplayable(
            f"{recording.path}: nothing of it is below version {below.floor.version}, the oldest that the class ships: "
            f"replay it as it is"
        )
    roots = len(recording.expected) + below.confirmed
    reasons = [
        f"{recording.path}: {below.entries} entries are of version {below.oldest} and later, the oldest that the class "
        f"ships is {below.floor.version}: they ran through upcasters, and none of {roots} recorded roots was compared",
        *([stop] if stop else []),
        *recording.unchecked,
    ]
    return Finding(verdict="unchecked", unchecked=tuple(reasons), replayed_commands=commands), replica
