"""One replay: a machine in a directory, a recording pumped through it, and what came of it.

The sender of the commands is named after the content of the file (SHA-256), so a directory knows whose messages it has
applied: another file, or the same one with a byte changed, is not mistaken for it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import rsm
from demos.orderbook.formats import FormatError, Source, TornTail, Unreadable
from demos.orderbook.recordings.pump import WINDOW, Check, CheckFailed, Pump, Recording, WrongDirectory

READ_BYTES: Final = 1024 * 1024


class Replayed(NamedTuple):
    """What a replay did: `messages` read, `applied` of them, `commands` sent in this run, and where the machine stands.

    `failure` is one line of text, None if all went well. `seconds` are those of reading, sending and settling.
    """

    messages: int
    applied: int
    commands: int
    seconds: float
    checks: list[Check]
    book: dict[str, Any]
    status: rsm.Status
    failure: str | None


def sender_of(path: str) -> str:
    """The principal that stands for a file's content."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(READ_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise Unreadable(path, None, f"cannot be read: {error.strerror}") from error
    return f"recording {digest.hexdigest()}"


def run(
    recording: Recording[Any, Any],
    directory: str,
    sender: str,
    source: Source,
    records: Iterator[Any],
    advance: Callable[[int], None],
    window: int = WINDOW,
) -> Replayed:
    """Replay records through the machine in `directory`, behind those that it has applied already.

    Raises `WrongDirectory`, `Unreadable`, and what `rsm.open` raises; damage to the recording is in the result.
    """
    failure = None
    client = rsm.open(recording.machine, directory, principal=sender)
    with client:
        if client.senders() not in ([], [sender]):
            raise WrongDirectory(f"{directory}: holds a replay of another file: choose an empty or a new directory")
        done = client.last_number(sender)
        pump: Pump[Any, Any] = Pump(recording, client, done, source, advance, window)
        began = time.perf_counter()
        try:
            recording.begin(client, done)
            try:
                pump.run(records)
            finally:
                recording.finish(client)
        except CheckFailed as error:
            failure = str(error)
        except Unreadable:
            raise
        except FormatError as error:
            failure = described(error, pump.read)
        seconds = time.perf_counter() - began
        checks, book = recording.checks(pump.applied, pump.read), recording.book(client)
    return Replayed(pump.read, pump.applied, pump.applied - done, seconds, checks, book, client.status(), failure)


def described(error: FormatError, messages: int) -> str:
    """One line about damage to a recording behind so many whole messages."""
    if not isinstance(error, TornTail):
        return f"{error} (after {messages:,} whole messages)"
    part = f"{error.found} of {error.wanted} bytes " if error.wanted is not None else ""
    what = "" if part else f": {error.what}"
    return f"{error.path}: torn: {part}at {error.unit} {error.position} after {messages:,} whole messages{what}"
