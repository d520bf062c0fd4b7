"""Carrying out a schedule on a simulated cluster: who is struck, what an operator does about it, and how it all ends.

The operator is somebody sensible: a node that stopped is started again after a while, a machine that lost power gets it
back, a member is added before another one is removed. What may be lost is bounded as it is in real life: bits flip on
one node at a time, and the next ones only when that node has fetched what it lost.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rsm.errors import StorageError
from rsm.node.member import Member
from rsm.node.storage.segment import is_segment_name
from rsm.raft.configuration import Member as MemberRecord
from rsm.testing.disk import Survival
from rsm.testing.process import Process
from rsm.testing.schedule import NETWORK_FAULTS, Aim, Fault, FaultKind, strike_network
from rsm.testing.versions import ROLL_SECONDS

if TYPE_CHECKING:
    from rsm.testing.stage import Stage

__all__ = ["Operator"]

RESTART_SECONDS: Final = 0.5
RETRY_SECONDS: Final = 0.3
TASK_SECONDS: Final = 12.0
VOTERS_MIN: Final = 3
MEMBERS_MAX: Final = 6


class Operator:
    """Strikes with faults and cleans up after them."""

    def __init__(self, simulation: Stage) -> None:
        self._simulation = simulation
        self._damaged: int | None = None  # the node whose disk may hold flipped bits
        self._damaged_starts = 0
        # How many faults each disk has at present: its node may stop by itself.
        self._failing: Counter[int] = Counter()
        self._removed: set[int] = set()
        self._is_changing = False

    @property
    def has_damage(self) -> bool:
        """Whether some node's disk may have lost what it had acknowledged."""
        self._look_at_damage()
        return self._damaged is not None

    def strike(self, fault: Fault) -> None:
        """Carry out a fault."""
        target = self._target(fault)
        self._simulation.note("fault", fault.kind.value, target, fault.seed)
        if target is None:
            return
        if fault.kind in NETWORK_FAULTS:
            nodes = sorted(self._simulation.processes)
            self._simulation.note(strike_network(self._simulation.network, fault, nodes, target))
            return
        process = self._simulation.processes[target]
        chance = random.Random(fault.seed)
        actions: dict[FaultKind, Callable[[Fault, Process, random.Random], None]] = {
            FaultKind.PAUSE: self._pause,
            FaultKind.KILL: self._kill,
            FaultKind.POWER: self._power,
            FaultKind.BLACKOUT: self._blackout,
            FaultKind.BIT_FLIP: self._flip,
            FaultKind.DISK_FULL: self._fill,
            FaultKind.SYNC_FAILS: self._fail_sync,
            FaultKind.CLOCK_JUMP: self._jump,
            FaultKind.CLOCK_DRIFT: self._drift,
            FaultKind.ADD: self._add,
            FaultKind.REMOVE: self._remove,
            FaultKind.TRANSFER: self._transfer,
            FaultKind.SNAPSHOT: self._snapshot,
            FaultKind.ALTER: self._plant,
            FaultKind.ALTER_UNTRACKED: self._plant,
            FaultKind.ALTER_DIGEST: self._plant,
            FaultKind.BUG: self._plant,
            FaultKind.RELEASE: self._change_release,
            FaultKind.ROLL: self._roll,
            FaultKind.UPGRADE: self._upgrade,
            FaultKind.CLIENT_DIES: lambda _fault, _process, chance: self._simulation.kill_client(chance),
        }
        actions[fault.kind](fault, process, chance)

    def _target(self, fault: Fault) -> int | None:
        simulation = self._simulation
        members = [node for node in simulation.configuration().ids if node in simulation.processes]
        leader = simulation.leader()
        candidates = members
        if fault.aim is Aim.LEADER and leader is not None:
            candidates = [leader]
        elif fault.aim is Aim.FOLLOWER:
            candidates = [node for node in members if node != leader]
        return candidates[fault.seed % len(candidates)] if candidates else None

    # --- processes ----------------------------------------------------------------------------------------------------

    def _at(self, time: float, action: Callable[[], None]) -> None:
        self._simulation.queue.at(time, action)

    def _start(self, process: Process) -> None:
        if process.is_wanted and process.member is None:
            self._simulation.note("start", process.node)
            process.start(self._simulation.first_configuration_of(process.node))

    def _start_later(self, process: Process, at: float) -> None:
        self._at(at, lambda: self._start(process))

    def _pause(self, fault: Fault, process: Process, chance: random.Random) -> None:
        network = self._simulation.network
        if process.member is None or network.is_paused(process.node):
            return
        network.pause(process.node)
        self._at(fault.until, lambda: network.resume(process.node))

    def _kill(self, fault: Fault, process: Process, chance: random.Random) -> None:
        if process.member is not None:
            process.kill()
            self._start_later(process, fault.until)

    def _power(self, fault: Fault, process: Process, chance: random.Random) -> None:
        if process.member is None:
            return
        if chance.random() < 0.5:
            # In the middle of one of the next writes, or else a little later.
            process.disk.cut_at_write = process.disk.writes + chance.randint(1, 12)
        starts = process.starts

        def cut() -> None:
            if process.starts == starts and process.member is not None:
                self.power_cut(process, chance.getrandbits(32))

        self._at(self._simulation.queue.now + (0.4 if process.disk.cut_at_write else 0.0), cut)

    def power_cut(self, process: Process, seed: int | None = None) -> None:
        """The machine has lost power; it gets it back."""
        chance = random.Random(seed if seed is not None else f"{self._simulation.queue.now} {process.node}")
        survival = chance.choice((Survival.NOTHING, Survival.TORN, Survival.TORN, Survival.REORDERED))
        self._simulation.note("power cut", process.node, survival.value)
        process.cut_power(survival, chance.getrandbits(32))
        self._start_later(process, self._simulation.queue.now + 0.2 + chance.expovariate(1.0))

    def _blackout(self, fault: Fault, process: Process, chance: random.Random) -> None:
        for _, one in sorted(self._simulation.processes.items()):
            if one.member is not None:
                self.power_cut(one, chance.getrandbits(32))

    def stopped(self, process: Process, error: Exception) -> None:
        """A node stopped by itself: with a failing disk that is right. It is started again."""
        simulation = self._simulation
        process.disk.process_died()
        if simulation.versions is not None and simulation.versions.may_stop(process, error):
            self._start_later(process, simulation.queue.now + RESTART_SECONDS)
            return
        if not self._failing[process.node] and process.node != self._damaged:
            simulation.judge.broken(
                "nodes stop for a reason",
                f"{type(error).__name__}: {error}",
                [process.node],
                simulation.judge.last_index,
            )
        elif not isinstance(error, StorageError) and process.node != self._damaged:
            simulation.judge.broken(
                "a failing disk is told as such", f"{type(error).__name__}: {error}", [process.node]
            )
        process.disk.fail_sync_at = None
        self._start_later(process, simulation.queue.now + RESTART_SECONDS)

    # --- states -------------------------------------------------------------------------------------------------------

    def _plant(self, fault: Fault, process: Process, chance: random.Random) -> None:
        simulation = self._simulation
        if simulation.network.is_paused(process.node) or process.node == self._damaged:
            return
        if simulation.plants.plant(process, fault.kind, chance) and process.machine is not None:
            self._restart(process)
            if chance.random() < 0.5:
                self._at(fault.until + chance.uniform(0.0, 5.0), lambda: self.mend(process))

    def mend(self, process: Process) -> None:
        """Give a node the right code."""
        if process.machine is not None:
            self._simulation.note("mended", process.node)
            self._simulation.plants.mended(process)
            self._restart(process)

    def restart(self, process: Process) -> None:
        """Stop a node and start it again."""
        self._simulation.note("restart", process.node)
        self._restart(process)

    def is_failing(self, process: Process) -> bool:
        """Whether a node's disk fails at present."""
        return self._failing[process.node] > 0 or process.disk.space_bytes is not None

    # --- releases -----------------------------------------------------------------------------------------------------

    def _change_release(self, fault: Fault, process: Process, chance: random.Random) -> None:
        versions = self._simulation.versions
        if versions is not None:
            versions.change(process, chance)
            self._restart(process)

    def _roll(self, fault: Fault, process: Process, chance: random.Random) -> None:
        """Node by node the newest release, and then it is put in force: as it is done in earnest."""
        versions, simulation = self._simulation.versions, self._simulation
        if versions is None:
            return

        def upgrade(one: Process) -> None:
            if one.release is not versions.newest:
                one.release = versions.newest
                self._restart(one)

        time = simulation.queue.now
        for _, one in sorted(simulation.processes.items()):
            self._at(time, partial(upgrade, one))
            time += ROLL_SECONDS
        self._at(time + ROLL_SECONDS, lambda: versions.ask(versions.newest.definition.version))

    def _upgrade(self, fault: Fault, process: Process, chance: random.Random) -> None:
        versions = self._simulation.versions
        if versions is not None:
            versions.ask(versions.draw(chance))

    # --- disks and clocks ---------------------------------------------------------------------------------------------

    def _flip(self, fault: Fault, process: Process, chance: random.Random) -> None:
        """Flip a bit of a stored record. Another copy survives: no other node's disk is damaged."""
        self._look_at_damage()
        if self._damaged is not None or process.member is None or process.member.is_recovering:
            return
        paths = [
            path
            for path in process.disk.paths()
            if is_segment_name(path.rpartition("/")[2]) or path.endswith(".snapshot")
        ]
        path = chance.choice(paths)
        content = process.disk.contents(path).rstrip(b"\0")
        if not content:
            return
        bit = chance.randrange(len(content) * 8)
        self._damaged, self._damaged_starts = process.node, process.starts
        self._simulation.note("flip", process.node, path, bit)
        process.disk.flip_bit(path, bit)
        # It is found at the latest when the process starts again.
        self._at(self._simulation.queue.now + chance.uniform(0.0, 2.0), lambda: self._restart(process))

    def _restart(self, process: Process) -> None:
        if process.member is not None:
            process.kill()
            self._start_later(process, self._simulation.queue.now + 0.1)

    def _look_at_damage(self) -> None:
        if self._damaged is None:
            return
        process = self._simulation.processes[self._damaged]
        member = process.member
        if member is None or process.starts == self._damaged_starts or member.is_recovering:
            return
        if member.applied_index >= self._simulation.judge.last_index:
            self._damaged = None

    def _fill(self, fault: Fault, process: Process, chance: random.Random) -> None:
        self._failing[process.node] += 1
        process.disk.space_bytes = process.disk.used_bytes() + chance.choice((0, 100, 5_000))

        def free() -> None:
            process.disk.space_bytes = None
            self._failing[process.node] -= 1

        self._at(fault.until, free)

    def _fail_sync(self, fault: Fault, process: Process, chance: random.Random) -> None:
        if process.member is None:
            return
        self._failing[process.node] += 1
        process.disk.fail_sync_at = process.disk.syncs + chance.randint(1, 3)

        def mend() -> None:
            process.disk.fail_sync_at = None
            self._failing[process.node] -= 1

        self._at(fault.until, mend)

    def _jump(self, fault: Fault, process: Process, chance: random.Random) -> None:
        process.clock_offset_seconds += chance.choice((-3600.0, -5.0, -0.5, 0.5, 5.0, 50.0, 3600.0, 2.5e9))

        def set_right() -> None:
            process.clock_offset_seconds = 0.0

        self._at(fault.until, set_right)

    def _drift(self, fault: Fault, process: Process, chance: random.Random) -> None:
        process.clock_rate = chance.choice((0.5, 0.9, 0.99, 1.01, 1.1, 2.0))

        def set_right() -> None:
            process.clock_rate = 1.0

        self._at(fault.until, set_right)

    # --- the cluster --------------------------------------------------------------------------------------------------

    def _task(self, attempt: Callable[[], bool], done: Callable[[], None] | None = None) -> None:
        """Try again and again, until it is done or given up."""
        until = self._simulation.queue.now + TASK_SECONDS

        def step() -> None:
            if attempt():
                self._is_changing = False
                if done is not None:
                    done()
            elif self._simulation.queue.now < until and not self._simulation.is_healing:
                self._simulation.queue.after(RETRY_SECONDS, step)
            else:
                self._is_changing = False

        self._is_changing = True
        step()

    def _ask(self, action: Any, member: MemberRecord) -> None:
        leader = self._simulation.leader()
        if leader is None or self._simulation.network.is_paused(leader):
            return
        note = self._simulation.note
        self._simulation.processes[leader].call(
            lambda one: one.change(
                action,
                member,
                lambda index: note("changed", action, member.id, index),
                lambda error: note("not changed", action, member.id, type(error).__name__),
            )
        )

    def _add(self, fault: Fault, process: Process, chance: random.Random) -> None:
        """A node joins: a new one, or one that was removed, with an empty directory."""
        simulation = self._simulation
        present = simulation.configuration()
        if self._is_changing or len(present.ids) >= MEMBERS_MAX:
            return
        spare = sorted(self._removed) or [max(simulation.processes) + 1]
        node = chance.choice(spare)
        if node not in simulation.processes:
            simulation.add_process(node)
        self._removed.discard(node)
        joining = simulation.processes[node]
        joining.is_wanted = True
        self._start(joining)
        action = "add_learner" if chance.random() < 0.3 else "add"

        def is_in() -> bool:
            member = simulation.configuration().get(node)
            if member is not None and (member.is_voter or action == "add_learner"):
                return True
            if member is None or not member.is_joining:
                self._ask(action, simulation.member_record(node))
            return False

        self._task(is_in)

    def _remove(self, fault: Fault, process: Process, chance: random.Random) -> None:
        """A member is taken out; its machine is switched off afterwards, and its disk is wiped or kept."""
        simulation = self._simulation
        present = simulation.configuration()
        record = present.get(process.node)
        if self._is_changing or record is None or (record.is_voter and len(present.voters) <= VOTERS_MIN):
            return
        keeps_running = chance.random() < 0.3

        def is_out() -> bool:
            if simulation.configuration().get(process.node) is None:
                return True
            self._ask("remove", record)
            return False

        def switch_off() -> None:
            if not keeps_running:
                process.is_wanted = False
                process.wipe()
                simulation.plants.wiped(process.node)
                self._removed.add(process.node)

        self._task(is_out, switch_off)

    def _transfer(self, fault: Fault, process: Process, chance: random.Random) -> None:
        leader = self._simulation.leader()
        note = self._simulation.note
        if leader is not None and not self._simulation.network.is_paused(leader):
            target = process.node if process.node != leader else 0
            self._simulation.processes[leader].call(
                lambda one: one.transfer(
                    target,
                    lambda to: note("transferred", to),
                    lambda error: note("not transferred", type(error).__name__),
                )
            )

    def _snapshot(self, fault: Fault, process: Process, chance: random.Random) -> None:
        def ask(member: Member) -> None:
            member.snapshots.ask()

        if process.member is not None and not self._simulation.network.is_paused(process.node):
            process.call(ask)

    # --- the end ------------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """End what is not over yet; every member runs."""
        simulation = self._simulation
        for node, process in sorted(simulation.processes.items()):
            process.disk.space_bytes = process.disk.fail_sync_at = None
            process.disk.cut_at_write = process.disk.cut_at_sync = None
            process.clock_offset_seconds, process.clock_rate = 0.0, 1.0
            if simulation.network.is_paused(node):
                simulation.network.resume(node)
            if process.machine is not None and simulation.chance.random() < 0.5:
                self.mend(process)
            if simulation.versions is not None and process.release is not simulation.versions.newest:
                process.release = simulation.versions.newest
                self._restart(process)
            self._start(process)
