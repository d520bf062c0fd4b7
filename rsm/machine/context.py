"""What a handler gets besides its arguments: the log's time, its own identity, and the ways to reach out of a command.

Nothing here reads a clock or draws from the system: every value comes from the log, so it is the same on every replica
and in every replay.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn, ParamSpec, Protocol

from rsm.limits import RESULT_BYTES_MAX
from rsm.machine.calls import Command
from rsm.machine.random import Random

P = ParamSpec("P")

# Log time is counted in nanoseconds: `ctx.schedule(ctx.now + 5 * rsm.SECOND, ...)`.
SECOND: Final = 1_000_000_000
# A thousandth of it.
MILLISECOND: Final = 1_000_000


class Reject(Exception):
    """Raised by `ctx.reject`: rolls the command back and answers its caller with the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Host(Protocol):
    """What the replica does for a context."""

    def schedule(self, at: int, command: str, version: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int: ...
    def cancel_timer(self, timer_id: int) -> bool: ...
    def new_id(self) -> int: ...
    def emit(self, event: Any) -> None: ...
    def random_seed(self) -> bytes: ...


class Context:
    """The context of the command that runs now; good until its handler returns.

    `now`: log time, integer nanoseconds since 1970-01-01 UTC; never runs backwards, the same for all commands of a
    batch. `index`: the log index. `position`: the command's place in its batch (below 0, rising, for timers and session
    ends). `step`: its place in a pipeline. `session`: the session's number, 0 for timers. `principal`: who sent it, as
    authenticated.
    """

    __slots__ = ("_host", "_part", "index", "now", "position", "principal", "session", "step")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._part = 0  # which of the commands that an upcaster split an old one into; 0 for all others
        self.now = 0
        self.index = 0
        self.position = 0
        self.step = 0
        self.session = 0
        self.principal = ""

    def reject(self, reason: str) -> NoReturn:
        """Refuse the command: everything it did is rolled back and the caller gets `rsm.Rejected(reason)`.

        A reason that no answer could carry (not text, half a character, longer than `RESULT_BYTES_MAX`) is a failure of
        the handler instead.
        """
        if type(reason) is not str:
            raise TypeError(f"a reason is text, not {type(reason).__name__}")
        if len(reason.encode()) > RESULT_BYTES_MAX:
            raise ValueError(f"a reason exceeds the bound of {RESULT_BYTES_MAX} bytes")
        raise Reject(reason)

    def emit(self, event: Any) -> None:
        """Publish an event (a struct, tuple or plain value) after commit; dropped if the command is rolled back."""
        self._host.emit(event)

    def new_id(self) -> int:
        """A number never given before by this machine, counting from 1."""
        return self._host.new_id()

    def random(self, name: str) -> Random:
        """The random stream of this name for this command; see `rsm.Random`."""
        identity = (self._host.random_seed(), self.index, self.position, self.step, name)
        return Random.named(*identity, self._part) if self._part else Random.named(*identity)

    def schedule(self, at: int, command: Command[P, Any], *args: P.args, **kwargs: P.kwargs) -> int:
        """Run a command of this machine at log time `at` (nanoseconds), or as soon after as the log moves.

        Returns a timer id. Timers fire in (time, id) order before the commands of a batch. `InvalidCommand` if the
        arguments do not fit.
        """
        return self._host.schedule(at, command.name, command.version, args, kwargs)

    def cancel(self, timer_id: int) -> bool:
        """Take a timer back; False if it has fired or never was."""
        return self._host.cancel_timer(timer_id)
