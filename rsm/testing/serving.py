"""A simulated node's client port: what `rsm.node.serving.server` does with frames is done here with tuples.

`("open", request, principal)`, `("commands", request, count, items)` and `("query", request, name, values, consistency,
index)` come in; `("opened", request, number)`, `("answers", request, index, answers)`, `("value", request, index,
packed)`, `("not_leader", request, leader)` and `("failed", request, text)` go out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rsm.codec import cbor
from rsm.errors import NotLeader, RsmError
from rsm.limits import BATCH_DEPTH_MAX, ENTRY_BYTES_MAX
from rsm.node.member import Member
from rsm.node.requests import Read, Request, SystemRequest
from rsm.replica.answer import Answer, Status, decode
from rsm.replica.batch import OPEN_SESSION, encode_head
from rsm.replica.replica import Replica
from rsm.testing.workload import SESSION_SECONDS

__all__ = ["serve"]

# A node's answer to its client, and its report of an answer that is about to be given: index.
Send = Callable[[tuple[Any, ...]], None]
Answering = Callable[[int], None]

SECOND: Final = 10**9


def serve(member: Member, message: Any, send: Send, answering: Answering) -> None:
    """Take in a client's message; answers go out through `send`, whenever they are there."""
    kind, request, *fields = message
    if kind == "open":
        _open(member, request, fields[0], send)
    elif kind == "commands":
        count, items = fields
        decoded = cbor.decode(encode_head(4, count) + items, bytes_max=ENTRY_BYTES_MAX, depth_max=BATCH_DEPTH_MAX)
        member.submit(_Commands(items, decoded, request, send, answering))
    else:
        name, values, consistency, index = fields
        member.read(_Query(request, name, values, consistency, index, send))


def _failure(request: int, error: Exception) -> tuple[Any, ...]:
    if isinstance(error, NotLeader):
        return "not_leader", request, error.leader_id
    return "failed", request, type(error).__name__


def _open(member: Member, request: int, principal: str, send: Send) -> None:
    def done(index: int, answer: Answer) -> None:
        if answer.status == Status.OK:
            send(("opened", request, decode(answer.body)))
        else:
            send(("failed", request, "refused"))

    values = [principal, SESSION_SECONDS * SECOND]
    member.submit(SystemRequest(OPEN_SESSION, values, done, lambda error: send(_failure(request, error))))


class _Commands(Request):
    """A frame of commands."""

    __slots__ = ("_answering", "_request", "_send")

    def __init__(self, items: bytes, decoded: list[Any], request: int, send: Send, answering: Answering) -> None:
        super().__init__(items, decoded)
        self._request = request
        self._send = send
        self._answering = answering

    def complete(self, index: int, answers: list[Answer]) -> None:
        self._answering(index)
        self._send(("answers", self._request, index, answers))

    def fail(self, error: Exception) -> None:
        self._send(_failure(self._request, error))


class _Query(Read):
    """A query."""

    __slots__ = ("_name", "_request", "_send", "_values")

    def __init__(self, request: int, name: str, values: list[Any], consistency: Any, index: int, send: Send) -> None:
        super().__init__(consistency, index)
        self._request = request
        self._name = name
        self._values = values
        self._send = send

    def run(self, replica: Replica) -> None:
        try:
            packed = replica.query(self._name, self._values)
        except RsmError as error:
            self.fail(error)
            return
        self._send(("value", self._request, replica.index, packed))

    def fail(self, error: Exception) -> None:
        self._send(_failure(self._request, error))
