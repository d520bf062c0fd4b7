"""Hellos and refusals: what was said is what is read, who must not talk is told why, nothing else gets through."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.codec import cbor
from rsm.limits import HELLO_BYTES_MAX, MEMBERS_MAX, RELEASES_MAX
from rsm.node.network.handshake import (
    ClientHello,
    PeerHello,
    Refused,
    ServerHello,
    check_client,
    check_peer,
    choose_protocol,
    encode_client_hello,
    encode_peer_hello,
    encode_server_hello,
    parse_client_hello,
    parse_peer_hello,
    parse_refusal,
    parse_server_hello,
)
from rsm.node.network.tls import Owner

OURS = PeerHello(bytes(15) + b"\x01", 3, "bank", ((1, bytes(16)),), "c0de", 1, "127.0.0.1:7001", b"run-0001")
THEIRS = msgspec.structs.replace(OURS, node_id=2, peer_address="127.0.0.1:7002", instance=b"run-0002")
CLIENT = ClientHello(OURS.cluster_id, "bank", bytes(16), "ann")


def refusal(owner: Owner | None = None, expected: int | None = None, must_match: bool = False, **changes: Any) -> str:
    """The text with which a member that says these things is refused."""
    theirs = msgspec.structs.replace(THEIRS, **changes)
    with pytest.raises(Refused) as caught:
        check_peer(
            OURS,
            theirs,
            is_member=lambda node: node in (1, 2, 3),
            owner=owner,
            expected_id=expected,
            code_must_match=must_match,
        )
    assert str(caught.value).startswith(caught.value.name)
    return str(caught.value)


def fields(hello: PeerHello | ClientHello, **changes: Any) -> bytes:
    """The bytes of a hello, with some fields changed."""
    return cbor.encode(msgspec.structs.asdict(hello) | changes)


def test_hellos_are_read_as_they_were_said() -> None:
    """Each kind of hello survives its encoding."""
    server = ServerHello(1, OURS.cluster_id, 1, "bank", 4, (2, "b:8"), ((1, "a:8"), (2, "b:8")))
    assert parse_peer_hello(encode_peer_hello(OURS)) == OURS
    assert parse_client_hello(encode_client_hello(CLIENT)) == CLIENT
    assert parse_client_hello(encode_client_hello(ClientHello())) == ClientHello()
    assert parse_server_hello(encode_server_hello(server)) == server
    assert server.leader_address == "b:8"
    leaderless = msgspec.structs.replace(server, leader=(), members=())
    assert parse_server_hello(encode_server_hello(leaderless)) == leaderless
    assert leaderless.leader_address == ""
    for leader in ([1], ["b:8", 2], [1, "b:8", 3]):
        with pytest.raises(Refused, match="leader must be"):
            parse_server_hello(cbor.encode(msgspec.structs.asdict(leaderless) | {"leader": leader}))
    assert parse_refusal(cbor.encode(["why"])) == "why"


def test_a_hello_stays_within_its_bound() -> None:
    """A full cluster with long host names loses members from the list, not the hello."""
    members = tuple((number, "h" * 250 + ":8000") for number in range(1, MEMBERS_MAX + 1))
    data = encode_server_hello(ServerHello(1, OURS.cluster_id, 1, "bank", 4, (), members))
    assert len(data) <= HELLO_BYTES_MAX
    kept = parse_server_hello(data).members
    assert kept == members[: len(kept)]
    assert len(kept) > 10


def test_members_that_belong_together_may_talk() -> None:
    """No refusal and no warning for a right hello, from whom we dialed and from who dialed us, with TLS and without."""
    for owner in (None, Owner("peer", "node-2")):
        for expected in (None, 2):
            assert check_peer(OURS, THEIRS, is_member={2}.__contains__, owner=owner, expected_id=expected) == ""
    newcomer = msgspec.structs.replace(THEIRS, cluster_id=b"")
    assert check_peer(OURS, newcomer, is_member={2}.__contains__, owner=None) == ""


def test_each_refusal_has_a_name_and_both_sides_of_the_matter() -> None:
    """What differs is named, with what it is here and there."""
    assert refusal(cluster_id=bytes(16)).startswith(f"another cluster: this is {OURS.cluster_id.hex()}, ")
    assert refusal(group_id=4) == "another group: this is 3, the other side is of 4"
    assert refusal(machine="shop") == "another machine: this is 'bank', the other side is 'shop'"
    assert refusal(node_id=1) == "two nodes with one id: node 1 is at 127.0.0.1:7001, and at 127.0.0.1:7002"
    assert refusal(node_id=1, instance=OURS.instance, expected=2) == (
        "another node: an address of another member leads back to node 1 itself"
    )
    assert refusal(expected=3) == "another node: node 3 was expected there, it is node 2"
    assert refusal(node_id=9) == "not a member: node 9 is not in the configuration"
    assert refusal(owner=Owner("client", "node-2")).startswith("wrong role: node 2 needs a certificate of role 'peer'")
    assert "and name 'node-3'" in refusal(owner=Owner("peer", "node-3"))


def digests(*versions: int) -> tuple[tuple[int, bytes], ...]:
    """What a node ships, newest first; a version's digest is its number."""
    return tuple((version, bytes([version]) * 16) for version in versions)


def check_releases(
    ours: tuple[tuple[int, bytes], ...],
    theirs: tuple[tuple[int, bytes], ...],
    *,
    code: str = "c0de",
    strict: bool = False,
) -> str:
    """The warning with which two nodes that ship these versions meet; `Refused`."""
    return check_peer(
        msgspec.structs.replace(OURS, releases=ours),
        msgspec.structs.replace(THEIRS, releases=theirs, code=code),
        is_member={2}.__contains__,
        owner=None,
        code_must_match=strict,
    )


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("ours", "theirs"), [((2, 1), (1,)), ((1,), (3, 2, 1)), ((3, 2), (2, 1))])
def test_nodes_of_different_releases_may_talk(ours: tuple[int, ...], theirs: tuple[int, ...], strict: bool) -> None:
    """During a rolling upgrade the nodes' code differs, as it must: one version in common is enough."""
    assert check_releases(digests(*ours), digests(*theirs), code="other", strict=strict) == ""


def test_nodes_without_a_version_in_common_are_refused() -> None:
    """Whatever is in force, one of the two could not apply it."""
    with pytest.raises(Refused) as caught:
        check_releases(digests(2, 1), digests(4, 3))
    assert str(caught.value) == "another schema: this ships version 1 to 2 of 'bank', the other side 3 to 4"
    with pytest.raises(Refused, match=r"ships version 2 of 'bank', the other side 3 to 4$"):
        check_releases(digests(2), digests(4, 3))


def test_nodes_that_mean_different_things_by_a_version_are_refused() -> None:
    """Also by an old one, under which the log may go on for a while."""
    edited = ((2, b"\x02" * 16), (1, b"\x09" * 16))
    with pytest.raises(Refused) as caught:
        check_releases(digests(2, 1), edited)
    assert str(caught.value) == (
        f"another schema: version 1 of 'bank' is {'01' * 16} here and {'09' * 16} there: "
        f"a released version never changes; give the newer one another number"
    )


def test_other_code_under_the_same_version_is_a_warning_unless_it_must_match() -> None:
    """Equal schemas do not make equal machines; `strict_code` asks for equal code."""
    words = "other code under the same version: version 2 of 'bank' is c0de here and beef there"
    assert check_releases(digests(2, 1), digests(2, 1), code="beef") == words
    assert check_releases(digests(2), digests(2), strict=True) == ""
    with pytest.raises(Refused) as caught:
        check_releases(digests(2), digests(2, 1), code="beef", strict=True)
    assert str(caught.value) == words
    with pytest.raises(Refused, match="is c0de here and unknown there"):
        check_releases(digests(2), digests(2), code="", strict=True)


def test_the_newest_common_protocol_is_chosen() -> None:
    """Ranges that overlap give their newest common member, others one clear line."""
    assert choose_protocol((1, 5), (3, 9)) == 5
    assert choose_protocol((3, 9), (1, 5)) == 5
    with pytest.raises(Refused, match=r"^no common protocol: the other side speaks 4 to 6, this one 1$"):
        choose_protocol((4, 6), (1, 1))
    with pytest.raises(Refused, match=r"^no common protocol"):
        choose_protocol((5, 4), (1, 9))


@pytest.mark.parametrize("hello", [OURS, CLIENT], ids=["peer", "client"])
def test_a_newer_release_is_told_about_the_protocol_first(hello: PeerHello | ClientHello) -> None:
    """However its hello looks, the line is about the protocol; while one is shared, new fields do not matter."""
    parse: Any = parse_peer_hello if isinstance(hello, PeerHello) else parse_client_hello
    with pytest.raises(Refused, match=r"^no common protocol: the other side speaks 2 to 3, this one 1$"):
        parse(cbor.encode({"protocol": [2, 3], "something": "new"}))
    newer = parse(fields(hello, protocol=[1, 2], something="new"))
    assert newer == msgspec.structs.replace(hello, protocol=(1, 2))


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "no hello: bad CBOR"),
        (cbor.encode([1, 2]), "no hello: a hello is a map"),
        (cbor.encode({}), "no hello: protocol must be"),
        (fields(OURS, protocol=[1]), "no hello: protocol must be"),
        (fields(OURS, protocol=[True, 1]), "no hello: protocol must be"),
        (
            fields(OURS, role="client"),
            "wrong role: this port is for peer, not 'client': clients connect to the address in `client_listen`",
        ),
        (fields(OURS, role=["x" * 999]), "wrong role: "),
        (fields(OURS, cluster_id=b"short"), "no hello: a field has another length"),
        (fields(OURS, instance=b""), "no hello: a field has another length"),
        (fields(OURS, releases=[]), "no hello: releases must be [[version, schema digest], ...]"),
        (fields(OURS, releases=[[1, b"short"]]), "no hello: releases must be [[version, schema digest], ...]"),
        (fields(OURS, releases=[[1, bytes(16), 2]]), "no hello: Expected `array` of length 2"),
        (fields(OURS, releases=[[n, bytes(16)] for n in range(RELEASES_MAX + 1)]), "no hello: releases must be"),
        (fields(OURS, node_id=0), "no hello: node_id or group_id is out of range"),
        (fields(OURS, node_id="1"), "no hello: Expected `int`, got `str`"),
        (fields(OURS, machine=None), "no hello: Expected `str`, got `null`"),
        (cbor.encode({"protocol": [1, 1], "role": "peer"}), "no hello: Object missing required field"),
        (fields(OURS) + b"\x00", "no hello: bad CBOR"),
        (fields(OURS, machine="x" * HELLO_BYTES_MAX), "no hello: CBOR of"),
    ],
)
def test_what_is_no_hello_is_refused(payload: bytes, words: str) -> None:
    """Missing, mistyped, overlong and non-canonical hellos are one line each."""
    with pytest.raises(Refused) as caught:
        parse_peer_hello(payload)
    assert str(caught.value).startswith(words)
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=200), st.integers(0, 200))
def test_random_bytes_are_refused_and_nothing_worse(noise: bytes, place: int) -> None:
    """Noise, alone or over a real hello, is a hello or a refusal for every parser."""
    real = bytearray(encode_peer_hello(OURS))
    real[place : place + len(noise)] = noise
    parsers: list[Any] = [parse_peer_hello, parse_client_hello, parse_server_hello]
    for payload in (noise, bytes(real)):
        for parse in parsers:
            try:
                parse(payload)
            except Refused as error:
                text = str(error)
            else:
                text = ""
            assert "\n" not in text
        assert isinstance(parse_refusal(payload), str)


def test_the_principal_is_the_name_in_the_certificate() -> None:
    """A client cannot call itself somebody else, an administrator can; without TLS the word is taken."""

    def principal(owner: Owner | None, said: str = "ann") -> str:
        hello = msgspec.structs.replace(CLIENT, principal=said)
        name, warning = check_client(hello, cluster_id=OURS.cluster_id, machine="bank", schema=bytes(16), owner=owner)
        assert warning == ""
        return name

    assert principal(None) == "ann"
    assert principal(Owner("client", "bob")) == "bob"
    assert principal(Owner("observer", "bob")) == "bob"
    assert principal(Owner("admin", "root")) == "ann"
    assert principal(Owner("admin", "root"), "") == "root"


def test_a_client_of_another_cluster_or_machine_is_refused() -> None:
    """What a client asks for by name must be there; what it leaves empty is what there is."""

    def check(must_match: bool = False, **changes: Any) -> str:
        return check_client(
            ClientHello(**changes),
            cluster_id=OURS.cluster_id,
            machine="bank",
            schema=bytes(16),
            owner=None,
            schema_must_match=must_match,
        )[1]

    assert check() == ""
    assert check(schema=b"\x01" * 16).startswith("another schema")
    for changes, name in (
        ({"cluster_id": bytes(16)}, "another cluster"),
        ({"machine": "shop"}, "another machine"),
        ({"schema": b"\x01" * 16, "must_match": True}, "another schema"),
    ):
        with pytest.raises(Refused, match=f"^{name}: "):
            check(**changes)
