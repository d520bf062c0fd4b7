"""`host`: a match on this machine. It starts the nodes, opens the game, sits down at the page, and lets bots sit in.

    python -m demos.rts_lockstep host [--nodes 1|3] [--players N] [--bots N] [--port P] [--address HOST] [--dir DIR]

One node is enough for a match among friends; three survive the loss of any one. The match begins when all seats are
taken, and the host takes his when his page is opened, so that he misses nothing; Ctrl-C ends everything. With the same
DIR it goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import time
from pathlib import Path
from typing import Final

import msgspec

import rsm
from demos.rts_lockstep.clients.desk import Desk
from demos.rts_lockstep.clients.player import Player
from demos.rts_lockstep.commands.running import check_world, guarded, new_directory, port_number, workplace
from demos.rts_lockstep.machine import Game, digest
from demos.rts_lockstep.records import Phase
from demos.rts_lockstep.staging.lives import BotLife
from demos.rts_lockstep.staging.match import NAMES
from demos.rts_lockstep.staging.nodes import HOST, Nodes, write_whole
from demos.rts_lockstep.units import MAP_SIZE_DEFAULT, PLAYERS_MAX, UNITS_MAX

PORT: Final = 7701
FILE: Final = "match.json"
# How long bots wait for the host to open his page.
PAGE_SECONDS_MAX: Final = 60.0


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.rts_lockstep host", description="Start a match on this machine. Ctrl-C ends it."
    )
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="replicas of the match (default 1)")
    parser.add_argument(
        "--players", type=int, metavar="N", help="seats, yours included (default: you and the bots, 2 at least)"
    )
    parser.add_argument("--bots", type=int, default=0, metavar="N", help="how many of them bots take (default 0)")
    parser.add_argument("--name", default="Host", help="your name in the match (default Host)")
    parser.add_argument(
        "--port", type=port_number, default=PORT, metavar="P", help=f"that others join at (default {PORT})"
    )
    parser.add_argument(
        "--address",
        default=HOST,
        metavar="HOST",
        help=f"under which others reach this machine (default {HOST}: nobody else); served without TLS",
    )
    parser.add_argument(
        "--page-port", type=port_number, default=0, metavar="P", help="of the page (default: any free one)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the map (default: a new one)")
    parser.add_argument("--units", type=int, default=UNITS_MAX, metavar="N", help="units in all (default %(default)s)")
    parser.add_argument("--size", type=int, default=MAP_SIZE_DEFAULT, metavar="TILES", help="of the map (default 96)")
    parser.add_argument("--soldiers", type=int, default=0, metavar="N", help="of each player at the start (default 0)")
    parser.add_argument(
        "--dir",
        type=directory_of_match,
        metavar="DIR",
        help="keep the match here: logs for replay and desync; one that is kept there goes on, as it was opened",
    )
    options = parser.parse_args(argv)
    if options.players is None:
        options.players = min(max(2, options.bots + 1), PLAYERS_MAX)
    if not 2 <= options.players <= PLAYERS_MAX:
        parser.error(f"--players must be 2 to {PLAYERS_MAX}")
    check_world(parser, options)
    if not 0 <= options.bots < options.players:
        parser.error(f"--bots must be 0 to {options.players - 1}: one of {options.players} seats is yours")
    return options


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What a match was opened with, so that it can go on; the token is in it."""

    token: str
    seed: int
    name: str
    players: int
    bots: int
    units: int
    soldiers: int
    size: int


def directory_of_match(text: str) -> Path:
    """An argument that names a directory with a match of before, or one that is empty or not there yet."""
    return Path(text) if (Path(text) / FILE).is_file() else new_directory(text)


def opened(options: argparse.Namespace, path: Path) -> Opened:
    """What the directory's match was opened with; a new one is opened as the command line says."""
    if path.is_file():
        try:
            return msgspec.json.decode(path.read_bytes(), type=Opened)
        except msgspec.MsgspecError as error:
            raise OSError(f"{path}: {error}") from error
    seed = secrets.randbelow(1 << 30) if options.seed is None else options.seed
    rest = {name: getattr(options, name) for name in ("name", "players", "bots", "units", "soldiers", "size")}
    kept = Opened(token=secrets.token_hex(8), seed=seed, **rest)
    write_whole(path, msgspec.json.encode(kept))
    return kept


class Arrival:
    """When the host sits down at a match that has not begun: with his page, or later, where bots wait for him."""

    def __init__(self, desk: Desk, bots: int) -> None:
        self._desk = desk
        self._deadline = time.monotonic() + PAGE_SECONDS_MAX if bots else None
        self.is_over = desk.player.number is not None

    def announcement(self) -> str:
        """What the match waits for."""
        late = "" if self._deadline is None else f", in {PAGE_SECONDS_MAX:.0f} s at the latest"
        return f"you sit down when your page is open{late}; the match begins when all seats are taken"

    def look(self) -> None:
        """Sit down, if it is time. Where others have taken all seats meanwhile, the host looks on."""
        is_late = self._deadline is not None and time.monotonic() > self._deadline
        if self.is_over or not (self._desk.viewer.was_opened or is_late):
            return
        self.is_over = True
        try:
            self._desk.sit_down()
        except rsm.Rejected as rejected:
            print(f"you look on: {rejected.reason}", flush=True)


def host(options: argparse.Namespace) -> int:
    """Run the match until it is interrupted."""
    with contextlib.ExitStack() as stack:
        directory: Path = stack.enter_context(workplace(options.dir))
        kept = opened(options, directory / FILE)
        nodes = stack.enter_context(
            Nodes(directory / "nodes", options.nodes, address=options.address, port=options.port)
        )
        game = stack.enter_context(nodes.wait(Game))
        standing = game.standing()
        if standing.phase == Phase.NEW:
            game.open_game(digest(kept.token), kept.seed, kept.players, kept.units, kept.soldiers, size=kept.size)
        again = f", goes on after turn {standing.turn:,}" if standing.turn else ""
        count = len(nodes.nodes)
        print(f"map {kept.seed}, {kept.players} players, {count} node{'s'[: count - 1]}{again}")
        print(
            f"join it: python -m demos.rts_lockstep join {','.join(nodes.addresses)} --token {kept.token}", flush=True
        )
        record = directory / "client-host"
        has_begun = standing.phase not in (Phase.NEW, Phase.LOBBY)  # then the others wait for him
        player = stack.enter_context(
            Player(nodes.addresses, kept.name, kept.token, principal="player-host", record=record, is_seated=has_begun)
        )
        for number in range(kept.bots):
            bot = BotLife(nodes.addresses, kept.token, NAMES[number], kept.seed + number, lambda name, said: None)
            stack.enter_context(bot)
        desk = stack.enter_context(Desk(player, title=f"map {kept.seed}", port=options.page_port))
        print(f"your page: {desk.url}", flush=True)
        if options.dir is not None:
            told = options.dir / record.name
            print(f"recorded in {told}: python -m demos.rts_lockstep replay {told}", flush=True)
        arrival = Arrival(desk, kept.bots)
        if not arrival.is_over:
            print(arrival.announcement(), flush=True)

        def tend() -> None:
            nodes.check()
            arrival.look()

        desk.run(tend)
    return 0


def main(argv: list[str]) -> int:
    """The command."""
    options = parse(argv)
    return guarded("host", lambda: host(options))
