"""Idempotency keys: the first answer under a key is the answer, for every process that repeats it.

A key belongs to its principal and lives for `KEY_WINDOW_SECONDS` of log time from its first use. `settle` answers "what
became of it" through the log: a key that was not used is marked, so that a late copy of the command can no longer run.
"""

from __future__ import annotations

from collections.abc import Callable

from rsm.limits import KEY_BYTES_MAX, KEY_WINDOW_SECONDS, TIMERS_PER_ENTRY_MAX
from rsm.replica.answer import Answer, Status
from rsm.replica.system import VOIDED, KeyRecord, System
from rsm.state.leaf import encode

WINDOW = KEY_WINDOW_SECONDS * 10**9
KEY_OVERHEAD_BYTES = 256  # what a key costs in memory besides its answer
# A key is a promise for its window: when there is no room for more, new ones are refused and none is dropped early.
FULL = Answer(Status.REJECTED, encode(("there is no room for more idempotency keys until older ones expire", -1)))


def run_once(system: System, principal: str, key: str, fingerprint: int, run: Callable[[], Answer]) -> Answer:
    """The answer on record for the key, or that of `run`, which is then recorded."""
    fingerprint >>= 1  # it is kept in a container, whose integers have 64 bits with their sign
    known = system.keys.get((principal, key))
    if known is None:
        if system.key_bytes >= KEY_BYTES_MAX:
            return FULL
        answer = run()
        _record(system, principal, key, KeyRecord(system.clock, fingerprint, int(answer.status), answer.body))
        return answer
    if known.status == VOIDED:
        return Answer(Status.KEY_VOIDED, b"")
    if known.fingerprint != fingerprint:
        return Answer(Status.KEY_REUSED, b"")
    return Answer(known.status, known.body)


def settle(system: System, principal: str, key: str, sent_after: int) -> Answer:
    """The outcome of a key: body [state, status, body of the answer].

    "expired" when keys created at or after `sent_after` may have been dropped already, so that nothing can be said.
    With `sent_after` 0 the caller vouches that the key was first sent within the window.
    """
    since = sent_after or max(system.clock - WINDOW, 1)
    known = system.keys.get((principal, key))
    if known is not None and known.status != VOIDED:
        return Answer(Status.OK, encode(("applied", known.status, known.body)))
    if known is None:
        if system.key_horizon >= since:
            return Answer(Status.OK, encode(("expired", 0, b"")))
        if system.key_bytes >= KEY_BYTES_MAX:
            return FULL
        _record(system, principal, key, KeyRecord(system.clock, 0, VOIDED, b""))
    return Answer(Status.OK, encode(("not_applied", 0, b"")))


def expire(system: System) -> None:
    """Drop keys whose window has passed, at most `TIMERS_PER_ENTRY_MAX` a batch."""
    for _ in range(TIMERS_PER_ENTRY_MAX):
        position = system.key_order.first()
        if position is None or system.keys[system.key_order[position]].created + WINDOW > system.clock:
            return
        _drop_oldest(system)


def _record(system: System, principal: str, key: str, record: KeyRecord) -> None:
    system.keys[principal, key] = record
    system.key_order.push((principal, key))
    system.key_bytes += _cost(principal, key, record)


def _drop_oldest(system: System) -> None:
    principal, key = system.key_order.pop_first()
    record = system.keys.pop((principal, key))
    system.key_bytes -= _cost(principal, key, record)
    system.key_horizon = max(system.key_horizon, record.created)


def _cost(principal: str, key: str, record: KeyRecord) -> int:
    return KEY_OVERHEAD_BYTES + len(principal) + len(key) + len(record.body)
