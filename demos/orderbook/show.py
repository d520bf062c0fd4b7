"""The show: a day of trading on a durable machine that is killed in the middle, and the proof that it shows in nothing.

    python -m demos.orderbook show [--seed N] [--commands N] [--dir DIR] [--json]

A flow is made from a seed, together with what an undisturbed exchange answers to it. A process of its own then trades
it through `rsm.open`, with hundreds of commands on their way, and tells this one each answer as it learns it. In the
middle it is killed (SIGKILL). A second process recovers the directory; what it holds is compared with the flow, command
by command, before anything else is sent. Then it goes on, and sends again, under the same idempotency keys, what was in
doubt and a thousand commands that were not. A third process opens the snapshot that the second one left.

The exit code is 0 only if every check held. The first that does not ends the show with its reason and 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from demos.orderbook import audit
from demos.orderbook.audit import Audit, CheckFailed, Story
from demos.orderbook.flowgen import INSTRUMENTS, TRADERS, Flow
from demos.orderbook.lives import Life, ServiceFailed
from demos.orderbook.records import Traded as TradeReport
from demos.orderbook.service import Acknowledged, Closing, Found, Looked, Opened, Traded
from demos.orderbook.terminal import Board, figures, verdicts

COMMANDS_DEFAULT = 100_000
# Fewer would be over before the first frame; more would be a benchmark.
COMMANDS_MIN, COMMANDS_MAX = 2_000, 2_000_000
# Acknowledged commands that the second process sends again, besides those in doubt.
REPEATED = 1_000

STAGES = (
    "a day of orders is written",
    "a durable machine trades it",
    "kill -9 in the middle",
    "a new process recovers the log",
    "and trades on from there",
    "a third opens the snapshot",
)


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.orderbook show",
        description="Trade a seeded day on a durable order book, kill it in the middle, recover it, and prove that "
        "nothing was lost or doubled. Exit code 0 if every check held, 1 if one did not, 2 for wrong usage.",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the flow (default 1)")
    parser.add_argument(
        "--commands", type=int, default=COMMANDS_DEFAULT, metavar="N", help=f"length of the flow (default {COMMANDS_DEFAULT:,})"
    )
    parser.add_argument("--dir", type=Path, metavar="DIR", help="keep the machine in DIR, which must be new or empty")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    options = parser.parse_args(argv)
    if not COMMANDS_MIN <= options.commands <= COMMANDS_MAX:
        parser.error(f"--commands must be {COMMANDS_MIN:,} to {COMMANDS_MAX:,}")
    if options.dir is not None and options.dir.exists() and (not options.dir.is_dir() or any(options.dir.iterdir())):
        parser.error(f"--dir: {options.dir} is not an empty directory")
    return options


class Show:
    """One run, from the first order to the last check."""

    def __init__(self, seed: int, commands: int, directory: Path, board: Board) -> None:
        self.directory = directory
        self.board = board
        self.audit = Audit()
        self.seed = seed
        self.commands = commands
        self.flow_file = directory / "flow"
        self.machine = directory / "machine"
        self.facts: dict[str, object] = {"seed": seed, "commands": commands, "durability": "fsync"}

    def run(self, after_kill: Callable[[Path], None] | None = None) -> None:
        """All stages. `after_kill` is given the dead machine's directory: a test hides or repeats a command there."""
        with self.board.stage(0, self.commands) as stage:
            story = self._write(stage)
            stage.detail = f"{self.commands:,} commands make {len(story.reports):,} reports"
        self.audit.begin(story)
        acknowledged = self._first_life()
        if after_kill is not None:
            after_kill(self.machine)
        self._second_life(acknowledged)
        self._third_life()

    def _write(self, stage: Stage) -> Story:
        flow = Flow(self.seed)
        story = Story(flow.desk)
        for step in flow.steps(self.commands):
            story.add(step)
            stage.done = len(story.commands)
        story.write(self.flow_file)
        return story
