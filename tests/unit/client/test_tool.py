"""The tools' client finds the leader, repeats safely, and says who would not talk to it and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from rsm.client.survey import survey
from rsm.client.tool import Access, NotANode, ToolConnection, ask_leader, run_command
from rsm.errors import Busy, CallerError, InvalidCommand, NotLeader, Unreachable
from rsm.node.network import protocol
from rsm.node.network.certificates import init_certificates
from rsm.node.network.protocol import Consistency
from rsm.node.network.tls import TlsOptions
from rsm.replica.batch import encode_call
from tests.unit.cli.nodes import Nodes, strangers

ORDER = encode_call("order", 2, ["tea", 5, b""])


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """Three nodes."""
    with Nodes() as three:
        yield three


def access(nodes: Nodes, *places: int) -> Access:
    """The addresses of some of them."""
    return Access(tuple(nodes.addresses[place - 1] for place in places))


def test_a_hello_and_a_request(nodes: Nodes) -> None:
    """The hello tells whose node it is; requests are answered one after the other; errors are of their class."""
    with ToolConnection(nodes.addresses[1], access(nodes, 2)) as connection:
        assert (connection.hello.node_id, connection.hello.leader) == (2, (1, nodes.addresses[0]))
        assert connection.status().node_id == 2
        with pytest.raises(NotLeader) as caught:
            connection.request(protocol.OpenSession(10**9))
        assert caught.value.address == nodes.addresses[0]
        with pytest.raises(InvalidCommand):
            connection.request(protocol.Query("nothing", [], Consistency.STALE, 0))
        assert connection.status().node_id == 2


def test_the_leader_is_found_from_any_member(nodes: Nodes) -> None:
    """A redirect is followed to an address that was not given; the command has taken effect once."""
    nodes.leader_number = 3
    _, answer = run_command(access(nodes, 1), ORDER)
    assert answer.status == 0
    assert nodes.replica.machine.stock["tea"] == 5  # type: ignore[attr-defined]  # the class is the test's
    assert len(nodes.replica.sessions) == 0


def test_a_member_that_is_down_is_passed_over(nodes: Nodes) -> None:
    """The first address need not answer; those that a hello names are tried too."""
    nodes.leader_number = 3
    nodes.stop(1)
    assert ask_leader(access(nodes, 1, 2), lambda connection: connection.request(protocol.OpenSession(10**9)))


def test_a_lost_answer_is_asked_for_again(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the answer is lost the same number goes out again, and the first answer comes back."""
    real = ToolConnection.commands
    sent = []

    def lossy(connection: ToolConnection, count: int, items: bytes, **options: bool) -> Any:
        sent.append(items)
        found = real(connection, count, items, **options)
        if len(sent) == 1:
            raise Unreachable("the connection was cut behind the command")
        return found

    monkeypatch.setattr(ToolConnection, "commands", lossy)
    _, answer = run_command(access(nodes, 1, 2, 3), ORDER)
    assert answer.status == 0
    assert len(sent) > 1
    assert len(set(sent)) == 1
    assert nodes.replica.machine.stock["tea"] == 5  # type: ignore[attr-defined]  # the class is the test's


def test_giving_up(nodes: Nodes) -> None:
    """Without a leader, with a leader that stays busy, and with nobody there, the last reason is raised in time."""
    nodes.leader_number = None
    with pytest.raises(NotLeader, match="no member was found that does"):
        ask_leader(access(nodes, 1), lambda connection: connection.request(protocol.OpenSession(10**9)), seconds=0.4)
    nodes.leader_number = 1
    nodes.nodes[0].failures = [Busy("full", retry_seconds=1.0) for _ in range(99)]
    with pytest.raises(Busy, match="full"):
        ask_leader(access(nodes, 1), lambda connection: connection.request(protocol.OpenSession(10**9)), seconds=0.4)
    with pytest.raises(Unreachable, match="cannot be reached"):
        ask_leader(Access(("127.0.0.1:1",)), lambda connection: connection.status(), seconds=0.3)
    with pytest.raises(Unreachable, match="no address"):
        ask_leader(Access(()), lambda connection: connection.status(), seconds=0.1)


def test_two_that_name_each_other_do_not_spin(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that send us round in circles are asked a bounded number of times."""
    asked = []

    def circle(connection: ToolConnection) -> None:
        asked.append(connection.address)
        here = nodes.addresses.index(connection.address)
        raise NotLeader(address=nodes.addresses[(here + 1) % 3])

    with pytest.raises(NotLeader):
        ask_leader(access(nodes, 1, 2, 3), circle, seconds=0.3)
    assert len(asked) < 40


def test_strangers_and_silence() -> None:
    """What is no node is named as such; what is silent does not answer."""
    with strangers(b"220 mail.example ESMTP ready when you are\r\n") as address, pytest.raises(NotANode):
        ToolConnection(address, Access((address,)))
    with strangers(b"") as address, pytest.raises(Unreachable, match="does not answer"):
        ToolConnection(address, Access((address,)), seconds=0.2)
    with pytest.raises(Unreachable, match="cannot be reached"):
        ToolConnection(f"{'x' * 64}:1", Access(()))
    with pytest.raises(CallerError, match="is not an address"):
        ToolConnection("nowhere", Access(()))


def test_tls(tmp_path: Path) -> None:
    """With the cluster's certificates it talks; without, or with another CA's, it is told that it was refused."""
    for name in ("ours", "theirs"):
        init_certificates(str(tmp_path / name), nodes=1, clients=["ann"], admins=["root"])

    def files(name: str, owner: str) -> TlsOptions:
        return TlsOptions(*(str(tmp_path / name / file) for file in ("ca.crt", f"{owner}.crt", f"{owner}.key")))

    context = files("ours", "node-1").server_context()
    with Nodes(1, tls=lambda _: context) as nodes:
        address = nodes.addresses[0]
        with ToolConnection(address, Access((address,), files("ours", "ann"))) as connection:
            assert connection.status().node_id == 1
            with pytest.raises(CallerError, match="role 'admin'"):
                connection.request(protocol.Change("remove", 1, "", ""))
        with ToolConnection(address, Access((address,), files("ours", "root"))) as connection:
            assert connection.request(protocol.Change("remove", 1, "", "")) == [77]
        with pytest.raises(NotANode, match="TLS"):
            ToolConnection(address, Access((address,), files("theirs", "ann")))
        with pytest.raises((NotANode, Unreachable)):
            ToolConnection(address, Access((address,)), seconds=2)
        found = survey(Access((address,), files("theirs", "ann")))
        assert [one.is_foreign for one in found.asked] == [True]


def for_any_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates as another tool may make them: ours say that a client's is for clients, and TLS looks at that."""
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    monkeypatch.setattr(x509, "ExtendedKeyUsage", lambda _: both)


@pytest.mark.parametrize("owner", ["ann", "root", "node-2"])
def test_who_poses_as_a_node_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str) -> None:
    """A port that shows the certificate of a client, an administrator or another node is no node 1."""
    for_any_use(monkeypatch)
    init_certificates(str(tmp_path), nodes=2, clients=["ann"], admins=["root"])

    def files(name: str) -> TlsOptions:
        return TlsOptions(*(str(tmp_path / file) for file in ("ca.crt", f"{name}.crt", f"{name}.key")))

    context = files(owner).server_context()
    with Nodes(1, tls=lambda _: context) as posing, pytest.raises(NotANode, match=f"wrong role: .*{owner}"):
        ToolConnection(posing.addresses[0], Access((posing.addresses[0],), files("ann")))


def test_plaintext_where_tls_is_wanted(nodes: Nodes, tmp_path: Path) -> None:
    """A node without TLS is no node to a client that wants it."""
    init_certificates(str(tmp_path), nodes=1, admins=["root"])
    tls = TlsOptions(*(str(tmp_path / file) for file in ("ca.crt", "root.crt", "root.key")))
    with pytest.raises((NotANode, Unreachable)):
        ToolConnection(nodes.addresses[0], Access((nodes.addresses[0],), tls), seconds=2)


def test_the_time_for_an_answer_is_bounded(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is never answered ends as unreachable, and the late answer to it is passed over."""
    monkeypatch.setattr(type(nodes.nodes[0]), "snapshot", lambda *_: None)
    with ToolConnection(nodes.addresses[0], access(nodes, 1)) as connection:
        with pytest.raises(Unreachable, match="does not answer"):
            connection.request(protocol.Snapshot(), seconds=0.2)
        assert connection.status().node_id == 1
