"""Bots in processes of their own, as their parent sees them: started, listened to, and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from demos.rts_lockstep.clients.bots import WAR
from demos.rts_lockstep.clients.reports import Said
from demos.rts_lockstep.staging.nodes import ROOT
from demos.rts_lockstep.units import NOBODY

STOP_SECONDS_MAX: Final = 10.0
LAST_WORDS: Final = 500


class BotLife:
    """One bot's process; `hear` is called in a thread of its own with each thing that it says, in order."""

    def __init__(
        self,
        addresses: Sequence[str],
        token: str,
        name: str,
        seed: int,
        hear: Callable[[str, Said], None],
        *,
        seat: int = NOBODY,
        style: str = WAR,
        record: Path | None = None,
        is_tracing: bool = False,
        has_page: bool = False,
    ) -> None:
        self.name = name
        self._hear = hear
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the life is over
        arguments = [",".join(addresses), token, name, str(seed), "--style", style, "--seat", str(seat)]
        arguments += [] if record is None else ["--record", str(record)]
        arguments += ["--trace"] if is_tracing else []
        arguments += ["--page"] if has_page else []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demos.rts_lockstep.clients.bot_process", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))},
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, name=name, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        decode = msgspec.json.Decoder(Said).decode
        output = self.process.stdout
        for line in output if output is not None else ():
            if line.endswith(b"\n"):  # one that was cut short was never said
                self._hear(self.name, decode(line))

    def plant(self) -> None:
        """Put the deer bug into it."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(b"\n")
                self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL: it says no good-bye."""
        self.process.kill()

    def freeze(self, *, is_frozen: bool) -> None:
        """Stop it where it is, or let it go on."""
        self.process.send_signal(signal.SIGSTOP if is_frozen else signal.SIGCONT)

    def end_input(self) -> None:
        """Ask it to leave."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def complaint(self) -> str:
        """What it wrote as it went down, if it did not end well; nothing otherwise."""
        code = self.process.poll()
        if code in (None, 0):
            return ""
        self._complaints.seek(0)
        return self._complaints.read().decode("utf-8", "replace").strip()[-LAST_WORDS:] or f"exit code {code}"

    def __enter__(self) -> BotLife:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_input()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._listener.join(STOP_SECONDS_MAX)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._complaints.close()
