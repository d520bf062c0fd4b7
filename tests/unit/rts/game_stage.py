"""A match on a log in memory, with a clock that only tests move: players sit down, turns pass, nothing sleeps."""

from __future__ import annotations

from typing import Any

import msgspec

from demos.rts_lockstep.machine import Game, digest
from demos.rts_lockstep.orders import MOVE
from demos.rts_lockstep.records import News, Phase, Say, Seat, Standing, Told
from rsm.replica.answer import Answer
from rsm.replica.batch import FLAG_HASH_POINT
from tests.machines import Log

TOKEN = "open sesame"
MS = 1_000_000
NAMES = ("ann", "bob", "cid", "dan")


class Match(Log):
    """A game with its players, each in a session of his own."""

    def __init__(self, players: int = 2, *, joined: int | None = None, machine: Any = Game, **options: Any) -> None:
        super().__init__(machine)
        self.host = self.open("host")
        fields = {"seed": 7, "units_max": 200, "soldiers": 4, "turn_ms": 200, "size": 48} | options
        self.run(
            self.host,
            "open_game",
            digest(TOKEN),
            fields["seed"],
            players,
            fields["units_max"],
            fields["soldiers"],
            fields["turn_ms"],
            fields["size"],
        )
        self.sessions: dict[str, int] = {}
        self.beats = 0
        for name in NAMES[: players if joined is None else joined]:
            self.join(name)

    @property
    def game(self) -> Game:
        machine: Any = self.replica.machine
        return machine  # type: ignore[no-any-return]

    @property
    def standing(self) -> Standing:
        return Game.standing.handler(self.game)  # type: ignore[attr-defined, no-any-return]

    def join(self, name: str, token: str = TOKEN, wish: int = -1) -> int:
        """Sit down in a new session."""
        self.sessions[name] = self.open(name)
        return int(self.run(self.sessions[name], "join", token, name.title(), wish))

    def player(self, name: str) -> Seat:
        return next(seat for seat in self.game.seats.values() if seat.principal == name)

    def say(self, name: str, stamp: int, *says: Say, round_trip_ms: int = 0, frame_ms: int = 0) -> Answer:
        """What a player's client sends."""
        said = [list(msgspec.structs.astuple(one)) for one in says]
        for fields in said:
            fields[1] = list(fields[1])
        return self.send(self.sessions[name], "act", stamp, said, round_trip_ms, frame_ms)

    def order(self, name: str, stamp: int, x: int = 5000, y: int = 5000) -> int:
        """Order a player's first unit about; the turn that runs it."""
        units = self.game.units
        row = next(
            row
            for row in range(len(units))
            if units.get("hp", row) and units.get("owner", row) == self.number(name) and units.get("kind", row) != 5
        )
        answer = self.say(name, stamp, Say(MOVE, (row, 1), x, y))
        assert answer.status == 0, answer
        return int(msgspec.msgpack.decode(answer.body))

    def number(self, name: str) -> int:
        return next(number for number, seat in self.game.seats.items() if seat.principal == name)

    def turns(self, count: int, *, heard: tuple[str, ...] = NAMES) -> list[int]:
        """Let turns pass as an idle leader has them pass; these players report as they should. The turn after each."""
        passed = []
        for _ in range(count):
            due = self.replica.next_due()
            assert due is not None, "the match does not run"
            self.now = max(self.now, due)
            self.entry([], FLAG_HASH_POINT)
            passed.append(self.game.world.turn)
            self.beats += 1
            for name in heard if self.beats % 8 == 0 else ():
                if name in self.sessions and self.game.phase != Phase.OVER:
                    self.say(name, self.game.world.turn)
        return passed

    def told(self, *kinds: Told) -> list[News]:
        """The events so far, of these kinds."""
        news = [msgspec.convert(value, News) for value in self.values_of_events()]
        return [one for one in news if not kinds or one.told in kinds]
