"""The exchange with its public face: a local cluster, a generated market, and what everybody may see of it.

    python -m demos.orderbook exchange [--nodes 1|3] [--dir DIR] [--port P] [--rate N] [--seed N] [--seconds N]

It prints where the page, Kraken's WebSocket feed, the ITCH session and GLIMPSE are, and runs until it is interrupted
(exit code 0) or something that it needs has ended (1); 2 is wrong usage, 3 that nobody answers. `--addresses` shows a
cluster that runs elsewhere instead: the same session, by another process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

import rsm
from demos.exits import exit_code, told
from demos.orderbook.cluster import SOUND_MACHINE, WITH_PARENT, Cluster, Document, NodeLine, Told
from demos.orderbook.face.exchange_face import ExchangeFace
from demos.orderbook.face.following import follow
from demos.orderbook.face.servers import FaceServers, Ports
from demos.orderbook.lives import ROOT, ServiceFailed, environment
from demos.scratch import scratch_directory

RATE_DEFAULT: Final = 250
RATE_MAX: Final = 20_000
# How long a cluster may take until it answers.
START_SECONDS_MAX: Final = 60.0
# How often it is looked after what the exchange is made of.
CHECK_SECONDS: Final = 0.25
STOP_SECONDS_MAX: Final = 20.0


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.orderbook exchange",
        description="Run an exchange on a local cluster, with a generated market, and show it: as a page, as Kraken's "
        "book feed, as ITCH 5.0 over SoupBinTCP with GLIMPSE. Ctrl-C ends it.",
    )
    parser.add_argument("--nodes", type=int, choices=(1, 3), help="how many nodes a new cluster has (default 3)")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="keep the cluster in DIR, and go on there next time")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, metavar="P", help="port of the page; ITCH P + 1, GLIMPSE P + 2")
    parser.add_argument(
        "--rate", type=int, default=RATE_DEFAULT, metavar="N", help=f"commands/s (default {RATE_DEFAULT})"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the market (default 1)")
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after so long")
    parser.add_argument("--addresses", nargs="+", metavar="ADDR", help="show the cluster at these addresses instead")
    options = parser.parse_args(argv)
    if not 0 <= options.rate <= RATE_MAX:
        parser.error(f"--rate must be 0 (nobody trades) to {RATE_MAX:,}")
    if not 0 <= options.port <= 65533:
        parser.error("--port must be 0 (any) to 65533")
    if not 0 <= options.seed < 2**62:
        parser.error("--seed must be 0 to 2**62 - 1")
    return options


def ports_from(port: int) -> Ports:
    """Three ports in a row, or any."""
    return Ports(port, port + 1, port + 2) if port else Ports()


class Exchange:
    """What runs, and how it is told about."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.face = ExchangeFace()
        self.servers = FaceServers(self.face, options.host, ports_from(options.port))
        self._over = asyncio.Event()

    async def run(self, addresses: Sequence[str], cluster: Cluster | None) -> int:
        """Show the cluster until it is over."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._over.set)
        if self.options.seconds is not None:
            loop.call_later(self.options.seconds, self._over.set)
        async with self.servers:
            following = asyncio.ensure_future(follow(self.face, addresses))
            trading = self._trade(addresses) if cluster is not None and self.options.rate else None
            if cluster is not None:
                cluster.watch()
            self._say(addresses)
            try:
                return await self._look_after(cluster, trading, following)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                if trading is not None:
                    await asyncio.to_thread(stop, trading)

    async def _look_after(
        self, cluster: Cluster | None, trading: subprocess.Popen[bytes] | None, following: asyncio.Future[None]
    ) -> int:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), CHECK_SECONDS)
            self.servers.check()
            if following.done():
                following.result()
            if cluster is None:
                self.servers.hub.tell_nodes([])  # nobody looks after them here; the page still hears how far we are
            else:
                cluster.check()
            if trading is not None and trading.poll() is not None:
                raise ServiceFailed(f"the traders ended with exit code {trading.returncode}")
        return 0

    def _trade(self, addresses: Sequence[str]) -> subprocess.Popen[bytes]:
        arguments = ["-m", "demos.orderbook.face.trading", str(self.options.seed), str(self.options.rate), *addresses]
        return subprocess.Popen(
            [*WITH_PARENT, sys.executable, *arguments],
            stdin=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
            process_group=0,  # a Ctrl-C is ours to pass on
        )

    def hear(self, told: Told, loop: asyncio.AbstractEventLoop) -> None:
        """What the cluster's own programs say; called from other threads."""
        if isinstance(told, Document):
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self.servers.hub.tell_nodes, [facts_of(node) for node in told.nodes])

    def _say(self, addresses: Sequence[str]) -> None:
        host, ports = self.options.host, self.servers.ports
        lines = (
            ("page", f"http://{host}:{ports.http}/"),
            ("Kraken v1 feed", f"ws://{host}:{ports.http}/ws"),
            ("ITCH 5.0", f"{host}:{ports.itch}  SoupBinTCP, session {self.face.session.name}"),
            ("GLIMPSE", f"{host}:{ports.glimpse}"),
            ("nodes", " ".join(addresses)),
        )
        for name, where in lines:
            print(f" {name:<15} {where}", flush=True)


def facts_of(node: NodeLine) -> dict[str, Any]:
    """What the page shows of a node."""
    facts: dict[str, Any] = msgspec.to_builtins(node)
    return {name: facts[name] for name in SHOWN_OF_NODES}


SHOWN_OF_NODES: Final = (
    "address", "node_id", "role", "term", "commit_index", "applied_index", "snapshot_index", "root_index", "root",
    "log_bytes", "standing", "desync", "error",
)  # fmt: skip


def stop(process: subprocess.Popen[bytes]) -> None:
    """Let the traders end."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(cluster: Cluster) -> list[str]:
    """The addresses of the nodes, once one of them answers."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while not cluster.serves:
        cluster.check()
        if time.monotonic() > deadline:
            raise ServiceFailed(f"no node of the cluster answers after {START_SECONDS_MAX:.0f} s")
        time.sleep(CHECK_SECONDS)
    return cluster.addresses


async def exchange(options: argparse.Namespace, directory: Path, state: Path) -> int:
    """Run it all."""
    made = Exchange(options)
    if options.addresses:
        return await made.run(options.addresses, None)
    loop = asyncio.get_running_loop()
    cluster = Cluster(directory, state, lambda told: made.hear(told, loop), SOUND_MACHINE, nodes=options.nodes)
    try:
        return await made.run(await asyncio.to_thread(wait_for, cluster), cluster)
    finally:
        await asyncio.to_thread(cluster.close)


def main(argv: list[str]) -> int:
    """Run the exchange; returns the exit code."""
    options = parse(argv)
    logging.getLogger("rsm").setLevel(logging.ERROR)
    with scratch_directory("rsm-exchange-") as scratch:
        directory = scratch / "cluster" if options.dir is None else options.dir
        try:
            return asyncio.run(exchange(options, directory, scratch / "state"))
        except (ServiceFailed, rsm.RsmError, OSError) as error:
            print(f"exchange: {told(error)}", file=sys.stderr)
            return exit_code(error)
        except KeyboardInterrupt:  # before anything ran
            return 130
