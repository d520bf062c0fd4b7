"""The surface of PySyncObj that `rsm/raft/hosted.py` stands on, held against the installed version.

A failure here means that another PySyncObj is installed than the one that was read. What to do: read its changes to the
methods named below, run `tests/unit/raft` and the simulator, correct `rsm/raft/hosted.py` where needed, and only then
the pin in `setup.cfg` and the tables of this file.
"""

from __future__ import annotations

import ast
import configparser
import hashlib
import importlib.metadata
import inspect
import random
import re
import textwrap
from pathlib import Path
from typing import Any, Final

import pysyncobj.syncobj
import pysyncobj.version
import pytest
from pysyncobj.config import SyncObjConf
from pysyncobj.node import Node
from pysyncobj.syncobj import SyncObj
from pysyncobj.transport import Transport

from rsm.raft import hosted
from rsm.raft.hosted import CANDIDATE, FOLLOWER, LEADER, Hosted

VERSION: Final = "0.3.17"
WHAT_TO_DO: Final = "PySyncObj has changed: read tests/unit/raft/test_contract.py's docstring before anything else"

# Attributes that hosted.py reads or sets, and what a fresh object holds there.
ATTRIBUTES: Final[dict[str, type]] = {
    "_SyncObj__raftCurrentTerm": int,
    "_SyncObj__votedForNodeId": type(None),
    "_SyncObj__raftState": int,
    "_SyncObj__raftLeader": type(None),
    "_SyncObj__raftElectionDeadline": float,
    "_SyncObj__raftCommitIndex": int,
    "_SyncObj__otherNodes": set,
    "_SyncObj__lastResponseTime": dict,
    "_SyncObj__newAppendEntriesTime": int,
    "_poller": object,
}
# Methods that it replaces, with their parameters.
REPLACED: Final = {
    "_SyncObj__generateRaftTimeout": ["self"],
    "_SyncObj__connectedToAnyone": ["self"],
    "_SyncObj__setCurrentTerm": ["self", "term", "votedForNodeId"],
    "_SyncObj__setState": ["self", "newState"],
    "_SyncObj__onBecomeLeader": ["self"],
    "_SyncObj__sendAppendEntries": ["self"],
    "_SyncObj__tryLogCompaction": ["self"],
    "_SyncObj__onMessageReceived": ["self", "node", "message"],
}
# Methods that run as they are, or whose replacement repeats a part of them: the digest of the source that was reviewed.
REVIEWED: Final = {
    "__init__": "567144f8ece131d0",
    "doTick": "77116f3e892f11c0",
    "_onTick": "36e45355c824c4b4",
    "_checkCommandsToApply": "78e5970a13ea62fb",
    "selfNode": "313540497c2836cb",
    "_SyncObj__applyLogEntries": "9f16906d64eb4365",
    "_SyncObj__getCurrentLogIndex": "67a0d90ed9eef1b1",
    "_SyncObj__getCurrentLogTerm": "02a87f0eb62fc774",
    "_SyncObj__getEntries": "30adaf0f783998b9",
    "_SyncObj__onLeaderChanged": "9dfb337bfdb3502b",
    "_SyncObj__onSetCodeVersion": "eacd8cd4a1dc441d",
    "_SyncObj__onBecomeLeader": "dc7061d58e5d095f",
    "_SyncObj__setCurrentTerm": "cb92dcac8150da96",
    "_SyncObj__setState": "69da04894279128e",
    "_SyncObj__generateRaftTimeout": "20d972c8a9ad97ea",
}
# Called by the above and never reached here: no file, no command, no message, no callback of the library's own.
UNREACHED: Final = {
    "_SyncObj__loadDumpFile",  # no fullDumpFile
    "_SyncObj__doApplyCommand",  # its log never grows
    "_SyncObj__changeCluster",
    "_SyncObj__parseChangeClusterRequest",
    "_SyncObj__callErrCallback",
    "_autoTickThread",
    "_isLeader",
    "_getStatus",
    "_addNodeToCluster",
    "_removeNodeFromCluster",
    "_setCodeVersion",
    "_transferLeadership",
    "_SyncObj__onNodeConnected",
    "_SyncObj__onNodeDisconnected",
    "_SyncObj__onReadonlyNodeConnected",
    "_SyncObj__onReadonlyNodeDisconnected",
}


class _Host:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def request_votes(self, term: int) -> None:
        self.asked.append(("votes", term))

    def elected(self) -> None:
        self.asked.append("elected")

    def deposed(self) -> None:
        self.asked.append("deposed")

    def pulse(self) -> None:
        self.asked.append("pulse")


def make(host: _Host | None = None, *, others: tuple[int, ...] = (2, 3), now: float = 100.0) -> Hosted:
    """One member, at a time of the test's own."""
    made = Hosted(
        1,
        host or _Host(),
        term=4,
        vote=None,
        now=now,
        heartbeat_seconds=0.1,
        election_seconds=(0.5, 1.0),
        chance=random.Random(1),
    )
    made.set_voters(others, now)
    return made


def source_of(name: str) -> str:
    """The source of a method or property of the library."""
    found: Any = inspect.getattr_static(SyncObj, name)
    function: Any = found.fget if isinstance(found, property) else found
    return textwrap.dedent(inspect.getsource(function))


def digest(name: str) -> str:
    """Of a method's source."""
    return hashlib.sha256(source_of(name).encode()).hexdigest()[:16]


def mangled(name: str) -> str:
    """A private name as it is outside of the class."""
    return f"_SyncObj{name}" if name.startswith("__") and not name.endswith("__") else name


# --- the version ------------------------------------------------------------------------------------------------------


def test_the_version_is_the_one_that_was_read(root: Path) -> None:
    """Installed, said by the library, and pinned exactly."""
    assert importlib.metadata.version("pysyncobj") == VERSION, WHAT_TO_DO
    assert pysyncobj.version.VERSION == VERSION, WHAT_TO_DO
    parser = configparser.ConfigParser()
    parser.read(root / "setup.cfg", encoding="utf-8")
    assert f"pysyncobj=={VERSION}" in parser["options"]["install_requires"].split("\n")


# --- the names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_is_there(name: str) -> None:
    """The library sets it itself, to a value of the type that ours has too."""
    conf = SyncObjConf(autoTick=False)
    bare = SyncObj(Node(1), [], conf=conf, transport=Transport(None, None, []))
    assert isinstance(bare.__dict__[name], ATTRIBUTES[name]), WHAT_TO_DO


@pytest.mark.parametrize("name", REPLACED)
def test_a_replaced_method_is_there(name: str) -> None:
    """Replacing a method that the library no longer calls would do nothing, in silence."""
    assert list(inspect.signature(inspect.getattr_static(SyncObj, name)).parameters) == REPLACED[name], WHAT_TO_DO
    assert name in vars(Hosted)
    assert len(inspect.signature(getattr(Hosted, name)).parameters) == len(REPLACED[name])


@pytest.mark.parametrize("name", REVIEWED)
def test_a_kept_method_is_the_one_that_was_read(name: str) -> None:
    """To the letter."""
    assert digest(name) == REVIEWED[name], f"SyncObj.{name}: {WHAT_TO_DO}"


def test_every_name_that_hosted_uses_is_in_these_tables(root: Path) -> None:
    """Found in its syntax tree, so that a new use is not forgotten here."""
    tree = ast.parse((root / "rsm" / "raft" / "hosted.py").read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    used |= {
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    private = {name for name in used if name.startswith("_SyncObj__")}
    assert private == {name for name in (*ATTRIBUTES, *REPLACED) if name.startswith("_SyncObj__")}
    own = set(vars(Hosted)) | set(make().__dict__) - set(
        SyncObj(Node(1), [], conf=SyncObjConf(autoTick=False), transport=Transport(None, None, [])).__dict__
    )
    inherited = {name for name in used if hasattr(SyncObj, name) and not hasattr(object, name)} - own
    assert inherited == {"doTick", "selfNode"}


def test_no_attribute_of_ours_hides_one_of_the_library() -> None:
    """A name of ours that the library also uses, now or in another version, would be its state."""
    bare = SyncObj(Node(1), [], conf=SyncObjConf(autoTick=False), transport=Transport(None, None, []))
    theirs = set(bare.__dict__) | set(dir(SyncObj))
    ours = {name for name in vars(Hosted) if not name.startswith("__")} | {
        name for name in make().__dict__ if name not in bare.__dict__
    }
    assert ours & theirs == set(REPLACED)


def test_what_the_kept_methods_call_was_read_too() -> None:
    """Whatever a method that runs as it is calls of its own class is read, replaced, or known not to be reached."""
    methods = {name for name, value in vars(SyncObj).items() if callable(value) or isinstance(value, property)}
    for name in REVIEWED:
        if name in REPLACED:
            continue
        tree = ast.parse(source_of(name))
        called = {
            mangled(node.attr)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
        }
        unread = (called & methods) - set(REVIEWED) - set(REPLACED) - UNREACHED
        assert unread == set(), f"SyncObj.{name} calls {unread}: {WHAT_TO_DO}"


def test_the_clock_is_read_by_its_global_name() -> None:
    """`monotonicTime` of the module is ours; outside of our calls it is the real one."""
    assert pysyncobj.syncobj.monotonicTime is hosted._monotonic
    assert "monotonicTime()" in source_of("_onTick")
    assert "time.time()" not in source_of("_onTick")
    assert "time.monotonic" not in Path(pysyncobj.syncobj.__file__).read_text(encoding="utf-8")
    assert hosted._monotonic() > 0
    assert make(now=12345.0)._SyncObj__raftElectionDeadline == pytest.approx(12345.75, abs=0.25)


def test_states_and_messages_have_their_meanings() -> None:
    """The numbers of the roles, and the fields of the one message that we let pass."""
    state = pysyncobj.syncobj._RAFT_STATE
    assert (state.FOLLOWER, state.CANDIDATE, state.LEADER) == (FOLLOWER, CANDIDATE, LEADER)
    assert re.search(r"'type': 'request_vote',\s+'term': self.__raftCurrentTerm", source_of("_onTick"))


@pytest.mark.parametrize(
    "name",
    [
        "autoTick",
        "raftMinTimeout",
        "raftMaxTimeout",
        "appendEntriesPeriod",
        "leaderFallbackTimeout",
        "connectionTimeout",
        "dynamicMembershipChange",
    ],
)
def test_an_option_is_there(name: str) -> None:
    """The library ignores options that it does not know."""
    assert hasattr(SyncObjConf(), name), WHAT_TO_DO


# --- what it does -----------------------------------------------------------------------------------------------------


def test_it_stands_only_when_it_is_told() -> None:
    """Its own time-outs make no candidate, however often it ticks; `campaign` does, in a new term, asking once."""
    host = _Host()
    member = make(host)
    for second in range(1, 20):
        member.tick(100.0 + second)
    assert (member.role, member.term, host.asked) == (FOLLOWER, 4, [])
    member.campaign(130.0)
    assert (member.role, member.term, member.vote, host.asked) == (CANDIDATE, 5, 1, [("votes", 5)])
    assert member.is_hard_state_new


def test_it_leads_when_it_is_told_and_falls_back_without_a_majority() -> None:
    """Its check of the quorum is kept: a leader that hears from nobody for the longest time-out leads no longer."""
    host = _Host()
    member = make(host)
    member.campaign(130.0)
    member.win(130.1)
    assert (member.role, member.leader) == (LEADER, 1)
    for tenth in range(1, 30):
        member.heard(2, 130.1 + tenth / 10)
        member.tick(130.1 + tenth / 10)
    assert member.role == LEADER
    assert host.asked.count("pulse") > 10
    member.tick(133.0 + 1.0)
    assert (member.role, member.leader, host.asked[-1]) == (FOLLOWER, None, "deposed")


def test_alone_it_elects_itself() -> None:
    """A group of one asks nobody."""
    host = _Host()
    member = make(host, others=())
    member.campaign(130.0)
    assert (member.role, member.term, host.asked[0]) == (LEADER, 5, "elected")


def test_its_own_log_stays_empty() -> None:
    """Nothing is ever appended, counted or applied there: the journal is ours."""
    member = make(others=())
    member.campaign(130.0)
    for second in range(20):
        member.tick(131.0 + second)
    assert (member._getRaftLogSize(), member.raftCommitIndex, member.raftLastApplied) == (1, 1, 1)


# --- who may import it ------------------------------------------------------------------------------------------------


def test_only_two_files_import_the_library(root: Path) -> None:
    """`hosted.py`, and `bare.py` for the simulator, which drives the library as it is."""
    importers = set()
    for path in [*(root / "rsm").rglob("*.py"), *(root / "demos").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "pysyncobj" in text else ():
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "pysyncobj" for name in names):
                importers.add(path.relative_to(root).as_posix())
    assert importers == {"rsm/raft/hosted.py", "rsm/raft/bare.py"}
