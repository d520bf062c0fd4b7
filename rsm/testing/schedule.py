"""Which faults happen when: a plan drawn from one seed, before the run begins.

A fault names what it does, from when to when, and at whom it is aimed (a leader, a follower, anybody: who that is, is
known when it strikes). Its `seed` decides the rest, so that a plan can be printed, kept and shortened.

What may be damaged at once is bounded, since no protocol survives more: bits flip on one node at a time, and only what
another node still holds.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Sequence

import msgspec

from rsm.testing.network import Network

__all__ = [
    "ALL_FAULTS",
    "DIVERGENCE_FAULTS",
    "NETWORK_FAULTS",
    "PROCESS_FAULTS",
    "VERSION_FAULTS",
    "Aim",
    "Fault",
    "FaultKind",
    "blocked_pairs",
    "draw_schedule",
    "strike_network",
]


class FaultKind(enum.Enum):
    """What can go wrong."""

    # The network.
    SPLIT = "split"  # two halves that do not hear each other
    ONE_WAY = "one_way"  # some are not heard by the others, but hear them
    BRIDGE = "bridge"  # two halves, and one node that both reach
    RING = "ring"  # each node reaches a majority, no two the same one
    CUT = "cut"  # connections break, once or again and again
    SLOW = "slow"  # links slow down
    # Processes.
    PAUSE = "pause"  # a process is stopped and goes on later
    KILL = "kill"  # a process dies; what it wrote is with the operating system
    POWER = "power"  # a machine loses power and what was not synced
    BLACKOUT = "blackout"  # all of them do, at once
    # Storage.
    BIT_FLIP = "bit_flip"  # one bit of a stored record of a follower
    DISK_FULL = "disk_full"
    SYNC_FAILS = "sync_fails"
    # Clocks.
    CLOCK_JUMP = "clock_jump"  # a wall clock is set forward or back
    CLOCK_DRIFT = "clock_drift"  # a wall clock runs fast or slow
    # What people do to a cluster.
    ADD = "add"  # a node joins: as a learner, then with a vote
    REMOVE = "remove"  # a node is taken out; later it, or its directory emptied, may come back
    TRANSFER = "transfer"  # leadership is handed over
    SNAPSHOT = "snapshot"  # and the log is cut
    # Clients.
    CLIENT_DIES = "client_dies"  # with commands in flight; another takes its place
    # Differences between states, which no other fault leads to: only where they are asked for.
    ALTER = "alter"  # a value of one node, with its sums
    ALTER_UNTRACKED = "alter_untracked"  # a value of one node, behind their back
    ALTER_DIGEST = "alter_digest"  # one node's record of its answers
    BUG = "bug"  # other code on one node
    # Upgrades, too: only where they are asked for.
    RELEASE = "release"  # a node is started again with another release of the machine
    ROLL = "roll"  # all are, one after the other, with the newest one, which is then put in force
    UPGRADE = "upgrade"  # a leader is asked to put a version in force


NETWORK_FAULTS = (
    FaultKind.SPLIT,
    FaultKind.ONE_WAY,
    FaultKind.BRIDGE,
    FaultKind.RING,
    FaultKind.CUT,
    FaultKind.SLOW,
)
PROCESS_FAULTS = (FaultKind.PAUSE, FaultKind.KILL, FaultKind.POWER, FaultKind.BLACKOUT)
DIVERGENCE_FAULTS = (FaultKind.ALTER, FaultKind.ALTER_UNTRACKED, FaultKind.ALTER_DIGEST, FaultKind.BUG)
VERSION_FAULTS = (FaultKind.RELEASE, FaultKind.ROLL, FaultKind.UPGRADE)
ALL_FAULTS = tuple(kind for kind in FaultKind if kind not in (*DIVERGENCE_FAULTS, *VERSION_FAULTS))

# How often each kind is drawn, next to the others.
_WEIGHTS = {
    FaultKind.SPLIT: 4,
    FaultKind.CUT: 5,
    FaultKind.PAUSE: 3,
    FaultKind.KILL: 3,
    FaultKind.POWER: 3,
    FaultKind.TRANSFER: 2,
    FaultKind.CLIENT_DIES: 2,
    FaultKind.RELEASE: 3,
    FaultKind.UPGRADE: 4,
}


class Aim(enum.Enum):
    """At whom a fault is aimed when it strikes."""

    LEADER = "leader"
    FOLLOWER = "follower"
    ANYBODY = "anybody"


class Fault(msgspec.Struct, frozen=True):
    """One fault. Times in seconds from the start; it ends at `until` (those without a duration are over at once)."""

    at: float
    until: float
    kind: FaultKind
    aim: Aim
    seed: int

    def __str__(self) -> str:
        return f"{self.at:.3f}-{self.until:.3f} {self.kind.value} at {self.aim.value} ({self.seed})"


def draw_schedule(
    chance: random.Random, kinds: Sequence[FaultKind], *, seconds: float, rate_per_second: float
) -> list[Fault]:
    """The faults of one run. All of them are over at `seconds`."""
    faults: list[Fault] = []
    weights = [_WEIGHTS.get(kind, 1) for kind in kinds]
    # Most runs see few kinds: what one kind does alone is hidden by many at once (swarm testing, Groce et al. 2012).
    if chance.random() < 0.5 and len(kinds) > 3:
        chosen = sorted(chance.sample(range(len(kinds)), chance.randint(2, max(3, len(kinds) // 2))))
        kinds, weights = [kinds[number] for number in chosen], [weights[number] for number in chosen]
    time = 0.2 + chance.expovariate(rate_per_second)
    while kinds and time < seconds - 0.1:
        kind = chance.choices(kinds, weights)[0]
        duration = min(0.05 + chance.expovariate(1.0), 6.0)
        if chance.random() < 0.1:
            duration *= 3
        aim = chance.choices((Aim.LEADER, Aim.FOLLOWER, Aim.ANYBODY), (4, 2, 3))[0]
        if kind is FaultKind.BIT_FLIP:
            aim = Aim.FOLLOWER
        faults.append(Fault(time, min(time + duration, seconds), kind, aim, chance.getrandbits(48)))
        # Faults come in bursts: a second one while the first is being dealt with finds more than two apart.
        time += (
            chance.expovariate(rate_per_second * 4) if chance.random() < 0.5 else chance.expovariate(rate_per_second)
        )
    return faults


def blocked_pairs(kind: FaultKind, nodes: Sequence[int], target: int, chance: random.Random) -> list[tuple[int, int]]:
    """Who (sender, receiver) does not get through, with `target` on the small side of a partition."""
    others = [node for node in nodes if node != target]
    if not others:
        return []
    chance.shuffle(others)
    if kind is FaultKind.RING:
        ring = [target, *others]
        reach = (len(ring) // 2 + 1) // 2  # neighbours on each side, who with the node itself make a majority
        if len(ring) <= 3:
            return both_ways([(ring[0], ring[-1])])
        far = [
            (first, second)
            for position, first in enumerate(ring)
            for offset, second in enumerate(ring[position + 1 :], 1)
            if min(offset, len(ring) - offset) > reach
        ]
        return both_ways(far)
    few = [target, *others[: chance.randint(0, max(0, (len(nodes) - 1) // 2 - 1))]]
    many = [node for node in others if node not in few]
    if kind is FaultKind.ONE_WAY:
        pairs = [(first, second) for first in few for second in many]
        return sorted(pairs if chance.random() < 0.5 else [(second, first) for first, second in pairs])
    if kind is FaultKind.BRIDGE and len(many) > 1:
        many.pop()  # this one reaches both
    return both_ways([(first, second) for first in few for second in many])


def both_ways(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Each pair in both directions, sorted."""
    return sorted({*pairs, *((second, first) for first, second in pairs)})


def strike_network(network: Network, fault: Fault, nodes: Sequence[int], target: int) -> str:
    """Carry out a fault of the network, and plan its end; returns what was done, for the trace."""
    chance = random.Random(fault.seed)
    queue = network.queue
    others = [node for node in nodes if node != target]
    if fault.kind is FaultKind.CUT:
        peers = others if chance.random() < 0.4 else chance.sample(others, min(1, len(others)))
        times = [queue.now + chance.random() * (fault.until - fault.at) for _ in range(chance.choice((0, 0, 2, 5, 20)))]

        def cut() -> None:
            for peer in peers:
                network.cut(target, peer)

        for time in [queue.now, *sorted(times)]:
            queue.at(time, cut)
        return f"cut {target} from {peers}, {len(times)} times more"
    if fault.kind is FaultKind.SLOW:
        pairs = both_ways([(target, peer) for peer in others])
        if chance.random() < 0.5:
            pairs = [pair for pair in pairs if pair[0] == target]
        extra = chance.choice((0.02, 0.1, 0.4))
        network.slow(pairs, extra)
        queue.at(fault.until, lambda: network.slow(pairs, 0.0))
        return f"slow {pairs} by {extra}"
    pairs = blocked_pairs(fault.kind, nodes, target, chance)
    network.block(pairs)
    queue.at(fault.until, lambda: network.unblock(pairs))
    return f"block {pairs}"
