"""The viewer's messages as bytes: JSON for what is small, little-endian 32-bit integers for what moves.

A turn is two WebSocket messages, a text and then a binary one: count, count * [id, kind, owner, x, y, hp, state,
target], projectile count, count * [x, y, vx, vy, ticks_left]. Encoded once, whatever the number of pages.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy

from demos.rts_lockstep.viewing.view import Ask, Hello, Integers, ProjectileColumns, UnitColumns

UNIT_FIELDS = ("id", "kind", "owner", "x", "y", "hp", "state", "target")
PROJECTILE_FIELDS = ("x", "y", "vx", "vy", "ticks_left")
_encoder = msgspec.json.Encoder()
_asks: msgspec.json.Decoder[Ask] = msgspec.json.Decoder(Ask)


def text(kind: str, record: msgspec.Struct | None = None, **fields: Any) -> str:
    """The JSON message of type `kind` with a record's fields, and others beside them."""
    values = {} if record is None else {name: getattr(record, name) for name in record.__struct_fields__}
    return _encoder.encode({"type": kind, **values, **fields}).decode()


def hello(record: Hello, tiles: Integers) -> str:
    """The first message of a connection: everything that does not change, and the map as it is now."""
    return text(
        "hello",
        you=record.you,
        map={
            "size": record.size,
            "tiles": base64.b64encode(tiles.astype(numpy.uint8).tobytes()).decode(),
            "names": record.tile_names,
        },
        sub=record.sub,
        kinds=record.kinds,
        players=record.players,
        replay=record.replay,
        title=record.title,
    )


def tiles_changed(before: Integers, now: Integers) -> str | None:
    """The tiles that differ as a message of [number, code] pairs, or None if none does."""
    places = numpy.flatnonzero(before != now)
    if not places.size:
        return None
    return text("tiles", tiles=numpy.stack([places, now[places]], axis=1).tolist())


def columns(units: Sequence[UnitColumns], projectiles: ProjectileColumns | None) -> bytes:
    """The binary message of a turn. Raises ValueError if the columns of one group differ in length."""
    groups = [_rows(group, UNIT_FIELDS, len(group.id)) for group in units]
    flying = None if projectiles is None else _rows(projectiles, PROJECTILE_FIELDS, len(projectiles.x))
    counts = [numpy.array([sum(map(len, groups))], "<i4"), numpy.array([0 if flying is None else len(flying)], "<i4")]
    parts = [counts[0], *groups, counts[1], *([] if flying is None else [flying])]
    return b"".join(part.tobytes() for part in parts)


def _rows(group: msgspec.Struct, fields: tuple[str, ...], count: int) -> Integers:
    rows = numpy.empty((count, len(fields)), "<i4")
    for place, name in enumerate(fields):
        rows[:, place] = getattr(group, name)
    return rows


def ask(message: str) -> Ask:
    """What a page asks for. Raises msgspec.MsgspecError for anything else."""
    return _asks.decode(message)
