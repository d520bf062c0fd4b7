"""Faults of a cluster, made on real sockets or on members without sockets, and what is then said.

Scenarios for `tests.test_faults_doc`: each makes its fault and returns the lines that docs/faults.md shows for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import rsm
from rsm.node.config import ClusterSection, MemberConfig, NodeConfig, NodeSection
from rsm.node.network.certificates import init_certificates
from rsm.node.network.handshake import encode_peer_hello
from rsm.node.network.tls import TlsOptions
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.node.runner import Runner
from rsm.testing.disk import Survival
from tests import cluster_stage
from tests.client_service import Nodes
from tests.cluster_stage import PATH
from tests.fault_stage import Bank, Stage, said
from tests.machines import Everything
from tests.unit.cli.nodes import strangers
from tests.unit.node.sockets import raw, read_all, until
from tests.unit.node.test_framing import GIBIBYTE_HEAD
from tests.unit.node.test_transport import Node, hello_of, started

# What a client of these scenarios waits for a cluster that will not answer.
TIMEOUT_SECONDS = 0.3

SCENARIOS: dict[str, Callable[[Stage], str]] = {}


def scenario(fault: Callable[[Stage], str]) -> Callable[[Stage], str]:
    SCENARIOS[fault.__name__.replace("_", "-")] = fault
    return fault


# --- clients ----------------------------------------------------------------------------------------------------------


def connect(*addresses: str) -> Any:
    return rsm.connect(Bank, addresses, timeout_seconds=TIMEOUT_SECONDS)


@contextlib.contextmanager
def client_port(machine: type[rsm.StateMachine] = Bank) -> Iterator[Nodes]:
    """One node's port for clients, without a cluster behind it."""
    nodes = Nodes(1, machine)
    try:
        yield nodes
    finally:
        nodes.close()


@scenario
def unreachable(stage: Stage) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    with strangers(b"HTTP/1.1 400 Bad Request\r\n\r\n") as web, strangers(b"") as silent:
        return said(lambda: connect(nobody, web, silent))


@scenario
def another_cluster(stage: Stage) -> str:
    with client_port(Everything) as nodes:
        return said(lambda: connect(*nodes.addresses))


@scenario
def no_majority(stage: Stage) -> str:
    with client_port() as nodes, connect(*nodes.addresses) as bank:
        nodes.services[0].holds = True
        lines = [said(lambda: bank.deposit("ann", 1)), said(lambda: bank.balance("ann"))]
        nodes.services[0].holds = False
        nodes.do(nodes.services[0].cut)
        assert bank.deposit("ann", 1) == 2
    return "\n".join(lines)


@scenario
def silent_client(stage: Stage) -> str:
    with client_port() as nodes, connect(*nodes.addresses) as bank:
        nodes.services[0].holds = True
        pending = bank.deposit.send("ann", 1)
        assert said(lambda: pending.result(0.1)).startswith("TimeoutError")
        nodes.do(lambda: nodes.log.close(bank._session))
        nodes.services[0].holds = False
        nodes.do(nodes.services[0].cut)
        text = said(lambda: pending.result(10))
        assert bank.deposit("ann", 1) == 1
    return text


# --- starting a node --------------------------------------------------------------------------------------------------


def starting(stage: Stage, **addresses: str) -> str:
    """What a node says that cannot start."""
    member = {"peer": "127.0.0.1:7001", "client": "127.0.0.1:8001"}
    section = {"peer_listen": "127.0.0.1:0", "client_listen": "127.0.0.1:0"} | addresses
    config = NodeConfig(
        node=NodeSection(id=1, directory=str(stage.directory / "node-1"), **section),
        cluster=ClusterSection(members=(MemberConfig(id=1, **member),), id="fe" * 16),
    )

    async def run() -> None:
        await Runner(Bank, config).run()

    return said(lambda: asyncio.run(run()))


@scenario
def port_in_use(stage: Stage) -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        return f"{starting(stage, peer_listen=address)}\n{starting(stage, client_listen=address)}"


@scenario
def bad_configuration(stage: Stage) -> str:
    member = '{id = 1, peer = "10.0.0.1:7001", client = "10.0.0.1:8001"}'
    node = '[node]\nid = 1\ndirectory = "node-1"\nclient_listen = "127.0.0.1:8001"\n'
    lines = []
    for listen, members in (
        ('peer_listen = "127.0.0.1:7001"\nisecure = true\n', member),
        ('peer_listen = "10.0.0.1:7001"\n', member),
        ('peer_listen = "127.0.0.1:7001"\n', f"{member}, {member}"),
    ):
        (stage.directory / "node-1.toml").write_text(f"{node}{listen}[cluster]\nmembers = [{members}]\n")
        words = ("node", "--machine", "tests.fault_stage:Bank", "--config", "node-1.toml")
        lines.append(stage.cli(*words, code=2))
    return "\n".join(lines)


# --- whoever does not belong here -------------------------------------------------------------------------------------


def refused(stage: Stage, offences: list[Callable[[Node], Awaitable[None]]], **options: Any) -> str:
    """What the members' port of node 1 logs about these."""

    async def run() -> None:
        node = Node(1, **options)
        async with started(node):
            for number, offence in enumerate(offences, 1):
                await offence(node)
                await until(lambda number=number: node.transport.limiter.refused >= number)

    asyncio.run(run())
    return stage.logged("connection refused")


def saying(data: bytes) -> Callable[[Node], Awaitable[None]]:
    async def offend(node: Node) -> None:
        async with raw(node.transport.port) as (reader, writer):
            writer.write(data)
            await read_all(reader)

    return offend


def greeting(number: int, **changes: Any) -> Callable[[Node], Awaitable[None]]:
    return saying(encode_frame(FrameKind.HELLO, encode_peer_hello(hello_of(number, **changes)), group_id=3))


@scenario
def not_one_of_us(stage: Stage) -> str:
    return refused(
        stage,
        [
            greeting(2, cluster_id=bytes(16)),
            greeting(2, machine="desk"),
            greeting(1, instance=b"run-9999"),
            greeting(9),
            greeting(2, protocol=(2, 3)),
        ],
    )


@scenario
def noise(stage: Stage) -> str:
    return refused(stage, [saying(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), saying(GIBIBYTE_HEAD)])


@scenario
def wrong_certificate(stage: Stage) -> str:
    init_certificates(str(stage.directory / "certs"), nodes=2, clients=["ann"])
    init_certificates(str(stage.directory / "other"), nodes=2)

    def dialing(owner: str) -> Callable[[Node], Awaitable[None]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(stage.directory / "certs" / "ca.crt")
        if owner:
            context.load_cert_chain(stage.directory / f"{owner}.crt", stage.directory / f"{owner}.key")

        async def dial(node: Node) -> None:
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                reader, writer = await asyncio.open_connection("127.0.0.1", node.transport.port, ssl=context)
                writer.write(encode_frame(FrameKind.HELLO, encode_peer_hello(hello_of(2)), group_id=3))
                await read_all(reader)
                writer.transport.abort()

        return dial

    files = [str(stage.directory / "certs" / name) for name in ("ca.crt", "node-1.crt", "node-1.key")]
    owners = ["", "other/node-2", "certs/ann"]
    return refused(stage, [dialing(owner) for owner in owners], tls=TlsOptions(*files))


# --- nodes and their disks --------------------------------------------------------------------------------------------


def cluster(stage: Stage) -> cluster_stage.Stage:
    """Three nodes, with a deposit made."""
    made = cluster_stage.Stage(Bank)
    made.start()
    deposit(made)
    made.settle()
    stage.log.clear()
    return made


def deposit(nodes: cluster_stage.Stage) -> int:
    """A deposit that must succeed; what ann then has."""
    return int(nodes.do(nodes.session(), "deposit", "ann", 100))


@scenario
def node_damaged(stage: Stage) -> str:
    stage.log.set_level(logging.INFO, "rsm")
    nodes = cluster(stage)
    number = nodes.follower()
    nodes.crash(number, Survival.EVERYTHING)
    (path,) = nodes.files(number, ".log")
    data = nodes.disks[number].contents(f"{PATH}/{path}")
    nodes.damage(path, number, 8 * data.index(b"deposit"))
    assert deposit(nodes) == 200
    nodes.start(number)
    nodes.until(lambda: not nodes.members[number].is_recovering)
    nodes.settle()
    lines = [stage.logged("the log is damaged; the rest will be fetched from another node")]
    return "\n".join([*lines, stage.logged("caught up: this node's word counts again")])


@scenario
def node_emptied(stage: Stage) -> str:
    stage.log.set_level(logging.INFO, "rsm")
    nodes = cluster(stage)
    number = nodes.follower()
    nodes.wipe(number)
    assert deposit(nodes) == 200
    nodes.start(number)
    nodes.until(lambda: not nodes.members[number].is_recovering)
    nodes.settle()
    return stage.logged("caught up: this node's word counts again")


@scenario
def node_full(stage: Stage) -> str:
    nodes = cluster(stage)
    full = nodes.leader().node_id
    disk = nodes.disks[full]
    disk.space_bytes = disk.used_bytes()
    session = nodes.session()
    for number in range(1, 200):
        nodes.do(session, "deposit", f"{number} {'x' * 10_000}", 1)
        if nodes.leads != full:
            break
    assert nodes.leads != full
    assert nodes.failures == {}
    disk.space_bytes = None
    nodes.settle()
    return stage.logged("the disk takes no entries; another node leads meanwhile").splitlines()[0]


@scenario
def node_sync_failed(stage: Stage) -> str:
    nodes = cluster(stage)
    bad = nodes.leader().node_id
    nodes.disks[bad].fail_sync_at = nodes.disks[bad].syncs + 1
    assert deposit(nodes) == 200
    error = nodes.failures[bad]
    nodes.crash(bad)
    nodes.start(bad)
    nodes.settle()
    return f"{type(error).__name__}: {error}"


@scenario
def node_differs(stage: Stage) -> str:
    nodes = cluster(stage)
    number = nodes.follower()
    # What a handler that reads a clock comes to: a state that does not follow from the log.
    replica: Any = nodes.members[number].replica
    replica.store.begin()
    replica.machine.balances["ann"] += 1
    replica.store.end()
    assert deposit(nodes) == 200
    agreeing = nodes.members[number].agreeing
    nodes.until(lambda: agreeing.standing != "well")
    assert deposit(nodes) == 300
    nodes.until(lambda: agreeing.standing == "well")
    nodes.settle()
    lines = "\n".join(map(stage.logged, ("roots differ", "quarantined", "evidence", "healed")))
    return lines.replace(f"{Bank.__module__}:", "bank:")


class LaterBank(Bank, name="bank", version=2, previous=Bank):
    """The bank of the next release."""

    @rsm.command(version=1)
    def empty(self, ctx: rsm.Context, who: str) -> int:
        return int(self.balances.pop(who, 0))


def upgraded(nodes: cluster_stage.Stage) -> str:
    """What comes of putting the next version in force: an empty text, or why not."""
    told: list[str] = []
    nodes.leader().upgrade(2, lambda _: told.append(""), lambda error: told.append(f"{type(error).__name__}: {error}"))
    nodes.until(lambda: bool(told))
    return told[0]


@scenario
def node_behind(stage: Stage) -> str:
    nodes = cluster(stage)
    nodes.leader().transfer(1, lambda _: None, lambda _: None)
    nodes.until(lambda: nodes.leads == 1)
    for number in (2, 1):
        nodes.kill(number)
        nodes.machine_of[number] = LaterBank
        nodes.start(number)
        nodes.settle()
    nodes.leader().transfer(2, lambda _: None, lambda _: None)
    nodes.until(lambda: nodes.leads == 2)
    nodes.run(1)
    text = upgraded(nodes)
    assert deposit(nodes) == 200
    return text


@scenario
def node_outdated(stage: Stage) -> str:
    nodes = cluster(stage)
    for number in (1, 2, 3):
        nodes.kill(number)
        nodes.machine_of[number] = LaterBank
        nodes.start(number)
        nodes.settle()
    nodes.run(1)
    number = nodes.follower()
    assert upgraded(nodes) == ""
    nodes.settle()
    nodes.kill(number)
    nodes.machine_of[number] = Bank
    nodes.start(number)
    nodes.until(lambda: nodes.members[number].agreeing.standing == "outdated")
    assert deposit(nodes) == 200
    nodes.kill(number)
    nodes.machine_of[number] = LaterBank
    nodes.start(number)
    nodes.settle()
    return stage.logged("this node must be upgraded; it logs and votes meanwhile")


@scenario
def edited_release(stage: Stage) -> str:
    return refused(
        stage,
        [greeting(2, releases=((1, b"\x01" * 16),)), greeting(2, releases=((3, bytes(16)), (2, bytes(16))))],
    )


@scenario
def clocks_apart(stage: Stage) -> str:
    nodes = cluster(stage)
    wrong = nodes.follower()
    before = nodes.leader().replica.system.clock
    nodes.wall_offset_seconds[wrong] = 365 * 24 * 3600.0
    nodes.run(0.3)
    nodes.leader().transfer(wrong, lambda _: None, lambda _: None)
    nodes.until(lambda: nodes.leads == wrong)
    assert deposit(nodes) == 200
    assert nodes.leader().replica.system.clock < before + 60 * rsm.SECOND
    return stage.logged("wall clocks are far apart and this node's is not used: set them right")
