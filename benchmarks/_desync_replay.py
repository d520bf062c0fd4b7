"""How fast a log is replayed and checked, beside the machine itself on the same commands."""

from __future__ import annotations

import shutil
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
from _common import median, progress, taken
from _flow import INSTRUMENTS, TRADERS, Command, Flow
from _stages import bare_calls, principal
from _traffic import DISK, FLOW_COMMANDS, SEED, drop

import rsm
from demos.orderbook.machine import OrderBook
from demos.orderbook.plain import new_book
from rsm.desync.recording import Recording
from rsm.desync.single import replay

SNAPSHOT_LOG_BYTES = 1 << 40


def measure_replaying(directory: Path, scale: Any) -> dict[str, Any]:
    """In rounds: a new machine gets all commands, then its log is replayed; time on the wall."""
    commands = _commands(scale.replayed_commands, scale.resting)
    levels = []
    for in_flight in scale.replay_in_flight:
        machine, replayed, ratios, work_ratios, count = [], [], [], [], 0
        for number in range(scale.replay_rounds):
            path = directory / f"replay{number}"
            ours, theirs, count = _round(path, commands, in_flight)
            shutil.rmtree(path)
            machine.append(len(commands) / ours.wall_seconds)
            replayed.append(count / theirs.wall_seconds)
            ratios.append(replayed[-1] / machine[-1])
            work_ratios.append(ours.processor_seconds / theirs.processor_seconds * count / len(commands))
            rates = f"{machine[-1]:,.0f} commands a second live, {replayed[-1]:,.0f} replayed"
            progress(f"{in_flight:,} in flight, round {number + 1}: {rates}")
        levels.append(
            {
                "commands_in_flight": in_flight,
                "machine_commands_per_second": round(median(machine)),
                "replayed_commands_per_second": round(median(replayed)),
                "speed_ratio": median(ratios),
                "speed_ratio_min": round(min(ratios), 2),
                "processor_speed_ratio": median(work_ratios),
            }
        )
    return {
        "what": "rsm.desync.single.replay of the log that rsm.open wrote, every recorded root compared",
        "aim_speed_ratio": 0.6,
        "rounds": scale.replay_rounds,
        "commands": len(commands),
        "levels": levels,
    }


def _commands(count: int, resting: int) -> list[Command]:
    book = new_book()
    flow = Flow(SEED, book)
    commands = []
    for instrument in range(INSTRUMENTS):
        commands.append(Command(0, "list_instrument", (instrument, f"SYM{instrument}")))
        book.list_instrument(drop, instrument, f"SYM{instrument}")
    commands += (Command(trader, "cancel", (0,)) for trader in range(TRADERS))
    while len(commands) < count:
        more = flow.commands(FLOW_COMMANDS, resting)
        for method, values in bare_calls(more, book):
            method(drop, *values)
        commands += more
    return commands


def _round(path: Path, commands: list[Command], in_flight: int) -> tuple[Any, Any, int]:
    with rsm.open(OrderBook, path, snapshot_log_bytes=SNAPSHOT_LOG_BYTES) as machine:
        traders = [machine.session(principal=principal(trader)) for trader in range(TRADERS)]
        calls = [(getattr(traders[command.trader], command.name).send, command.values) for command in commands]
        pending: deque[Any] = deque()

        def send_all() -> None:
            for send, values in calls:
                if len(pending) == in_flight:
                    pending.popleft().result()
                pending.append(send(*values))
            while pending:
                pending.popleft().result()

        ours = taken(send_all)
    findings = []
    theirs = taken(lambda: findings.append(replay(Recording(DISK, str(path)), OrderBook)))
    (finding,) = findings
    if finding.verdict != "agree":
        raise RuntimeError(f"the replay does not agree: {msgspec.to_builtins(finding)}")
    return ours, theirs, finding.replayed_commands
