"""`rsm cluster up`: a cluster on this machine, supervised, in one directory::

cluster.toml        machine, cluster id, addresses; written last, so a directory that has it is complete
node-1.toml ...     what each node is started with
node-1/ ...         the directory of each node
node-1.log ...      what each node tells
certs/              with --tls: a test CA and its certificates
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import click

from rsm.cli.errors import FINE, FOUND, WRONG, Unreadable
from rsm.cli.local import CLUSTER_FILE, LocalCluster, LocalNode, load_local, point_to
from rsm.cli.making import PORTS_PER_NODE, check_ports, check_same, make
from rsm.cli.options import Group
from rsm.cli.output import print_line
from rsm.cli.status import Rates, rich_table
from rsm.cli.target import DISK, load_machine
from rsm.client.survey import Survey, survey
from rsm.client.tool import Access
from rsm.errors import CallerError
from rsm.limits import CLUSTER_START_SECONDS_MAX, MEMBERS_MAX
from rsm.node.config import load_config
from rsm.node.supervisor import Child, Event, Supervisor, ending

__all__ = ["cluster"]

PROGRAM: Final = "import sys; sys.argv[0] = 'rsm'; from rsm.cli.main import main; sys.exit(main())"
# How often the supervisor looks at its children, and the nodes are asked; one that hangs is given this long.
TICK_SECONDS: Final = 0.1
ASK_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 1.0


@click.group(cls=Group)
def cluster() -> None:
    """Run a cluster on this machine.

    \b
    Example: rsm cluster up --machine bank:Bank --dir c1
    """


@cluster.command()
@click.option("--machine", metavar="MODULE:CLASS", required=True, help="The class to run.")
@click.option("--dir", "directory", metavar="DIR", type=click.Path(), required=True, help="Where the cluster lives.")
@click.option("--nodes", metavar="N", type=click.IntRange(1, MEMBERS_MAX), help="How many nodes; 3 if not given.")
@click.option("--from", "source", metavar="DIR", type=click.Path(), help="Begin with the log of an embedded machine.")
@click.option("--tls", "with_tls", is_flag=True, help="Make certificates, and use them.")
@click.option(
    "--base-port",
    metavar="P",
    type=click.IntRange(1, 65535 - PORTS_PER_NODE * MEMBERS_MAX),
    help="Take ports from P on, three a node (members, clients, HTTP). Default: free ones.",
)
@click.option(
    "--snapshot-log-bytes",
    "snapshot_bytes",
    metavar="BYTES",
    type=click.IntRange(1),
    help="Write a snapshot when the log has grown by so much; 64 MiB if not given.",
)
@click.option(
    "--hash-seconds",
    "hash_seconds",
    metavar="SECONDS",
    type=click.FloatRange(0, 3600),
    help="Take a state root so long after a change at the latest, 0 with every one; 1 second if not given.",
)
def up(
    machine: str,
    directory: str,
    nodes: int | None,
    source: str | None,
    with_tls: bool,
    base_port: int | None,
    snapshot_bytes: int | None,
    hash_seconds: float | None,
) -> int:
    """Start a local cluster and look after it.

    The first time the cluster is made in DIR; later it goes on where it was. Nodes that crash are started again, with
    growing pauses; if they crash again and again, everything stops with exit code 1. Ctrl-C ends all in good order.
    While it runs, rsm status and other commands find it without addresses.

    \b
    Example: rsm cluster up --machine bank:Bank --dir c1 --nodes 3
    """
    machine_class = load_machine(machine)
    limits = {"snapshot_log_bytes": snapshot_bytes, "hash_seconds": hash_seconds}
    given = {name: value for name, value in limits.items() if value is not None}
    is_new = not os.path.exists(directory)
    path = os.path.join(directory, CLUSTER_FILE)
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise Unreadable(f"{directory}: cannot be made: {error.strerror}") from error
    lock = DISK.lock(os.path.join(directory, "lock"))
    try:
        if os.path.exists(path):
            found = load_local(path)
            check_same(path, found, machine_class, nodes, source, with_tls, base_port, given)
        else:
            found = make(directory, machine, machine_class, nodes or 3, source, with_tls, base_port, given)
        check_ports(found.nodes)
        point_to(path)
        return Running(directory, machine, found).run()
    finally:
        if not os.path.exists(path):  # nothing was made
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(directory, "lock"))
                if is_new:
                    os.rmdir(directory)
        lock.release()


# --- running it -------------------------------------------------------------------------------------------------------


class Running:
    """The cluster while it runs: its supervisor, and what is shown of it."""

    def __init__(self, directory: str, machine: str, found: LocalCluster) -> None:
        self._nodes = {f"node {node.id}": node for node in found.nodes}
        self._access = Access(found.addresses, found.tls)
        self._supervisor = Supervisor([child_of(directory, machine, node) for node in found.nodes])
        self._up: set[str] = set()
        self._leader: tuple[int, int] | None = None
        self._live: Any = None
        self._was_complete = False
        self._started = time.monotonic()

    def run(self) -> int:
        """Until it is interrupted (exit code 0) or cannot go on."""
        code = FINE
        with interruptible(), self._showing(), self._supervisor:
            try:
                code = self._loop()
            except KeyboardInterrupt:
                self._tell("stopping")
        self._tell(f"{len(self._nodes)} nodes stopped" if len(self._nodes) > 1 else "1 node stopped")
        return code

    def _loop(self) -> int:
        ask_at = 0.0
        rates = Rates()
        while True:
            for event in self._supervisor.tick():
                self._note(event)
            if self._supervisor.failure is not None:
                return FOUND
            refused = next((name for name in self._nodes if self._is_refused(name)), None)
            if refused is not None and not self._was_complete:
                return self._supervisor.exit_code(refused) or WRONG
            if self._supervisor.is_over:
                return FOUND if refused is not None else FINE
            if not self._was_complete and time.monotonic() - self._started > CLUSTER_START_SECONDS_MAX:
                self._tell(f"not all nodes serve after {CLUSTER_START_SECONDS_MAX:g} seconds; see their logs")
                self._was_complete = True
            if time.monotonic() >= ask_at:
                found = survey(self._access, seconds=ANSWER_SECONDS)
                self._look(found)
                if self._live is not None:
                    self._live.update(rich_table(found, rates=rates.of(found, time.monotonic())), refresh=True)
                ask_at = time.monotonic() + ASK_SECONDS
            time.sleep(TICK_SECONDS)

    def _is_refused(self, name: str) -> bool:
        code = self._supervisor.exit_code(name)
        return self._supervisor.pid(name) is None and code in (FOUND, WRONG)

    def _note(self, event: Event) -> None:
        if event.kind == "started":
            return  # told when it answers
        self._up.discard(event.child)
        self._tell(f"{event.child} {event.text}", is_error=event.kind in ("refused", "gave_up"))
        for line in event.last_lines.splitlines():
            self._tell(f"    {line}", is_error=True)

    def _look(self, found: Survey) -> None:
        """Tell who is up that was not, and who leads."""
        answered = {asked.address for asked in found.asked if asked.status is not None}
        for name, node in self._nodes.items():
            if node.client in answered and name not in self._up:
                self._up.add(name)
                self._tell(f"{name} is up: clients {node.client}, members {node.peer}, http://{node.web}/")
        self._was_complete = self._was_complete or len(self._up) == len(self._nodes)
        leader = found.leader
        if leader is not None and (leader.node_id, leader.term) != self._leader:
            self._leader = leader.node_id, leader.term
            self._tell(f"node {leader.node_id} leads, term {leader.term}")

    def _tell(self, line: str, *, is_error: bool = False) -> None:
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False, style="red" if is_error else None)
        elif is_error:
            click.echo(line, err=True)
        else:
            print_line(line)
            sys.stdout.flush()

    @contextlib.contextmanager
    def _showing(self) -> Iterator[None]:
        """A live table below the lines, if this is a terminal."""
        if not sys.stdout.isatty():
            yield
            return
        from rich.live import Live

        with Live(auto_refresh=False) as self._live:
            yield
        self._live = None


def child_of(directory: str, machine: str, node: LocalNode) -> Child:
    """What the supervisor runs for a node."""
    config = os.path.join(directory, f"node-{node.id}.toml")
    # A node whose file names the same machine is left to its file: with another there, and a restart, it is upgraded.
    given = ["--machine", machine]
    with contextlib.suppress(CallerError):  # the node itself will say what is wrong with it
        given = [] if load_config(config).node.machine == machine else given
    return Child(
        name=f"node {node.id}",
        argv=[sys.executable, "-c", PROGRAM, "node", *given, "--config", config],
        log_path=os.path.join(directory, f"node-{node.id}.log"),
    )


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does."""

    def interrupt(number: int, _: Any) -> None:
        raise KeyboardInterrupt(ending(-number))

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
