"""The five tools, each asked about one fault by what it offers to everybody; the answers as `Seen`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

import rsm.desync.hostile
from rsm.desync.compare import compare
from rsm.desync.environments import Setting, hostile
from rsm.desync.finding import Finding
from rsm.desync.gate import replay_against
from rsm.desync.hostile import replay_hostile
from rsm.desync.recording import Recording
from rsm.desync.single import replay
from rsm.lint.checking import lint
from rsm.node.storage.disk import OsDisk
from rsm.testing import strict
from tests.machines import Log
from tests.planted.live import BAD, Command, Story
from tests.planted.loading import MODULE
from tests.planted.seen import Seen, codes

DISK = OsDisk()
ANOTHER_RUN = "another run"
DAMAGE = "does not match its checksum"
places = rsm.desync.hostile._places


def ask_lint(checkout: Path, name: str) -> Seen:
    """`rsm lint FILE`, for one class of it: `:NAME` is taken relative to the checkout."""
    with importable(checkout):
        report = lint([f"{MODULE}:{name}"])
    assert report.machines
    assert not report.unchecked
    return Seen(codes(report.findings))


def ask_strict(machine: Any, commands: Sequence[Command], queries: Sequence[Command]) -> Seen:
    """`with rsm.testing.strict():` around the commands, with the queries after the first of them."""
    with strict(collect=True) as block:
        log = Log(machine)
        session = log.open()
        for number, (name, *values) in enumerate(commands):
            log.send(session, name, *values)
            for query, *arguments in queries if number == 0 else ():
                log.replica.query(query, list(arguments))
    if not block.findings:
        return Seen()
    paths = [path.path for one in block.findings for path in one.paths]
    return Seen(codes(block.findings), min(one.index for one in block.findings), _paths(paths))


def told_live(story: Story, machine: Any) -> Seen:
    """What the cluster said, and what the evidence of the node that differs names when it is replayed by another."""
    if story.index is None:
        return Seen("refused when it was read", who=f"node {BAD}") if story.set_aside else Seen()
    who = " and ".join(f"node {number}" for number in story.minority)
    what = "scrub" if story.fault else "roots"
    seen = Seen(what, story.index, (), who or "no majority")
    for bundle in story.evidence if story.minority else ():
        finding = replay(Recording(DISK, str(bundle)), machine, reference="")
        if finding.evidence is not None:
            containers = sorted({path.path.partition("/")[0] for path in finding.evidence.paths})
            command = finding.evidence.first_bad_index if finding.evidence.command is not None else None
            seen = seen._replace(command=command, paths=tuple(containers))
    return seen


def ask_compare(story: Story) -> Seen:
    """`rsm desync compare NODE-1 NODE-2 NODE-3`, before node 3 was healed."""
    comparison = compare(DISK, [str(path) for path in story.found.values()])
    finding = comparison.finding
    if comparison.is_damaged and finding.verdict != "desync":
        return Seen("damage", who=" ".join(sorted({node_in(reason) for reason in finding.unchecked})))
    seen = _seen(str(finding.kind), finding)
    return seen if comparison.has_majority or not seen.what else seen._replace(who="no majority")


def ask_replay(recording: Path, machine: Any, *, start: Any = None) -> Seen:
    """`rsm desync replay LOG`, and of a bundle what its source did otherwise."""
    finding = replay(Recording(DISK, str(recording)), machine, start=start, reference="")
    return _seen("log" if finding.evidence is None else "bundle", finding.evidence or finding)


def ask_hostile(recording: Path, checkout: Path, name: str, causes: tuple[str, ...]) -> Seen:
    """`rsm desync replay LOG --hostile`. With `causes`, only these of the settings are tried."""
    with importable(checkout), _only(causes):
        finding = replay_hostile(Recording(DISK, str(recording)), f"{MODULE}:{name}")
    return _seen(" and ".join(f"`{cause}`" for cause in finding.causes) or "hostile", finding)


def ask_against(recording: Path, checkout: Path, name: str, other: str) -> Seen:
    """`rsm desync replay LOG --against OTHER`."""
    with importable(checkout):
        finding = replay_against(Recording(DISK, str(recording)), f"{MODULE}:{name}", other)
    return _seen("against", finding)


def _seen(what: str, finding: Finding) -> Seen:
    if finding.verdict == "unchecked" and any(DAMAGE in reason for reason in finding.unchecked):
        return Seen("damage", who=node_in(finding.unchecked[0]))
    assert finding.verdict != "unchecked", finding
    if finding.verdict == "agree":
        return Seen()
    who = " and ".join(filter(None, map(node_in, finding.minority)))
    return Seen(what, finding.first_bad_index, _paths([path.path for path in finding.paths]), who)


def _paths(paths: Sequence[str]) -> tuple[str, ...]:
    """Sorted, without what changes from run to run: times, and the names of the copies of a module."""
    plain = {re.sub(r"\d{10,}", "…", re.sub(rf"{MODULE}_\d+", MODULE, path)) for path in paths}
    return tuple(sorted(plain))


def node_in(text: str) -> str:
    """`node 3` out of a path or a name of a node."""
    for number in (1, 2, 3):
        if f"node-{number}" in text or f"node {number}" in text:
            return f"node {number}"
    return ""


def packages() -> Path:
    """Where what rsm depends on is installed."""
    return Path(msgspec.__file__).parent.parent


@contextmanager
def importable(directory: Path) -> Iterator[None]:
    """The directory comes first on the path, for this process and for its children (which take it from here)."""
    known = os.environ.get("PYTHONPATH")
    before = os.getcwd()
    os.chdir(directory)
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        os.chdir(before)
        sys.path.remove(str(directory))
        assert os.environ.get("PYTHONPATH") == known


@contextmanager
def _only(causes: tuple[str, ...]) -> Iterator[None]:
    def some(reference: str) -> tuple[Setting, list[Setting]]:
        base, settings = hostile(reference)
        return base, [one for one in settings if one.name in (ANOTHER_RUN, *causes)]

    if not causes:
        yield
        return
    rsm.desync.hostile.hostile = some
    if rsm.desync.hostile.RELOADED not in causes:
        rsm.desync.hostile._places = lambda *_: ()
    try:
        yield
    finally:
        rsm.desync.hostile.hostile, rsm.desync.hostile._places = hostile, places
