"""`join`: enter a match that runs somewhere else, from a snapshot if it has begun.

    python -m demos.rts_lockstep join ADDRESS[,ADDRESS...] [--token T] [--name NAME] [--page-port P] [--record DIR]

With the token one takes a free seat, or one's own again under the same name, from wherever it was taken before; without
it one looks on.
"""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

from demos.rts_lockstep.clients.bots import Bot
from demos.rts_lockstep.clients.desk import Desk
from demos.rts_lockstep.clients.player import Player
from demos.rts_lockstep.commands.running import guarded, port_number
from demos.rts_lockstep.records import NAME_LENGTH_MAX


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.rts_lockstep join", description="Enter a match. Ctrl-C leaves it; the seat stays yours."
    )
    parser.add_argument("addresses", metavar="ADDRESS[,ADDRESS...]", help="as the host prints them")
    parser.add_argument("--token", default="", metavar="T", help="of the match; without it you look on")
    parser.add_argument("--name", help="your name, by which you find your seat again (default: one that nobody has)")
    parser.add_argument(
        "--page-port", type=port_number, default=0, metavar="P", help="of the page (default: any free one)"
    )
    parser.add_argument("--record", type=Path, metavar="DIR", help="keep the log here, for replay and rsm desync")
    parser.add_argument("--trace", action="store_true", help="know the line that wrote what differs; costs time")
    parser.add_argument("--bot", action="store_true", help="let a bot play, and watch it")
    options = parser.parse_args(argv)
    if options.name is None:
        options.name = f"Guest {secrets.token_hex(2)}"
    if not 1 <= len(options.name) <= NAME_LENGTH_MAX:
        parser.error(f"--name must have 1 to {NAME_LENGTH_MAX} characters")
    return options


def join(options: argparse.Namespace) -> int:
    """Play until it is interrupted."""
    addresses = options.addresses.split(",")
    principal = f"player-{options.name.lower()}"
    with Player(
        addresses, options.name, options.token, principal=principal, record=options.record, trace=options.trace
    ) as player:
        bot = Bot(len(options.name), player.number) if options.bot and player.number is not None else None
        role = "you look on" if player.number is None else f"you are player {player.number}, {player.name}"
        with Desk(player, title=f"at {addresses[0]}", port=options.page_port, bot=bot) as desk:
            print(f"{role}; your page: {desk.url}", flush=True)
            desk.run()
    return 0


def main(argv: list[str]) -> int:
    """The command."""
    options = parse(argv)
    return guarded("join", lambda: join(options))
