"""Where a node stands, read off its member: the one status from which health, metrics and `rsm status` are made."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rsm.limits import ROOTS_SHOWN
from rsm.node.log import describe
from rsm.node.member import Member
from rsm.node.status import CaseStatus, MemberStatus, NodeStatus, PeerStatus, Role
from rsm.raft.configuration import Member as ClusterMember

__all__ = ["leader_of", "status_of"]


def leader_of(member: Member) -> ClusterMember | None:
    """The leader, if this node knows it and it is a member."""
    return None if member.leader_id is None else member.configuration.get(member.leader_id)


def status_of(
    member: Member,
    *,
    is_connected: Callable[[int], bool],
    clients: int,
    observers: int = 0,
    uptime_seconds: int,
    failure: BaseException | None,
) -> NodeStatus:
    """Everything that a node says of itself. `is_connected` is asked for each other member."""
    replica, journal = member.replica, member.journal
    root_index = max(replica.roots, default=0)
    leader = leader_of(member)
    return NodeStatus(
        node_id=member.node_id,
        cluster_id=member.directory.identity.cluster_id.hex(),
        role="stopped" if failure is not None else _role(member),
        term=member.term,
        leader_id=member.leader_id,
        leader_address="" if leader is None else leader.client_address,
        commit_index=member.commit_index,
        applied_index=replica.index,
        first_index=journal.first_index,
        last_index=journal.last_index,
        durable_index=journal.durable_index,
        ready_index=member.engine.replication.learned_index,
        root_index=root_index,
        root=replica.roots.get(root_index, b"").hex(),
        machine=replica.definition.name,
        version=replica.definition.version,
        members=tuple(
            MemberStatus(one.id, one.peer_address, one.client_address, one.is_voter)
            for one in member.configuration.members
        ),
        peers=_peers(member, is_connected),
        log_bytes=journal.stored_bytes,
        snapshot_index=member.snapshots.last_index,
        sessions=len(replica.sessions),
        log_time=replica.system.clock,
        timers=len(replica.system.timers),
        clients=clients,
        observers=observers,
        uptime_seconds=uptime_seconds,
        confirmed_index=replica.confirmed_index,
        standing=member.agreeing.standing,
        unchecked=(member.agreeing.unchecked,) if member.agreeing.unchecked else (),
        desync=member.agreeing.alarm,
        evidence=member.agreeing.evidence,
        code_digest=member.agreeing.code,
        releases=member.engine.replication.releases,
        verdicts=tuple(msgspec.convert(case, CaseStatus) for case in member.agreeing.verdicts()),
        roots=tuple((index, root.hex()) for index, root in sorted(replica.roots.items())[-ROOTS_SHOWN:]),
        failure="" if failure is None else describe(failure),
        schema=replica.schema or {},
        streaming_queries=tuple(sorted(name for name, query in replica.definition.queries.items() if query.is_stream)),
    )


def _role(member: Member) -> Role:
    if member.is_leader:
        return "leader"
    if member.is_recovering:
        return "recovering"
    known = member.configuration.get(member.node_id)
    if known is None or not known.is_voter:
        return "learner"
    return "candidate" if member.engine.is_candidate else "follower"


def _peers(member: Member, is_connected: Callable[[int], bool]) -> tuple[PeerStatus, ...]:
    peers = []
    for one in member.configuration.members:
        if one.id != member.node_id:
            progress = member.engine.progress(one.id)
            match = 0 if progress is None else progress.match_index
            lag = max(0, member.commit_index - match) if member.is_leader else 0
            releases = (0, 0) if progress is None else progress.releases
            peers.append(PeerStatus(one.id, is_connected(one.id), match, lag, releases))
    return tuple(peers)
