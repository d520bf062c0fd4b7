"""`desync`: the deer bug, planted into one client of a running match, named and healed.

    python -m demos.rts_lockstep desync [--bots N] [--nodes 1|3] [--dir DIR] [--linger SECONDS] [--json]

Four bots play, each in a process of its own, and all record what they observe. In one of them a fleeing animal is then
one sub-tile unit off. That client must be told apart at the next hash point, name the animal and the field, take the
cluster's state and go on, while nobody waits; and `rsm desync compare` of two recorded logs must say the same.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from demos.rts_lockstep.clients import planted
from demos.rts_lockstep.clients.reports import Differs
from demos.rts_lockstep.commands.running import guarded, new_directory, workplace
from demos.rts_lockstep.staging.match import NAMES, Match, MatchFailed
from demos.rts_lockstep.staging.nodes import ROOT
from demos.rts_lockstep.units import PLAYERS_MAX

# Eight animals graze at each start, so this one is in sight of the third player.
VICTIM: Final = 2
PLANT_TURN: Final = 12
# Turns that all play on together when it is healed.
TURNS_AFTER: Final = 25
WAIT_SECONDS_MAX: Final = 60.0
COMPARE_SECONDS_MAX: Final = 120.0


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.rts_lockstep desync",
        description="Plant the deer bug into one client of a match. Exit code 0 if it was named and healed and nobody "
        "waited, 1 if not, 2 for wrong usage.",
    )
    parser.add_argument("--bots", type=int, default=4, metavar="N", help="players, 3 or more (default 4)")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="replicas of the match (default 1)")
    parser.add_argument("--dir", type=new_directory, metavar="DIR", help="keep nodes and recorded logs here")
    parser.add_argument(
        "--linger",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="play for so long before the bug, and again when it is healed, to look at the page (default 0)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    options = parser.parse_args(argv)
    if not VICTIM < options.bots <= PLAYERS_MAX:
        parser.error(f"--bots must be {VICTIM + 1} to {PLAYERS_MAX}")
    return options


class Trial:
    """One run, and what came of it."""

    def __init__(self, options: argparse.Namespace, directory: Path, console: Console) -> None:
        self._options = options
        self._directory = directory
        self._console = console
        self._victim = NAMES[VICTIM]
        self.found: dict[str, Any] = {"client": self._victim, "planted": planted.BROKEN}

    def run(self) -> bool:
        """Whether everything held."""
        options, found = self._options, self.found
        with Match(
            self._directory, options.bots, nodes=options.nodes, record=True, tracing=(VICTIM,), pages=(VICTIM,)
        ) as match:
            tally = match.tally
            match.until(lambda: tally.turn >= PLANT_TURN, "the match to begin", WAIT_SECONDS_MAX)
            page = tally.joined[self._victim].page
            self._tell(f"{options.bots} clients play; {self._victim}'s page is {page}")
            if options.linger:
                self._tell(f"open it now: the bug comes in {options.linger:g} s")
                time.sleep(options.linger)
            began = time.monotonic()
            match.bots[self._victim].plant()
            self._tell(f"{self._victim}'s client gets a bug, in its memory only: {planted.BROKEN.partition('; ')[2]}")
            seen, healed = match.until(lambda: self._story(match), "the desync to be named", WAIT_SECONDS_MAX)
            self._tell(f"index {seen.index:,}: {self._victim}'s root is not the cluster's; it says so itself")
            path, mine, theirs = healed.paths[0] if healed.paths else ("", None, None)
            self._tell(f"{path}: {mine} here, {theirs} on all others; written at {healed.line or 'an unknown line'}")
            self._tell(
                f"healed with the cluster's state of index {healed.healed_index:,}, {healed.seconds:.2f} s later"
            )
            after = tally.turn
            match.until(lambda: tally.turn >= after + TURNS_AFTER, "the match to go on", WAIT_SECONDS_MAX)
            if options.linger:
                time.sleep(options.linger)
            others = [name for name in match.bots if name != self._victim]
            longest = max(
                (seconds for name in others for seconds in tally.turn_seconds(name)[PLANT_TURN:]), default=0.0
            )
            equal_after = self._equal_after(match, after)
            found |= {
                "index": seen.index,
                "path": path,
                "paths": [one[0] for one in healed.paths],
                "mine": mine,
                "theirs": theirs,
                "line": healed.line,
                "command": healed.command,
                "named_seconds": round(healed.at - began, 3),
                "healed_seconds": round(healed.seconds, 3),
                "healed_index": healed.healed_index,
                "longest_turn_of_others_seconds": round(longest, 3),
                "turns_equal_again": equal_after,
                "pauses": match.host.standing().paused_by >= 0,
            }
        self._compare()
        return self._judge()

    def _story(self, match: Match) -> tuple[Differs, Differs] | None:
        """What it said when it saw the difference, and what when it was healed."""
        told = [differs for name, differs in match.tally.differs if name == self._victim]
        strangers = [name for name, _ in match.tally.differs if name != self._victim]
        if strangers:
            raise MatchFailed(f"{strangers[0]} differs, too")
        opened = next((one for one in told if one.verdict == "open"), None)
        healed = next((one for one in told if one.verdict != "open"), None)
        return None if opened is None or healed is None else (opened, healed)

    def _equal_after(self, match: Match, turn: int) -> int:
        """In how many turns since then all clients had one root."""
        roots: dict[int, set[str]] = {}
        counts: dict[int, int] = {}
        for ran in match.tally.ran.values():
            for one in ran:
                if one.turn > turn:
                    roots.setdefault(one.turn, set()).add(one.root)
                    counts[one.turn] = counts.get(one.turn, 0) + 1
        return sum(len(roots[one]) == 1 and counts[one] == len(match.bots) for one in roots)

    def _compare(self) -> None:
        """What the detector says of the two recorded logs."""
        good, bad = (self._directory / f"client-{name.lower()}" for name in (NAMES[0], self._victim))
        done = subprocess.run(
            [sys.executable, "-m", "rsm", "desync", "compare", str(good), str(bad), "--json"],
            capture_output=True,
            cwd=ROOT,
            timeout=COMPARE_SECONDS_MAX,
            check=False,
        )
        try:
            document: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            document = {"error": done.stderr.decode("utf-8", "replace").strip()[-500:]}
        paths = [path["path"] for path in document.get("paths", ())]
        self.found["compare"] = {
            "exit_code": done.returncode,
            "verdict": document.get("verdict"),
            "kind": document.get("kind"),
            "first_bad_index": document.get("first_bad_index"),
            "paths": paths,
            "error": document.get("error"),
        }
        self._tell(
            f"rsm desync compare {good.name} {bad.name}: {document.get('verdict', 'no verdict')}, "
            f"index {document.get('first_bad_index')}, {', '.join(paths[:3]) or document.get('error', 'no path')}"
        )

    def _judge(self) -> bool:
        found = self.found
        wanted = f"deer/{planted.DEER_ROW}/x"
        checks = {
            "named": wanted in found["paths"],
            "healed": found["healed_seconds"] < 2.0 and found["turns_equal_again"] >= TURNS_AFTER - 2,
            "nobody_waited": not found["pauses"] and found["longest_turn_of_others_seconds"] < 2.0,
            "compared": found["compare"]["verdict"] == "desync" and wanted in found["compare"]["paths"],
        }
        found["checks"] = checks
        for name, held in checks.items():
            self._console.print(f"{'ok ' if held else 'NO '} {name.replace('_', ' ')}")
        return all(checks.values())

    def _tell(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False)


def main(argv: list[str]) -> int:
    """The command."""
    options = parse(argv)
    console = Console(file=io.StringIO()) if options.json else Console(highlight=False)

    def work() -> int:
        with workplace(options.dir) as directory:
            trial = Trial(options, directory, console)
            held = trial.run()
            if options.json:
                print(json.dumps(trial.found, indent=2))
        return 0 if held else 1

    return guarded("desync", work)
