"""Who belongs to the cluster: the contents of CONFIGURATION entries, and which change may follow which.

The configuration in force is the latest in the log, committed or not (Raft dissertation, section 4.1). A change adds,
promotes or removes one member at a time, so that every majority before it meets every majority after it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from rsm.codec import cbor
from rsm.codec.record import check_format
from rsm.codec.shapes import make_known
from rsm.errors import BadBytes, CallerError
from rsm.limits import CONTROL_BYTES_MAX, MEMBERS_MAX

__all__ = ["Configuration", "Member", "decode_configuration"]

CONFIGURATION_FORMAT: Final = 1
NODE_ID_MAX: Final = 2**31 - 1


class Member(msgspec.Struct, frozen=True, array_like=True):
    """One node: its number, where peers and where clients reach it ("host:port"), and whether it votes.

    A learner follows the log without a vote. One that `is_joining` is to become a voter as soon as it has caught up.
    """

    id: int
    peer_address: str
    client_address: str
    is_voter: bool = True
    is_joining: bool = False


make_known(Member)


class Configuration(msgspec.Struct, frozen=True):
    """The members by rising number."""

    members: tuple[Member, ...] = ()

    def __post_init__(self) -> None:
        ids = [member.id for member in self.members]
        if ids != sorted(set(ids)) or not all(0 < number <= NODE_ID_MAX for number in ids):
            raise BadBytes("a configuration lists members by rising number, each once")
        if len(ids) > MEMBERS_MAX:
            raise BadBytes(f"a configuration of {len(ids)} members exceeds the bound of {MEMBERS_MAX}")

    def get(self, node_id: int) -> Member | None:
        """The member of this number."""
        return next((member for member in self.members if member.id == node_id), None)

    @property
    def voters(self) -> tuple[int, ...]:
        """The numbers of those who vote."""
        return tuple(member.id for member in self.members if member.is_voter)

    @property
    def ids(self) -> tuple[int, ...]:
        """The numbers of all members."""
        return tuple(member.id for member in self.members)

    @property
    def quorum(self) -> int:
        """How many voters make a majority."""
        return len(self.voters) // 2 + 1

    def encode(self) -> bytes:
        """The payload of a CONFIGURATION entry: canonical CBOR `[1, [[id, peer, client, votes, joining], ...]]`."""
        return cbor.encode([CONFIGURATION_FORMAT, list(self.members)])

    def with_member(self, member: Member) -> Configuration:
        """With this one added, or in the place of the one of its number."""
        others = [other for other in self.members if other.id != member.id]
        return Configuration(tuple(sorted([*others, member], key=lambda one: one.id)))

    def without(self, node_id: int) -> Configuration:
        """Without this one."""
        return Configuration(tuple(member for member in self.members if member.id != node_id))

    def check_change(self, new: Configuration) -> None:
        """`CallerError` unless `new` follows by changing at most one voter, and somebody still votes."""
        if len(set(self.voters) ^ set(new.voters)) > 1:
            raise CallerError("a change may add or remove one voter at a time")
        if not new.voters:
            raise CallerError("the last voter cannot be removed")


def decode_configuration(payload: bytes) -> Configuration:
    """The configuration in an entry's payload; `BadBytes`, `UnknownFormat`."""
    fields: Any = cbor.decode(payload, bytes_max=CONTROL_BYTES_MAX)
    if type(fields) is not list or len(fields) != 2:
        raise BadBytes("a configuration must be [format, members]")
    check_format("configuration format", fields[0], CONFIGURATION_FORMAT)
    try:
        return Configuration(msgspec.convert(fields[1], tuple[Member, ...], strict=True))
    except msgspec.ValidationError as error:
        raise BadBytes(f"a configuration cannot be read: {error}") from error
