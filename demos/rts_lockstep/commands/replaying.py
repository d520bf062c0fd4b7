"""`replay`: a recorded match, played back from its log. Replays are logs: there is no other format.

    python -m demos.rts_lockstep replay LOG [--check] [--page-port P] [--json]

First the whole log is run, as fast as it goes, and every root that was recorded is compared. Then a page shows the
match, with a scrubber: any turn, at any speed. LOG is what a client recorded (`--record`, `--dir`), the directory of a
node, or what `rsm log export` wrote.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final

import msgspec

import rsm
from demos.exits import FINE, UNCHECKED
from demos.rts_lockstep.commands.running import guarded, port_number
from demos.rts_lockstep.machine import Game
from demos.rts_lockstep.records import Phase
from demos.rts_lockstep.releases.v2 import GameV2
from demos.rts_lockstep.units import DRAW
from demos.rts_lockstep.viewing.picture import hello_of, projectiles_of, seats_of, status_of, turn_of, units_of
from demos.rts_lockstep.viewing.view import Ask, Replay, Seek, Speed
from demos.rts_lockstep.viewing.viewer import Viewer

# The newest rules, which ship the older ones: each entry runs under those of its time.
NEWEST: Final = GameV2
TURNS_PER_LINE: Final = 300
LOOK_SECONDS: Final = 0.01
# However fast it is to play, this many turns are skipped at most before one is drawn.
TURNS_PER_DRAWING_MAX: Final = 8


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.rts_lockstep replay",
        description="Play a recorded match back. Exit code 0 if every recorded root was met, 1 if one was not, or "
        "if the log is damaged, 2 for wrong usage or what is no log of a match, 3 if something could not be checked. "
        "Ctrl-C ends the page.",
    )
    parser.add_argument("log", metavar="LOG", help="a recorded directory, a node's, or an exported log")
    parser.add_argument("--check", action="store_true", help="only check the roots; no page")
    parser.add_argument(
        "--page-port", type=port_number, default=0, metavar="P", help="of the page (default: any free one)"
    )
    parser.add_argument("--json", action="store_true", help="with --check: print one JSON document and nothing else")
    options = parser.parse_args(argv)
    if options.json and not options.check:
        parser.error("--json goes with --check")
    return options


class Recorded:
    """A log that was played once: where each turn is, and what came out."""

    def __init__(self, path: str, tell: Callable[[str], None] = lambda line: None) -> None:
        """Play it. `rsm.DivergenceError` at the first root that is not the recorded one."""
        self.playback = rsm.replay(NEWEST, path)
        self.turns: list[int] = []
        self.indexes: list[int] = []
        self.root = ""  # of the result, if there is one, and else the last
        is_over = False
        began = time.perf_counter()
        for played in self.playback:
            game = self.playback.machine
            if game.phase == Phase.NEW:
                continue
            if played.root is not None and not is_over:
                self.root = played.root.hex()
                is_over = game.phase == Phase.OVER
            if not self.turns or game.last_turn > self.turns[-1]:
                self.turns.append(game.last_turn)
                self.indexes.append(played.index)
                if game.last_turn and game.last_turn % TURNS_PER_LINE == 0:
                    tell(f"turn {game.last_turn:,}: {self.playback.roots_checked:,} roots as recorded")
        self.seconds = time.perf_counter() - began
        self.unchecked = list(self.playback.unchecked)
        if not self.playback.roots_checked:
            self.unchecked.append(f"{path}: no roots were recorded with this log")
        if not self.turns:
            raise rsm.CallerError(f"{path}: no match was opened in this log")
        # Who plays in the end: at the beginning some had not joined yet.
        self.seats = seats_of(self.playback.machine)

    @property
    def first(self) -> int:
        """The first turn that the log has."""
        return self.turns[0]

    @property
    def last(self) -> int:
        """The last one."""
        return self.turns[-1]

    def seek(self, turn: int) -> rsm.Played | None:
        """Put the machine where this turn has run, or the next one that the log has."""
        place = min(bisect_left(self.turns, turn), len(self.turns) - 1)
        return self.playback.seek(self.indexes[place])

    def document(self) -> dict[str, Any]:
        """What came out."""
        game = self.playback.machine
        return {
            "turns": self.last - self.first,
            "entries": self.playback.index - self.playback.first_index,
            "roots_checked": self.playback.roots_checked,
            "rules": game.definition.version,
            "winner": game.world.winner if game.phase == Phase.OVER else None,
            "root": self.root,
            "unchecked": self.unchecked,
            "seconds": round(self.seconds, 2),
            "turns_per_second": round((self.last - self.first) / max(self.seconds, 1e-9), 1),
        }


class Show:
    """A recorded match on a page, as its scrubber says."""

    def __init__(self, recorded: Recorded, port: int) -> None:
        self._recorded = recorded
        self._asks: queue.Queue[Ask] = queue.Queue()
        self._speed, self._is_playing = 1.0, True
        recorded.seek(recorded.first)
        hello = hello_of(self._game, None, title="replay", is_replay=True)
        hello = msgspec.structs.replace(hello, players=recorded.seats)
        self._turn = recorded.first
        self._due = time.monotonic()
        self._viewer = Viewer(hello, self._asks.put, port=port)

    @property
    def _game(self) -> Game:
        return self._recorded.playback.machine

    def run(self, started: Callable[[str], None]) -> None:
        """Until it is interrupted; `started` is told where the page is."""
        with self._viewer as viewer:
            started(viewer.url)
            viewer.publish_status(status_of(self._game, note=" "))
            self._go(self._turn, is_cut=True)
            while True:
                self._answer()
                if self._is_playing and self._turn < self._recorded.last and time.monotonic() >= self._due:
                    self._play()
                time.sleep(LOOK_SECONDS)

    def _play(self) -> None:
        late = time.monotonic() - self._due
        seconds = self._game.turn_ms / 1000 / self._speed
        skipped = min(int(late / seconds), TURNS_PER_DRAWING_MAX)
        self._due = max(self._due + (1 + skipped) * seconds, time.monotonic() - seconds)
        self._go(min(self._turn + 1 + skipped, self._recorded.last), is_cut=skipped > 0)

    def _go(self, turn: int, *, is_cut: bool) -> None:
        played = self._recorded.seek(turn)
        game, recorded = self._game, self._recorded
        self._turn = game.last_turn
        told = turn_of(
            game,
            recorded.playback.index,
            None if played is None else played.root,
            agreed=None if played is None or not played.is_checked else True,
            replay=Replay(first=recorded.first, last=recorded.last, playing=self._is_playing, speed=self._speed),
            is_cut=is_cut,
        )
        self._viewer.publish_turn(told, units_of(game), projectiles_of(game), game.ground.read("tile"))

    def _answer(self) -> None:
        while not self._asks.empty():
            ask = self._asks.get()
            if isinstance(ask, Seek):
                self._go(min(max(ask.turn, self._recorded.first), self._recorded.last), is_cut=True)
            elif isinstance(ask, Speed):
                self._is_playing = ask.x > 0
                self._speed = ask.x if ask.x > 0 else self._speed
                self._go(self._turn, is_cut=False)
            else:
                continue
            self._due = time.monotonic() + self._game.turn_ms / 1000 / self._speed


def replay(options: argparse.Namespace) -> int:
    """Check it, and show it."""
    recorded = Recorded(options.log, lambda line: print(line, file=sys.stderr if options.json else sys.stdout))
    found = recorded.document()
    code = UNCHECKED if recorded.unchecked else FINE
    for reason in recorded.unchecked:
        print(f"replay: unchecked: {reason}", file=sys.stderr)
    if options.json:
        print(json.dumps(found, indent=2))
        return code
    result = "the match is not over"
    if found["winner"] is not None:
        result = "a draw" if found["winner"] == DRAW else f"{recorded.seats[found['winner']].name} has won"
    roots = f"{found['roots_checked']:,} roots, all as recorded" if recorded.playback.roots_checked else "no roots"
    print(f"{found['turns']:,} turns, {roots}; {result}; root {found['root']}")
    print(f"{found['seconds']} s, {found['turns_per_second']:,} turns a second; rules of version {found['rules']}")
    if not options.check:
        Show(recorded, options.page_port).run(lambda url: print(f"the page: {url}", flush=True))
    return code


def main(argv: list[str]) -> int:
    """The command."""
    options = parse(argv)
    return guarded("replay", lambda: replay(options))
