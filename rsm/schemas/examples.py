"""Calls for a corpus out of a log: what a machine was really sent says more of it than any values that are drawn."""

from __future__ import annotations

from collections.abc import Iterable

from rsm.codec.record import Entry, RecordKind
from rsm.limits import LOCK_EXAMPLES_MAX
from rsm.replica.batch import OPEN_SESSION, decode_batch
from rsm.replica.naming import SYSTEM_PREFIX, is_item
from rsm.schemas.document import Example, write_value

__all__ = ["examples_of"]


def examples_of(entries: Iterable[Entry]) -> list[Example]:
    """The first commands of a log, at most `LOCK_EXAMPLES_MAX`, without pipelines. `BadBytes`.

    Whose session sent each is known where the log begins at its beginning; elsewhere nobody's did.
    """
    found: list[Example] = []
    principals: dict[int, str] = {}
    is_whole = False
    for entry in entries:
        is_whole = is_whole or entry.index == 1
        if entry.kind is not RecordKind.BATCH:
            continue
        for item in decode_batch(entry.payload).items:
            if not is_item(item):
                continue
            session, _, _, name, version, values = item[:6]
            if name == OPEN_SESSION and session == 0 and is_whole and type(values) is list and len(values) == 2:
                principals[len(principals) + 1] = str(values[0])
            elif not name.startswith(SYSTEM_PREFIX) and type(values) is list:
                try:
                    text = write_value(values)
                except (TypeError, ValueError):
                    continue  # it holds what no command takes
                found.append(Example(name, version, text, principals.get(session, "")))
                if len(found) == LOCK_EXAMPLES_MAX:
                    return found
    return found
