"""What the statuses of several nodes say together about their states: who differs, why, and what to do about it.

A verdict stands in the log, so every node has it; the one that has applied most knows best what became of it. Who has
returned is history. Besides, roots that two nodes report for one index are compared here, for nobody may have noticed
yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rsm.node.status import CaseStatus, NodeStatus

__all__ = ["cases_of", "desyncs", "history", "is_settled", "listed", "warnings"]

DIGEST_CHARACTERS: Final = 8
OUTDATED: Final = "outdated"  # its state is right, and stands still


def listed(numbers: Iterable[int]) -> str:
    """Nodes by number: `node 1, 3`."""
    return f"node {', '.join(map(str, sorted(numbers)))}"


def cases_of(statuses: Sequence[NodeStatus]) -> list[CaseStatus]:
    """Every disputed hash point, by index, as the node that has applied most tells it."""
    found: dict[int, CaseStatus] = {}
    for status in sorted(statuses, key=lambda one: one.applied_index):
        found.update({case.index: case for case in status.verdicts})
    return [found[index] for index in sorted(found)]


def is_settled(case: CaseStatus, statuses: Sequence[NodeStatus]) -> bool:
    """Whether a case is history: whoever differed has returned, or is no member any more."""
    if case.state == "decided":
        return not _out(case, statuses)
    if case.state != "undecided":
        return False
    differ = len({root for root in case.roots.values() if root}) > 1 or bool(case.faults)
    return not differ or any(status.confirmed_index > case.index for status in statuses)


def _out(case: CaseStatus, statuses: Sequence[NodeStatus]) -> list[int]:
    """Who differs still, or again: as the log has it, or as it says itself."""
    members = {member.id for status in statuses for member in status.members}
    unwell = {status.node_id for status in statuses if status.standing != "well"}
    out = {*case.out, *(unwell & set(case.minority))}
    return sorted(number for number in out if not members or number in members)


def desyncs(statuses: Sequence[NodeStatus]) -> list[str]:
    """What differs that must not, in lines: as nodes say it, as verdicts say it, as their roots show it."""
    said: dict[str, list[int]] = {}
    for status in statuses:
        if status.desync and status.standing != OUTDATED:
            said.setdefault(status.desync, []).append(status.node_id)
    found = [f"{listed(nodes)}: {text}" for text, nodes in said.items()]
    cases = [case for case in cases_of(statuses) if not is_settled(case, statuses)]
    for case in cases:
        found += _case_lines(case, statuses)
    if not cases:
        found += _root_lines(statuses)
    concerned = {number for case in cases for number in _out(case, statuses)}
    for status in statuses:
        if status.evidence and (status.standing != "well" or status.node_id in concerned):
            look = f"rsm desync replay {status.evidence} --machine MODULE:CLASS"
            found.append(f"evidence of node {status.node_id}: {look}")
    return list(dict.fromkeys(found))


def _case_lines(case: CaseStatus, statuses: Sequence[NodeStatus]) -> list[str]:
    sides = _sides({int(number): root for number, root in case.roots.items() if number.isdecimal()})
    if case.state == "undecided":
        return [f"no majority has one state root at index {case.index}: {sides}"]
    if case.state != "decided":
        return [f"the state roots at index {case.index} are disputed, no verdict yet{sides and ': '}{sides}"]
    out = _out(case, statuses)
    lines = [f"verdict at index {case.index}: {listed(out)} differs from the majority: {sides}"]
    lines += [f"node {number}: {case.faults[str(number)]}" for number in out if case.faults.get(str(number))]
    then = {int(number): code for number, code in case.codes.items() if number.isdecimal()}
    told = _code_lines({status.node_id: status.code_digest for status in statuses}) or _code_lines(then)
    return lines + [line for number, line in told.items() if number in out]


def _sides(roots: Mapping[int, str]) -> str:
    sides: dict[str, list[int]] = {}
    for number, root in sorted(roots.items()):
        sides.setdefault(root, []).append(number)
    return "; ".join(f"{listed(nodes)}: {root or 'unknown'}" for root, nodes in sides.items())


def _root_lines(statuses: Sequence[NodeStatus]) -> list[str]:
    """The first index at which two nodes of one machine version report different roots."""
    places: dict[tuple[str, int, int], dict[int, str]] = {}
    for status in statuses:
        for index, root in (*status.roots, (status.root_index, status.root)):
            if root:
                places.setdefault((status.cluster_id, status.version, index), {})[status.node_id] = root
    differing = sorted((place[2], roots) for place, roots in places.items() if len(set(roots.values())) > 1)
    for index, roots in differing[:1]:
        sides: dict[str, list[int]] = {}
        for number, root in roots.items():
            sides.setdefault(root, []).append(number)
        text = "; ".join(f"{root}: {listed(nodes)}" for root, nodes in sides.items())
        more = f" (and at {len(differing) - 1} later ones)" if len(differing) > 1 else ""
        return [f"the state roots at index {index} differ: {text}{more}"]
    return []


def _code_lines(codes: Mapping[int, str]) -> dict[int, str]:
    """Who runs other code than most, by node. Where there is no most, who runs other code than the first."""
    known = {number: code for number, code in sorted(codes.items()) if code}
    if len(set(known.values())) < 2:
        return {}
    values = list(known.values())
    usual = max(known.values(), key=values.count)
    return {
        number: f"node {number} runs other code: {_short(code)} instead of {_short(usual)}"
        for number, code in known.items()
        if code != usual
    }


def _short(digest: str) -> str:
    return f"{digest[:DIGEST_CHARACTERS]}..." if len(digest) > DIGEST_CHARACTERS else digest


def warnings(statuses: Sequence[NodeStatus]) -> list[str]:
    """What is no difference: a node that waits for its upgrade; or none yet: other code under the same version."""
    versions: dict[tuple[str, int], dict[int, str]] = {}
    for status in statuses:
        versions.setdefault((status.machine, status.version), {})[status.node_id] = status.code_digest
    told = desyncs(statuses)
    lines = [line for codes in versions.values() for line in _code_lines(codes).values() if line not in told]
    waiting = [f"node {one.node_id} is {one.desync}" for one in statuses if one.standing == OUTDATED]
    return [*waiting, *(f"{line}, under the same machine version" for line in lines)]


def history(statuses: Sequence[NodeStatus]) -> list[str]:
    """Who differed, and has returned."""
    evidence = {status.node_id: status.evidence for status in statuses if status.evidence}
    lines = []
    for case in cases_of(statuses):
        if case.state == "decided" and case.minority and is_settled(case, statuses):
            kept = "".join(f"; evidence: {evidence[number]}" for number in case.minority if number in evidence)
            end = "is no member any more" if case.out else "has returned"
            lines.append(f"{listed(case.minority)} differed at index {case.index}, and {end}{kept}")
    return lines
