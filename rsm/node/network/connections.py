"""The connections of one port: how many there may be, and the log of those that it would not have."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from rsm.limits import CONNECTIONS_MAX, HANDSHAKES_MAX, REASON_CHARACTERS_MAX, REFUSALS_LOGGED_PER_SECOND
from rsm.node.log import logger

__all__ = ["Connection", "ConnectionLimiter", "shorten"]

# Under this the rest is counted when too many different things happen in one second.
OTHERS: Final = ("various reasons", "various hosts")


def shorten(text: str) -> str:
    """A text that came from outside, fit for one line of a log."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text[: REASON_CHARACTERS_MAX + 1])
    return text if len(text) <= REASON_CHARACTERS_MAX else text[:REASON_CHARACTERS_MAX] + "..."


class Connection(Protocol):
    """What a limiter knows of a connection."""

    remote: str

    def close(self, reason: str, *, at_once: bool = False) -> None:
        """Close it."""


class ConnectionLimiter:
    """The connections of one port, and the lines about those that it refused.

    Beyond `connections_max` a new one is closed at once. Beyond `handshakes_max` the handshake that has waited longest
    is: thousands of half-open connections then cannot keep out somebody who speaks at once.
    """

    def __init__(
        self, port: str, *, connections_max: int = CONNECTIONS_MAX, handshakes_max: int = HANDSHAKES_MAX
    ) -> None:
        self.port = port
        self.connections_max = connections_max
        self.handshakes_max = handshakes_max
        self.refused = 0
        self._shaking: dict[Connection, None] = {}
        self._established: set[Connection] = set()
        # Of the second that runs: what was logged, and how often it happened again.
        self._repeats: dict[tuple[str, str], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def handshakes(self) -> int:
        """Connections that have not shaken hands."""
        return len(self._shaking)

    @property
    def established(self) -> int:
        """Connections that have."""
        return len(self._established)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection; False if it must go."""
        if len(self._shaking) + len(self._established) >= self.connections_max:
            self.log("too many connections", connection.remote)
            return False
        if len(self._shaking) >= self.handshakes_max:
            oldest = next(iter(self._shaking))
            del self._shaking[oldest]
            self.log("too many connections that have not shaken hands", oldest.remote)
            oldest.close("too many handshakes", at_once=True)
        self._shaking[connection] = None
        return True

    def establish(self, connection: Connection) -> None:
        """It has shaken hands."""
        if connection in self._shaking:
            del self._shaking[connection]
            self._established.add(connection)

    def release(self, connection: Connection) -> None:
        """It is gone."""
        self._shaking.pop(connection, None)
        self._established.discard(connection)

    def close(self, reason: str) -> None:
        """Close every connection."""
        for connection in [*self._shaking, *self._established]:
            connection.close(reason)
        if self._timer is not None:
            self._timer.cancel()
            self._second_over()

    def log(self, reason: str, remote: str) -> None:
        """One line about a connection that was refused or cut off. Within a second, repeats from a host are counted."""
        self.refused += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self._second_over)
        key = (shorten(reason), remote.rpartition(":")[0])
        if key not in self._repeats:
            if len(self._repeats) < REFUSALS_LOGGED_PER_SECOND:
                self._repeats[key] = 0
                logger.warning("connection refused", port=self.port, remote=remote, reason=key[0])
                return
            key = OTHERS
        self._repeats[key] = self._repeats.get(key, 0) + 1

    def _second_over(self) -> None:
        repeats, self._repeats, self._timer = self._repeats, {}, None
        for (reason, host), count in repeats.items():
            if count:
                logger.warning("more connections refused", port=self.port, host=host, reason=reason, count=count)
