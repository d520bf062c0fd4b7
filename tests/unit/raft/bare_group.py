"""Nodes of the library as it is, whose messages, time and disks are the test's business."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

from rsm.raft.bare import BareFiles, BareNode, driven

__all__ = ["BareGroup", "bare_group", "command"]

NOOP = b"\x01"


def command(text: str = "") -> bytes:
    """What stands in the library's journal and does nothing when it is applied."""
    return NOOP + text.encode()


class BareGroup:
    """Nodes 1 to `count`, connected; `mail` holds what they sent."""

    def __init__(self, count: int, logs: dict[int, list[int]] | None = None, message_bytes_max: int = 2**16) -> None:
        """`logs` gives the terms of the entries of a node's journal behind its first one."""
        self.now = 100.0
        self.mail: list[tuple[int, int, dict[str, Any]]] = []
        self.files = {number: BareFiles() for number in range(1, count + 1)}
        self.removed_by: list[tuple[int, int]] = []
        for number, terms in (logs or {}).items():
            entries = [(command(f"{index} of term {term}"), index, term) for index, term in enumerate(terms, 2)]
            self.files[number].entries = [(command(), 1, 0), *entries]
        self.message_bytes_max = message_bytes_max
        self.nodes: dict[int, BareNode] = {}

    def start(self) -> None:
        numbers = sorted(self.files)
        for number in numbers:
            peers = [peer for peer in numbers if peer != number]
            self.nodes[number] = BareNode(number, peers, self.files[number], self, self.message_bytes_max)
        for number in numbers:
            for peer in numbers:
                if peer != number:
                    self.nodes[number].connected(peer)

    # --- what `rsm.raft.bare` asks of its watcher --------------------------------------------------------------------

    def send(self, sender: int, receiver: int, message: Any) -> bool:
        self.mail.append((sender, receiver, message))
        return True

    def applied(self, node: int, index: int, number: int) -> None:
        """Nothing to do."""

    def removed(self, node: int, index: int) -> None:
        self.removed_by.append((node, index))

    # --- what a test does ---------------------------------------------------------------------------------------------

    def log(self, number: int) -> list[tuple[int, int]]:
        """Index and term of every entry."""
        return [(index, term) for _, index, term in self.files[number].entries]

    def take(self, receiver: int, kind: str) -> list[dict[str, Any]]:
        """Messages of one kind for a node; all others are dropped."""
        mail, self.mail = self.mail, []
        return [message for _, to, message in mail if to == receiver and message["type"] == kind]

    def elect(self, number: int, *voters: int) -> None:
        """Let its time-out pass, and these vote for it."""
        self.now += 2.0
        self.nodes[number].tick()
        for voter in voters:
            self.nodes[number].received(voter, {"type": "response_vote", "term": self.nodes[number].term})


@contextlib.contextmanager
def bare_group(count: int, logs: dict[int, list[int]] | None = None, **options: Any) -> Iterator[BareGroup]:
    """A group, with the library's clock and chance in the test's hands meanwhile."""
    group = BareGroup(count, logs, **options)
    with driven(lambda: group.now, random.Random(1)):
        group.start()
        yield group
