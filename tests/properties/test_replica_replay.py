"""The same log gives the same replica: replayed whole, from a snapshot at any index, in any process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rsm.replica.batch import FLAG_HASH_POINT, PIPELINE, encode_call, join_item
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts, restore
from tests.documents import ROOT
from tests.machines import SECOND, START, Everything, Log, contents
from tests.properties.replica_stories import account, calls, stories, tell

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def follow(replica: Replica, log: Log) -> None:
    """Apply the rest of a log; answers, roots and failures are those of the first run."""
    for entry, expected in zip(log.entries[replica.index :], log.applied[replica.index :], strict=True):
        applied = replica.apply(entry)
        assert applied.answers == expected.answers
        # A replica from a snapshot knows no root before it; from there on it takes the same ones.
        assert applied.root == expected.root
        assert [failure.name for failure in applied.failures] == [failure.name for failure in expected.failures]


def same(one: Replica, other: Replica) -> None:
    """Equal in everything that the log decides."""
    assert one.root() == other.root()
    assert contents(one) == contents(other)
    assert list(one.ring) == list(other.ring)
    assert one.ring.newest == other.ring.newest
    assert one.roots == other.roots


@settings(suppress_health_check=SLOW)
@given(stories)
def test_a_replay_is_the_first_run(story: Any) -> None:
    """Answers, failures, events and roots come out of the log alone."""
    log = tell(story, Log())
    again = Replica(Everything)
    follow(again, log)
    same(again, log.replica)
    again.store.verify()


@settings(max_examples=20, suppress_health_check=SLOW)
@given(stories, st.randoms(use_true_random=False))
def test_a_snapshot_and_the_tail_are_the_whole_log_at_every_index(story: Any, chance: random.Random) -> None:
    """Every entry a hash point, a snapshot after each, some records read late: all end in the same replica."""
    log = tell([(seconds, True, story_parts) for seconds, _, story_parts in story], Log())
    source = Replica(Everything)
    late: list[tuple[Any, list[Any]]] = []
    restored: list[Replica] = []
    for entry in log.entries:
        source.apply(entry)
        for stream, records in late:
            records.extend(islice(stream, chance.randrange(3)))
        if source.index in source.roots:
            stream = parts(source, bytes(16))
            late.append((stream, [next(stream)]))
    for stream, records in late:
        records.extend(stream)
        replica = Replica(Everything)
        restore(replica, records)
        restored.append(replica)
    assert len(restored) >= len(story)
    for replica in restored:
        follow(replica, log)
        same(replica, log.replica)
    # And what none of them has seen yet does the same to all of them.
    session = log.open("eve")
    follow_up = [join_item(session, 1, 0, encode_call(PIPELINE, 1, [["draw", 1, []], ["tell", 1, ["end", 2]]]))]
    log.now += 7 * SECOND
    log.entry(follow_up, FLAG_HASH_POINT)
    for replica in restored:
        follow(replica, log)
        assert replica.root() == log.replica.root()


plain_calls = calls.filter(lambda call: call[0] not in ("draw", "later", "tell", "unschedule", "break_off"))


@settings(suppress_health_check=SLOW)
@given(st.lists(plain_calls, min_size=1, max_size=30), st.lists(st.integers(1, 30), max_size=6))
def test_batches_may_be_split_differently(commands: list[Any], cuts: list[int]) -> None:
    """With equal stamps, state and answers do not depend on how a leader cuts commands into entries. Identities do:
    indexes and positions, and with them events, random numbers and the digest of answers in the root.
    """
    whole, split = Log(), Log()
    items = [join_item(1, n, 0, encode_call(name, 1, values)) for n, (name, *values) in enumerate(commands, 1)]
    whole.open("ann")
    split.open("ann")
    answers = whole.entry(items).answers
    edges = sorted({0, len(items), *(cut for cut in cuts if cut < len(items))})
    pieces = [split.entry(items[a:b]).answers for a, b in pairwise(edges)]
    assert [answer for piece in pieces for answer in piece] == answers
    assert contents(split.replica) == contents(whole.replica)
    assert split.replica.sessions[1].record() == whole.replica.sessions[1].record()
    kept = {name: digest for name, _, _, digest in whole.replica.store.digests()}
    for name, _, _, digest in split.replica.store.digests():
        if name != "rsm.scalars":
            assert digest == kept[name], name


@settings(max_examples=30, suppress_health_check=SLOW)
@given(stories, st.integers(0, 10**6))
def test_any_single_change_to_a_log_shows_in_the_root(story: Any, where: int) -> None:
    """Leave out one item that was answered OK and did something: the replicas' roots differ."""
    log = tell(story, Log())
    candidates = [n for n, applied in enumerate(log.applied) if n > 2 and any(a.status == 0 for a in applied.answers)]
    assume(candidates)
    skipped = candidates[where % len(candidates)]
    other = Log(activate=False)
    for number, entry in enumerate(log.entries):
        if number == skipped:
            other.now = START
            other.entry([])
        else:
            other.apply(entry)
    assert other.replica.root() != log.replica.root()


PROCESSES: list[tuple[list[str], dict[str, str]]] = [
    ([], {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C"}),
    (["-O"], {"PYTHONHASHSEED": "1", "TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8"}),
    (["-OO", "-X", "utf8"], {"PYTHONHASHSEED": "4242", "TZ": "America/St_Johns", "LC_ALL": "tr_TR.UTF-8"}),
    ([], {"PYTHONHASHSEED": "random", "LC_ALL": "POSIX", "PYTHONUTF8": "0"}),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some stories in a file."""
    found: list[Any] = []

    @settings(max_examples=15, suppress_health_check=SLOW, database=None)
    @given(stories)
    def collect(story: Any) -> None:
        found.append(story)

    collect()
    path = tmp_path_factory.mktemp("stories") / "stories"
    path.write_bytes(msgspec.msgpack.encode(found))
    return path


def test_processes_of_every_kind_agree(told: Path) -> None:
    """Hash seed, time zone, locale, -O and development mode: the same answers, events, failures and roots."""
    running = []
    for flags, environment in PROCESSES:
        command = [sys.executable, *flags, str(ROOT / "tests/properties/replica_stories.py"), str(told)]
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        running.append(subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True))
    outputs = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running)
    here = [
        msgspec.msgpack.encode(account(tell(story, Log()))).hex() for story in msgspec.msgpack.decode(told.read_bytes())
    ]
    assert len(here) >= 10
    for output in outputs:
        assert output.split() == here
