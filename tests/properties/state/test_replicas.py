"""A replica restored from a snapshot taken at any index goes on exactly as the one that never stopped."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import rsm
from rsm.codec.chain import ZERO_CHAIN
from rsm.codec.record import RecordKind
from rsm.replica.batch import CLOSE_SESSION, FLAG_HASH_POINT, OPEN_SESSION, encode_call, join_item
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts, restore
from tests.machines import SECOND, Log
from tests.properties.state.world import Item, Side, World, contents


class Busy(World, name="busy", version=1):
    """A world whose one command does many things, chosen by the log's own random numbers."""

    @rsm.command()
    def act(self, ctx: rsm.Context, count: int, end: str) -> list[Any]:
        """`count` random writes; the answer depends on every order of iteration."""
        draw = ctx.random("act")
        said = []
        for _ in range(count):
            said.append(self._write(ctx, draw.below(14), f"n{draw.below(12)}", draw.between(-4, 4), draw))
        if end == "reject":
            ctx.reject(f"as asked: {self._view()!r}"[:200])
        if end == "raise":
            raise RuntimeError(end)
        return [said, self._view()]

    def _write(self, ctx: rsm.Context, what: int, name: str, number: int, draw: rsm.Random) -> Any:
        if what == 0:
            self.counts[name] = number
        elif what == 1:
            return self.counts.pop(draw.choice(list(self.counts)), None) if self.counts else None
        elif what == 2:
            self.items[number] = Item(name, number, draw.choice(list(Side)), None, (name,) * draw.below(3), b"", True)
        elif what == 3:
            self.prices[number, name] = name.encode()
        elif what == 4:
            for key in self.prices.range((number, "")):
                return self.prices.pop(key)
        elif what == 5:
            self.seen.add(name)
        elif what == 6:
            self.seen.discard(name)
        elif what == 7:
            return self.line.push(name)
        elif what == 8:
            return self.line.push_front(name)
        elif what == 9:
            return self.line.remove(draw.choice(self.line.positions())) if self.line else None
        elif what == 10:
            return self.levels[number].push((number, name))
        elif what == 11:
            key = draw.choice(list(self.levels)) if self.levels else number
            return self.levels[key].pop_first() if key in self.levels else None
        elif what == 12:
            ctx.emit((name, ctx.new_id()))
            return ctx.schedule(ctx.now + number * number * SECOND, Busy.act, 2, draw.choice(["", "raise"]))
        else:
            self.total += number
            self.label, self.best = name, self.items.get(number)
        return None

    def _view(self) -> list[Any]:
        queues = [queue.items() for queue in self.levels.values()]
        return [self.counts.items(), list(self.seen), list(self.prices), self.line.items(), queues, self.total]

    @rsm.on_session_end
    def ended(self, ctx: rsm.Context) -> None:
        self.counts[f"ended {ctx.session}"] = ctx.random("end").below(100)


# A batch: seconds that pass before it, then commands as (session, writes, how it ends).
COMMANDS = st.tuples(st.integers(0, 3), st.integers(0, 12), st.sampled_from(["", "", "", "reject", "raise"]))
BATCHES = st.lists(
    st.tuples(st.integers(0, 20), st.lists(COMMANDS, max_size=4), st.sampled_from(["", "", "open", "close"])),
    min_size=1,
    max_size=12,
)


def write_log(batches: list[Any]) -> Log:
    """Entries with three sessions, one of which expires, and others that come and go."""
    log = Log(Busy)
    sessions = [log.open("ann"), log.open("bob", ttl_seconds=5), log.open("cid")]
    for seconds, commands, change in batches:
        log.now += seconds * SECOND
        items = []
        sent: dict[int, int] = {}
        for choice, count, end in commands:
            number = sessions[choice % len(sessions)]
            if number in log.replica.sessions:
                sequence = log.next_sequence(number) + sent.get(number, 0)
                sent[number] = sent.get(number, 0) + 1
                items.append(join_item(number, sequence, max(1, sequence - 2), encode_call("act", 1, [count, end])))
        if change == "open":
            items.append(join_item(0, 0, 0, encode_call(OPEN_SESSION, 1, ["dot", 0])))
        elif change == "close":
            items.append(join_item(0, 0, 0, encode_call(CLOSE_SESSION, 1, [sessions.pop()])))
            sessions.append(log.replica.system.session_ids)
        log.entry(items, FLAG_HASH_POINT)
    return log


def state(replica: Replica) -> Any:
    """What a replica answers reads with."""
    return contents(replica.machine), replica.index, list(replica.ring), sorted(replica.sessions)


@given(BATCHES, st.data())
def test_a_restored_replica_goes_on_as_the_original(batches: list[Any], data: st.DataObject) -> None:
    """Same roots, answers, events, positions and order, while the snapshot was read between later entries."""
    log = write_log(batches)
    first = next(entry.index for entry, applied in zip(log.entries, log.applied, strict=True) if applied.root)
    cut_at = data.draw(st.integers(first, len(log.entries)), label="index of the snapshot")
    original = Replica(Busy)
    records: list[tuple[RecordKind, bytes]] = []
    for entry in log.entries[:cut_at]:
        original.apply(entry)
    stream = parts(original, ZERO_CHAIN)
    for entry in log.entries[cut_at:]:
        for _ in range(data.draw(st.integers(0, 3), label="records read")):
            records.extend([record] if (record := next(stream, None)) else [])
        assert original.apply(entry) == log.applied[entry.index - 1]
    records.extend(stream)

    restored = Replica(Busy)
    for entry in log.entries[: data.draw(st.integers(0, 5), label="entries before the restore")]:
        restored.apply(entry)  # what it held before must not show
    manifest = restore(restored, records)
    assert (manifest.index, manifest.root) == (cut_at, log.applied[cut_at - 1].root)
    restored.store.verify()
    for entry in log.entries[cut_at:]:
        again, before = restored.apply(entry), log.applied[entry.index - 1]
        assert again.answers == before.answers
        assert again.root == before.root
    assert state(restored) == state(original) == state(log.replica)
    assert restored.root() == original.root()
    restored.store.verify()


@given(BATCHES)
def test_a_snapshot_at_every_index_gives_the_state_of_that_index(batches: list[Any]) -> None:
    """Snapshot and tail give what the whole log gives, wherever the log is split."""
    log = write_log(batches)
    walking = Replica(Busy)
    for entry in log.entries:
        applied = walking.apply(entry)
        if applied.root is None:
            continue
        restored = Replica(Busy)
        restore(restored, list(parts(walking, ZERO_CHAIN)))
        assert state(restored) == state(walking)
        for later in log.entries[entry.index :]:
            assert restored.apply(later).root == log.applied[later.index - 1].root
    assert state(walking) == state(log.replica)


@given(BATCHES)
def test_what_a_rejected_command_wrote_is_nowhere(batches: list[Any]) -> None:
    """A log whose failing commands write more before they fail gives the same contents."""
    quiet = [(seconds, [(s, 0 if end else n, end) for s, n, end in commands], x) for seconds, commands, x in batches]
    loud, silent = write_log(batches).replica, write_log(quiet).replica
    assert contents(loud.machine) == contents(silent.machine)
    assert loud.system.ids == silent.system.ids
    assert list(loud.ring) == list(silent.ring)
