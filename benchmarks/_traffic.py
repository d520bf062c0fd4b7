"""The order book's flow as entries of a log, in batches of a given size, as a leader would have written them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from _flow import INSTRUMENTS, TRADERS, Command, Flow
from _stages import bare_calls, principal

from demos.orderbook.machine import OrderBook
from demos.orderbook.plain import new_book
from rsm.codec.record import Entry, RecordKind
from rsm.desync.blame import plain_replica
from rsm.node.storage.directory import MachineDirectory
from rsm.node.storage.disk import OsDisk
from rsm.replica.answer import Status, decode
from rsm.replica.batch import CONFIRMED, OPEN_SESSION, encode_call, join_batch, join_item

SEED = 2021
DISK = OsDisk()
FLOW_COMMANDS = 1000  # made at a time: the flow looks at the book between
STAMP = 10**18
STAMP_STEP = 1_000_000
ENTRIES_PER_APPEND = 256


class Made(NamedTuple):
    """One entry with its `rsm.confirmed` commands, the same without them, and its other commands."""

    entry: Entry
    bare: Entry
    commands: list[Command]


class Traffic:
    """Entries for replicas of the order book, and what a leader's replica says of their roots."""

    def __init__(self, resting: int) -> None:
        self._resting = resting
        self._book = new_book()
        self._flow = Flow(SEED, self._book)
        self._replica = plain_replica(OrderBook)
        self._unconfirmed: list[tuple[int, bytes]] = []
        self._sessions: list[int] = []
        self._sequences = [0] * TRADERS

    def opening(self) -> Iterator[Made]:
        """Sessions, markets, and the orders that rest from the beginning."""
        for trader in range(TRADERS):
            made, answers = self._apply([join_item(0, 0, 0, encode_call(OPEN_SESSION, 1, [principal(trader), 0]))], [])
            self._sessions.append(decode(answers[-1].body))
            yield made
        listings = []
        for instrument in range(INSTRUMENTS):
            self._book.list_instrument(drop, instrument, f"SYM{instrument}")
            listings.append(Command(0, "list_instrument", (instrument, f"SYM{instrument}")))
        yield self._entry(listings)
        # The machine numbers its owners as they first appear.
        yield self._entry([Command(trader, "cancel", (0,)) for trader in range(TRADERS)])
        orders = list(self._flow.grow(self._resting))
        self._run(orders)
        self._flow.grown(self._resting)
        for first in range(0, len(orders), FLOW_COMMANDS):
            yield self._entry(orders[first : first + FLOW_COMMANDS])

    def entries(self, count: int, commands_per_entry: int) -> Iterator[Made]:
        """The next commands of the flow; the last entry may hold fewer."""
        waiting: list[Command] = []
        for first in range(0, count, FLOW_COMMANDS):
            commands = self._flow.commands(min(FLOW_COMMANDS, count - first), self._resting)
            self._run(commands)
            waiting += commands
            while len(waiting) >= commands_per_entry:
                yield self._entry(waiting[:commands_per_entry])
                del waiting[:commands_per_entry]
        if waiting:
            yield self._entry(waiting)

    def _run(self, commands: list[Command]) -> None:
        for method, values in bare_calls(commands, self._book):
            method(drop, *values)

    def _entry(self, commands: list[Command]) -> Made:
        lowest = [sequence + 1 for sequence in self._sequences]
        items = []
        for command in commands:
            trader = command.trader
            self._sequences[trader] += 1
            items.append(join_item(self._sessions[trader], self._sequences[trader], lowest[trader], encode(command)))
        return self._apply(items, commands)[0]

    def _apply(self, items: list[bytes], commands: list[Command]) -> tuple[Made, list[Any]]:
        index = self._replica.index + 1
        statements = [join_item(0, 0, 0, encode_call(CONFIRMED, 1, list(pair))) for pair in self._unconfirmed]
        entry, bare = (
            Entry(index, 1, RecordKind.BATCH, join_batch(1, STAMP + index * STAMP_STEP, 0, each))
            for each in (statements + items, items)
        )
        applied = self._replica.apply(entry)
        refused = [answer for answer in applied.answers if answer.status != Status.OK]
        if refused:
            raise RuntimeError(f"entry {index}: {len(refused)} commands were not run: {refused[0]}")
        self._unconfirmed = [] if applied.root is None else [(index, applied.root)]
        return Made(entry, bare, commands), applied.answers


def encode(command: Command) -> bytes:
    """A command as a client encodes it."""
    spec = OrderBook.definition.commands[command.name]
    return encode_call(command.name, spec.version, spec.signature.bind(command.values, {}))


def drop(_: object) -> None:
    """A sink for reports that nobody needs."""


def write_log(path: Path, machine: str, entries: Iterator[Entry]) -> None:
    """A machine's directory that holds these entries, which nobody has open."""
    with (
        MachineDirectory.create(DISK, str(path), machine=machine, cluster_id=bytes(16)) as directory,
        directory.open_journal() as journal,
    ):
        waiting: list[Entry] = []
        for entry in entries:
            waiting.append(entry)
            if len(waiting) == ENTRIES_PER_APPEND:
                journal.append(waiting)
                waiting = []
        journal.append(waiting)
    (path / "lock").write_text("0\n", encoding="ascii")  # nobody has it open, although this process lives
