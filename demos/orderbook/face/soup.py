"""SoupBinTCP: a sequenced stream over TCP, where sequence numbers are counted and not sent.

A packet is a length (u16, of type and payload), a type, a payload. The server's: A login accepted, J rejected, S
sequenced data, H heartbeat, Z end of session. The client's: L login, R heartbeat, O logout. (+ is debug text, U
unsequenced data; both are passed over.) A login names a session, or leaves it blank for the current one, and the number
of the message to begin with: 0 is the next new one. The answer names the number that really comes first. It is higher
than asked when older messages are no longer kept; the client then knows its gap.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, NamedTuple

LENGTH_BYTES: Final = 2
HEARTBEAT_SECONDS: Final = 1.0
# Without a word from a client for so long it is gone, as the specification has it.
SILENCE_SECONDS_MAX: Final = 15.0
LOGIN_SECONDS_MAX: Final = 5.0
# What a client may send in one packet: a login has 47 bytes.
CLIENT_PACKET_BYTES_MAX: Final = 1024
LOGIN_BYTES: Final = 46

NO_SESSION: Final = b"S"
HEARTBEAT: Final = b"\0\x01H"
END_OF_SESSION: Final = b"\0\x01Z"


class SoupError(ValueError):
    """A client that does not speak the protocol."""


class Login(NamedTuple):
    """What a client asks for. `session` blank: the current one; `sequence` 0: the next new message."""

    username: str
    password: str
    session: str
    sequence: int


def packet(kind: bytes, payload: bytes = b"") -> bytes:
    """One packet."""
    return (1 + len(payload)).to_bytes(LENGTH_BYTES, "big") + kind + payload


def sequenced(message: bytes) -> bytes:
    """The packet of one message of the session."""
    return (1 + len(message)).to_bytes(LENGTH_BYTES, "big") + b"S" + message


def accepted(session: str, sequence: int) -> bytes:
    """The answer to a login: what comes next is this message of this session."""
    return packet(b"A", session.rjust(10).encode("ascii") + str(sequence).rjust(20).encode("ascii"))


def rejected(reason: bytes) -> bytes:
    """The answer to a login that is not served."""
    return packet(b"J", reason)


def parse_login(payload: bytes) -> Login:
    """The fields of a login. Raises `SoupError`."""
    if len(payload) != LOGIN_BYTES or not payload.isascii():
        raise SoupError(f"a login has {LOGIN_BYTES} ASCII characters")
    text = payload.decode("ascii")
    number = text[26:].strip() or "0"
    if not number.isdigit():
        raise SoupError(f"a login names a sequence number, not {number!r}")
    return Login(text[:6].strip(), text[6:16].strip(), text[16:26].strip(), int(number))


async def read_packet(reader: asyncio.StreamReader, seconds_max: float) -> tuple[bytes, bytes]:
    """(type, payload) of the client's next packet. Raises `SoupError`, `TimeoutError` or `IncompleteReadError`."""
    async with asyncio.timeout(seconds_max):
        length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
        if not 1 <= length <= CLIENT_PACKET_BYTES_MAX:
            raise SoupError(f"a packet of {length} bytes")
        content = await reader.readexactly(length)
    return content[:1], content[1:]


async def read_login(reader: asyncio.StreamReader) -> Login:
    """The login that a connection begins with. Raises as `read_packet`."""
    kind, payload = await read_packet(reader, LOGIN_SECONDS_MAX)
    if kind != b"L":
        raise SoupError(f"a connection begins with a login, not {kind!r}")
    return parse_login(payload)


async def listen_until_logout(reader: asyncio.StreamReader) -> None:
    """Take what a client says until it logs out, leaves, is silent for too long, or speaks nonsense."""
    with contextlib.suppress(SoupError, TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        while (await read_packet(reader, SILENCE_SECONDS_MAX))[0] != b"O":
            pass


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever its state."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1.0):
            await writer.wait_closed()
