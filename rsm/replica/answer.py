"""Answers to commands: a status and a body of MessagePack, the same bytes on every replica.

Bodies hold nothing that may differ between Python builds: no exception texts, no reprs. What a person wants to read on
top of that goes to the local log.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final, NoReturn

import msgspec

from rsm import errors
from rsm.codec.shapes import make_known


class Status(enum.IntEnum):
    """How a command ended. Numbers are part of the format."""

    OK = 0  # body: the result
    REJECTED = 1  # body: [reason, step]
    FAILED = 2  # body: ["handler_failed", step]; the handler raised
    INVALID = 3  # body: [what, step]; unknown command, version or values
    SEQUENCE_REUSED = 4
    KEY_REUSED = 5
    KEY_VOIDED = 6
    SESSION_EXPIRED = 7  # no such session, or its answer is gone: outcome unknown
    SEQUENCE_GAP = 8  # an earlier command of the session is missing: send again from there


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One command's answer. Encodes as [status, body]; that is what the running digest covers."""

    status: int
    body: bytes


make_known(Answer)
decode: Final[Callable[[bytes], Any]] = msgspec.msgpack.Decoder().decode
decode_refusal: Final = msgspec.msgpack.Decoder(tuple[str, int]).decode


# What a replica says in few bytes, for people.
SAID: Final = {
    "values": "a value does not fit its parameter",
    "reference": "there is no such result, field or element of an earlier step",
}


def raise_answer(answer: Answer, what: str) -> NoReturn:
    """Raise the error that an answer other than OK stands for; `what` names the command."""
    status = answer.status
    if status in (Status.REJECTED, Status.FAILED, Status.INVALID):
        text, step = decode_refusal(answer.body)
        where = what if step < 0 else f"{what}, step {step}"
        if status == Status.REJECTED:
            raise errors.Rejected(text, None if step < 0 else step)
        if status == Status.FAILED:
            raise errors.HandlerFailed(
                f"handler_failed: {where}: nothing it did was kept; the traceback is in the local log",
                None if step < 0 else step,
            )
        raise errors.InvalidCommand(f"{where}: {SAID.get(text, text)}")
    if status == Status.SEQUENCE_REUSED:
        raise errors.SequenceReused(f"{what}: its session and sequence number were used for another command")
    if status == Status.KEY_REUSED:
        raise errors.KeyReused(f"{what}: its idempotency key was used for another command or other arguments")
    if status == Status.KEY_VOIDED:
        raise errors.KeyVoided(f"{what}: its idempotency key was settled as not applied")
    raise errors.SessionExpired(f"{what}: outcome unknown: its session has ended or its answer was dropped")
