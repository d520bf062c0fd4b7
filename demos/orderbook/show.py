"""The show: a day of trading on a durable machine that is killed in the middle, and the proof that nothing shows of it.

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
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from demos.orderbook.audit import CheckFailed
from demos.orderbook.lives import ServiceFailed
from demos.orderbook.service import IN_FLIGHT
from demos.orderbook.terminal import Board, figures, verdicts
from demos.orderbook.trial import STAGES, Trial

COMMANDS_DEFAULT: Final = 80_000
# With fewer the first process might be done before word of the middle arrives; more would be a benchmark.
COMMANDS_MIN, COMMANDS_MAX = 5_000, 1_000_000


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.orderbook show",
        description="Trade a seeded day on a durable order book, kill it in the middle, recover it, and show that "
        "nothing was lost or doubled. Exit code 0 if every check held, 1 if one did not, 2 for wrong usage.",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the flow (default 1)")
    parser.add_argument(
        "--commands",
        type=int,
        default=COMMANDS_DEFAULT,
        metavar="N",
        help=f"length of the flow (default {COMMANDS_DEFAULT:,})",
    )
    parser.add_argument("--dir", type=Path, metavar="DIR", help="keep the machine in DIR, a new or empty directory")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    options = parser.parse_args(argv)
    if not COMMANDS_MIN <= options.commands <= COMMANDS_MAX:
        parser.error(f"--commands must be {COMMANDS_MIN:,} to {COMMANDS_MAX:,}")
    if not 0 <= options.seed < 2**63:
        parser.error("--seed must be 0 to 2**63 - 1")
    if options.dir is not None:
        try:
            options.dir.mkdir(parents=True, exist_ok=True)
            if any(options.dir.iterdir()):
                parser.error(f"--dir: {options.dir} is not empty")
        except OSError as error:
            parser.error(f"--dir: {error}")
    return options


def closing(trial: Trial, reason: str, kept: Path | None) -> None:
    """Print the board as it was left, every check, and the figures."""
    board, facts = trial.board, trial.facts
    console = board.console
    rows = [(check.held, check.name, check.found) for check in trial.audit.checks]
    if reason and all(held for held, _, _ in rows):
        rows.append((False, "not finished", reason))
    console.print(board.final())
    console.print()
    console.print(Text(" held against the same flow, never interrupted, on plain containers:", "dim"))
    console.print(verdicts(rows, board.glyphs, board.width))
    if reason:
        return
    console.print()
    where = f" ({facts['filesystem']})" if facts["filesystem"] else ""
    console.print(
        figures(
            [
                (
                    "throughput",
                    f"{facts['commands_per_second_before']:,} commands/s before the kill, "
                    f"{facts['commands_per_second_after']:,} after: one client, {IN_FLIGHT} commands in flight, "
                    "sessions, keys and state roots on",
                ),
                ("durability", f"fsync: answered when the batch is on the disk{where}"),
                ("recovery", f"{facts['recovered']:,} commands replayed in {facts['recovery_seconds']:.2f} s"),
                ("state root", f"{facts['root']} at log index {facts['log_index']:,}"),
                ("look inside", f"rsm log info {kept}" if kept else "run it with --dir DIR, then: rsm log info DIR"),
            ],
            board.width,
        )
    )


def filesystem(path: Path) -> str:
    """The kind of file system that a path lies on, where the system tells."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return ""
    on = [words for words in mounts if path.resolve().is_relative_to(words[4])]
    if not on:
        return ""
    words = max(on, key=lambda words: len(words[4]))
    return words[words.index("-") + 1]


def main(argv: list[str], after_kill: Callable[[Path], None] | None = None) -> int:
    """Run the show; returns the exit code. `after_kill` is for tests: it may damage what the killed process left."""
    options = parse(argv)
    console = Console(file=io.StringIO()) if options.json else Console(highlight=False)
    note = f"{options.commands:,} commands, seed {options.seed}"
    board = Board(console, "rsm order book", note, STAGES)
    reason = ""
    with tempfile.TemporaryDirectory(prefix="rsm-show-") as scratch:
        machine = options.dir if options.dir is not None else Path(scratch, "machine")
        trial = Trial(options.seed, options.commands, machine, Path(scratch, "flow"), board)
        trial.facts["filesystem"] = filesystem(machine.parent)
        try:
            with board.shown():
                trial.run(after_kill)
        except CheckFailed as failure:
            reason = str(failure)
        except (ServiceFailed, OSError) as failure:
            reason = f"could not be finished: {failure}"
        except KeyboardInterrupt:
            console.print(" interrupted; nothing is left behind")
            return 130
    if options.json:
        checks = [check._asdict() for check in trial.audit.checks]
        print(json.dumps({"held": not reason, "reason": reason, "checks": checks} | trial.facts, indent=2))
    else:
        closing(trial, reason, options.dir)
    return 1 if reason else 0
