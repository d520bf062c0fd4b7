"""The upgrade: an exchange of three nodes goes from version 1 to version 3 under load, and nobody notices but its log.

    python -m demos.orderbook upgrade [--seed N] [--rate N] [--dir DIR] [--json]

Old and new clients trade all the time (`upgrade_trial`). At the end every command was answered, the nodes agree, each
version came into force at one index, and the whole log, through all three versions, replays to its recorded roots. A
release that should not have been one is found before it is released, and again when it is forced onto a node.

The exit code is 0 only if every check held. The first that does not ends it with its reason and 1.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

import rsm
from demos.exits import FINE, FOUND, exit_code, interruptible
from demos.orderbook.audit import CheckFailed
from demos.orderbook.lives import ServiceFailed
from demos.orderbook.show import add_options, check_options, filesystem
from demos.orderbook.terminal import figures, verdicts
from demos.orderbook.upgrade_trial import STAGES, UpgradeBoard, UpgradeTrial
from demos.scratch import scratch_directory

# All clients together, a second: nodes are started and stopped meanwhile, on the same processors.
RATE_DEFAULT: Final = 500


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.orderbook upgrade",
        description="Take an exchange of three nodes from version 1 to version 3 while old and new clients trade, then "
        "force an unsafe release onto a node. Exit code 0 if every check held, 1 if one did not, 2 for wrong usage.",
    )
    add_options(parser, RATE_DEFAULT)
    options = parser.parse_args(argv)
    check_options(parser, options)
    return options


def closing(trial: UpgradeTrial, reason: str, kept: Path | None) -> None:
    """Print the board as it was left, every check, and the figures."""
    board, facts = trial.board, trial.facts
    checks = [(check.held, check.name, check.found) for check in trial.audit.checks]
    if reason and all(held for held, _, _ in checks):
        checks.append((False, "not finished", reason))
    board.console.print(board.final())
    board.console.print()
    board.console.print(verdicts(checks, board.glyphs, board.width))
    if reason:
        return
    latency = (
        f"p50 {facts['latency_p50_ms']:.1f} ms, p99 {facts['latency_p99_ms']:.0f} ms, longest "
        f"{facts['latency_max_ms']:,.0f} ms at {facts['rate']:,} commands/s, five restarts of nodes included; "
        f"{facts['retries']:,} sent again by the clients"
    )
    rows: list[tuple[str, str]] = [
        ("latency", latency),
        ("durability", f"fsync: answered when the batch is on the disks of two nodes{facts['on']}"),
        ("state root", f"{facts['root']} at log index {facts['root_index']:,}"),
        (
            "look inside",
            f"rsm log info {kept}/node-1" if kept else "run it with --dir DIR, then: rsm log info DIR/node-1",
        ),
    ]
    board.console.print()
    board.console.print(figures(rows, board.width))


def main(argv: list[str]) -> int:
    """Run the upgrade; returns the exit code."""
    options = parse(argv)
    console = Console(file=io.StringIO()) if options.json else Console(highlight=False)
    reason, code = "", FINE
    with scratch_directory("rsm-upgrade-") as scratch, interruptible():
        place = options.dir if options.dir is not None else scratch / "machine"
        note = f"version 1 to 3 under load, seed {options.seed}"
        board = UpgradeBoard(console, "rsm exchange, three nodes", note, STAGES)
        trial = UpgradeTrial(options.seed, options.rate, place, scratch, board)
        kind = filesystem(place.parent)
        trial.facts |= {"filesystem": kind, "on": f" ({kind})" if kind else ""}
        try:
            with board.shown():
                trial.run()
        except CheckFailed as failure:
            reason, code = str(failure), FOUND
        except (ServiceFailed, rsm.RsmError, OSError) as failure:
            reason, code = f"could not be finished: {failure}", exit_code(failure)
        except KeyboardInterrupt:
            console.print(Text(" interrupted; nothing is left behind"))
            return 130
    if options.json:
        checks: list[dict[str, Any]] = [check._asdict() for check in trial.audit.checks]
        print(json.dumps({"held": not reason, "reason": reason, "checks": checks} | trial.facts, indent=2))
    else:
        closing(trial, reason, options.dir)
    return code
