"""A clean flow under everything that operators do to a cluster: no state is ever in doubt."""

from __future__ import annotations

import random
from itertools import islice

from demos.orderbook.flowgen import TRADERS, Command, Flow
from demos.orderbook.machine import OrderBook
from rsm.raft.messages import SnapshotChunk
from rsm.replica.answer import Status
from rsm.state.leaf import encode
from rsm.testing.disk import Survival
from tests.cluster_stage import Call, Session, Stage

COMMANDS, COMMANDS_OF_A_SOAK = 20_000, 1_000_000
FRAME_COMMANDS = 250
FRAMES_BETWEEN = 8  # from one disturbance to the next


class Disturbances:
    """Rolling restarts, power cuts, disks exchanged, nodes cut off, leaders changed, one after the other."""

    def __init__(self, stage: Stage, chance: random.Random) -> None:
        self.installed = self.restarts = self.leaders = 0
        self._stage = stage
        self._chance = chance
        self._turn = 0

    def strike(self) -> None:
        """The next one, when the one before is over."""
        stage = self._stage
        stage.partition()
        stage.start()
        stage.settle()
        stage.run(1.5)  # a hash point, and with it a snapshot
        self.check()
        number = 1 + self._turn % len(stage.members)
        kind = ("kill", "wipe", "transfer", "cut", "crash")[self._turn % 5]
        self._turn += 1
        if kind == "transfer":
            stage.leader().transfer(0, lambda _: None, lambda _: None)
            stage.until(lambda: not any(node.engine.is_transferring for node in stage.members.values()))
            self.leaders += 1
        elif kind == "cut":
            stage.partition((number,), tuple(set(stage.members) - {number}))
        elif kind == "wipe":
            stage.wipe(number)
            self.installed += 1
        elif kind == "kill":
            stage.kill(number)
            self.restarts += 1
        else:
            stage.crash(number, Survival.TORN, self._chance.getrandbits(32))
            self.restarts += 1
        if kind in ("wipe", "crash"):
            stage.start(number)

    def check(self) -> None:
        """Nothing was disputed, and nobody is or was in doubt."""
        assert not self._stage.failures
        for node in self._stage.members.values():
            assert node.replica.agreement.cases == {}
            assert (node.agreeing.standing, node.agreeing.alarm, node.agreeing.evidence) == ("well", "", "")
            assert not node.leading.comparison.contradiction


def test_a_clean_flow_is_never_disputed(soak: bool) -> None:
    """The order book's day: every answer is that of an undisturbed exchange, every node has the same root, no case."""
    stage = Stage(OrderBook, segment_bytes_min=10_000, snapshot_log_bytes=40_000)
    stage.start()
    sessions = [stage.session(trader) for trader in TRADERS]
    disturbances = Disturbances(stage, random.Random(7))
    steps = Flow(11).steps(COMMANDS_OF_A_SOAK if soak else COMMANDS)
    frames = 0
    while chunk := list(islice(steps, FRAME_COMMANDS)):
        items = [item_of(sessions, command) for command, _ in chunk]
        call = stage.settled(lambda items=items: Call(*items))  # type: ignore[misc]  # a bound default
        for answer, (command, expected) in zip(call.answers, chunk, strict=True):
            assert answer.status == Status.OK, (command, answer)
            assert answer.body == encode(expected)
        frames += 1
        if frames % FRAMES_BETWEEN == 0:
            disturbances.strike()
    stage.partition()
    stage.start()
    stage.settle()
    disturbances.check()
    for node in stage.members.values():
        assert node.replica.compared_index > 0
        assert node.snapshot_files.indexes()
        node.replica.store.verify()
    assert any(kind is SnapshotChunk for kind, _ in stage.bytes_sent)
    assert min(disturbances.installed, disturbances.restarts, disturbances.leaders) > 0


def item_of(sessions: list[Session], command: Command) -> bytes:
    """A command as its trader's client sends it, with all values that its handler takes."""
    values = OrderBook.definition.commands[command.name].signature.bind(command.values, {})
    return sessions[command.trader].item(command.name, *values)
