"""`rsm gateway`: a machine's commands, queries and feed for browsers, as a process."""

from __future__ import annotations

import os
import sys
from typing import Final

import click

from rsm.cli.access import FindAccess, access_options
from rsm.cli.errors import FINE, Unreadable
from rsm.cli.options import Command
from rsm.cli.output import print_line
from rsm.cli.target import load_machine
from rsm.errors import CallerError
from rsm.limits import CLIENT_TIMEOUT_SECONDS
from rsm.node.network.addresses import is_loopback, split_address

__all__ = ["gateway"]

EXTRA: Final = ("starlette", "uvicorn", "websockets", "h11", "anyio")


@click.command(cls=Command)
@click.argument("addresses", metavar="[ADDR]...", nargs=-1)
@click.option("--machine", metavar="MODULE:CLASS", required=True, help="The class that the cluster runs.")
@click.option("--listen", metavar="HOST:PORT", required=True, help="Where to serve HTTP; port 0 takes a free one.")
@click.option("--principal", default="", help="In whose name, where there is no TLS to say so.")
@click.option(
    "--timeout",
    "timeout_seconds",
    metavar="SECONDS",
    type=click.FloatRange(0.05, 3600),
    default=CLIENT_TIMEOUT_SECONDS,
    help=f"How long the cluster may take to answer; {CLIENT_TIMEOUT_SECONDS:g} if not given.",
)
@click.option(
    "--host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="A name by which browsers reach it, besides addresses and localhost; may be given again.",
)
@click.option("--insecure", is_flag=True, help="Listen beyond this machine, though nobody is asked who he is.")
@access_options
def gateway(
    addresses: tuple[str, ...],
    machine: str,
    listen: str,
    principal: str,
    timeout_seconds: float,
    hosts: tuple[str, ...],
    insecure: bool,
    find: FindAccess,
) -> int:
    """Serve a machine over HTTP and WebSocket.

    ADDR is the client address of a member; the others are found through it. What it offers is described at /, and for
    programs at /openapi.json. SIGTERM and SIGINT end it in good order. It needs the extra rsm-toolkit[gateway]. Exits
    with 3 if the cluster cannot be reached when it starts.

    \b
    Example: rsm gateway --machine bank:Bank --listen 127.0.0.1:8080
    """
    host, port = split_address(listen)
    if not (insecure or is_loopback(host)):
        raise CallerError(
            f"--listen: {listen} can be reached by other machines, and the gateway asks nobody who he is: put a proxy "
            f"that does before it, or allow it with --insecure"
        )
    machine_class = load_machine(machine)
    access = find(addresses)
    try:
        from rsm.gateway import app
        from rsm.gateway.serving import bind, serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRA:
            raise
        raise Unreadable(
            "the gateway needs starlette, uvicorn and websockets: pip install 'rsm-toolkit[gateway]'"
        ) from error

    try:
        listening = bind(host, port)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise CallerError(f"cannot listen for browsers on {host}:{port}: {reason}") from error

    def started() -> None:
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        name = machine_class.definition.name
        print_line(f"the gateway of {name} serves http://{shown}:{port}/ for {', '.join(access.addresses)}")
        sys.stdout.flush()

    with listening:
        application = app(
            machine_class,
            access.addresses,
            hosts=hosts,
            principal=principal,
            tls=access.tls,
            timeout_seconds=timeout_seconds,
        )
        serve(application, listening, started)
    print_line("the gateway has stopped")
    return FINE
