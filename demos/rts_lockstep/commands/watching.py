"""`bots`: a match of scripted players, each in a process of its own, watched in the terminal until it has a result.

    python -m demos.rts_lockstep bots N [--nodes 1|3] [--seed S] [--soldiers N] [--seconds S] [--dir DIR] [--json]

The exit code is 0 only if every client had the same root after every turn that was run.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from demos.rts_lockstep.clients.bots import DRILL, WAR
from demos.rts_lockstep.commands.running import check_world, guarded, new_directory, workplace
from demos.rts_lockstep.staging.match import Match, Tally, bits_per_second, worst_bits_per_second
from demos.rts_lockstep.turns import TURN_MS_MAX, TURN_MS_MIN
from demos.rts_lockstep.units import DRAW, MAP_SIZE_DEFAULT, PLAYERS_MAX, UNITS_MAX

SECONDS_DEFAULT: Final = 1800.0
DRAW_SECONDS: Final = 0.25
START_SECONDS_MAX: Final = 60.0
WORST_SECONDS: Final = 10.0


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.rts_lockstep bots",
        description="A match of bots in processes of their own. Exit code 0 if all had the same state root in every "
        "turn, 1 if not, or if something went down, 2 for wrong usage, 3 if nobody answered.",
    )
    parser.add_argument("bots", type=int, metavar="N", help=f"how many, 2 to {PLAYERS_MAX}")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="replicas of the match (default 1)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of map and bots (default 1)")
    parser.add_argument("--units", type=int, default=UNITS_MAX, metavar="N", help="units in all (default %(default)s)")
    parser.add_argument("--size", type=int, default=MAP_SIZE_DEFAULT, metavar="TILES", help="of the map (default 96)")
    parser.add_argument("--soldiers", type=int, default=0, metavar="N", help="of each player at the start (default 0)")
    parser.add_argument("--style", choices=(WAR, DRILL), default=WAR, help="drill: march about and spare the towns")
    parser.add_argument("--turn-ms", type=int, default=200, metavar="MS", help="length of a turn (default 200)")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS_DEFAULT, metavar="S", help="stop then, if nobody has won"
    )
    parser.add_argument("--dir", type=new_directory, metavar="DIR", help="keep nodes and recorded logs here")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    options = parser.parse_args(argv)
    if not 2 <= options.bots <= PLAYERS_MAX:
        parser.error(f"N must be 2 to {PLAYERS_MAX}")
    check_world(parser, options)
    if not TURN_MS_MIN <= options.turn_ms <= TURN_MS_MAX:
        parser.error(f"--turn-ms must be {TURN_MS_MIN} to {TURN_MS_MAX}")
    return options


def table_of(match: Match, seconds: float) -> Table:
    """The match as it stands."""
    tally = match.tally
    equal = f"{tally.equal_turns:,} turns with one root on all clients"
    unequal = f", [red]{len(tally.unequal)} with several[/]" if tally.unequal else ""
    table = Table(title=f"turn {tally.turn:,} after {seconds:.0f} s; {equal}{unequal}", title_justify="left")
    for name in ("player", "turn", "turn ms", "step ms", "units", "order ms", "kbit/s", "root"):
        table.add_column(name, justify="left" if name in ("player", "root") else "right")
    with tally.lock:
        for name in match.bots:
            ran, used = tally.last.get(name), list(tally.used.get(name, ()))
            if ran is None:
                table.add_row(name, *"-" * 7)
                continue
            waits = [one.milliseconds for one in tally.orders[-50:]]
            table.add_row(
                name,
                f"{ran.turn:,}",
                str(ran.turn_ms),
                f"{ran.step_ms:.1f}",
                f"{ran.units:,}",
                f"{sum(waits) / len(waits):.0f}" if waits else "-",
                f"{bits_per_second(used) / 1000:.1f}",
                ran.root[:16],
            )
    return table


def result_of(tally: Tally) -> str:
    """Who has won, in words."""
    if not tally.left:
        return "no result yet"
    first = next(iter(tally.left.values()))
    if first.winner == DRAW:
        return f"a draw in turn {first.turn:,}"
    names = {joined.player: name for name, joined in tally.joined.items()}
    return f"{names.get(first.winner, 'nobody')} has won in turn {first.turn:,}" if first.winner >= 0 else "no result"


def document_of(match: Match, seconds: float) -> dict[str, Any]:
    """Everything in numbers."""
    tally = match.tally
    used = {name: list(found) for name, found in tally.used.items()}
    waits = sorted(one.milliseconds for one in tally.orders)
    return {
        "bots": tally.players,
        "seconds": round(seconds, 1),
        "turns": tally.turn,
        "equal_turns": tally.equal_turns,
        "unequal_turns": len(tally.unequal),
        "roots_compared": tally.compared_roots,
        "result": result_of(tally),
        "root": next((left.root for left in tally.left.values()), ""),
        "bits_per_second": {name: round(bits_per_second(one)) for name, one in used.items()},
        "worst_10_s_bits_per_second": {
            name: round(worst_bits_per_second(one, WORST_SECONDS)) for name, one in used.items()
        },
        "order_milliseconds_p50": round(waits[len(waits) // 2], 1) if waits else None,
        "refused": tally.refused[:10],
        "desyncs": len(tally.differs),
    }


def watch(options: argparse.Namespace, kept: Path) -> int:
    """Run the match; the exit code."""
    console = Console(file=io.StringIO()) if options.json else Console(highlight=False)
    with Match(
        kept,
        options.bots,
        nodes=options.nodes,
        seed=options.seed,
        style=options.style,
        soldiers=options.soldiers,
        units_max=options.units,
        turn_ms=options.turn_ms,
        size=options.size,
        record=options.dir is not None,
    ) as match:
        match.until(lambda: match.tally.turn > 0, "the first turn", START_SECONDS_MAX)
        began = drawn = time.monotonic()
        with Live(table_of(match, 0.0), console=console, auto_refresh=False) as live:
            for seconds in match.while_waiting(options.seconds + START_SECONDS_MAX, "the result"):
                if time.monotonic() - drawn > DRAW_SECONDS:
                    drawn = time.monotonic()
                    live.update(table_of(match, seconds), refresh=True)
                if match.is_over or seconds > options.seconds:
                    break
            live.update(table_of(match, time.monotonic() - began), refresh=True)
        found = document_of(match, time.monotonic() - began)
    is_equal = bool(found["equal_turns"]) and not found["unequal_turns"]
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        if not console.is_terminal:
            console.print()  # the table has left the line open
        console.print(f"{found['result']}; root {found['root']}" if found["root"] else found["result"])
        console.print(
            f"{found['roots_compared']:,} roots compared, of {found['turns']:,} turns on {found['bots']} clients: "
            f"{'all equal' if is_equal else 'NOT all equal'}"
        )
        if options.dir is not None:
            console.print(f"play it back: python -m demos.rts_lockstep replay {options.dir / 'client-ada'}")
    return 0 if is_equal else 1


def main(argv: list[str]) -> int:
    """The command."""
    options = parse(argv)

    def work() -> int:
        with workplace(options.dir) as kept:
            return watch(options, kept)

    return guarded("bots", work)
