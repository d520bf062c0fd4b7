"""The first words of a connection: who I am, whom I speak for, and why you are not welcome. No I/O.

A hello is one canonical CBOR map of at most `HELLO_BYTES_MAX` bytes. The range of protocols is looked at before
everything else and unknown fields are passed over, so that a newer release can say more and still be told in a clear
line that the two have no protocol in common. Every refusal begins with one of the names below; its text goes to the log
and, as a REFUSAL frame, to the one who is refused.

A member greets with `PeerHello` and is answered with one; both sides check. A client greets with `ClientHello` and is
answered with `ServerHello`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from rsm.codec import cbor
from rsm.codec.shapes import make_known
from rsm.errors import BadBytes
from rsm.limits import HELLO_BYTES_MAX, RELEASES_MAX
from rsm.node.network.tls import ROLE_ADMIN, ROLE_CLIENT, ROLE_PEER, Owner, node_name
from rsm.node.network.wire import PROTOCOL_MAX, PROTOCOL_MIN
from rsm.raft.configuration import NODE_ID_MAX

__all__ = [
    "ClientHello",
    "PeerHello",
    "Refused",
    "ServerHello",
    "check_client",
    "check_peer",
    "check_server",
    "choose_protocol",
    "encode_client_hello",
    "encode_peer_hello",
    "encode_server_hello",
    "parse_client_hello",
    "parse_peer_hello",
    "parse_refusal",
    "parse_server_hello",
]

CLUSTER_ID_BYTES: Final = 16
SCHEMA_BYTES: Final = 16
INSTANCE_BYTES: Final = 8

# The names of refusals.
NO_HELLO: Final = "no hello"
NO_COMMON_PROTOCOL: Final = "no common protocol"
WRONG_ROLE: Final = "wrong role"
WRONG_CLUSTER: Final = "another cluster"
WRONG_MACHINE: Final = "another machine"
WRONG_SCHEMA: Final = "another schema"
OTHER_CODE: Final = "other code under the same version"
WRONG_GROUP: Final = "another group"
SAME_ID: Final = "two nodes with one id"
WRONG_NODE: Final = "another node"
NOT_A_MEMBER: Final = "not a member"

# Whoever came to the port of this role wants the other one.
_OTHER_PORT: Final = {
    ROLE_PEER: "clients connect to the address in `client_listen`",
    ROLE_CLIENT: "members connect to the address in `peer_listen`",
}


class Refused(BadBytes):
    """This connection is not wanted; the text says why, to the log and to the other side."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


class PeerHello(msgspec.Struct, frozen=True):
    """A member's. `cluster_id` is empty while a new node has not learned it. `releases`: machine version and schema
    digest of each release that it ships; `code`: digest of its machine's code, in hex. `instance`: random bytes of one
    run of the node, which tell a redial from a second node of this id.
    """

    cluster_id: bytes
    group_id: int
    machine: str
    releases: tuple[tuple[int, bytes], ...]
    code: str
    node_id: int
    peer_address: str
    instance: bytes
    protocol: tuple[int, int] = (PROTOCOL_MIN, PROTOCOL_MAX)
    role: str = ROLE_PEER

    def __post_init__(self) -> None:
        lengths = {len(schema) for _, schema in self.releases}
        if lengths != {SCHEMA_BYTES} or not 0 < len(self.releases) <= RELEASES_MAX:
            raise ValueError("releases must be [[version, schema digest], ...]")
        if len(self.instance) != INSTANCE_BYTES or len(self.cluster_id) not in (0, CLUSTER_ID_BYTES):
            raise ValueError("a field has another length")
        if not 0 < self.node_id <= NODE_ID_MAX or not 0 <= self.group_id < 2**32:
            raise ValueError("node_id or group_id is out of range")


class ClientHello(msgspec.Struct, frozen=True):
    """A client's. Empty `cluster_id`, `machine` or `schema`: whichever there is."""

    cluster_id: bytes = b""
    machine: str = ""
    schema: bytes = b""
    principal: str = ""
    protocol: tuple[int, int] = (PROTOCOL_MIN, PROTOCOL_MAX)
    role: str = ROLE_CLIENT

    def __post_init__(self) -> None:
        if len(self.cluster_id) not in (0, CLUSTER_ID_BYTES) or len(self.schema) not in (0, SCHEMA_BYTES):
            raise ValueError("a field has another length")


class ServerHello(msgspec.Struct, frozen=True):
    """A server's answer to a client. `protocol` is the chosen one; `leader` is `[id, client address]`, or empty; so are
    the `members`, as many as fit.
    """

    protocol: int
    cluster_id: bytes
    node_id: int
    machine: str
    version: int
    leader: tuple[int | str, ...]
    members: tuple[tuple[int, str], ...]

    def __post_init__(self) -> None:
        if [type(part) for part in self.leader] not in ([], [int, str]):
            raise ValueError("leader must be [id, client address] or empty")

    @property
    def leader_address(self) -> str:
        """Where clients reach the leader; empty if there is none known."""
        return str(self.leader[1]) if self.leader else ""


make_known(PeerHello, ClientHello, ServerHello)
H = TypeVar("H", PeerHello, ClientHello, ServerHello)


def encode_peer_hello(hello: PeerHello) -> bytes:
    """The payload of a member's HELLO."""
    return cbor.encode(msgspec.structs.asdict(hello))


def encode_client_hello(hello: ClientHello) -> bytes:
    """The payload of a client's HELLO."""
    return cbor.encode(msgspec.structs.asdict(hello))


def encode_server_hello(hello: ServerHello) -> bytes:
    """The payload of a server's HELLO. The last members are left out if it would be too long."""
    fields = msgspec.structs.asdict(hello)
    members = list(hello.members)
    while len(data := cbor.encode(fields | {"members": members})) > HELLO_BYTES_MAX and members:
        members.pop()
    return data


def parse_peer_hello(payload: bytes) -> PeerHello:
    """What a member says; `Refused`."""
    return _typed(_fields(payload, ROLE_PEER), PeerHello)


def parse_client_hello(payload: bytes) -> ClientHello:
    """What a client says; `Refused`."""
    return _typed(_fields(payload, ROLE_CLIENT), ClientHello)


def parse_server_hello(payload: bytes) -> ServerHello:
    """What a server answers; `Refused`."""
    return _typed(_map(payload), ServerHello)


def parse_refusal(payload: bytes) -> str:
    """The reason in a REFUSAL, whatever is in it."""
    try:
        value = cbor.decode_canonical(payload, bytes_max=HELLO_BYTES_MAX)
    except BadBytes:
        value = None
    return value[0] if type(value) is list and value and type(value[0]) is str else "no reason given"


def choose_protocol(theirs: tuple[int, int], ours: tuple[int, int] = (PROTOCOL_MIN, PROTOCOL_MAX)) -> int:
    """The newest protocol that both sides speak; `Refused`."""
    chosen = min(theirs[1], ours[1])
    if chosen < max(theirs[0], ours[0]):
        spoken = [f"{low}" if low == high else f"{low} to {high}" for low, high in (theirs, ours)]
        raise Refused(NO_COMMON_PROTOCOL, f"the other side speaks {spoken[0]}, this one {spoken[1]}")
    return chosen


def check_peer(
    ours: PeerHello,
    theirs: PeerHello,
    *,
    is_member: Callable[[int], bool],
    owner: Owner | None,
    expected_id: int | None = None,
    code_must_match: bool = False,
) -> str:
    """Whether two members may talk: `Refused`, or a warning, which is empty when all is well. They must ship a machine
    version in common, and mean the same by it.

    `owner`: of the other side's certificate, None without TLS. `expected_id`: whom we dialed, None if it dialed us.
    """
    _check_node(theirs.node_id, owner)
    if theirs.cluster_id and ours.cluster_id and theirs.cluster_id != ours.cluster_id:
        raise Refused(WRONG_CLUSTER, f"this is {ours.cluster_id.hex()}, the other side is of {theirs.cluster_id.hex()}")
    if theirs.group_id != ours.group_id:
        raise Refused(WRONG_GROUP, f"this is {ours.group_id}, the other side is of {theirs.group_id}")
    if theirs.machine != ours.machine:
        raise Refused(WRONG_MACHINE, f"this is {ours.machine!r}, the other side is {theirs.machine!r}")
    if theirs.node_id == ours.node_id:
        if theirs.instance == ours.instance:
            raise Refused(WRONG_NODE, f"an address of another member leads back to node {ours.node_id} itself")
        raise Refused(SAME_ID, f"node {ours.node_id} is at {ours.peer_address}, and at {theirs.peer_address}")
    if expected_id is not None and theirs.node_id != expected_id:
        raise Refused(WRONG_NODE, f"node {expected_id} was expected there, it is node {theirs.node_id}")
    if not is_member(theirs.node_id):
        raise Refused(NOT_A_MEMBER, f"node {theirs.node_id} is not in the configuration")
    return _check_releases(ours, theirs, code_must_match=code_must_match)


def _check_releases(ours: PeerHello, theirs: PeerHello, *, code_must_match: bool) -> str:
    own, other = dict(ours.releases), dict(theirs.releases)
    common = own.keys() & other.keys()
    if not common:
        spans = [f"{min(some)} to {max(some)}" if len(some) > 1 else f"{max(some)}" for some in (own, other)]
        raise Refused(WRONG_SCHEMA, f"this ships version {spans[0]} of {ours.machine!r}, the other side {spans[1]}")
    for version in sorted(common, reverse=True):
        if own[version] != other[version]:
            raise Refused(
                WRONG_SCHEMA,
                f"version {version} of {ours.machine!r} is {own[version].hex()} here and {other[version].hex()} there: "
                f"a released version never changes; give the newer one another number",
            )
    if max(own) != max(other) or ours.code == theirs.code:
        return ""
    text = (
        f"version {max(own)} of {ours.machine!r} is {ours.code or 'unknown'} here and {theirs.code or 'unknown'} there"
    )
    if code_must_match:
        raise Refused(OTHER_CODE, text)
    return f"{OTHER_CODE}: {text}"


def check_client(
    theirs: ClientHello,
    *,
    cluster_id: bytes,
    machine: str,
    schema: bytes,
    owner: Owner | None,
    schema_must_match: bool = False,
) -> tuple[str, str]:
    """Whether a client may talk: `Refused`, or its principal and a warning, which is empty when all is well.

    The principal is the name in the certificate; an administrator, and without TLS anybody, may name another.
    """
    if theirs.cluster_id not in (b"", cluster_id):
        raise Refused(WRONG_CLUSTER, f"this is {cluster_id.hex()}, the client wants {theirs.cluster_id.hex()}")
    if theirs.machine not in ("", machine):
        raise Refused(WRONG_MACHINE, f"this is {machine!r}, the client wants {theirs.machine!r}")
    warning = _check_schema(schema, theirs.schema, schema_must_match) if theirs.schema else ""
    if owner is None:
        return theirs.principal, warning
    return (theirs.principal or owner.name) if owner.role == ROLE_ADMIN else owner.name, warning


def check_server(theirs: ServerHello, owner: Owner | None) -> None:
    """Whether the one who answers a client is the node that it says it is: `Refused` if not.

    `owner`: of its certificate, None without TLS. Any certificate of the CA would do for TLS, a client's as well.
    """
    _check_node(theirs.node_id, owner)


def _check_node(node_id: int, owner: Owner | None) -> None:
    if owner is not None and (owner.role != ROLE_PEER or owner.name != node_name(node_id)):
        raise Refused(
            WRONG_ROLE,
            f"node {node_id} needs a certificate of role {ROLE_PEER!r} and name {node_name(node_id)!r}; "
            f"this one is of role {owner.role!r} and name {owner.name!r}",
        )


def _check_schema(ours: bytes, theirs: bytes, must_match: bool) -> str:
    if ours == theirs:
        return ""
    text = f"this is {ours.hex()}, the other side has {theirs.hex()}"
    if must_match:
        raise Refused(WRONG_SCHEMA, text)
    return f"{WRONG_SCHEMA}: {text}"


def _map(payload: bytes) -> dict[str, Any]:
    try:
        value = cbor.decode_canonical(payload, bytes_max=HELLO_BYTES_MAX)
    except BadBytes as error:
        raise Refused(NO_HELLO, str(error)) from error
    if type(value) is not dict:
        raise Refused(NO_HELLO, "a hello is a map")
    return value


def _fields(payload: bytes, role: str) -> dict[str, Any]:
    fields = _map(payload)
    spoken = fields.get("protocol")
    if type(spoken) is not list or len(spoken) != 2 or any(type(one) is not int or one < 0 for one in spoken):
        raise Refused(NO_HELLO, "protocol must be [oldest, newest]")
    choose_protocol((spoken[0], spoken[1]))
    if fields.get("role") != role:
        raise Refused(WRONG_ROLE, f"this port is for {role}, not {fields.get('role')!r:.50}: {_OTHER_PORT[role]}")
    return fields


def _typed(fields: dict[str, Any], kind: type[H]) -> H:
    try:
        return msgspec.convert(fields, kind, strict=True)
    except msgspec.ValidationError as error:
        raise Refused(NO_HELLO, str(error)) from error
