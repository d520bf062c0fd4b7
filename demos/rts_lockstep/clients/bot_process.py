"""One bot in a process of its own, with a client of its own: it plays until the match is over or its input ends.

    python -m demos.rts_lockstep.clients.bot_process ADDRESS[,ADDRESS...] TOKEN NAME SEED [--style war|drill]
      [--record DIR] [--seat N] [--trace] [--page]

It tells what happens as `demos.rts_lockstep.clients.reports` on its standard output. A line on its input plants the
deer bug (`demos.rts_lockstep.clients.planted`) into this process.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Final

import rsm
from demos.rts_lockstep.clients import planted
from demos.rts_lockstep.clients.bots import DRILL, WAR, Bot
from demos.rts_lockstep.clients.desk import Desk
from demos.rts_lockstep.clients.player import Moment, Player
from demos.rts_lockstep.clients.reports import Differs, Joined, Left, Ordered, Ran, Used, say
from demos.rts_lockstep.clients.suspects import first_line
from demos.rts_lockstep.clients.traffic import TrafficMeter
from demos.rts_lockstep.records import Phase
from demos.rts_lockstep.units import NOBODY

LOOK_SECONDS: Final = 0.2
USED_SECONDS: Final = 1.0
PATHS_SHOWN: Final = 8


class BotProcess:
    """The bot, its client, and the line to whoever reads."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._style, self._seed, self._has_page = options.style, options.seed, options.page
        self._began = time.monotonic()
        self._meter = TrafficMeter()
        self._used_at = 0.0
        self._differs_since = 0.0
        self.player = Player(
            options.addresses.split(","),
            options.name,
            options.token,
            record=options.record,
            trace=options.trace,
            wish=options.seat,
            on_answer=self._answered,
        )
        self.bot: Bot | None = None
        self._desk: Desk | None = None
        self.is_to_scare = False
        self.is_over = threading.Event()

    def run(self) -> None:
        """Until the match is over, or nobody wants to know."""
        moment: Moment | None = None
        with contextlib.ExitStack() as stack:
            player = stack.enter_context(self.player)
            if self._has_page:
                self._desk = stack.enter_context(Desk(player, title=player.name))
            while not self.is_over.is_set():
                moment = player.next(LOOK_SECONDS)
                if moment is not None:
                    self._take(moment)
                if self._desk is not None:
                    self._desk.answer_asks()
                now = time.monotonic()
                if now - self._used_at >= USED_SECONDS:
                    self._used_at = now
                    say(Used(now, *self._meter.sample()))
                if player.machine.phase == Phase.OVER:
                    self.is_over.set()
            status, world = player.observer.status, player.machine.world
            say(Used(time.monotonic(), *self._meter.sample()))
            root = "" if moment is None or moment.update.root is None else moment.update.root.hex()
            say(
                Left(
                    world.winner,
                    world.turn,
                    root,
                    status.roots_checked,
                    status.snapshots,
                    status.reconnects,
                    status.skipped,
                )
            )

    def _take(self, moment: Moment) -> None:
        player, game, update = self.player, self.player.machine, moment.update
        if update.desync is not None:
            self._differs(update.desync)
        if self.bot is None and player.number is not None and player.number in game.seats:
            self.bot = Bot(self._seed, player.number, self._style)
            now = time.monotonic()
            used = self._meter.sample()
            size = used.all_bytes_in + used.all_bytes_out
            page = "" if self._desk is None else self._desk.url
            say(Joined(now, player.number, moment.turn, update.index, now - self._began, size, page))
        if self._desk is not None:
            self._desk.show(moment)
        if not moment.is_turn:
            return
        if self.bot is not None and game.phase == Phase.RUNNING:
            orders = self.bot.orders(game)
            if self.is_to_scare:
                self.is_to_scare = False
                orders += self.bot.scare(game, planted.DEER_ROW)
            if orders:
                player.order(*orders)
        player.report()
        status, measures = player.observer.status, player.measures
        say(
            Ran(
                time.monotonic(),
                moment.turn,
                update.index,
                "" if update.root is None else update.root.hex(),
                game.turn_ms,
                measures.step_seconds * 1e3,
                int((game.units.read("hp") > 0).sum()),
                status.applied_index - update.index,
                update.snapshot,
            )
        )

    def _answered(self, stamp: int, turn: int | None, seconds: float, reason: str) -> None:
        say(Ordered(time.monotonic(), stamp, turn or 0, seconds * 1e3, reason))

    def _differs(self, desync: rsm.Desync) -> None:
        now = time.monotonic()
        if desync.verdict == "open":
            planted.pull_out()  # a person would restart; here the bug has done its work once, and is gone
            self._differs_since = now
        say(
            Differs(
                now,
                desync.index,
                desync.verdict,
                tuple((path.path, path.mine, path.theirs) for path in desync.paths[:PATHS_SHOWN]),
                first_line(desync),
                "" if desync.command is None else desync.command.name,
                desync.healed_index,
                now - self._differs_since,
                desync.evidence,
            )
        )


def listen(process: BotProcess) -> None:
    """Plant the bug at each line of the input, and see to it that the animal flees; end with the input."""
    for _ in sys.stdin:
        planted.plant()
        process.is_to_scare = True
    process.is_over.set()


def main(argv: list[str]) -> int:
    """Run the process."""
    parser = argparse.ArgumentParser(prog="python -m demos.rts_lockstep.clients.bot_process")
    parser.add_argument("addresses")
    parser.add_argument("token")
    parser.add_argument("name")
    parser.add_argument("seed", type=int)
    parser.add_argument("--style", choices=(WAR, DRILL), default=WAR)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--seat", type=int, default=NOBODY)
    parser.add_argument("--page", action="store_true")
    process = BotProcess(parser.parse_args(argv))
    signal.signal(signal.SIGTERM, lambda *_: process.is_over.set())
    threading.Thread(target=listen, args=(process,), name="input", daemon=True).start()
    process.run()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        sys.exit(1)
    except (rsm.RsmError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
