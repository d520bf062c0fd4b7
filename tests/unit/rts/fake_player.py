"""A player's process that is not one: made-up units that walk, for tests of the page alone.

Nothing here is a game. Units walk between random places at exactly their kind's speed per turn, orders move them, a
turn comes when it should or when a test wants it, and everything that a page can ask for is kept in `asks`. Run it by
hand to look at the page: `python -m tests.unit.rts.fake_player [--replay]`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from types import TracebackType

import numpy as np

from demos.rts_lockstep.viewing.view import (
    Ask,
    Hello,
    Kind,
    Order,
    Pause,
    PlayerLine,
    ProjectileColumns,
    Replay,
    Result,
    Seat,
    Seek,
    Speed,
    Stats,
    Status,
    Turn,
    UnitColumns,
)
from demos.rts_lockstep.viewing.viewer import Viewer

SUB = 256
SIZE = 96
TILE_NAMES = ("grass", "water", "tree", "berries", "hill", "shallow", "stumps")
VILLAGER, INFANTRY, ARCHER, CAVALRY, DEER, TOWN_CENTRE = range(6)
KINDS = (
    Kind(name="villager", hp=25, speed=48, radius=56, reach=96, food=50, gathers=True),
    Kind(name="infantry", hp=45, speed=52, radius=56, reach=96, food=45, wood=20),
    Kind(name="archer", hp=30, speed=54, radius=56, reach=1280, food=25, wood=40),
    Kind(name="cavalry", hp=80, speed=88, radius=68, reach=110, food=80, wood=30),
    Kind(name="deer", hp=8, speed=36, radius=48),
    Kind(name="town centre", hp=2000, speed=0, radius=320, reach=1664, trains=(0, 1, 2, 3)),
)
SPEED = np.array([kind.speed for kind in KINDS])
GAIA = 8
DEER_BASE = 100_000
NAMES = ("Ann", "Bea", "Cem", "Dov", "Eva", "Fay", "Gil", "Hao")
TURNS_RECORDED = 400
WAIT_SECONDS = 10.0


def made_up_map(size: int = SIZE) -> np.ndarray:
    """Lakes, woods, hills and berries, the same every time."""
    generator = np.random.default_rng(5)
    tiles = np.zeros((size, size), np.uint8)
    ys, xs = np.mgrid[0:size, 0:size]

    def blobs(code: int, count: int, smallest: float, largest: float) -> None:
        for x, y, radius in generator.uniform((0, 0, smallest), (size, size, largest), (count, 3)):
            tiles[np.hypot(xs - x, (ys - y) * 1.3) + generator.uniform(-0.9, 0.9, tiles.shape) < radius] = code

    blobs(4, 14, 2, 5)
    blobs(2, 34, 1.5, 4.5)
    for x, y, radius in generator.uniform((0, 0, 4), (size, size, 7), (5, 3)):
        away = np.hypot(xs - x, ys - y)
        tiles[away < radius + 1.3] = 5
        tiles[away < radius] = 1
    tiles[generator.uniform(size=tiles.shape) < 0.006] = 3
    return tiles


class FakePlayer:
    """Makes turns in a thread of its own: one every `turn_ms`, unless `late_seconds` makes the next ones late."""

    def __init__(self, *, players: int = 4, units: int = 1500, you: int | None = 0, replay: bool = False) -> None:
        generator = np.random.default_rng(7)
        self.tiles = made_up_map()
        self.players = players
        self.turn = 0
        self.turn_ms = 200
        self.late_seconds: list[float] = []
        self.running = True
        self.paused = False
        self.result: Result | None = None
        self.asks: list[Ask] = []
        self.deaths: set[int] = set()
        self.differs = False
        self.replay = replay
        self.speed = 1.0
        self.cut = False
        soldiers = units - 40 - players
        owner = np.arange(soldiers) % players
        angle = owner * 2 * np.pi / players + np.pi / 4
        home = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 0.33 * SIZE + SIZE / 2
        spots = home + generator.normal(0, 5.5, (soldiers, 2))
        self.place = np.clip(spots, 1, SIZE - 1) * SUB
        self.goal = np.clip(spots + generator.normal(0, 9, spots.shape), 1, SIZE - 1) * SUB
        self.kind = generator.choice([0, 1, 2, 3], soldiers, p=[0.25, 0.35, 0.25, 0.15])
        self.owner = owner
        self.hp = np.array([kind.hp for kind in KINDS])[self.kind]
        self.hp[generator.uniform(size=soldiers) < 0.3] //= 2
        self.deer = generator.uniform(4, SIZE - 4, (40, 2)) * SUB
        angles = np.arange(players) * 2 * np.pi / players + np.pi / 4
        self.centres = (np.stack([np.cos(angles), np.sin(angles)], axis=1) * 0.33 * SIZE + SIZE / 2) * SUB
        hello = Hello(
            you=None if replay else you,
            size=SIZE,
            tiles=self.tiles.tobytes(),
            tile_names=TILE_NAMES,
            kinds=KINDS,
            players=tuple(Seat(name=name) for name in NAMES[:players]),
            replay=replay,
        )
        self.viewer = Viewer(hello, self._ask)
        self.lock = threading.RLock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake player", daemon=True)

    def __enter__(self) -> FakePlayer:
        self.viewer.start()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join(WAIT_SECONDS)
        self.viewer.close()

    def asked(self, kind: type[Ask], count: int = 1) -> list[Ask]:
        """Wait for so many asks of one kind, and return all there are."""
        end = time.monotonic() + WAIT_SECONDS
        while len(found := [ask for ask in self.asks if isinstance(ask, kind)]) < count:
            if time.monotonic() > end:
                raise AssertionError(f"the page never asked for {count} x {kind.__name__}: {self.asks}")
            time.sleep(0.01)
        return found

    def step(self) -> None:
        """Everybody walks for one turn, and the pages see it."""
        with self.lock:
            self.turn += 1
            self.place = _walked(self.place, self.goal, SPEED[self.kind])
            wander = np.random.default_rng(self.turn)
            arrived = np.all(self.place == self.goal, axis=1)
            self.goal[arrived & (wander.uniform(size=len(arrived)) < 0.05)] += wander.normal(0, 3 * SUB, 2)
            self.goal = np.clip(self.goal, SUB, (SIZE - 1) * SUB)
            step = wander.normal(0, 10, self.deer.shape)
            self.deer = np.clip(self.deer + np.clip(step, -25, 25), 0, SIZE * SUB)
            self.show()

    def show(self) -> None:
        """Publish the turn as it stands."""
        walks = np.any(self.place != self.goal, axis=1)
        ids = np.arange(len(self.place))
        lives = ~np.isin(ids, list(self.deaths))
        place = self.place.astype(np.int64)
        units = UnitColumns(
            id=ids[lives],
            kind=self.kind[lives],
            owner=self.owner[lives],
            x=place[lives, 0],
            y=place[lives, 1],
            hp=self.hp[lives],
            state=np.where(walks, 1, np.where(self.kind == VILLAGER, 3, 2))[lives],
            target=(ids[lives] + 7) % len(ids),
        )
        centres = UnitColumns(
            id=np.arange(5000, 5000 + self.players),
            kind=TOWN_CENTRE,
            owner=np.arange(self.players),
            x=self.centres[:, 0].astype(int),
            y=self.centres[:, 1].astype(int),
            hp=np.full(self.players, 1600),
        )
        deer_ids = DEER_BASE + np.arange(len(self.deer))
        deer_x, deer_y = self.deer.astype(int).T
        deer = UnitColumns(id=deer_ids, kind=DEER, owner=GAIA, x=deer_x, y=deer_y, hp=np.full(len(self.deer), 8))
        archers = np.flatnonzero(lives & (self.kind == ARCHER) & ~walks)[:60]
        shots = np.random.default_rng(self.turn).integers(-200, 200, (len(archers), 2))
        arrows = ProjectileColumns(
            x=place[archers, 0] + shots[:, 0],
            y=place[archers, 1] + shots[:, 1],
            vx=shots[:, 0],
            vy=shots[:, 1],
            ticks_left=np.full(len(archers), 2),
        )
        self.viewer.publish_turn(self._line(), [units, centres, deer], arrows, self.tiles)
        self.cut = False

    def _line(self) -> Turn:
        late = self.turn % 10 * 3
        return Turn(
            turn=self.turn,
            turn_ms=self.turn_ms,
            index=self.turn * 2,
            root=hashlib.blake2b(b"%d" % self.turn, digest_size=16).hexdigest(),
            agreed=not self.differs,
            players=tuple(
                PlayerLine(
                    food=300 + self.turn * 2 + 40 * player,
                    wood=220 + self.turn,
                    units=int(np.count_nonzero(self.owner == player)),
                    rtt_ms=(45, 150, 410, 80)[player % 4],
                    frame_ms=9,
                    population_max=400,
                    queue=(VILLAGER, ARCHER),
                )
                for player in range(self.players)
            ),
            paused=self.paused,
            result=self.result,
            stats=Stats(
                turn_ms=self.turn_ms + late,
                latency_ms=390 + late * 4,
                bytes_in=self.turn * 420 + late * 9,
                bytes_out=self.turn * 160,
                step_ms=11 + late / 9,
            ),
            replay=Replay(first=0, last=TURNS_RECORDED, playing=self.speed > 0, speed=self.speed or 1.0)
            if self.replay
            else None,
            cut=self.cut,
        )

    def _run(self) -> None:
        due = time.monotonic()
        while not self._end.is_set():
            due += self.turn_ms / 1000 / (self.speed or 1.0)
            due += self.late_seconds.pop(0) if self.late_seconds else 0.0
            if self._end.wait(max(0.0, due - time.monotonic())):
                return
            if self.running and not self.paused and self.speed:
                self.step()

    def _ask(self, ask: Ask) -> None:
        self.asks.append(ask)
        if isinstance(ask, Order):
            with self.lock:
                if ask.order == "move":
                    ids = np.array([unit for unit in ask.units if unit < len(self.place)], int)
                    spread = np.random.default_rng(ask.click).normal(0, SUB, (len(ids), 2))
                    self.goal[ids] = np.clip(np.array([ask.x, ask.y]) + spread, SUB, (SIZE - 1) * SUB)
                self.viewer.acknowledge(ask.click, self.turn + 2)
        elif isinstance(ask, Pause):
            self.paused = not self.paused
            self.viewer.publish_status(Status(paused=self.paused, paused_by=0))
        elif isinstance(ask, Seek):
            with self.lock:
                self.turn, self.cut = ask.turn, True
                self.place = np.roll(self.place, ask.turn, axis=0)
                self.show()
        elif isinstance(ask, Speed):
            self.speed = ask.x
            self.show()


def _walked(place: np.ndarray, goal: np.ndarray, speed: np.ndarray) -> np.ndarray:
    way = goal - place
    length = np.hypot(way[:, 0], way[:, 1])
    part = np.minimum(1.0, speed / np.maximum(length, 1e-9))
    # Positions are integers, and rounding must not carry anybody further than the speed allows: towards the start.
    stepped = place + np.trunc(way * part[:, None])
    return np.where((length <= speed)[:, None], goal, stepped).astype(np.int64).astype(float)


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description="Show the page with made-up units.")
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    with FakePlayer(replay=options.replay) as player:
        print(player.viewer.url, flush=True)
        time.sleep(options.seconds)
