"""Where a command's time goes: the runtime's own pieces, run one after another in one thread on the same batches.

A machine's directory is recovered as `rsm.open` would do it (timed: that is the replay), but no runner is started.
Instead every batch goes through the pieces by hand, with a clock around each. Two pieces are found by subtraction:
*tracking* is the handlers on tracked containers less the same book on plain ones, and *session and dispatch* is what is
left of `Replica.apply`. The handlers are run once more for this, in a rollback scope of their own, and undone before
the batch is applied.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from _common import median
from _flow import Command

from demos.orderbook.book import Book
from demos.orderbook.machine import OrderBook
from rsm.client.proxy import Proxy
from rsm.machine.context import Context
from rsm.node.clock import LogClock
from rsm.node.embedded import Embedded
from rsm.node.opening.recovery import recover
from rsm.node.storage.disk import OsDisk
from rsm.node.submissions import Submission, Submissions, join_items
from rsm.raft.solo import SoloEngine
from rsm.replica.answer import decode as decode_body
from rsm.replica.batch import OPEN_SESSION, Batch, decode_batch, encode_call, join_batch
from rsm.state.leaf import digest128, encode

BATCH_COMMANDS = 1000
# In the order of a command's way.
STAGES = (
    "client_edge",
    "queue",
    "join",
    "log_append",
    "log_sync",
    "decode",
    "session_and_dispatch",
    "handler",
    "tracking",
    "root",
    "answers_and_events_digest",
    "answering",
)


class Edge:
    """Stands where a proxy expects the runtime: commands are queued, and nothing takes them but us."""

    def __init__(self) -> None:
        self.submissions = Submissions()
        self.schema = OrderBook.definition.schema()

    def look_again(self) -> None:
        pass

    def submit(self, submission: Submission) -> None:
        self.submissions.put(submission)


class Sink:
    """The host of a context whose events only go into a list, as the plain book's do."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.emit = self.events.append


class Bench:
    """One recovered machine on a bench."""

    def __init__(self, directory: Path, principals: Sequence[str]) -> None:
        gc.collect()
        began = time.perf_counter()
        recovered = recover(OrderBook, str(directory), OsDisk())
        self.recovery_seconds = time.perf_counter() - began
        self.replica = recovered.replica
        self._journal = recovered.journal
        self._directory = recovered.directory
        self._engine = SoloEngine(recovered.term, self._journal.last_index)
        self._clock = LogClock(self.replica.system.clock)
        self._edge = Edge()
        self._inner: dict[str, float] = {}
        # These two run once a batch, inside `apply`: the clock around them costs nothing that shows.
        replica: Any = self.replica
        replica.store.end = self._timed(replica.store.end)
        replica._take_root = self._timed(replica._take_root)
        self._traders = [self._open(principal) for principal in principals]

    def _timed(self, piece: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            began = time.perf_counter()
            result = piece()
            self._inner["root"] = self._inner.get("root", 0.0) + time.perf_counter() - began
            return result

        return run

    def _open(self, principal: str) -> Any:
        items, _ = join_items({}, [Submission(0, encode_call(OPEN_SESSION, 1, [principal, 0]))])
        self._engine.propose(join_batch(1, self._clock.now(), 0, items))
        self._journal.append(self._engine.ready().persist)
        self._engine.durable(self._journal.sync())
        [entry] = self._engine.ready().committed
        number = decode_body(self.replica.apply(entry).answers[0].body)
        return Proxy(cast(Embedded, self._edge), OrderBook.definition, number, owns_runtime=False)

    def close(self) -> None:
        """Let go of the directory."""
        self._journal.close()
        self._directory.close()

    def measure(self, commands: Sequence[Command], book: Book) -> dict[str, float]:
        """Microseconds a command of every stage, from medians over batches; the commands are run on both books."""
        found: dict[str, list[float]] = {}
        gc.collect()
        for first in range(0, len(commands), BATCH_COMMANDS):
            batch = commands[first : first + BATCH_COMMANDS]
            for piece, seconds in self._batch(batch, book).items():
                found.setdefault(piece, []).append(seconds / len(batch) * 1e6)
        pieces = {piece: median(values) for piece, values in found.items()}
        stages = {stage: pieces.get(stage, 0.0) for stage in STAGES}
        stages["tracking"] = pieces["tracked_handler"] - pieces["handler"]
        within = ("tracked_handler", "root", "answers_and_events_digest")
        stages["session_and_dispatch"] = pieces["apply"] - sum(pieces[piece] for piece in within)
        return {f"{stage}_microseconds": round(value, 2) for stage, value in stages.items()}

    def _batch(self, commands: Sequence[Command], book: Book) -> dict[str, float]:
        replica, engine, journal, clock = self.replica, self._engine, self._journal, time.perf_counter
        sends = [(getattr(self._traders[c.trader], c.name).send, c.values) for c in commands]
        bare = bare_calls(commands, book)
        reports: list[Any] = []
        sink = reports.append
        marks = [clock()]
        pending = [send(*values) for send, values in sends]
        marks.append(clock())
        taken = self._edge.submissions.take(0)
        marks.append(clock())
        items, known = join_items(replica.sessions, taken)
        stamp = self._clock.now()
        payload = join_batch(1, stamp, 0, items)
        marks.append(clock())
        engine.propose(payload)
        journal.append(engine.ready().persist)
        marks.append(clock())
        engine.durable(journal.sync())
        marks.append(clock())
        [entry] = engine.ready().committed
        # The leader knows what its batches hold; decoding them is the cost of a follower and of a replay.
        batch = Batch(1, stamp, 0, known or decode_batch(entry.payload).items)
        marks.append(clock())
        for method, values in bare:
            method(sink, *values)
        marks.append(clock())
        tracked = self._tracked(commands)
        self._inner.clear()
        began = clock()
        applied = replica.apply(entry, batch)
        applying = clock() - began
        root = self._inner["root"]
        events = [event for _, event in replica.ring.after(replica.ring.newest - len(reports), len(reports))]
        began = clock()
        digest128(replica.system.digest + encode((applied.answers, events)))
        digest = clock() - began
        began = clock()
        for submission, answer in zip(taken, applied.answers, strict=True):
            submission.complete(answer)
        for command in pending:
            command.result()
        answering = clock() - began
        edge, queue, join, append, sync, decode, handler = (b - a for a, b in pairwise(marks))
        return {
            "client_edge": edge,
            "queue": queue,
            "join": join,
            "log_append": append,
            "log_sync": sync,
            "decode": decode,
            "handler": handler,
            "tracked_handler": tracked,
            "apply": applying,
            "root": root,
            "answers_and_events_digest": digest,
            "answering": answering,
        }

    def _tracked(self, commands: Sequence[Command]) -> float:
        """Seconds that the handlers take on tracked containers; what they did is undone."""
        replica = self.replica
        context = Context(cast(Any, Sink()))
        context.index, context.now = replica.index + 1, replica.system.clock
        machine, specs = replica.machine, replica.definition.commands
        calls = [(specs[c.name].handler, principal(c.trader), self._arguments(c)) for c in commands]
        replica.store.begin()
        mark = replica.store.mark()
        began = time.perf_counter()
        for handler, context.principal, values in calls:
            handler(machine, context, *values)
        seconds = time.perf_counter() - began
        replica.store.rollback(mark)
        return seconds

    def _arguments(self, command: Command) -> tuple[Any, ...]:
        signature = self.replica.definition.commands[command.name].signature
        return signature.decode(signature.encode(signature.bind(command.values, {})))


def principal(trader: int) -> str:
    """The name of a trader."""
    return f"trader-{trader}"


def bare_calls(commands: Sequence[Command], book: Book) -> list[tuple[Callable[..., Any], tuple[int, ...]]]:
    """The same commands as calls of a book: methods with what follows the sink. Owners count from 1."""
    calls: list[tuple[Callable[..., Any], tuple[int, ...]]] = []
    for command in commands:
        owner = command.trader + 1
        if command.name == "place":
            *terms, flags = command.values
            calls.append((book.place, (*terms, owner, flags)))
        else:
            calls.append((getattr(book, command.name), (*command.values, owner)))
    return calls
