"""What a process sends and receives on its TCP connections, packet headers included: counted by the kernel.

Linux keeps, for each connection, the bytes and the segments that went each way; `TCP_INFO` tells. A segment is a packet
with 40 bytes of headers (20 of IP, 20 of TCP, as one counted in 2001), acknowledgements included. Connections that
close between two samples lose what they did since the last one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Collection
from typing import Final, NamedTuple

HEADER_BYTES: Final = 40
INFO_BYTES: Final = 280
# struct tcp_info: 8 bytes of small fields, 24 of 32 bits, then two rates, and what we want.
COUNTS: Final = struct.Struct("<104x16xQQII")


class Traffic(NamedTuple):
    """Totals of all connections."""

    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0

    @property
    def all_bytes_in(self) -> int:
        """What came, headers included."""
        return self.bytes_in + HEADER_BYTES * self.packets_in

    @property
    def all_bytes_out(self) -> int:
        """What went, headers included."""
        return self.bytes_out + HEADER_BYTES * self.packets_out


class TrafficMeter:
    """Sums up this process's TCP connections, but for those at its own port `but_ports`.

    Sample it about once a second; `last` is what the last sample was. Where the system does not tell, everything is 0
    and `is_known` is False.
    """

    def __init__(self, but_ports: Collection[int] = ()) -> None:
        self._but_ports = but_ports
        self._open: dict[tuple[str, str], Traffic] = {}  # of each connection, by both addresses
        self._closed = Traffic()
        self.last = Traffic()
        self.is_known = os.path.isdir("/proc/self/fd") and hasattr(socket, "TCP_INFO")

    def sample(self) -> Traffic:
        """The totals until now."""
        if not self.is_known:
            return Traffic()
        found = self._connections()
        for ends, counts in self._open.items():
            if ends not in found:
                self._closed = _sum(self._closed, counts)
        self._open = found
        total = self._closed
        for counts in found.values():
            total = _sum(total, counts)
        self.last = total
        return total

    def _connections(self) -> dict[tuple[str, str], Traffic]:
        found: dict[tuple[str, str], Traffic] = {}
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError, ValueError):
                if not stat.S_ISSOCK(os.stat(f"/proc/self/fd/{name}").st_mode):
                    continue
                with socket.socket(fileno=os.dup(int(name))) as connection:
                    if connection.family not in (socket.AF_INET, socket.AF_INET6):
                        continue
                    here, there = connection.getsockname(), connection.getpeername()
                    if here[1] in self._but_ports:
                        continue
                    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_BYTES)
                if len(info) >= COUNTS.size:
                    acked, received, segments_out, segments_in = COUNTS.unpack_from(info)
                    # A connection's own handshake is among what was acknowledged, as one byte.
                    found[str(here), str(there)] = Traffic(received, max(acked - 1, 0), segments_in, segments_out)
        return found


def _sum(one: Traffic, other: Traffic) -> Traffic:
    return Traffic(*(a + b for a, b in zip(one, other, strict=True)))
