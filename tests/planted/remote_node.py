"""A member in a process of its own, for `tests.planted.remote`: it does what a stage tells it, in the stage's time.

Frames on standard input and on what was standard output: four bytes of length, and MessagePack. It is run by other
Pythons, flags and hash seeds than the tests, which is what it is for.
"""

from __future__ import annotations

import importlib
import os
import random
import struct
import sys
from typing import Any

REQUESTS, ANSWERS = os.dup(0), os.dup(1)
os.dup2(2, 1)

import msgspec  # noqa: E402  # what is imported may print

from rsm.node.member import Member, MemberOptions  # noqa: E402
from rsm.node.opening.bootstrap import prepare  # noqa: E402
from rsm.node.storage.disk import OsDisk  # noqa: E402
from rsm.raft.configuration import Configuration  # noqa: E402
from rsm.raft.configuration import Member as ClusterMember  # noqa: E402
from rsm.raft.messages import decode_message, encode_message  # noqa: E402

LENGTH = struct.Struct(">I")
SECOND = 10**9


class Node:
    """The member, and how it takes its turn on the stage."""

    def __init__(self, values: dict[str, Any]) -> None:
        module, _, name = values["machine"].partition(":")
        machine = getattr(importlib.import_module(module), name)
        founders = Configuration(tuple(ClusterMember(*one) for one in values["founders"]))
        path = values["path"]
        if not os.path.exists(path):
            prepare(OsDisk(), path, machine, founders, values["cluster_id"])
        self.now = values["now"]
        self.start = values["start"]
        self.tick_seconds = values["tick_seconds"]
        self.ticked_at = 0.0
        self.outbox: list[tuple[int, bytes]] = []
        self.member = Member.open(
            machine,
            MemberOptions(**values["options"], path=path),
            OsDisk(),
            now=self.now,
            wall_clock=lambda: self.start + int(self.now * SECOND),
            chance=random.Random(values["chance"]),
        )

    def turn(self, now: float, events: list[list[Any]]) -> dict[str, Any]:
        """What happened, then one turn, as `Stage` does it for members of its own."""
        self.now = now
        member = self.member
        for kind, peer, *data in events:
            if kind == "receive":
                member.receive(peer, decode_message(data[0]), now)
            else:
                (member.connected if kind == "connected" else member.disconnected)(peer, now)
        if now - self.ticked_at >= min(self.tick_seconds, member.next_wake(now)):
            self.ticked_at = now
            member.tick(now)
        member.flush(now)
        self._send()
        if member.needs_sync:
            member.journal.sync()
            member.synced(now)
            member.flush(now)
            self._send()
        outbox, self.outbox = self.outbox, []
        return {
            "outbox": outbox,
            "is_leader": member.is_leader,
            "term": member.term,
            "applied_index": member.applied_index,
            "last_index": member.journal.last_index,
            "commit_index": member.commit_index,
            "confirmed_index": member.replica.confirmed_index,
            "standing": member.agreeing.standing,
        }

    def root(self) -> bytes:
        """The state root now."""
        return self.member.replica.root()

    def _send(self) -> None:
        outbox, self.member.outbox = self.member.outbox, []
        self.outbox += [(receiver, encode_message(message)) for receiver, message in outbox]


def read(count: int) -> bytes:
    """So many bytes, or the end of the process."""
    data = b""
    while len(data) < count:
        more = os.read(REQUESTS, count - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data


def main() -> None:
    """Answer until the parent is gone."""
    node: Node | None = None
    while True:
        name, values = msgspec.msgpack.decode(read(*LENGTH.unpack(read(LENGTH.size))))
        if node is None:
            node, result = Node(values), None
        else:
            result = getattr(node, name)(**values)
        data = msgspec.msgpack.encode(result)
        os.write(ANSWERS, LENGTH.pack(len(data)))
        view = memoryview(data)
        while view:
            view = view[os.write(ANSWERS, view) :]


if __name__ == "__main__":
    main()
