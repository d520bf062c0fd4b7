"""How the commands that talk to a running cluster find it, and get in."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import click

from rsm.cli.errors import Unreadable
from rsm.cli.local import find_local
from rsm.client.tool import Access
from rsm.node.network.addresses import split_address
from rsm.node.network.tls import TlsOptions

__all__ = ["FindAccess", "access_options", "address_option", "find_access", "is_address"]

F = TypeVar("F", bound=Callable[..., Any])
FindAccess = Callable[[Sequence[str]], Access]


def access_options(function: F) -> F:
    """--tls-ca, --tls-cert and --tls-key, as `find`: from addresses to where the cluster is, and how to get in."""

    @functools.wraps(function)
    def found(*args: Any, ca: str | None, certificate: str | None, key: str | None, **rest: Any) -> Any:
        find: FindAccess = functools.partial(find_access, ca=ca, certificate=certificate, key=key)
        return function(*args, find=find, **rest)

    for parameter, option, text in (
        ("key", "--tls-key", "The key of --tls-cert."),
        ("certificate", "--tls-cert", "Our certificate, of role client or admin."),
        ("ca", "--tls-ca", "The CA of the cluster: talk TLS."),
    ):
        variable = f"RSM_{option[2:].upper().replace('-', '_')}"
        add = click.option(
            option, parameter, metavar="FILE", type=click.Path(), envvar=variable, help=f"{text} ${variable}."
        )
        found = add(found)
    return cast(F, found)


def address_option(function: F) -> F:
    """--address, as `addresses`, and the TLS files."""
    option = click.option(
        "--address",
        "addresses",
        metavar="ADDR",
        multiple=True,
        help="A member's client address; may be repeated. Default: $RSM_ADDRESSES, then the local cluster.",
    )
    return option(access_options(function))


def find_access(addresses: Sequence[str], ca: str | None, certificate: str | None, key: str | None) -> Access:
    """Where the cluster is: as given, or $RSM_ADDRESSES, or the local cluster. `CallerError` for what is no address."""
    given = (ca, certificate, key)
    if any(given) and not all(given):
        raise click.UsageError("--tls-ca, --tls-cert and --tls-key go together.")
    tls = TlsOptions(ca, certificate, key) if ca and certificate and key else None
    named = tuple(dict.fromkeys(addresses or os.environ.get("RSM_ADDRESSES", "").replace(",", " ").split()))
    for address in named:
        split_address(address)
    local = find_local() if tls is None or not named else None
    if not named:
        if local is None:
            raise Unreadable("which cluster? Give an address, set RSM_ADDRESSES, or start one with rsm cluster up")
        named = local.addresses
    if tls is None and local is not None and set(named) <= set(local.addresses):
        tls = local.tls
    return Access(named, tls)


def is_address(text: str) -> bool:
    """Whether a word that may be a path or an address is an address."""
    if os.path.exists(text) or "/" in text:
        return False
    host, colon, port = text.rpartition(":")
    return bool(host and colon) and port.isascii() and port.isdecimal()
