"""The game as a replicated machine: seats, turns and rules of the table around `demos.rts_lockstep.world`.

A turn is a timer of the machine's own, so the log itself is the metronome: it says when each turn runs, and no replica,
player or spectator can be ahead of it. What players order lies in `waiting` until its turn comes (`turns.due_turn`).
Every command of a player is also a sign of life and a report of how he gets along, which decides how long turns are.

A seat belongs to a principal: whoever joins again under it, from whatever machine, has it back. The world waits while a
player is missing; he comes back, or the others drop him by vote. Who only looks on needs no seat: a spectator observes.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

import msgspec

import rsm
from demos.rts_lockstep.orders import RESIGN, Order
from demos.rts_lockstep.records import (
    DIGEST_BYTES,
    NAME_LENGTH_MAX,
    ORDERS_PER_COMMAND_MAX,
    ORDERS_WAITING_MAX,
    SECRET_LENGTH_MAX,
    SILENT_MS_MAX,
    News,
    Phase,
    Say,
    Seat,
    Standing,
    Told,
)
from demos.rts_lockstep.runs import from_runs
from demos.rts_lockstep.turns import (
    NANOSECONDS_PER_MS,
    TURN_MS_DEFAULT,
    TURN_MS_MAX,
    TURN_MS_MIN,
    Pace,
    due_turn,
    needed_ms,
    next_due,
    next_pace,
)
from demos.rts_lockstep.units import (
    DEER_COLUMNS,
    GROUND_COLUMNS,
    MAP_SIZE_DEFAULT,
    MAP_SIZE_MAX,
    MAP_SIZE_MIN,
    MATCH_COLUMNS,
    NOBODY,
    PLAYER_COLUMNS,
    PLAYERS_MAX,
    PROJECTILE_COLUMNS,
    UNIT_COLUMNS,
    UNITS_MAX,
)
from demos.rts_lockstep.world import World

SOLDIERS_MAX: Final = UNITS_MAX // 2
UNITS_LEAST: Final = PLAYERS_MAX * 8
ROUND_TRIP_MS_MAX: Final = 60_000
Milliseconds = Annotated[int, rsm.Meta(ge=0, le=ROUND_TRIP_MS_MAX)]
Player = Annotated[int, rsm.Meta(ge=0, lt=PLAYERS_MAX)]


def digest(token: str) -> bytes:
    """What the state keeps of the token: who reads a snapshot does not have it."""
    return hashlib.sha256(token.encode()).digest()


class Game(rsm.StateMachine, name="lockstep", version=1, event=News):
    """One match, from its opening to its result."""

    match: Annotated[rsm.Array, rsm.Columns(**MATCH_COLUMNS)]
    players: Annotated[rsm.Array, rsm.Columns(**PLAYER_COLUMNS)]
    units: Annotated[rsm.Array, rsm.Columns(**UNIT_COLUMNS)]
    deer: Annotated[rsm.Array, rsm.Columns(**DEER_COLUMNS)]
    projectiles: Annotated[rsm.Array, rsm.Columns(**PROJECTILE_COLUMNS)]
    ground: Annotated[rsm.Array, rsm.Columns(**GROUND_COLUMNS)]

    phase: int
    token: bytes
    host: str
    seats_open: int
    seats: rsm.Map[int, Seat]
    votes: rsm.Set[tuple[int, int]]
    groups: rsm.Map[tuple[int, int], tuple[int, ...]]
    # Orders by (turn that runs them, number), and the number of the newest.
    waiting: rsm.SortedMap[tuple[int, int], Order]
    ordered: int

    paused_by: int = NOBODY
    turn_ms: int = TURN_MS_DEFAULT
    calm_turns: int
    floor_ms: int = TURN_MS_DEFAULT
    due: int  # log time at which the next turn is
    stepped_at: int  # log time of the last one
    played_ms: int  # what turns have taken; a stall of the log counts as one turn, so that it makes nobody silent

    def setup(self) -> None:
        self.world = self.make_world()

    def make_world(self) -> World:
        """The world by the rules of this release."""
        return World(
            match=self.match,
            players=self.players,
            units=self.units,
            deer=self.deer,
            projectiles=self.projectiles,
            ground=self.ground,
        )

    @property
    def last_turn(self) -> int:
        """The turn that has run last; 0 before the match."""
        return 0 if self.phase == Phase.NEW else self.world.turn

    # --- opening ------------------------------------------------------------------------------------------------------

    @rsm.command(version=1)
    def open_game(
        self,
        ctx: rsm.Context,
        token_digest: Annotated[bytes, rsm.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)],
        seed: Annotated[int, rsm.Meta(ge=0, lt=2**62)],
        players: Annotated[int, rsm.Meta(ge=2, le=PLAYERS_MAX)],
        units_max: Annotated[int, rsm.Meta(ge=UNITS_LEAST, le=UNITS_MAX)] = UNITS_MAX,
        soldiers: Annotated[int, rsm.Meta(ge=0, le=SOLDIERS_MAX)] = 0,
        turn_ms: Annotated[int, rsm.Meta(ge=TURN_MS_MIN, le=TURN_MS_MAX)] = TURN_MS_DEFAULT,
        size: Annotated[int, rsm.Meta(ge=MAP_SIZE_MIN, le=MAP_SIZE_MAX)] = MAP_SIZE_DEFAULT,
    ) -> None:
        """Make the map and the seats, each with `soldiers` at the start. `turn_ms`: turns are never shorter."""
        if self.phase != Phase.NEW:
            ctx.reject("the game is open already")
        try:
            self.world.setup(seed, players, units_max=units_max, size=size, soldiers=soldiers)
        except ValueError:
            ctx.reject("these numbers make no match: too few units for so many players and soldiers")
        self.token, self.host, self.seats_open = token_digest, ctx.principal, players
        self.turn_ms = self.floor_ms = turn_ms
        self.phase = int(Phase.LOBBY)

    @rsm.command(version=1)
    def join(
        self,
        ctx: rsm.Context,
        token: Annotated[str, rsm.Meta(max_length=SECRET_LENGTH_MAX)],
        name: Annotated[str, rsm.Meta(min_length=1, max_length=NAME_LENGTH_MAX)],
        wish: Annotated[int, rsm.Meta(ge=NOBODY, lt=PLAYERS_MAX)] = NOBODY,
    ) -> int:
        """Take a free seat, that of one's wish if it is among them, or one's own again; returns its number.

        When the last is taken the match begins.
        """
        if self.phase == Phase.NEW:
            ctx.reject("the game is not open yet")
        if digest(token) != self.token:
            ctx.reject("this is not the token of this game")
        if not ctx.principal:
            ctx.reject("a player has a principal: connect with one")
        own = [number for number, seat in self.seats.items() if seat.principal == ctx.principal]
        free = [number for number in range(self.seats_open) if number not in self.seats and self._is_alive(number)]
        if not own and not free:
            ctx.reject("all seats are taken; spectators are welcome")
        number = own[0] if own else wish if wish in free else free[0]
        # A client that has come anew has yet to catch up, so it has as long as one of whom something was just heard.
        seat = Seat(ctx.principal, name, ctx.session, self.played_ms)
        if own and self.seats[number].is_missing:
            ctx.emit(News(Told.RETURNED, self.world.turn, number))
        self.seats[number] = seat
        self._forget_votes(number)
        ctx.emit(News(Told.JOINED, self.world.turn, number))
        if self.phase == Phase.LOBBY and len(self.seats) == self.seats_open:
            self._start(ctx)
        return number

    @rsm.command(version=1)
    def start(self, ctx: rsm.Context) -> None:
        """Begin before all seats are taken, for the host and for players; who comes late takes a free one."""
        if self.phase != Phase.LOBBY:
            ctx.reject("there is nothing to start")
        if ctx.principal != self.host:
            self._seat_of(ctx)
        self._start(ctx)

    def _start(self, ctx: rsm.Context) -> None:
        self.phase = int(Phase.RUNNING)
        self.stepped_at = ctx.now
        self.due = ctx.now + self.turn_ms * NANOSECONDS_PER_MS
        ctx.schedule(self.due, Game.turn)
        ctx.emit(News(Told.STARTED, self.world.turn, NOBODY))

    # --- players ------------------------------------------------------------------------------------------------------

    @rsm.command(version=1)
    def act(
        self,
        ctx: rsm.Context,
        stamp: int,
        orders: Annotated[tuple[Say, ...], rsm.Meta(max_length=ORDERS_PER_COMMAND_MAX)] = (),
        round_trip_ms: Milliseconds = 0,
        frame_ms: Milliseconds = 0,
    ) -> int:
        """Give orders, report, or only say that one is there; returns the turn that runs the orders.

        `stamp`: the last turn that the player has seen. `round_trip_ms`: what his commands take to be answered.
        `frame_ms`: what one turn takes his computer.
        """
        player = self._seat_of(ctx)
        if self.phase == Phase.OVER:
            ctx.reject("the match is over")
        turn = self.world.turn
        if not 0 <= stamp <= turn:
            ctx.reject(f"turn {stamp} has not run: nobody is ahead of the log")
        self._hear(ctx, player, round_trip_ms, frame_ms)
        if self.phase == Phase.RUNNING and self.due <= ctx.now:
            self._begin_again(ctx)
        due = due_turn(stamp, turn)
        if orders:
            if not self._is_alive(player):
                ctx.reject("you are out of the match")
            if sum(order.player == player for order in self.waiting.values()) + len(orders) > ORDERS_WAITING_MAX:
                ctx.reject(f"more than {ORDERS_WAITING_MAX} of your orders wait")
        for said in orders:
            self.ordered += 1
            units = self._units_of(ctx, player, said)
            self.waiting[due, self.ordered] = Order(said.kind, player, units, said.x, said.y, said.target)
        return due

    def _units_of(self, ctx: rsm.Context, player: int, said: Say) -> tuple[int, ...]:
        """The runs that an order is for; they are spread out when it runs."""
        runs = said.units
        if runs:
            try:
                from_runs(runs, len(self.units))
            except ValueError:
                ctx.reject("units come in runs of (first, how many), ascending, and these are none")
        if said.group and runs:
            self.groups[player, said.group] = runs
        elif said.group:
            runs = self.groups.get((player, said.group), ())
        return runs

    @rsm.command(version=1)
    def pause(self, ctx: rsm.Context, wanted: bool) -> None:
        """Stop the world, or let it go on; any player may do either."""
        player = self._seat_of(ctx)
        if self.phase != Phase.RUNNING:
            ctx.reject("the match does not run")
        if not self._is_alive(player):
            ctx.reject("you are out of the match")
        self._hear(ctx, player)
        if wanted == (self.paused_by != NOBODY):
            return
        self.paused_by = player if wanted else NOBODY
        ctx.emit(News(Told.PAUSED if wanted else Told.RESUMED, self.world.turn, player))

    @rsm.command(version=1)
    def vote(self, ctx: rsm.Context, against: Player) -> bool:
        """Vote to go on without a player who is missing; whether that decided it. He is out of the match then."""
        player = self._seat_of(ctx)
        seat = self.seats.get(against)
        if self.phase != Phase.RUNNING or seat is None or not seat.is_missing or against == player:
            ctx.reject("nobody waits for that player")
        self._hear(ctx, player)
        if player not in self.present():
            ctx.reject("you are out of the match")
        self.votes.add((against, player))
        ctx.emit(News(Told.VOTED, self.world.turn, player, against))
        return self._drop_if_voted_out(ctx, against)

    def _drop_if_voted_out(self, ctx: rsm.Context, player: int) -> bool:
        if len(self.voters(player)) < self.votes_needed():
            return False
        self.seats[player] = msgspec.structs.replace(self.seats[player], is_missing=False)
        self._forget_votes(player)
        self.ordered += 1
        self.waiting[self.world.turn + 1, self.ordered] = Order(RESIGN, player)
        ctx.emit(News(Told.DROPPED, self.world.turn, player))
        return True

    @rsm.on_session_end
    def left(self, ctx: rsm.Context) -> None:
        """A client that has gone is missed at once."""
        for number, seat in self.seats.items():
            if seat.session == ctx.session:
                self.seats[number] = msgspec.structs.replace(seat, session=0)

    def _seat_of(self, ctx: rsm.Context) -> int:
        own = [number for number, seat in self.seats.items() if ctx.session and seat.session == ctx.session]
        if not own:
            if ctx.principal and any(seat.session and seat.principal == ctx.principal for seat in self.seats.values()):
                ctx.reject("your seat was taken from elsewhere, under your name")
            ctx.reject("join first: this session has no seat")
        return int(own[0])

    def _hear(self, ctx: rsm.Context, player: int, round_trip_ms: int = 0, frame_ms: int = 0) -> None:
        seat = self.seats[player]
        if seat.is_missing:
            ctx.emit(News(Told.RETURNED, self.world.turn, player))
            self._forget_votes(player)
        self.seats[player] = msgspec.structs.replace(
            seat,
            heard_ms=self.played_ms,
            round_trip_ms=round_trip_ms or seat.round_trip_ms,
            frame_ms=frame_ms or seat.frame_ms,
            is_missing=False,
        )

    def _forget_votes(self, against: int) -> None:
        for vote in [vote for vote in self.votes if vote[0] == against]:
            self.votes.discard(vote)

    def _is_alive(self, player: int) -> bool:
        return bool(self.players.get("alive", player))

    def present(self) -> list[int]:
        """Who plays and is there. Whose resignation waits for the next turn, by his own will or by vote, has left."""
        return [
            number
            for number, seat in self.seats.items()
            if self._is_alive(number) and not seat.is_missing and not self._is_resigning(number)
        ]

    def voters(self, against: int) -> list[int]:
        """Who votes to go on without a player, of those who are there."""
        present = self.present()
        return [player for target, player in self.votes if target == against and player in present]

    def votes_needed(self) -> int:
        """More than half of those who are there."""
        return len(self.present()) // 2 + 1

    # --- turns --------------------------------------------------------------------------------------------------------

    @rsm.command(version=1)
    def turn(self, ctx: rsm.Context) -> None:
        """Run the next turn, unless the match waits, and set the timer of the one after it; the machine's own."""
        if ctx.session:
            ctx.reject("only the machine's own timers run turns")
        passed_ms = (ctx.now - self.stepped_at) // NANOSECONDS_PER_MS
        self.played_ms += min(passed_ms, 2 * self.turn_ms)
        self.stepped_at = ctx.now
        if not self._miss(ctx) and self.paused_by == NOBODY:
            self._step(ctx)
            if self.phase == Phase.OVER:
                return
            self._set_pace(ctx)
        self.due = next_due(self.due, ctx.now, self.turn_ms)
        ctx.schedule(self.due, Game.turn)

    def _miss(self, ctx: rsm.Context) -> bool:
        """Look who is missing; whether somebody is."""
        for number in self.present():
            seat = self.seats[number]
            if not seat.session or self.played_ms - seat.heard_ms > SILENT_MS_MAX:
                self.seats[number] = msgspec.structs.replace(seat, is_missing=True)
                ctx.emit(News(Told.MISSING, self.world.turn, number))
        for number in self._missing():
            # The fewer are there, the fewer votes decide: those that were given before may be enough now.
            if self.voters(number):
                self._drop_if_voted_out(ctx, number)
        return bool(self._missing())

    def _missing(self) -> tuple[int, ...]:
        return tuple(number for number, seat in self.seats.items() if seat.is_missing)

    def _is_resigning(self, player: int) -> bool:
        return any(order.kind == RESIGN and order.player == player for order in self.waiting.values())

    def _step(self, ctx: rsm.Context) -> None:
        world, number = self.world, self.world.turn + 1
        orders = []
        for key in list(self.waiting.range(None, (number + 1, 0))):
            order = self.waiting.pop(key)
            orders.append(msgspec.structs.replace(order, units=from_runs(order.units, len(self.units))))
        were_alive = [player for player in range(self.seats_open) if self._is_alive(player)]
        world.step(orders)
        for player in were_alive:
            if not self._is_alive(player):
                ctx.emit(News(Told.OUT, world.turn, player))
        if world.winner != NOBODY:
            self.phase = int(Phase.OVER)
            ctx.emit(News(Told.OVER, world.turn, max(world.winner, NOBODY)))

    def _set_pace(self, ctx: rsm.Context) -> None:
        seats = [self.seats[number] for number in self.present()]
        needed = max((needed_ms(seat.round_trip_ms, seat.frame_ms) for seat in seats), default=TURN_MS_MIN)
        before = self.turn_ms
        self.turn_ms, self.calm_turns = next_pace(Pace(before, self.calm_turns), needed, self.floor_ms)
        if self.turn_ms != before:
            ctx.emit(News(Told.PACE, self.world.turn, NOBODY, self.turn_ms))

    def _begin_again(self, ctx: rsm.Context) -> None:
        """Set the timer of the next turn where it is lost: timers come before players, so none is due when these speak.

        A turn whose rules raised was rolled back, and the timer that it had set with it. What it would have run may be
        what it died of, and is forgotten, except who has left.
        """
        for key, order in list(self.waiting.items()):
            if key[0] <= self.world.turn + 1 and order.kind != RESIGN:
                del self.waiting[key]
        self.due = ctx.now + self.turn_ms * NANOSECONDS_PER_MS
        ctx.schedule(self.due, Game.turn)

    # --- queries ------------------------------------------------------------------------------------------------------

    @rsm.query
    def standing(self) -> Standing:
        """How the match stands."""
        return Standing(
            Phase(self.phase),
            self.last_turn,
            self.turn_ms,
            self.paused_by,
            self._missing(),
            tuple(self.votes),
            self.votes_needed(),
            NOBODY if self.phase == Phase.NEW else self.world.winner,
        )

    @rsm.query
    def seat(self, player: int) -> Seat | None:
        """Who sits there."""
        return self.seats.get(player)
