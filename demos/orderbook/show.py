"""The show: a day of trading on a machine that things happen to, and the proof that nothing of it shows.

    python -m demos.orderbook show [--seed N] [--commands N] [--rate N] [--dir DIR] [--json]
    python -m demos.orderbook show --embedded [--seed N] [--commands N] [--dir DIR] [--json]

Flows are made from a seed, together with what an undisturbed exchange answers to them. Then they are traded: by three
client processes on a cluster of three nodes, whose leader is killed and one of whose followers loses its directory
(`cluster_trial`); or, `--embedded`, by one process on a machine of its own that is killed and recovers (`trial`). What
was answered, and what can be seen of the machine at the end, is compared with the flows.

The exit code is 0 only if every check held. The first that does not ends the show with its reason and 1.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

import rsm
from demos.exits import FINE, FOUND, exit_code, interruptible
from demos.orderbook import cluster_trial as cluster_trials
from demos.orderbook import trial as trials
from demos.orderbook.audit import CheckFailed
from demos.orderbook.cluster_board import ClusterBoard
from demos.orderbook.cluster_trial import ClusterTrial
from demos.orderbook.lives import ServiceFailed
from demos.orderbook.market_board import ExchangeBoard
from demos.orderbook.service import IN_FLIGHT
from demos.orderbook.terminal import figures, verdicts
from demos.orderbook.trial import Trial
from demos.scratch import scratch_directory

COMMANDS_DEFAULT: Final = 50_000
# With fewer the middle might be over before word of it arrives; more would be a benchmark.
COMMANDS_MIN, COMMANDS_MAX = 5_000, 1_000_000
# All clients together, a second: a part of what two processors can do, so that there are latencies to be seen.
RATE_DEFAULT: Final = 2_500
RATE_MAX: Final = 100_000


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.orderbook show",
        description="Trade a seeded day on a cluster of three nodes, kill its leader, empty a follower, and show that "
        "nothing was lost or doubled. Exit code 0 if every check held, 1 if one did not, 2 for wrong usage.",
    )
    add_options(parser, RATE_DEFAULT)
    parser.add_argument(
        "--commands",
        type=int,
        default=COMMANDS_DEFAULT,
        metavar="N",
        help=f"commands in all (default {COMMANDS_DEFAULT:,})",
    )
    parser.add_argument("--embedded", action="store_true", help="one machine in one process, killed and recovered")
    options = parser.parse_args(argv)
    if not COMMANDS_MIN <= options.commands <= COMMANDS_MAX:
        parser.error(f"--commands must be {COMMANDS_MIN:,} to {COMMANDS_MAX:,}")
    check_options(parser, options)
    return options


def add_options(parser: argparse.ArgumentParser, rate: int) -> None:
    """What every show takes; `rate` in commands a second."""
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the flow (default 1)")
    parser.add_argument(
        "--rate",
        type=int,
        default=rate,
        metavar="N",
        help=f"commands a second, of all clients together (default {rate:,})",
    )
    parser.add_argument("--dir", type=Path, metavar="DIR", help="keep what is on disk in DIR, a new or empty directory")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse what does not fit, and make the directory."""
    if not 0 < options.rate <= RATE_MAX:
        parser.error(f"--rate must be 1 to {RATE_MAX:,}")
    if not 0 <= options.seed < 2**62:
        parser.error("--seed must be 0 to 2**62 - 1")
    if options.dir is not None:
        try:
            options.dir.mkdir(parents=True, exist_ok=True)
            if any(options.dir.iterdir()):
                parser.error(f"--dir: {options.dir} is not empty")
        except OSError as error:
            parser.error(f"--dir: {error}")


def closing(trial: Trial | ClusterTrial, reason: str, rows: list[tuple[str, str]]) -> None:
    """Print the board as it was left, every check, and the figures."""
    board = trial.board
    console = board.console
    checks = [(check.held, check.name, check.found) for check in trial.audit.checks]
    if reason and all(held for held, _, _ in checks):
        checks.append((False, "not finished", reason))
    console.print(board.final())
    console.print()
    console.print(Text(" held against the same flow, never interrupted, on plain containers:", "dim"))
    console.print(verdicts(checks, board.glyphs, board.width))
    if not reason:
        console.print()
        console.print(figures(rows, board.width))


def embedded_figures(facts: dict[str, Any], kept: Path | None) -> list[tuple[str, str]]:
    """What came of one process."""
    return [
        (
            "throughput",
            f"{facts['commands_per_second_before']:,} commands/s before the kill, "
            f"{facts['commands_per_second_after']:,} after: one client, {IN_FLIGHT} commands in flight, "
            "sessions, keys and state roots on",
        ),
        ("durability", f"fsync: answered when the batch is on the disk{facts['on']}"),
        ("recovery", f"{facts['recovered']:,} commands replayed in {facts['recovery_seconds']:.2f} s"),
        ("state root", f"{facts['root']} at log index {facts['log_index']:,}"),
        ("look inside", f"rsm log info {kept}" if kept else "run it with --dir DIR, then: rsm log info DIR"),
    ]


def cluster_figures(facts: dict[str, Any], kept: Path | None) -> list[tuple[str, str]]:
    """What came of the cluster."""
    return [
        ("leader killed", f"writes went on after {facts['writes_resumed_seconds']:.2f} s"),
        (
            "latency",
            f"p50 {facts['latency_p50_ms']:.1f} ms, p99 {facts['latency_p99_ms']:.0f} ms, longest "
            f"{facts['latency_max_ms']:,.0f} ms, at {facts['rate']:,} commands/s from {facts['clients']} clients; "
            "sessions, keys and state roots on",
        ),
        ("durability", f"fsync: answered when the batch is on the disks of two nodes{facts['on']}"),
        ("state root", f"{facts['root']} at log index {facts['root_index']:,}"),
        (
            "look inside",
            f"rsm log info {kept}/node-1" if kept else "run it with --dir DIR, then: rsm log info DIR/node-1",
        ),
    ]


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


def main(
    argv: list[str],
    after_kill: Callable[[Path], None] | None = None,
    after_trading: Callable[[list[str]], None] | None = None,
) -> int:
    """Run the show; returns the exit code.

    The others are for tests, and may do damage: `after_kill` to the directory of the killed process, with --embedded;
    `after_trading` to the cluster at these addresses, before anything is compared.
    """
    options = parse(argv)
    console = Console(file=io.StringIO()) if options.json else Console(highlight=False)
    note = f"{options.commands:,} commands, seed {options.seed}"
    reason, code = "", FINE
    trial: Trial | ClusterTrial
    with scratch_directory("rsm-show-") as scratch, interruptible():
        place = options.dir if options.dir is not None else scratch / "machine"
        if options.embedded:
            board = ExchangeBoard(console, "rsm order book", note, trials.STAGES)
            trial = Trial(options.seed, options.commands, place, scratch / "flow", board)
            run = functools.partial(trial.run, after_kill)
        else:
            nodes = ClusterBoard(console, "rsm order book, three nodes", note, cluster_trials.STAGES)
            trial = ClusterTrial(options.seed, options.commands, options.rate, place, scratch, nodes)
            run = functools.partial(trial.run, after_trading)
        kind = filesystem(place.parent)
        trial.facts |= {"filesystem": kind, "on": f" ({kind})" if kind else ""}
        try:
            with trial.board.shown():
                run()
        except CheckFailed as failure:
            reason, code = str(failure), FOUND
        except (ServiceFailed, rsm.RsmError, OSError) as failure:
            reason, code = f"could not be finished: {failure}", exit_code(failure)
        except KeyboardInterrupt:
            console.print(" interrupted; nothing is left behind")
            return 130
    if options.json:
        checks = [check._asdict() for check in trial.audit.checks]
        print(json.dumps({"held": not reason, "reason": reason, "checks": checks} | trial.facts, indent=2))
    else:
        rows = [] if reason else (embedded_figures if options.embedded else cluster_figures)(trial.facts, options.dir)
        closing(trial, reason, rows)
    return code
