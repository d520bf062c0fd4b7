"""A player at his desk: the client and the page in one process, one hand on each.

The loop applies what the log brings and publishes it to the page. What the page asks arrives in the page's thread and
is only put into a queue there. A click is acknowledged when the log has the order, with the turn that runs it.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

import rsm
from demos.rts_lockstep.clients.bots import Bot
from demos.rts_lockstep.clients.player import Moment, Player
from demos.rts_lockstep.clients.suspects import seen_by_page
from demos.rts_lockstep.clients.traffic import TrafficMeter
from demos.rts_lockstep.machine import Game
from demos.rts_lockstep.orders import RESIGN
from demos.rts_lockstep.records import Phase, Say
from demos.rts_lockstep.viewing.asks import Unclear, said_by
from demos.rts_lockstep.viewing.picture import (
    hello_of,
    is_waiting,
    projectiles_of,
    seats_of,
    status_of,
    turn_of,
    units_of,
)
from demos.rts_lockstep.viewing.view import Ask, Frame, Order, Pause, Resign, Stats, Vote
from demos.rts_lockstep.viewing.viewer import Viewer

# How long the loop waits for the log before it looks for what the page asks.
LOOK_SECONDS: Final = 0.02
TRAFFIC_SECONDS: Final = 1.0
OPEN_SECONDS_MAX: Final = 60.0


class Desk:
    """One player, or spectator, with a page, and perhaps a bot in his place; a context manager that serves the page.

    `port` 0: any free one. Raises `TimeoutError` if nobody opens the game, `OSError` if the port is taken.
    """

    def __init__(self, player: Player, *, title: str, port: int = 0, bot: Bot | None = None) -> None:
        self.player = player
        self._bot = bot
        self._asks: queue.Queue[Ask] = queue.Queue()
        _until_open(player)
        self.viewer = Viewer(hello_of(player.machine, player.number, title=title), self._asks.put, port=port)
        self._title = title
        self._seats, self._number = seats_of(player.machine), player.number
        self._was_seated = player.number is not None
        self._lost = ""  # why the match cannot be reached
        self._waits = False
        self._checked = 0
        self._differs_since: float | None = None
        self._healed_index = 0  # of the state that was taken; it is proven right by the next root that agrees
        self._traffic = TrafficMeter()
        self._sampled_at = 0.0

    @property
    def game(self) -> Game:
        """The game as this client has it."""
        return self.player.machine

    @property
    def url(self) -> str:
        """Where the page is."""
        return self.viewer.url

    def __enter__(self) -> Desk:
        self.viewer.start()
        self._traffic = TrafficMeter({self.viewer.port})
        self._publish_status()
        # A match that waits may not have another turn for long.
        self._publish_turn(self.player.observer.index, None, agreed=None, is_cut=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.viewer.close()

    def run(self, is_over: Callable[[], bool | None] = lambda: False) -> None:
        """Until that, or what it raises; the result stays on the page."""
        while not is_over():
            moment = self.player.next(LOOK_SECONDS)
            if moment is not None:
                if moment.is_turn:
                    self._play()
                self.show(moment)
            self.look_for_match()
            self.answer_asks()

    def sit_down(self) -> None:
        """Take the player's seat, if he has none yet; `rsm.Rejected` if there is none. The page hears with the log."""
        self.player.sit_down()
        self._was_seated = True

    def look_for_match(self) -> None:
        """Say on the page when the match cannot be reached, and when it can again."""
        lost = self.player.observer.status.error
        if bool(lost) != bool(self._lost):
            self._lost = lost
            self._publish_status()

    def _play(self) -> None:
        if self._bot is not None and self.game.phase == Phase.RUNNING:
            orders = self._bot.orders(self.game)
            if orders:
                self.player.order(*orders)
        self.player.report()

    # --- what the log brings ------------------------------------------------------------------------------------------

    def show(self, moment: Moment) -> None:
        """Publish what an entry came to."""
        player, game, viewer, update = self.player, self.game, self.viewer, moment.update
        begins = (seats_of(game), player.number) != (self._seats, self._number)
        if begins:
            self._seats, self._number = seats_of(game), player.number
            viewer.publish_hello(hello_of(game, player.number, title=self._title))
            self._publish_status()
        if update.desync is not None:
            self._differs(update.desync)
        agreed = self._agreed()
        if agreed:
            self._is_right()
        if moment.is_turn or begins:
            self._publish_turn(update.index, update.root, agreed=agreed, is_cut=update.snapshot or begins)
        if update.events or self._waits != (is_waiting(game) or game.phase == Phase.LOBBY):
            self._publish_status()

    def _publish_turn(self, index: int, root: bytes | None, *, agreed: bool | None, is_cut: bool) -> None:
        game = self.game
        turn = turn_of(game, index, root, agreed=agreed, stats=self._stats(), is_cut=is_cut)
        self.viewer.publish_turn(turn, units_of(game), projectiles_of(game), game.ground.read("tile"))

    def _agreed(self) -> bool | None:
        """Whether the root of this turn was compared, and equal."""
        checked, before = self.player.observer.status.roots_checked, self._checked
        self._checked = checked
        if self._differs_since is not None and not self._healed_index:
            return False
        return True if checked != before else None

    def _stats(self) -> Stats:
        now, measures = time.monotonic(), self.player.measures
        if now - self._sampled_at >= TRAFFIC_SECONDS:
            self._sampled_at = now
            self._traffic.sample()
        total = self._traffic.last
        return Stats(
            turn_ms=measures.turn_seconds * 1e3,
            latency_ms=measures.latency_seconds * 1e3,
            bytes_in=total.all_bytes_in,
            bytes_out=total.all_bytes_out,
            step_ms=measures.step_seconds * 1e3,
        )

    def _publish_status(self) -> None:
        self._waits = is_waiting(self.game) or self.game.phase == Phase.LOBBY
        note = ""
        if self._lost:
            note = f"The match cannot be reached; trying again. {self._lost}"
        elif self._was_seated and self.player.number is None:
            note = "Somebody has taken your seat from elsewhere, under your name. You look on."
        self.viewer.publish_status(status_of(self.game, note))

    def _differs(self, desync: rsm.Desync) -> None:
        """Told twice: at once, with nothing but the roots, and with the cluster's state in hand, which says where."""
        if self._differs_since is None:
            self._differs_since = time.monotonic()
        self._healed_index = desync.healed_index
        self.viewer.publish_desync(seen_by_page(desync, self.game))

    def _is_right(self) -> None:
        """A root agrees. If it is the first since a difference, that is what heals."""
        if self._differs_since is not None and self._healed_index:
            self.viewer.publish_healed(self._healed_index, time.monotonic() - self._differs_since)
            self._differs_since, self._healed_index = None, 0

    # --- what the page asks -------------------------------------------------------------------------------------------

    def answer_asks(self) -> None:
        """Do what the page has asked for meanwhile."""
        while not self._asks.empty():
            self._answer(self._asks.get())

    def _answer(self, ask: Ask) -> None:
        player = self.player
        if isinstance(ask, Order):
            self._order(ask)
        elif isinstance(ask, Pause):
            player.pause(self.game.paused_by < 0)
        elif isinstance(ask, Resign):
            player.order(Say(RESIGN))
        elif isinstance(ask, Vote):
            player.vote(ask.player)
        elif isinstance(ask, Frame):
            player.measures.page_drew(ask.frame_ms)

    def _order(self, ask: Order) -> None:
        viewer, click = self.viewer, ask.click
        try:
            said = said_by(ask, len(self.game.units))
        except Unclear as unclear:
            viewer.refuse(click, str(unclear))
            return

        def settled(turn: int | None, reason: str) -> None:
            if turn is None:
                viewer.refuse(click, reason)
            else:
                viewer.acknowledge(click, turn)

        self.player.order(said, settled=settled)


def _until_open(player: Player) -> None:
    """Wait until the client has the game as the others see it."""
    deadline = time.monotonic() + OPEN_SECONDS_MAX
    while player.machine.phase == Phase.NEW:
        player.next(LOOK_SECONDS)
        if time.monotonic() > deadline:
            raise TimeoutError(f"the game was not opened within {OPEN_SECONDS_MAX:.0f} s")
