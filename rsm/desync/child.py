"""One side of a comparison in a process of its own: `python -P -m rsm.desync.child`, told what to do over a pipe.

Frames are four bytes of length and MessagePack, requests on standard input, answers on what was standard output when
the process began. Before anything else is imported that descriptor is put away and standard output becomes standard
error: a handler that prints cannot break a frame. While it works it says so once a second (`beat`), so that a parent
can tell work from a hang.
"""

from __future__ import annotations

import os
import sys

# Before other imports: a module may print when it is imported.
if __name__ == "__main__":
    _REQUESTS, _ANSWERS = os.dup(0), os.dup(1)
    _nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(_nothing, 0)
    os.close(_nothing)
    os.dup2(2, 1)

import locale
import platform
import struct
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from rsm.desync.loading import MachineUnavailable, find_machine, source_file
from rsm.desync.recording import Recording
from rsm.desync.replaying import Side, Unreplayable, check_class
from rsm.errors import BadBytes, RsmError, UnknownFormat, WrongMachine
from rsm.limits import CHILD_BEAT_SECONDS, CHILD_FRAME_BYTES_MAX
from rsm.node.log import describe
from rsm.node.storage.bundles import environment
from rsm.node.storage.disk import OsDisk

__all__ = ["LENGTH", "PROTOCOL", "Answers", "main"]

PROTOCOL: Final = 2  # 2: a step may record states that no command made
LENGTH: Final = struct.Struct(">I")
KINDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (MachineUnavailable, "machine"),
    (Unreplayable, "unreplayable"),
    (WrongMachine, "wrong_machine"),
    (UnknownFormat, "format"),
    (BadBytes, "bytes"),
    (RsmError, "other"),
)


class Answers:
    """Does what the requests say, one after another, on one side."""

    def __init__(self, beat: Callable[[int], None]) -> None:
        self._beat = beat
        self._side: Side | None = None

    def answer(self, name: str, values: dict[str, Any]) -> Any:
        """The result of one request, as plain values."""
        if name == "open":
            return self._begin(**values)
        side = self._side
        if side is None:
            raise Unreplayable("nothing was opened")
        if name == "step":
            return side.step(self._beat, record=values["record"], states=values.get("states", False))
        if name == "rewind":
            return [side.rewind(values["to"]), side.commands]
        if name == "digests":
            return side.recorder.digests()
        if name == "detail":
            return side.recorder.detail(values["number"])
        if name == "sums":
            return side.sums()
        if name == "leaves":
            return side.leaves(values["buckets"])
        if name == "save":
            side.save(OsDisk(), values["path"])
            return None
        raise Unreplayable(f"{name}: not a request that this release knows")

    def _begin(
        self,
        reference: str,
        path: str,
        start: int | str | None,
        stops: list[int],
        saved: str | None,
        last_on_path: list[str],
    ) -> dict[str, Any]:
        sys.path += [one for one in last_on_path if one not in sys.path]
        machine = find_machine(reference)
        recording = Recording(OsDisk(), path)
        check_class(recording, machine)
        self._side = Side(recording, machine, start=start, records=True, stops=tuple(stops), saved=saved)
        definition = machine.definition
        return {
            "protocol": PROTOCOL,
            "python": platform.python_version(),
            "file": source_file(machine),
            "machine": definition.name,
            "version": definition.version,
            "schema": definition.schema(),
            "start": self._side.start,
            "environment": environment(),
        }


def main(requests: int, answers: int) -> None:
    """Answer the requests of one descriptor on another until it ends."""
    encode = msgspec.msgpack.encode
    last_beat = time.monotonic()

    def send(answer: dict[str, Any]) -> None:
        data = encode(answer)
        if len(data) > CHILD_FRAME_BYTES_MAX:
            data = encode({"error": "other", "text": f"an answer of {len(data)} bytes exceeds the bound of a frame"})
        view = memoryview(LENGTH.pack(len(data)) + data)
        while view:
            view = view[os.write(answers, view) :]

    def beat(index: int) -> None:
        nonlocal last_beat
        now = time.monotonic()
        if now - last_beat >= CHILD_BEAT_SECONDS:
            last_beat = now
            send({"beat": index})

    does = Answers(beat)
    while (head := _read(requests, LENGTH.size)) is not None:
        request = msgspec.msgpack.decode(_read(requests, LENGTH.unpack(head)[0]) or b"\x80", type=dict[str, Any])
        try:
            send({"result": does.answer(request.get("name", ""), request.get("values", {}))})
        except BrokenPipeError:
            return
        except RsmError as error:
            kind = next(kind for family, kind in KINDS if isinstance(error, family))
            if isinstance(error, Unreplayable) and error.is_damaged:
                kind = "bytes"  # the parent has to know that it is damage
            send({"error": kind, "text": str(error)})
        except Exception as error:  # of the user's classes, most likely; the parent says it
            send({"error": "other", "text": describe(error)})


def _read(descriptor: int, count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        more = os.read(descriptor, count - len(data))
        if not more:
            return None
        data += more
    return data


if __name__ == "__main__":
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error as _error:
        print(f"rsm: {_error}", file=sys.stderr)
    main(_REQUESTS, _ANSWERS)
