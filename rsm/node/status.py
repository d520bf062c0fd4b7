"""What a node says of itself: one record, from which health, metrics, the STATUS answer and `rsm status` are made.

It holds no floats, since it travels as canonical CBOR, and no verdicts beside its own: whether a cluster is well is for
the reader of several of these to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from rsm.codec.shapes import make_known
from rsm.errors import BadBytes

__all__ = [
    "ROLES",
    "STANDINGS",
    "CaseStatus",
    "MemberStatus",
    "NodeStatus",
    "PeerStatus",
    "Role",
    "StatusSource",
    "ill_health",
    "state_of",
    "status_from",
    "unreadiness",
]

Role = Literal["leader", "follower", "candidate", "learner", "recovering", "stopped"]
ROLES: Final[tuple[Role, ...]] = ("leader", "follower", "candidate", "learner", "recovering", "stopped")
# Of a node's own state, in the order of `rsm.node.agreeing`.
STANDINGS: Final = ("well", "suspect", "quarantined", "healing", "out")


class MemberStatus(msgspec.Struct, frozen=True):
    """One member of the configuration in force, as this node has it."""

    id: int
    peer_address: str
    client_address: str
    is_voter: bool = True


class PeerStatus(msgspec.Struct, frozen=True):
    """Another member as this node sees it. `match_index`, `lag_entries` and `releases` (the oldest and newest machine
    version that it ships) are known to a leader only, else 0.
    """

    id: int
    is_connected: bool
    match_index: int = 0
    lag_entries: int = 0
    releases: tuple[int, int] = (0, 0)


class CaseStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One disputed hash point, as the log has it (see `rsm.replica.agreement`): roots in hex; nodes as text in maps."""

    index: int
    state: str
    root: str = ""
    minority: tuple[int, ...] = ()
    out: tuple[int, ...] = ()
    roots: dict[str, str] = {}
    reruns: dict[str, str] = {}
    codes: dict[str, str] = {}
    faults: dict[str, str] = {}
    unchecked: dict[str, str] = {}


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node stands.

    `cluster_id` and `root` in hex; `root` is the state root at `root_index`, the last hash point. `ready_index` is the
    first commit index that a leader told it after its start (0: none yet): a node that has not applied so far may be
    far behind without knowing. `unchecked` are reasons why something could not be checked, `desync` what was found to
    differ (here, or among the nodes as far as the log says), `standing` where it is in that (see `rsm.node.agreeing`),
    `evidence` the directory where it kept what shows it, `verdicts` the disputed hash points in its log, `roots` its
    last roots by index, in hex, `confirmed_index` the last hash point that a quorum confirmed, `releases` the oldest
    and newest machine version that it ships, `code_digest` of the machine's code, `failure` why the node no longer
    works; all empty while there is nothing to say. `schema` is the one that the log declares: with it a tool encodes
    commands without the machine's class; `streaming_queries` are those of its queries that give one item after another.
    """

    node_id: int
    cluster_id: str
    role: Role
    term: int
    commit_index: int
    applied_index: int
    last_index: int
    durable_index: int
    machine: str
    version: int
    leader_id: int | None = None
    leader_address: str = ""
    ready_index: int = 0
    first_index: int = 1
    root_index: int = 0
    root: str = ""
    members: tuple[MemberStatus, ...] = ()
    peers: tuple[PeerStatus, ...] = ()
    log_bytes: int = 0
    snapshot_index: int = 0
    sessions: int = 0
    log_time: int = 0
    timers: int = 0
    clients: int = 0
    observers: int = 0
    uptime_seconds: int = 0
    unchecked: tuple[str, ...] = ()
    desync: str = ""
    standing: str = "well"
    evidence: str = ""
    confirmed_index: int = 0
    code_digest: str = ""
    releases: tuple[int, int] = (0, 0)
    verdicts: tuple[CaseStatus, ...] = ()
    roots: tuple[tuple[int, str], ...] = ()
    failure: str = ""
    schema: dict[str, Any] = {}
    streaming_queries: tuple[str, ...] = ()

    @property
    def lag_entries(self) -> int:
        """Committed entries that it has not applied, as far as it knows."""
        return max(0, self.commit_index - self.applied_index)

    @property
    def voters(self) -> tuple[int, ...]:
        """The numbers of the members that vote."""
        return tuple(member.id for member in self.members if member.is_voter)

    @property
    def has_quorum(self) -> bool:
        """Whether it leads, and is connected to so many voters that they make a majority with it."""
        connected = {peer.id for peer in self.peers if peer.is_connected} | {self.node_id}
        return self.role == "leader" and len(connected & set(self.voters)) > len(self.voters) // 2


make_known(NodeStatus)
# Asked for on the node's own event loop; must not block.
StatusSource = Callable[[], NodeStatus]


def status_from(fields: Any) -> NodeStatus:
    """The status in a decoded answer, whose unknown fields a newer release added; `BadBytes` if it is none."""
    try:
        return msgspec.convert(fields, NodeStatus)
    except msgspec.ValidationError as error:
        raise BadBytes(f"not the status of a node: {error}") from error


def ill_health(status: NodeStatus) -> str:
    """Why the process should be replaced, or an empty text. To have no leader, or to lag, is no illness."""
    if status.failure:
        return status.failure
    return "the node has stopped" if status.role == "stopped" else ""


def state_of(status: NodeStatus) -> str:
    """What is to be thought of a node's state, in one word."""
    if status.standing != "well":
        return status.standing
    return "unchecked" if status.unchecked else "well"


def unreadiness(status: NodeStatus) -> str:
    """Why the node should not be sent clients now, or an empty text."""
    illness = ill_health(status)
    if illness:
        return illness
    if status.standing != "well":
        # That the others differ among themselves is an alarm, and no reason to send clients nowhere.
        return f"this node is {status.standing}: {status.desync.removeprefix(f'{status.standing}: ')}"
    if status.role == "recovering":
        return "recovering: it has lost some of its log and is catching up"
    if status.leader_id is None:
        return "it knows of no leader"
    if not status.ready_index:
        return "it has not heard a commit index from a leader since its start"
    if status.applied_index < status.ready_index:
        return f"it has applied up to {status.applied_index} of {status.ready_index}"
    return ""
