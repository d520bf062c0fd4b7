"""Machines and a log in memory for tests of the replica, the runtime and the client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import rsm
from rsm.codec.record import Entry, RecordKind
from rsm.replica.answer import Answer, decode
from rsm.replica.batch import ACTIVATE, CLOSE_SESSION, OPEN_SESSION, encode_call, join_batch, join_item
from rsm.replica.events import RawEvent
from rsm.replica.replica import Applied, Replica
from rsm.replica.snapshot import parts, restore

SECOND = 10**9
START = 1_700_000_000 * SECOND
SEED = b"seed of the test"


class Point(rsm.Struct, frozen=True):
    """A record kept in state."""

    x: int
    label: str


class Bank(rsm.StateMachine, name="bank", version=1):
    """The smallest useful machine."""

    balances: rsm.Map[str, int]

    @rsm.command(version=1)
    def deposit(self, ctx: rsm.Context, to: str, amount: int) -> int:
        self.balances[to] = self.balances.get(to, 0) + amount
        return self.balances[to]

    @rsm.query
    def balance(self, who: str) -> int:
        return self.balances.get(who, 0)

    @rsm.query
    def all_balances(self) -> Iterator[tuple[str, int]]:
        yield from self.balances.items()


class Everything(rsm.StateMachine, name="everything", version=1):
    """A machine with a container of every kind, and a command for everything that a context can do."""

    count: int
    last: Point | None
    words: rsm.Map[str, int]
    points: rsm.SortedMap[tuple[int, str], Point]
    seen: rsm.Set[bytes]
    line: rsm.Queue[int]
    levels: rsm.Table[int, rsm.Queue[str]]

    @rsm.command()
    def put(self, ctx: rsm.Context, key: str, value: int) -> int | None:
        old = self.words.get(key)
        self.words[key] = value
        self.count += 1
        return old

    @rsm.command()
    def drop(self, ctx: rsm.Context, key: str) -> int:
        if key not in self.words:
            ctx.reject(f"no {key}")
        return int(self.words.pop(key))

    @rsm.command()
    def plot(self, ctx: rsm.Context, x: int, label: str) -> Point:
        point = Point(x, label)
        self.points[x, label] = point
        self.last = point
        self.seen.add(label.encode())
        return point

    @rsm.command()
    def trim(self, ctx: rsm.Context) -> Point | None:
        key = self.points.first()
        if key is None:
            return None
        self.seen.discard(key[1].encode())
        return self.points.pop(key)  # type: ignore[no-any-return]

    @rsm.command()
    def push(self, ctx: rsm.Context, level: int, text: str) -> int:
        self.line.push(level)
        return self.levels[level].push(text)

    @rsm.command()
    def pop(self, ctx: rsm.Context, level: int) -> str:
        if level not in self.levels:
            ctx.reject("empty")
        if self.line:
            self.line.pop_first()
        return self.levels[level].pop_first()

    @rsm.command()
    def tell(self, ctx: rsm.Context, text: str, times: int) -> int:
        for number in range(times):
            ctx.emit((text, number))
        return times

    @rsm.command()
    def later(self, ctx: rsm.Context, delay: int, text: str) -> int:
        return ctx.schedule(ctx.now + delay, Everything.ring, text)

    @rsm.command()
    def ring(self, ctx: rsm.Context, text: str) -> int:
        """Emits; a text "again..." schedules the rest of itself at once, "boom" raises after writing."""
        self.count += 1
        ctx.emit(("ring", text, ctx.now, ctx.session))
        if text == "boom":
            raise RuntimeError("boom")
        if text.startswith("again "):
            ctx.schedule(ctx.now, Everything.ring, text.removeprefix("again "))
        return self.count

    @rsm.command()
    def unschedule(self, ctx: rsm.Context, timer: int) -> bool:
        return ctx.cancel(timer)

    @rsm.command()
    def draw(self, ctx: rsm.Context) -> tuple[int, int, int]:
        return ctx.new_id(), ctx.random("a").below(1000), ctx.random("b").below(1000)

    @rsm.command()
    def break_off(self, ctx: rsm.Context, how: str) -> int:
        """Touches everything, then fails as told."""
        self.count += 100
        self.last = Point(-1, "broken")
        self.words["broken"] = 1
        self.points[-1, "broken"] = Point(-1, "broken")
        self.seen.add(b"broken")
        self.line.push(-1)
        self.levels[-1].push("broken")
        ctx.emit("broken")
        ctx.new_id()
        ctx.schedule(ctx.now + 1, Everything.ring, "broken")
        if how == "reject":
            ctx.reject("as asked")
        if how == "result":
            return object()  # type: ignore[return-value]
        if how == "event":
            ctx.emit(object())
        if how == "big":
            return "x" * (1 << 20)  # type: ignore[return-value]
        if how == "reason":
            ctx.reject(ValueError("no text"))  # type: ignore[arg-type]
        if how == "surrogate":
            ctx.reject("\ud800")
        raise {
            "raise": RuntimeError("secret text"),
            "key": KeyError("x"),
            "recursion": RecursionError("too deep"),
            "memory": MemoryError(),
            "interrupt": KeyboardInterrupt(),
            "exit": SystemExit(3),
        }[how]

    @rsm.on_session_end
    def ended(self, ctx: rsm.Context) -> None:
        self.words[f"ended {ctx.principal}"] = ctx.session
        ctx.emit(("ended", ctx.session, ctx.principal))
        if ctx.principal == "bad":
            raise RuntimeError("bad end")

    @rsm.query
    def word(self, key: str) -> int | None:
        return self.words.get(key)

    @rsm.query
    def all_words(self) -> Iterator[tuple[str, int]]:
        yield from self.words.items()

    @rsm.query
    def spoil(self, where: str) -> int:
        """A query that tries to write."""
        if where == "scalar":
            self.count = 7
        elif where == "map":
            self.words["spoiled"] = 1
        elif where == "sorted":
            self.points[0, "spoiled"] = Point(0, "spoiled")
        elif where == "set":
            self.seen.add(b"spoiled")
        elif where == "queue":
            self.line.push(1)
        elif where == "table":
            self.levels[0].push("spoiled")
        return 0

    @rsm.query
    def spoil_slowly(self, where: str) -> Iterator[int]:
        yield 1
        yield type(self).spoil.handler(self, where)


def contents(replica: Replica) -> dict[str, Any]:
    """The values of the user's containers and scalars."""
    machine: Any = replica.machine
    state: dict[str, Any] = {}
    for name in machine.definition.state_schema():
        value = getattr(machine, name)
        if isinstance(value, rsm.Queue):
            value = list(value.items())
        elif isinstance(value, rsm.Table):
            value = {key: list(queue.items()) for key, queue in value.items()}
        elif isinstance(value, dict):
            value = dict(value.items())
        elif isinstance(value, set):
            value = set(value)
        state[name] = value
    return state


class Log:
    """A replica and the entries it was given. Items of sessions get their sequence numbers unless told otherwise."""

    def __init__(self, machine: type[rsm.StateMachine] = Everything, *, activate: bool = True) -> None:
        self.machine = machine
        self.replica = Replica(machine)
        self.entries: list[Entry] = []
        self.applied: list[Applied] = []
        self.now = START
        self.on_apply: Callable[[Entry, Applied], None] = lambda _entry, _applied: None
        if activate:
            definition = machine.definition
            self.lead(ACTIVATE, definition.name, definition.version, definition.schema(), SEED)

    def entry(self, items: list[bytes], flags: int = 0, kind: RecordKind = RecordKind.BATCH) -> Applied:
        """Apply a batch of items at `now`."""
        payload = join_batch(self.machine.definition.version, self.now, flags, items)
        return self.apply(Entry(index=len(self.entries) + 1, term=1, kind=kind, payload=payload))

    def apply(self, entry: Entry) -> Applied:
        """Apply an entry and keep it."""
        applied = self.replica.apply(entry)
        self.entries.append(entry)
        self.applied.append(applied)
        self.on_apply(entry, applied)
        return applied

    def tick(self, seconds: float = 0) -> Applied:
        """Let time pass; an empty batch."""
        self.now += int(seconds * SECOND)
        return self.entry([])

    def lead(self, name: str, *values: Any) -> Answer:
        """Run a leader's command."""
        return self.entry([join_item(0, 0, 0, encode_call(name, 1, list(values)))]).answers[0]

    def open(self, principal: str = "", ttl_seconds: float = 0) -> int:
        """Open a session; its number."""
        answer = self.lead(OPEN_SESSION, principal, int(ttl_seconds * SECOND))
        assert answer.status == 0, answer
        return int(decode(answer.body))

    def close(self, session: int) -> Answer:
        """Close a session."""
        return self.lead(CLOSE_SESSION, session)

    def next_sequence(self, session: int) -> int:
        """The sequence number that the session expects."""
        return self.replica.sessions[session].next_sequence

    def send(
        self,
        session: int,
        name: str,
        *values: Any,
        sequence: int | None = None,
        lowest: int = 0,
        version: int = 1,
        key: str | None = None,
    ) -> Answer:
        """One command alone in its batch."""
        sequence = self.next_sequence(session) if sequence is None else sequence
        item = join_item(session, sequence, lowest, encode_call(name, version, list(values)), key)
        return self.entry([item]).answers[0]

    def run(self, session: int, name: str, *values: Any, **options: Any) -> Any:
        """The result of a command that must succeed."""
        answer = self.send(session, name, *values, **options)
        assert answer.status == 0, answer
        return decode(answer.body)

    def events(self, after: int | None = None) -> list[tuple[int, RawEvent]]:
        """The events kept."""
        start = self.replica.ring.oldest - 1 if after is None else after
        return self.replica.ring.after(start, 1_000_000)

    def values_of_events(self) -> list[Any]:
        """What was emitted."""
        return [decode(event.packed) for _, event in self.events()]

    def replayed(self) -> Replica:
        """Another replica with the same log."""
        replica = Replica(self.machine)
        for entry in self.entries:
            replica.apply(entry)
        return replica

    def restored(self) -> Replica:
        """Another replica from a snapshot taken now; the last entry must have been a hash point."""
        replica = Replica(self.machine)
        restore(replica, list(parts(self.replica, b"\0" * 16)))
        return replica
