"""Addresses are taken apart strictly: what a typing error makes of one is refused with an example of a right one."""

from __future__ import annotations

import pytest

from rsm.errors import CallerError
from rsm.node.network.addresses import is_loopback, split_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:7001", ("127.0.0.1", 7001)), ("[::1]:0", ("::1", 0)), ("a-b.example:65535", ("a-b.example", 65535))],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    """Host and port are taken apart."""
    assert split_address(text) == expected


@pytest.mark.parametrize("text", ["", ":", "a", "a:", ":1", "a:b", "a:-1", "a:65536", "::1:7", "a b:1", "a:1\n", "a:٣"])
def test_what_is_no_address(text: str) -> None:
    """Anything else is refused, quoted."""
    with pytest.raises(CallerError, match="is not an address"):
        split_address(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x.y", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    """Only what cannot be reached from another machine counts."""
    assert is_loopback(host) is expected
