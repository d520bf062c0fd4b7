"""Addresses of the network, as configuration files and command lines spell them."""

from __future__ import annotations

import ipaddress

from rsm.errors import CallerError

__all__ = ["is_loopback", "split_address"]


def split_address(text: str) -> tuple[str, int]:
    """Host and port of "host:port" ("[::1]:7001" for IPv6); `CallerError` if it is none."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    is_number = port.isascii() and port.isdecimal() and len(port) <= 5
    if not (colon and host and is_number and int(port) <= 65535) or any(sign.isspace() for sign in host):
        raise CallerError(f"{text!r} is not an address: write HOST:PORT, such as 127.0.0.1:7001 or [::1]:7001")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
