"""Whatever may go wrong, drawn from a seed: `storm` lets it go wrong for a while, then heals, and asks for progress."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rsm.errors import CallerError
from rsm.raft.configuration import Member
from tests.unit.raft.judge import Broken
from tests.unit.raft.network import ELECTION, Network, Node

__all__ = ["storm"]


class _Storm:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.chance = network.chance
        self.log: list[str] = []

    def any(self) -> Node | None:
        """A node that is up; more often than not the leader."""
        leader = self.network.leader()
        if leader is not None and self.chance.random() < 0.4:
            return leader
        up = self.network.up
        return self.chance.choice(up) if up else None

    def note(self, what: str) -> None:
        self.log.append(f"{self.network.now:.4f} {what}")

    # --- faults -------------------------------------------------------------------------------------------------------

    def break_link(self) -> None:
        one, other = self.chance.sample(sorted(self.network.nodes), 2)
        self.note(f"break {one}-{other}")
        self.network.disconnect(one, other)
        self.network.after(self.chance.choice((0.001, 0.1, 2.0)), lambda: self.network.connect(one, other))

    def isolate(self) -> None:
        node = self.any()
        if node is not None:
            self.note(f"isolate {node.number}")
            others = [number for number in self.network.nodes if number != node.number]
            for other in others:
                self.network.disconnect(node.number, other)
            for other in others:
                self.network.after(self.chance.uniform(0.1, 3.0), partial(self.network.connect, node.number, other))

    def restart(self) -> None:
        self._restart(self.any(), self.chance.choice((0.002, 0.3, 2.0)))

    def _restart(self, node: Node | None, seconds: float, what: str = "kill") -> None:
        if node is None:
            return
        self.note(f"{what} {node.number}")
        self.network.stop(node.number)

        def again() -> None:
            if node.engine is None:
                node.start()
                for other in self.network.nodes:
                    if other != node.number:
                        self.network.connect(node.number, other)

        self.network.after(seconds, again)

    def power(self) -> None:
        """One or all lose power, and with it some of what was not synced."""
        nodes = self.network.up if self.chance.random() < 0.2 else [node for node in [self.any()] if node]
        for node in nodes:
            journal = node.journal
            lost = self.chance.randint(journal.durable_index, journal.last_index)
            self._restart(node, self.chance.choice((0.002, 0.3, 2.0)), f"power off, lose after {lost}:")
            journal.lose_after(lost)

    def _may_lose(self, node: Node) -> bool:
        """Whether what this node holds may go: of the voters of any configuration that somebody holds for the latest, a
        minority has lost something then.
        """
        nodes = self.network.nodes
        lost = {number for number, other in nodes.items() if other.is_marked} | {node.number}
        known = [other.journal.configurations() for other in nodes.values()]
        latest = [set(found[-1][1].voters) for found in known if found]
        return all(len(voters & lost) <= (len(voters) - 1) // 2 for voters in latest)

    def rot(self) -> None:
        """Durable entries are damaged: what is behind them is cut at the next start, and the node knows that."""
        node = self.any()
        if node is None or not self._may_lose(node):
            return
        journal = node.journal
        lost = self.chance.randint(journal.base_index, journal.last_index)
        self._restart(node, self.chance.choice((0.002, 0.3, 2.0)), f"rot after {lost}:")
        journal.lose_after(lost)
        node.is_marked = True

    def wipe(self) -> None:
        """A disk is replaced. That takes longer than a leader lives without its majority."""
        node = self.any()
        if node is None or not self._may_lose(node):
            return
        self._restart(node, self.chance.uniform(2, 3) * ELECTION[1], "wipe")
        node.wipe()

    def fill(self) -> None:
        node = self.any()
        if node is not None:
            self.note(f"disk full {node.number}")
            node.journal.is_full = True

            def free() -> None:
                node.journal.is_full = False

            self.network.after(self.chance.choice((0.01, 0.5, 2.0)), free)

    # --- work ---------------------------------------------------------------------------------------------------------

    def compact(self) -> None:
        node = self.any()
        if node is not None and node.applied_index > node.journal.base_index:
            index = self.chance.randint(node.journal.base_index, min(node.applied_index, node.journal.durable_index))
            self.note(f"compact {node.number} to {index}")
            node.journal.compact_to(index)

    def transfer(self) -> None:
        leader = self.network.leader()
        if leader is not None:
            engine = leader.running
            others = [number for number in engine.configuration.voters if number != leader.number]
            if others:
                self.note(f"transfer from {leader.number}")
                engine.transfer(self.chance.choice(others))
                leader.kick()

    def change(self) -> None:
        leader = self.network.leader()
        if leader is None:
            return
        engine, number = leader.running, self.chance.choice(sorted(self.network.nodes))
        configuration = engine.configuration
        known = configuration.get(number)
        if known is None:
            new = configuration.with_member(Member(number, "", "", False, self.chance.random() < 0.8))
        elif len(configuration.voters) > 2 or not known.is_voter:
            new = configuration.without(number)
        else:
            return
        try:
            engine.change(new)
        except CallerError:
            return
        self.note(f"change at {leader.number}: {new.voters} of {new.ids}")
        leader.kick()

    def work(self) -> None:
        node = self.any()
        if node is not None:
            for _ in range(self.chance.choice((1, 1, 3, 15))):
                self.network.propose(node)
            self.network.read(node)
        self.network.after(self.chance.choice((0.001, 0.05, 0.2)), self.work)


def storm(network: Network, seconds: float, weights: dict[str, int], pause: float = 0.3) -> list[str]:
    """Let things go wrong for a while, then heal; `Broken` if a rule is, or if the group does not get on."""
    storm = _Storm(network)
    names = sorted(weights)

    def strike() -> None:
        if network.now > seconds:
            return
        fault: Callable[[], None] = getattr(storm, network.chance.choices(names, [weights[name] for name in names])[0])
        fault()
        network.after(network.chance.uniform(0, 2 * pause), strike)

    storm.work()
    network.after(pause, strike)
    try:
        network.run(seconds)
        storm.note("heal")
        _heal(network)
        goal = network.judge.last_index + 20
        if not network.run(60.0, lambda: _has_converged(network, goal)):
            raise Broken("the group does not get on after it was healed")
    except BaseException as error:
        error.add_note("\n".join(storm.log[-25:]))
        raise
    return storm.log


def _heal(network: Network) -> None:
    network.sync_stalls = 0.0

    def mend() -> None:
        for node in network.nodes.values():
            node.journal.is_full = False
            if node.engine is None:
                node.start()
        network.connect_all()
        network.after(0.05, mend)

    mend()


def _has_converged(network: Network, goal: int) -> bool:
    leader = network.leader()
    if leader is None or leader.running.commit_index < goal:
        return False
    nodes = [network.nodes[number] for number in leader.running.configuration.ids]
    return all(node.engine is not None and node.applied_index >= goal and not node.is_marked for node in nodes)
