"""A match of bots, each in a process of its own, on a cluster of its own; and what is heard of it.

`Tally` gathers what all of them say: above all, whether every client had the same root after every turn.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from demos.exits import DemoFailed
from demos.rts_lockstep.clients.bots import WAR
from demos.rts_lockstep.clients.reports import Differs, Joined, Left, Ordered, Ran, Said, Used
from demos.rts_lockstep.clients.traffic import HEADER_BYTES
from demos.rts_lockstep.machine import Game, digest
from demos.rts_lockstep.staging.lives import BotLife
from demos.rts_lockstep.staging.nodes import Nodes
from demos.rts_lockstep.units import MAP_SIZE_DEFAULT, UNITS_MAX

NAMES: Final = ("Ada", "Bo", "Cem", "Dora", "Eli", "Fay", "Gus", "Hana")
# Roots are kept until all clients have told theirs; one that is so many turns behind is not waited for.
TURNS_KEPT: Final = 3000
WAIT_SECONDS: Final = 0.05
USED_KEPT: Final = 4000


class MatchFailed(DemoFailed):
    """A bot ended though the match goes on, or something did not happen in time."""


class Tally:
    """What the bots of a match have said."""

    def __init__(self, players: int) -> None:
        self.players = players
        self.lock = threading.Lock()
        self.last: dict[str, Ran] = {}
        self.joined: dict[str, Joined] = {}
        self.left: dict[str, Left] = {}
        self.used: dict[str, deque[Used]] = {}
        self.differs: list[tuple[str, Differs]] = []
        self.ran: dict[str, list[Ran]] = {}
        self.orders: list[Ordered] = []
        self.refused: list[str] = []
        self.equal_turns = 0
        self.compared_roots = 0
        self.unequal: list[tuple[int, dict[str, str]]] = []
        self._roots: dict[int, dict[str, str]] = {}

    def hear(self, name: str, said: Said) -> None:
        """From the listener of a bot."""
        with self.lock:
            if isinstance(said, Ran):
                self.last[name] = said
                self.ran.setdefault(name, []).append(said)
                if said.root and not said.is_snapshot:
                    self._compare(name, said)
            elif isinstance(said, Used):
                self.used.setdefault(name, deque(maxlen=USED_KEPT)).append(said)
            elif isinstance(said, Ordered):
                self.orders.append(said)
                if not said.turn and said.reason:
                    self.refused.append(f"{name}: {said.reason}")
            elif isinstance(said, Differs):
                self.differs.append((name, said))
            elif isinstance(said, Joined):
                self.joined[name] = said
            else:
                self.left[name] = said

    def _compare(self, name: str, ran: Ran) -> None:
        roots = self._roots.setdefault(ran.turn, {})
        roots[name] = ran.root
        if len(roots) == self.players:
            del self._roots[ran.turn]
            self.compared_roots += len(roots)
            if len(set(roots.values())) == 1:
                self.equal_turns += 1
            else:
                self.unequal.append((ran.turn, roots))
        elif len(self._roots) > TURNS_KEPT:
            del self._roots[min(self._roots)]

    @property
    def turn(self) -> int:
        """The turn that all clients have run."""
        return min((ran.turn for ran in self.last.values()), default=0) if len(self.last) == self.players else 0

    def turn_seconds(self, name: str) -> list[float]:
        """Times between the turns of a client."""
        times = [ran.at for ran in self.ran.get(name, [])]
        return [after - before for before, after in pairwise(times)]


def bits_per_second(used: list[Used]) -> float:
    """What was sent and received between the first and the last of these, with the headers of all packets."""
    if len(used) < 2 or used[-1].at <= used[0].at:
        return 0.0
    return 8 * (_size(used[-1]) - _size(used[0])) / (used[-1].at - used[0].at)


def worst_bits_per_second(used: list[Used], seconds: float) -> float:
    """The same of the worst stretch of so many seconds."""
    worst, first = 0.0, 0
    for last in range(len(used)):
        while used[last].at - used[first].at > seconds:
            worst = max(worst, bits_per_second(used[first : last + 1]))
            first += 1
    return worst or bits_per_second(used)


def _size(used: Used) -> int:
    return used.bytes_in + used.bytes_out + HEADER_BYTES * (used.packets_in + used.packets_out)


class Match:
    """Bots, cluster and tally; a context manager. `match.until(...)` waits, and notices who has gone down."""

    def __init__(
        self,
        directory: Path,
        bots: int,
        *,
        nodes: int = 1,
        seed: int = 1,
        style: str = WAR,
        soldiers: int = 0,
        units_max: int = UNITS_MAX,
        turn_ms: int = 200,
        size: int = MAP_SIZE_DEFAULT,
        record: bool = False,
        tracing: tuple[int, ...] = (),
        pages: tuple[int, ...] = (),
        told_addresses: tuple[str, ...] = (),
        listen_ports: tuple[int, ...] = (),
        machine: str | None = None,
    ) -> None:
        self.directory = directory
        self.token = secrets.token_hex(8)
        self.tally = Tally(bots)
        self.bots: dict[str, BotLife] = {}
        self.seed, self.style = seed, style
        self._opening: dict[str, Any] = {"units_max": units_max, "soldiers": soldiers, "turn_ms": turn_ms, "size": size}
        self._record, self._tracing, self._pages = record, tracing, pages
        options: dict[str, Any] = {} if machine is None else {"machine": machine}
        self.nodes = Nodes(
            directory / "nodes", nodes, told_addresses=told_addresses, listen_ports=listen_ports, **options
        )
        self.host: Any = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Match:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.nodes)
            self.host = stack.enter_context(self.nodes.wait(Game))
            self.host.open_game(digest(self.token), self.seed, self.tally.players, **self._opening)
            self._stack = stack.pop_all()
            try:
                for number in range(self.tally.players):
                    self.start_bot(number)
            except BaseException:
                self._stack.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_bot(self, number: int, record: Path | None = None) -> BotLife:
        """Start the bot of this number; if it is gone, in another process, which takes its seat again."""
        name = NAMES[number]
        if record is None and self._record:
            record = self.directory / f"client-{name.lower()}"
        life = BotLife(
            self.nodes.addresses,
            self.token,
            name,
            self.seed + number,
            self.tally.hear,
            seat=number,
            style=self.style,
            record=record,
            is_tracing=number in self._tracing,
            has_page=number in self._pages,
        )
        self.bots[name] = self._stack.enter_context(life)
        return life

    def until(self, is_so: Callable[[], Any], what: str, seconds_max: float) -> Any:
        """Wait for that; `MatchFailed` if it takes longer, or a bot went down."""
        for _ in self.while_waiting(seconds_max, what):
            found = is_so()
            if found:
                return found
        raise AssertionError("never reached")

    def while_waiting(self, seconds_max: float, what: str) -> Iterator[float]:
        """Seconds so far, a few times a second; `MatchFailed` as above."""
        began = time.monotonic()
        while True:
            self.nodes.check()
            for name, life in self.bots.items():
                complaint = life.complaint()
                if complaint:
                    raise MatchFailed(f"{name} went down: {complaint}")
            passed = time.monotonic() - began
            if passed > seconds_max:
                raise MatchFailed(f"{what}: not within {seconds_max:g} s")
            yield passed
            time.sleep(WAIT_SECONDS)

    @property
    def is_over(self) -> bool:
        """Whether all bots have seen the result."""
        return len(self.tally.left) == self.tally.players
