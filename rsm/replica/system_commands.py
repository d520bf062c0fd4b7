"""The system's own commands, as two tables: what only a leader proposes (session 0), and what sessions may send.

Each handler checks its values itself, since they come from the log: what does not fit is INVALID, never an exception.
The exceptions are those that must stop the replica: a schema that its class cannot run, and, on a lone machine, a root
that is not its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rsm.limits import (
    CURSORS_MAX,
    KEY_LENGTH_MAX,
    MEMBERS_MAX,
    PRINCIPAL_LENGTH_MAX,
    SESSION_TTL_SECONDS_MAX,
    SESSIONS_MAX,
    SESSIONS_PER_PRINCIPAL_MAX,
)
from rsm.replica import batch, keys
from rsm.replica.agreement import Word
from rsm.replica.answer import Answer, Status
from rsm.replica.compatibility import check_schema
from rsm.replica.sessions import Session
from rsm.state.leaf import encode

if TYPE_CHECKING:
    from rsm.replica.replica import Replica

NOTHING = Answer(Status.OK, encode(None))
BAD_VALUES = Answer(Status.INVALID, encode(("values", -1)))


def fits(values: Any, *types: type) -> bool:
    """Whether values are a list of exactly these types."""
    return (
        type(values) is list
        and len(values) == len(types)
        and all(type(v) is t for v, t in zip(values, types, strict=True))
    )


def is_past(replica: Replica, index: int) -> bool:
    """Whether an index is of an entry before the one that names it: of others nobody has a root."""
    return 0 < index < replica.executor.context.index


# --- session 0: the leader --------------------------------------------------------------------------------------------


def activate(replica: Replica, values: Any) -> Answer:
    """[machine name, machine version, schema, seed]: the version and schema that hold from here on."""
    if not fits(values, str, int, dict, bytes):
        return BAD_VALUES
    name, version, schema, seed = values
    active = replica.system.machine_version
    if active and version != active:  # the end of the entry goes over to a newer one; there is no way back
        target = replica.newest.release(version)
        if target is not None and target.previous is replica.definition:
            return NOTHING
        return Answer(Status.REJECTED, encode((f"version {active} is in force, and {version} does not follow it", -1)))
    check_schema(replica.definition, name, version, schema)
    replica.schema = schema
    replica.system.machine_version = version
    if not replica.system.seed:
        replica.system.seed = seed
    return NOTHING


def open_session(replica: Replica, values: Any) -> Answer:
    """[principal, time to live in nanoseconds, 0 for ever]: body is the new session's number."""
    if not fits(values, str, int) or not 0 <= values[1] <= SESSION_TTL_SECONDS_MAX * 10**9:
        return BAD_VALUES
    if len(values[0]) > PRINCIPAL_LENGTH_MAX:
        return BAD_VALUES
    if len(replica.sessions) >= SESSIONS_MAX:
        return Answer(Status.REJECTED, encode((f"there are {SESSIONS_MAX} sessions already", -1)))
    if values[0] and replica.sessions.of_principal(values[0]) >= SESSIONS_PER_PRINCIPAL_MAX:
        reason = f"there are {SESSIONS_PER_PRINCIPAL_MAX} sessions of this principal already"
        return Answer(Status.REJECTED, encode((reason, -1)))
    replica.system.session_ids += 1
    number = replica.system.session_ids
    replica.sessions.open(number, values[0], values[1], replica.system.clock)
    return Answer(Status.OK, encode(number))


def close_session(replica: Replica, values: Any) -> Answer:
    """[session number]: end it; its session-end handler runs."""
    if not fits(values, int):
        return BAD_VALUES
    if values[0] in replica.sessions:
        replica.end_session(values[0])
    return NOTHING


def confirmed(replica: Replica, values: Any) -> Answer:
    """[index, root]: a quorum had this root at this index. Changes nothing."""
    if not fits(values, int, bytes) or not is_past(replica, values[0]):
        return BAD_VALUES
    replica.compare_root(values[0], values[1])
    replica.confirmed_index = max(replica.confirmed_index, values[0])
    return NOTHING


def dispute(replica: Replica, values: Any) -> Answer:
    """[index, [voter, ...]]: two roots were reported for this hash point; who voted there is to say what it had."""
    if not fits(values, int, list) or not is_past(replica, values[0]):
        return BAD_VALUES
    voters = values[1]
    if not all(type(voter) is int and voter > 0 for voter in voters):
        return BAD_VALUES
    if not 0 < len(set(voters)) == len(voters) <= MEMBERS_MAX:
        return BAD_VALUES
    replica.agreement.dispute(values[0], tuple(voters), replica.executor.context.index)
    return NOTHING


def attest(replica: Replica, values: Any) -> Answer:
    """[index, node, root, rerun, machine version, schema digest, code digest, fault]: see `Word`."""
    if not fits(values, int, int, bytes, bytes, int, bytes, str, str):
        return BAD_VALUES
    word = Word(*values[2:])
    if not word.is_well_formed:
        return BAD_VALUES
    replica.agreement.attest(values[0], values[1], word, replica.executor.context.index)
    return NOTHING


def returned(replica: Replica, values: Any) -> Answer:
    """[node, index]: a node that differed had the confirmed root at this index."""
    if not fits(values, int, int) or not is_past(replica, values[1]):
        return BAD_VALUES
    replica.agreement.returned(values[0], values[1], replica.executor.context.index)
    return NOTHING


LEADER_COMMANDS: dict[str, Callable[[Replica, Any], Answer]] = {
    batch.ACTIVATE: activate,
    batch.OPEN_SESSION: open_session,
    batch.CLOSE_SESSION: close_session,
    batch.CONFIRMED: confirmed,
    batch.DISPUTE: dispute,
    batch.ATTEST: attest,
    batch.RETURNED: returned,
}


# --- sessions: clients ------------------------------------------------------------------------------------------------


def pipeline(replica: Replica, _: Session, values: Any) -> Answer:
    """[[name, version, [value, ...]], ...]: all or nothing."""
    return replica.executor.run_pipeline(values)


def outcome(replica: Replica, session: Session, values: Any) -> Answer:
    """[key, log time after which it was sent, 0 if unknown]: settle an idempotency key."""
    if not fits(values, str, int) or not 0 < len(values[0]) <= KEY_LENGTH_MAX:
        return BAD_VALUES
    return keys.settle(replica.system, session.principal, values[0], values[1])


def keep_alive(_: Replica, __: Session, ___: Any) -> Answer:
    """[]: being sent is all it does."""
    return NOTHING


def cursor(replica: Replica, session: Session, values: Any) -> Answer:
    """[name, event number]: a consumer of this principal has handled events up to this number. Cursors only move
    forward.
    """
    if not fits(values, str, int) or not 0 < len(values[0]) <= KEY_LENGTH_MAX:
        return BAD_VALUES
    if values[1] > replica.system.event_count:  # a cursor in the future would skip events unseen
        return BAD_VALUES
    cursors, key = replica.system.cursors, (session.principal, values[0])
    if key not in cursors and len(cursors) >= CURSORS_MAX:
        return Answer(Status.REJECTED, encode((f"there are {CURSORS_MAX} cursors already", -1)))
    if values[1] > cursors.get(key, 0):
        cursors[key] = values[1]
    return NOTHING


SESSION_COMMANDS: dict[str, Callable[[Replica, Session, Any], Answer]] = {
    batch.PIPELINE: pipeline,
    batch.OUTCOME: outcome,
    batch.KEEP_ALIVE: keep_alive,
    batch.CURSOR: cursor,
}
