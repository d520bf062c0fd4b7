"""What the members of a cluster say, side by side, and what follows: a leader, a quorum, or a difference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from rsm.client import findings
from rsm.client.tool import Access, NotANode, ToolConnection
from rsm.errors import RsmError
from rsm.limits import MEMBERS_MAX, TOOL_ANSWER_SECONDS_MAX
from rsm.node.status import NodeStatus, state_of

__all__ = ["Asked", "Survey", "survey"]

THREADS_MAX: Final = 16


class Asked(msgspec.Struct, frozen=True):
    """One address that was asked: its node's status, or why there is none."""

    address: str
    status: NodeStatus | None
    error: str = ""
    is_foreign: bool = False  # somebody answered who is no node, or would not have us


class Survey(msgspec.Struct, frozen=True):
    """The answers, by node, then those who gave none."""

    asked: tuple[Asked, ...]

    @property
    def statuses(self) -> list[NodeStatus]:
        """What those that answered said."""
        return [asked.status for asked in self.asked if asked.status is not None]

    @property
    def leader(self) -> NodeStatus | None:
        """Who leads in the newest term; an older leader that was cut off may not know yet."""
        leaders = [status for status in self.statuses if status.role == "leader"]
        newest = max((status.term for status in self.statuses), default=0)
        return next((leader for leader in leaders if leader.term == newest), None)

    @property
    def has_quorum(self) -> bool:
        """Whether that leader is connected to a majority of the voters."""
        return self.leader is not None and self.leader.has_quorum

    @property
    def clusters(self) -> set[str]:
        """The ids of the clusters that were found; there should be one."""
        return {status.cluster_id for status in self.statuses}

    @property
    def desyncs(self) -> list[str]:
        """What differs that must not: as nodes and verdicts say it, and roots of equal index and machine version."""
        return findings.desyncs(self.statuses)

    @property
    def warnings(self) -> list[str]:
        """What may lead to a difference."""
        return findings.warnings(self.statuses)

    @property
    def history(self) -> list[str]:
        """Differences that are over."""
        return findings.history(self.statuses)

    @property
    def unchecked(self) -> list[str]:
        """What could not be looked at, with reasons."""
        reasons = [f"{asked.address}: {asked.error}" for asked in self.asked if asked.status is None]
        return reasons + [f"node {status.node_id}: {text}" for status in self.statuses for text in status.unchecked]

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        leader = self.leader
        return {
            "cluster_id": min(self.clusters, default=None),
            "leader_id": None if leader is None else leader.node_id,
            "has_quorum": self.has_quorum,
            "desync": self.desyncs,
            "warnings": self.warnings,
            "history": self.history,
            "unchecked": self.unchecked,
            "nodes": [_row(asked) for asked in self.asked],
        }


def _row(asked: Asked) -> dict[str, Any]:
    if asked.status is None:
        return {"address": asked.address, "error": asked.error}
    status: dict[str, Any] = msgspec.to_builtins(asked.status)
    del status["schema"]
    return {
        "address": asked.address,
        **status,
        "state": state_of(asked.status),
        "lag_entries": asked.status.lag_entries,
    }


def survey(access: Access, *, seconds: float = TOOL_ANSWER_SECONDS_MAX) -> Survey:
    """Ask every address, and every member that these name, at the same time; each for at most `seconds`."""
    asked: dict[str, Asked] = {}
    waiting = list(dict.fromkeys(access.addresses))
    with ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="rsm-survey") as pool:
        while waiting:
            for one in pool.map(lambda address: _ask(address, access, seconds), waiting):
                asked[one.address] = one
            named = [
                member.client_address
                for one in asked.values()
                if one.status is not None
                for member in one.status.members
                if member.client_address
            ]
            waiting = [address for address in dict.fromkeys(named) if address not in asked][:MEMBERS_MAX]
    # One node may have been asked under two addresses.
    nodes = {one.status.node_id: one for one in asked.values() if one.status is not None}
    silent = [one for one in asked.values() if one.status is None]
    if len({one.status.cluster_id for one in asked.values() if one.status is not None}) > 1:
        return Survey(tuple(asked.values()))
    return Survey((*(nodes[number] for number in sorted(nodes)), *silent))


def _ask(address: str, access: Access, seconds: float) -> Asked:
    try:
        with ToolConnection(address, access, seconds=seconds) as connection:
            return Asked(address, connection.status())
    except RsmError as error:
        text = str(error).removeprefix(f"{address}: ")
        return Asked(address, None, text, is_foreign=isinstance(error, NotANode))
