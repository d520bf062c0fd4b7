"""The faults of PySyncObj 0.3.17, E1 to E14: each is shown on the bare library, and absent here.

A function `require_...` states what has to hold. The same function fails on the library and passes on ours, so the test
would notice both: that a later library is cured, and that we have fallen ill. The table in `docs/divergence.md` names
the test of each fault.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pysyncobj.pickle
import pysyncobj.syncobj
import pytest
from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.journal import FileJournal
from pysyncobj.node import Node
from pysyncobj.poller import createPoller
from pysyncobj.tcp_connection import TcpConnection
from pysyncobj.transport import Transport

from rsm.codec.record import Entry, RecordKind
from rsm.errors import BadBytes, CallerError, CorruptFile, DivergenceError, NotLeader
from rsm.node.leading import Leading
from rsm.node.requests import SystemRequest
from rsm.node.storage.journal import Journal
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.raft.bare import driven
from rsm.raft.hosted import Hosted
from rsm.raft.messages import AppendEntries, AppendReply, PreVote, decode_message
from rsm.replica.batch import join_batch
from rsm.replica.replica import Replica
from rsm.testing.disk import FaultDisk
from tests.machines import Bank, Everything, Log
from tests.unit.raft.bare_group import BareGroup, bare_group, command
from tests.unit.raft.bench import Bench, append, batch
from tests.unit.raft.network import configuration_of


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The library logs what it does to itself."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Unmet(Exception):
    """A requirement is not met. No `AssertionError`, since the library raises those itself."""


def unless(is_met: bool) -> None:
    if not is_met:
        raise Unmet


def fails(requirement: Callable[..., None], *arguments: Any) -> None:
    """The library does not meet this requirement."""
    with pytest.raises(Unmet):
        requirement(*arguments)


class NoTransport(Transport):  # type: ignore[misc]  # the library has no types
    """No network."""

    def __init__(self, *_: Any) -> None:
        super().__init__(None, None, [])
        self.sent: list[Any] = []

    def send(self, _node: Any, message: Any) -> bool:
        self.sent.append(message)
        return True


@contextlib.contextmanager
def alone(kind: type[SyncObj], **options: Any) -> Iterator[Any]:
    """A group of one of the library, elected, ticked by hand, under a clock that stands still afterwards."""
    now = 100.0
    with driven(lambda: now, random.Random(1)):
        module = pysyncobj.syncobj
        if "journalFile" in options:
            module.createJournal = FileJournal
        conf = SyncObjConf(autoTick=False, useFork=False, **options)
        node = kind(Node(1), [], conf=conf, transport=NoTransport())
        now += 2.0
        for _ in range(3):
            node.doTick(0)
        assert node._isLeader()
        try:
            yield node
        finally:
            node.destroy()


# --- E1 ---------------------------------------------------------------------------------------------------------------


def require_agreeing_entries_kept(before: list[Any], after: list[Any]) -> None:
    unless(after[: len(before)] == before)


def test_e1_an_old_message_cuts_no_agreeing_entries() -> None:
    """E1: a follower cuts its log at `prevLogIdx` even where entries agree."""
    with bare_group(3, {2: [1, 1, 1]}) as group:
        before = group.log(2)
        group.nodes[2].received(1, bare_append(1, (1, 0), [(command("2 of term 1"), 2, 1)]))
        fails(require_agreeing_entries_kept, before, group.log(2))
    bench = Bench(terms=[1, 1, 1])
    logged = bench.log
    bench.receive(2, append(1, (0, 0), batch(1, 1)))
    require_agreeing_entries_kept(logged, bench.log)


def bare_append(term: int, previous: tuple[int, int], entries: list[Any], commit: int = 1) -> dict[str, Any]:
    """The library's AppendEntries."""
    return {
        "type": "append_entries",
        "term": term,
        "commit_index": commit,
        "entries": entries,
        "prevLogIdx": previous[0],
        "prevLogTerm": previous[1],
    }


# --- E2 ---------------------------------------------------------------------------------------------------------------


def require_commit_of_what_a_majority_holds(commit_index: int, held_by_the_other: int) -> None:
    unless(commit_index <= held_by_the_other)


def test_e2_a_late_reply_is_not_counted_for_a_later_term() -> None:
    """E2: replies carry no term; a late one is counted for a later term."""
    with bare_group(3, {1: [1, 1, 1]}) as group:
        group.elect(1, 3)
        assert group.nodes[1].is_leader
        # Node 2 said this in an earlier term, when it held as much of another leader's log; now it holds entry 1.
        late = {"type": "next_node_idx", "next_node_idx": 6, "reset": False, "success": True}
        group.nodes[1].received(2, late)
        group.nodes[1].tick()
        fails(require_commit_of_what_a_majority_holds, group.nodes[1].commit_index, 1)
    bench = Bench(1, terms=[1, 1, 1])
    bench.elect(2, 3)
    bench.receive(2, AppendReply(bench.engine.term - 1, True, 5, 5, 0, 0, False, 0, b"", 0))
    require_commit_of_what_a_majority_holds(bench.engine.commit_index, 1)


# --- E3 ---------------------------------------------------------------------------------------------------------------


def require_few_round_trips(round_trips: int, differing_terms: int) -> None:
    unless(round_trips <= differing_terms + 2)


def test_e3_a_conflicting_tail_costs_one_round_trip_a_term() -> None:
    """E3: after a rejection it backs up one index per round trip, resending everything each time."""
    with bare_group(2, {1: [2] * 30, 2: [1] * 30}, message_bytes_max=100) as group:
        group.elect(1, 2)
        assert group.nodes[1].is_leader
        trips = 0
        while group.log(2) != group.log(1) and trips < 100:
            trips += 1
            group.now += 0.2
            group.nodes[1].tick()
            for sent in group.take(2, "append_entries"):
                group.nodes[2].received(1, sent)
            for reply in group.take(1, "next_node_idx"):
                group.nodes[1].received(2, reply)
        fails(require_few_round_trips, trips, 1)
    leader = Bench(1, configuration_of(1, 2), terms=[2] * 30, term=2)
    follower = Bench(2, configuration_of(1, 2), terms=[1] * 30, term=2)
    leader.elect(2)
    trips = 0
    while follower.log != leader.log and trips < 100:
        trips += 1
        for _, message in leader.take(AppendEntries):
            follower.receive(1, message)
        for answer in follower.replies():
            leader.receive(2, answer)
    require_few_round_trips(trips, 1)


# --- E4 ---------------------------------------------------------------------------------------------------------------


def require_synced_before_acknowledged(acknowledged: int, synced: int) -> None:
    unless(acknowledged <= synced)


def test_e4_nothing_is_acknowledged_before_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E4: no fsync anywhere; acknowledged before durable; the leader counts itself before its own write."""
    syncs: list[int] = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    monkeypatch.setattr(os, "fdatasync", syncs.append)
    with alone(SyncObj, journalFile=str(tmp_path / "journal")) as node:
        for _ in range(5):
            node._applyCommand(command("x")[1:], None, 1)
            node.doTick(0)
        fails(require_synced_before_acknowledged, node.raftCommitIndex, len(syncs))
    bench = Bench(1, configuration_of(1))
    bench.wait(3.0)
    assert bench.engine.commit_index == 1
    bench.engine.propose(b"x")
    bench.flush(sync=False)
    require_synced_before_acknowledged(bench.engine.commit_index, bench.journal.durable_index)
    follower = Bench(2)
    follower.receive(1, append(1, (0, 0), batch(1, 1)), sync=False)
    require_synced_before_acknowledged(max([reply.match_index for reply in follower.replies()], default=0), 0)


# --- E5 ---------------------------------------------------------------------------------------------------------------


def require_damage_found(read: Callable[[], Any]) -> None:
    found = None
    try:
        read()
    except CorruptFile as error:
        found = error
    unless(found is not None)


def damage(data: bytes, text: bytes) -> bytes:
    """One bit of the text is flipped."""
    assert data.count(text) == 1
    return data.replace(text, bytes([text[0] ^ 1]) + text[1:])


def test_e5_a_damaged_log_is_not_believed(tmp_path: Path) -> None:
    """E5: the journal has no checksum (nor a bound on memory, and compaction rewrites it in place)."""
    path = tmp_path / "journal"
    journal = FileJournal(str(path))
    journal.add(b"the first entry", 1, 1)
    journal.add(b"the second entry", 2, 1)
    journal._destroy()
    path.write_bytes(damage(path.read_bytes(), b"the first entry"))
    fails(require_damage_found, lambda: FileJournal(str(path))._destroy())
    disk = FaultDisk()
    disk.mkdir("log")
    with Journal.open(disk, "log") as ours:
        ours.append([batch(1, 1, b"the first entry"), batch(2, 1, b"the second entry")])
        ours.sync()
    (name,) = disk.listdir("log")
    disk.put(f"log/{name}", damage(disk.contents(f"log/{name}"), b"the first entry"))
    require_damage_found(lambda: Journal.open(disk, "log"))


# --- E6 ---------------------------------------------------------------------------------------------------------------


class BareCounter(SyncObj):  # type: ignore[misc]  # the library has no types
    """Counts, and then raises."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.count = 0

    @replicated  # type: ignore[untyped-decorator]  # the library has no types
    def add_and_raise(self) -> None:
        self.count += 1
        raise ValueError("after the change")

    @replicated  # type: ignore[untyped-decorator]  # the library has no types
    def add(self) -> None:
        self.count += 1


def require_rolled_back_and_gone_on(count: int, later_commands: int) -> None:
    unless((count, later_commands) == (0, 1))


def test_e6_a_raising_command_is_a_rejection() -> None:
    """E6: a raising command is retried for ever, partially applied each time, and nothing behind it is applied."""
    later: list[Any] = []
    with alone(BareCounter) as node:
        node.add_and_raise()
        node.doTick(0)
        node.add(callback=lambda *_: later.append(1))
        for _ in range(3):
            with pytest.raises(ValueError, match="after the change"):
                node.doTick(0)
        assert node.count == 3
        fails(require_rolled_back_and_gone_on, node.count, len(later))
    log = Log()
    session = log.open()
    assert log.send(session, "break_off", "raise").status != 0
    machine: Any = log.replica.machine
    require_rolled_back_and_gone_on(machine.count, log.run(session, "ring", "later"))


# --- E7 ---------------------------------------------------------------------------------------------------------------


def require_applied_once_or_stopped(count: int) -> None:
    unless(count <= 1)


def test_e7_a_node_without_the_code_stops() -> None:
    """E7: `setCodeVersion` on a node that lacks the code makes it apply commands twice."""
    with alone(BareCounter) as node:
        node._applyCommand(pickle.dumps(7), None, 3)
        node.add()
        for _ in range(3):
            node.doTick(0)
        fails(require_applied_once_or_stopped, node.count)
    log = Log(Bank)
    log.open()
    payload = join_batch(7, log.now, 0, [])
    with pytest.raises(DivergenceError, match="version 7"):
        log.replica.apply(Entry(len(log.entries) + 1, 1, RecordKind.BATCH, payload))
    require_applied_once_or_stopped(0)
    # Nothing of ours is `@replicated`, whose numbers shift between builds.
    assert not any(getattr(getattr(Hosted, name, None), "replicated", False) for name in dir(Hosted))


# --- E8 ---------------------------------------------------------------------------------------------------------------


def test_e8_a_corrupt_snapshot_is_refused(tmp_path: Path) -> None:
    """E8: a corrupt snapshot becomes an empty state, silently."""
    path = tmp_path / "dump"
    path.write_bytes(b"this is no snapshot")

    def bare() -> None:
        with alone(BareCounter, fullDumpFile=str(path)) as node:
            assert node.count == 0

    fails(require_damage_found, bare)
    disk = FaultDisk()
    files = SnapshotFiles(disk, "snapshots")
    with files.begin(5, 1) as writer:
        writer.add(RecordKind.MANIFEST, b"the manifest")
        name = writer.commit()
    disk.put(name, damage(disk.contents(name), b"the manifest"))
    require_damage_found(lambda: list(files.read(5)))


# --- E9 ---------------------------------------------------------------------------------------------------------------

RAN: list[str] = []


def somebody_elses_code() -> None:
    RAN.append("ran")


class Evil:
    """Runs something where it is unpickled."""

    def __reduce__(self) -> Any:
        return somebody_elses_code, ()


def require_nothing_run(read: Callable[[bytes], Any], data: bytes) -> None:
    RAN.clear()
    read(data)
    unless(RAN == [])


def test_e9_bytes_of_a_stranger_run_nothing() -> None:
    """E9: pickle before authentication: the first frame of any connection is unpickled, whatever its size."""
    evil = pickle.dumps(Evil())

    def bare(data: bytes) -> None:
        frame = zlib.compress(data)
        connection = TcpConnection(createPoller("auto"))
        connection._TcpConnection__readBuffer = struct.pack("i", len(frame)) + frame
        connection._TcpConnection__processParseMessage()

    def ours(data: bytes) -> None:
        with pytest.raises(BadBytes):
            decode_message(data)

    fails(require_nothing_run, bare, evil)
    require_nothing_run(ours, evil)


# --- E10 --------------------------------------------------------------------------------------------------------------


def require_sent_at_once(seconds: float) -> None:
    unless(seconds == 0.0)


def test_e10_a_command_is_sent_at_once() -> None:
    """E10: a command waits for the next period of `appendEntriesPeriod`, which makes default commit latency."""
    with bare_group(3) as group:
        group.elect(1, 2)
        group.nodes[1].received(2, {"type": "next_node_idx", "next_node_idx": 3, "reset": False, "success": True})
        group.nodes[1].tick()
        group.take(2, "")
        began = group.now
        group.nodes[1].submit(7, lambda: None)
        while not any(message["entries"] for message in group.take(2, "append_entries")) and group.now < began + 1.0:
            group.nodes[1].tick()
            group.now += 0.001
        fails(require_sent_at_once, group.now - began)
    bench = Bench(1)
    bench.elect(2, 3)
    bench.acknowledge(2, 1)
    bench.take(AppendEntries)
    at = bench.now
    bench.engine.propose(b"7")
    bench.flush(sync=False)
    assert [len(message.entries) for receiver, message in bench.take(AppendEntries) if receiver == 2] == [1]
    require_sent_at_once(bench.now - at)


# --- E11 --------------------------------------------------------------------------------------------------------------

KEYS = 3000


class Counted:
    """A value that notes when it is pickled."""

    taken = 0

    def __reduce__(self) -> Any:
        Counted.taken += 1
        return Counted, ()


class BareKeys(SyncObj):  # type: ignore[misc]  # the library has no types
    """Some state."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.values = {number: Counted() for number in range(KEYS)}


def require_small_steps(largest_step: int, whole: int) -> None:
    unless(largest_step < whole / 10)


def test_e11_a_snapshot_is_taken_in_small_steps() -> None:
    """E11: a snapshot pickles the whole state inside the tick (or forks)."""
    with alone(BareKeys) as node:
        node._applyCommand(b"", None, 1)
        node.doTick(0)
        node.forceLogCompaction()
        Counted.taken = 0
        node.doTick(0)
        fails(require_small_steps, Counted.taken, KEYS)
    replica = Replica(Everything)
    machine: Any = replica.machine
    replica.store.begin()
    for number in range(KEYS):
        machine.words[f"key {number}"] = number
    replica.store.end()
    cut = replica.store.cut()
    steps = [leaves for name, _, leaves, _ in cut.chunks() if name == "words"]
    cut.close()
    assert sum(steps) == KEYS
    require_small_steps(max(steps), KEYS)


# --- E12 --------------------------------------------------------------------------------------------------------------


def require_term_kept(before: int, after: int) -> None:
    unless(after == before)


def require_leading_only_with_a_majority(leads: bool) -> None:
    unless(not leads)


def test_e12_who_is_cut_off_disturbs_nobody_and_leads_nobody() -> None:
    """E12: no pre-vote, so one that was cut off returns with a high term and deposes a working leader; no read index,
    and a stale leader for 30 s.
    """
    with bare_group(3) as group:
        before = group.nodes[3].term
        for _ in range(20):
            group.now += 1.0
            group.nodes[3].tick()
        fails(require_term_kept, before, group.nodes[3].term)
        group.elect(1, 2)
        for _ in range(20):
            group.now += 1.0
            group.nodes[1].tick()
        fails(require_leading_only_with_a_majority, group.nodes[1].is_leader)
    bench = Bench(3)
    bench.wait(20.0)
    assert bench.take(PreVote)
    require_term_kept(0, bench.engine.term)
    leader = Bench(1)
    leader.elect(2, 3)
    leader.engine.read("stale")
    leader.wait(2.0)
    require_leading_only_with_a_majority(leader.engine.is_leader)
    assert leader.reads == []


# --- E13 --------------------------------------------------------------------------------------------------------------


def require_one_hash_everywhere(node: Any) -> None:
    # Integers hash to themselves; text hashes as PYTHONHASHSEED has it, and a set iterates by hash.
    unless(hash(node) == node.id)


def test_e13_sets_of_nodes_iterate_alike_everywhere() -> None:
    """E13: it iterates a `set` of string-hashed nodes: one seed, many traces."""
    fails(require_one_hash_everywhere, Node("host:1"))
    hosted = Bench(1, configuration_of(1, 2, 3)).engine._hosted
    require_one_hash_everywhere(hosted.selfNode)
    for node in hosted.otherNodes:
        require_one_hash_everywhere(node)
    assert [node.id for node in hosted.otherNodes] == [2, 3]


# --- E14 --------------------------------------------------------------------------------------------------------------


def require_an_answer(answers: list[Any]) -> None:
    unless(bool(answers))


def require_the_logs_members(members: list[int]) -> None:
    unless(members == [1, 2, 4])


def test_e14_who_asks_the_wrong_node_is_answered_and_members_come_from_the_log() -> None:
    """E14: lost forwarded commands are never answered; membership after a restart comes from the constructor."""
    answers: list[Any] = []
    with bare_group(3) as group:
        group.nodes[2].received(1, bare_append(1, (1, 0), []))
        group.nodes[2].submit(7, lambda: answers.append(True))
        for _ in range(100):
            group.now += 1.0
            group.nodes[2].received(1, bare_append(1, (1, 0), []))
            group.nodes[2].tick()
        fails(require_an_answer, answers)
    bench = Bench(2, terms=[1])
    bench.receive(1, append(1, (1, 1)))
    Leading(bench.engine, Replica(Bank), 2, random.Random(2)).submit(SystemRequest("x", [], fail=answers.append))
    require_an_answer(answers)
    assert isinstance(answers[0], NotLeader)
    assert answers[0].leader_id == 1
    with pytest.raises(CallerError):
        bench.engine.propose(b"7")

    change = b"\x02" + pysyncobj.pickle.dumps(["rem", 3, Node(3)])
    fails(require_the_logs_members, restarted_members(change))
    configuration = Entry(2, 1, RecordKind.CONFIGURATION, configuration_of(1, 2, 4).encode())
    bench.receive(1, append(1, (1, 1), configuration))
    bench.restart()
    require_the_logs_members(list(bench.engine.configuration.voters))


def restarted_members(change: bytes) -> list[int]:
    """Whom node 1 of 1, 2, 3 believes to be members after a restart, with this change in its journal."""
    with bare_group(3, {1: [1]}) as group:
        group.files[1].entries.append((change, 3, 1))
        fresh = BareGroup(3)
        fresh.files[1].entries = group.files[1].entries
        fresh.start()
        return sorted([1, *(node.id for node in fresh.nodes[1]._machine.otherNodes)])


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_names_the_test_of_each_fault(root: Path) -> None:
    """E1 to E14 stand in `docs/divergence.md`, each with the test here that holds it, and no test is left out."""
    text = (root / "docs" / "divergence.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (E\d+) \|.*\| `(test_\w+)` \|$", text, re.MULTILINE)
    tests = [name for name in globals() if re.match(r"test_e\d+_", name)]
    assert [name for name, _ in rows] == [f"E{number}" for number in range(1, 15)]
    assert [test for _, test in rows] == tests
    for name, test in rows:
        assert test.startswith(f"test_{name.lower()}_")
        assert (globals()[test].__doc__ or "").startswith(f"{name}: ")
