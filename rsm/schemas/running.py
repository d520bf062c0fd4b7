"""Running the calls of a corpus on an empty machine, and saying what each of them did.

Every run begins the same: two sessions of two principals, a clock that moves one second a step, a fixed seed. So an
effect follows from the class, the steps and nothing else. Only what the machine declares itself, and its timers, are
looked at: what a release of rsm adds to its own state changes no lock file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from rsm.codec.record import Entry, RecordKind
from rsm.errors import RsmError
from rsm.limits import LOCK_DETAIL_CHARACTERS_MAX, LOCK_ROOT_STEPS
from rsm.machine.definition import Definition
from rsm.replica.answer import Answer, Status, decode
from rsm.replica.batch import (
    ACTIVATE,
    CLOSE_SESSION,
    FLAG_UPGRADE,
    OPEN_SESSION,
    encode_call,
    join_batch,
    join_item,
)
from rsm.replica.naming import SYSTEM_PREFIX
from rsm.replica.trace import BEGIN, CommandTrace, TracingReplica, Write, pack
from rsm.schemas.document import Run, Step, tame
from rsm.state.leaf import ABSENT, digest128, encode, hash64

__all__ = ["END", "TIME", "Call", "Effect", "Scene", "migrated", "play"]

SECOND: Final = 10**9
START: Final = 1_700_000_000 * SECOND
SEED: Final = b"seed of a corpus"
PRINCIPALS: Final = ("ann", "bob")
TIMERS: Final = "rsm.timers"
# Steps that are no calls: nobody sends anything for an hour, and for a day; every session ends.
TIME: Final = "(time)"
END: Final = "(end)"
WAITS: Final = (3600 * SECOND, 24 * 3600 * SECOND)
REASON_BYTES: Final = 200
# Results so short are often outcomes by number.
SHORT_BYTES: Final = 4
# Not an effect: the machine did not get there.
STOPS: Final = "stops"


class Call(NamedTuple):
    """One call of a run. `case` counts from 1; 0, with a name of the module's own, for what is no call.

    `by`: the session that sends it, from 1; 0: each in turn.
    """

    name: str
    version: int
    case: int
    values: Any = None
    by: int = 0


class Effect(NamedTuple):
    """What a step did: a digest of all of it, the same in words, what kind of outcome it is, which leaves it wrote."""

    digest: str
    detail: str
    kind: tuple[Any, ...]
    paths: tuple[str, ...]
    is_ok: bool = True


def closing() -> list[Call]:
    """How a run ends: timers become due, sessions end."""
    return [Call(TIME, 0, 0), Call(TIME, 1, 0), Call(END, 0, 0)]


class Scene:
    """An empty machine of one release, a session of each principal, and the log that it is given."""

    def __init__(
        self, definition: Definition, principals: Sequence[str] = PRINCIPALS, machine_version: int = 0
    ) -> None:
        self.definition = definition
        self._version = machine_version or definition.version
        self._traces: list[CommandTrace] = []
        self.replica = TracingReplica(definition.owner, self._traces.append)
        self._clock = START
        self._sequences = dict.fromkeys(range(1, len(principals) + 1), 0)
        self._steps = 0
        first = definition.release(self._version) or definition
        self._apply([self._leads(ACTIVATE, [first.name, self._version, first.schema(), SEED])])
        self._apply([self._leads(OPEN_SESSION, [principal, 0]) for principal in principals])

    def step(self, call: Call) -> Effect:
        """Do one step. A machine that stops its node at it has an effect like any other, and does nothing more."""
        self._traces.clear()
        try:
            if call.name == TIME:
                self._clock += WAITS[min(call.version, len(WAITS) - 1)]
                self._apply([])
            elif call.name == END:
                self._apply([self._leads(CLOSE_SESSION, [number]) for number in self._sequences])
            else:
                session = call.by or self._steps % len(self._sequences) + 1
                self._steps += 1
                self._sequences[session] += 1
                number = self._sequences[session]
                encoded = encode_call(call.name, call.version, call.values)
                self._apply([join_item(session, number, number, encoded)])
        except (MemoryError, RecursionError, RsmError) as error:
            text = f"{STOPS} {type(error).__name__}"
            return Effect(f"{hash64(text.encode()):016x}", json.dumps({"answer": [text]}), (call.name, text), (), False)
        return _effect(call, self._traces)

    def upgrade(self) -> None:
        """Move the machine to the release of the class."""
        target = self.definition
        values = [target.name, target.version, target.schema(), SEED]
        self._apply([self._leads(ACTIVATE, values)], FLAG_UPGRADE)
        self._version = target.version

    def root(self) -> str:
        """The root of what the machine declares, in hexadecimal."""
        digests = [one for one in self.replica.store.digests() if not one[0].startswith(SYSTEM_PREFIX)]
        return digest128(encode(sorted(digests))).hex()

    def _leads(self, name: str, values: list[Any]) -> bytes:
        return join_item(0, 0, 0, encode_call(name, 1, values))

    def _apply(self, items: list[bytes], flags: int = 0) -> list[Answer]:
        self._clock += SECOND
        payload = join_batch(self._version, self._clock, flags, items)
        return self.replica.apply(Entry(self.replica.index + 1, 1, RecordKind.BATCH, payload)).answers


def play(definition: Definition, calls: Iterable[Call], principals: Sequence[str] = ()) -> tuple[Run, list[Effect]]:
    """Run calls on an empty machine; two sessions in turns, or those of `principals`, as the calls say."""
    scene = Scene(definition, principals or PRINCIPALS)
    run = Run(steps=[], roots={}, principals=list(principals))
    effects = []
    for call in calls:
        effect = scene.step(call)
        effects.append(effect)
        run.steps.append(Step(call.name, call.version, call.case, effect.digest, effect.detail, call.by))
        if len(run.steps) % LOCK_ROOT_STEPS == 0:
            run.roots[len(run.steps)] = scene.root()
    run.roots[len(run.steps)] = scene.root()
    return run, effects


def migrated(definition: Definition, calls: Iterable[Call], principals: Sequence[str] = ()) -> str:
    """The root after calls under the release before, brought over to this one; empty if there is none before."""
    if definition.previous is None:
        return ""
    scene = Scene(definition, principals or PRINCIPALS, definition.previous.version)
    for call in calls:
        scene.step(call)
    scene.upgrade()
    if scene.replica.definition.version != definition.version:
        return "raises"
    return scene.root()


def _effect(call: Call, traces: list[CommandTrace]) -> Effect:
    packed, parts, kind = [], [], []
    paths: list[str] = []
    for trace in traces:
        writes = [write for write in trace.writes if _is_own(write)]
        if trace.name == BEGIN or (trace.name.startswith(SYSTEM_PREFIX) and not writes and not trace.events):
            continue
        told = pack(trace._replace(index=0, writes=tuple(writes)))
        packed.append((told.name, told.status, told.body, told.writes, told.events))
        parts.append(_part(call, trace, writes))
        # Many a reason tells numbers; it is one reason.
        reason = trace.body if len(trace.body) <= SHORT_BYTES else b""
        if trace.status != Status.OK:
            reason = re.sub(rb"[0-9]+", b"#", trace.body[:REASON_BYTES])
        kind.append((trace.status, reason, frozenset(write.container for write in writes), min(3, len(trace.events))))
        paths.extend(map(_path, writes))
    detail = json.dumps(parts[0] if len(parts) == 1 else parts, separators=(",", ":"))
    if len(detail) > LOCK_DETAIL_CHARACTERS_MAX:
        detail = ""
    is_ok = all(trace.status == Status.OK for trace in traces)
    return Effect(f"{hash64(encode(packed)):016x}", detail, (call.name, call.version, *kind), tuple(paths), is_ok)


def _is_own(write: Write) -> bool:
    return write.container == TIMERS or not write.container.startswith(SYSTEM_PREFIX)


def _part(call: Call, trace: CommandTrace, writes: list[Write]) -> dict[str, Any]:
    """What one thing did that ran in a step, as JSON. `of` names what is not the step's own call."""
    answer: list[Any] = [Status(trace.status).name.lower()]
    if trace.body:
        value = decode(trace.body)
        answer.append(tame(value) if trace.status == Status.OK else tame(value)[0])
    part: dict[str, Any] = {} if trace.name == call.name else {"of": trace.name}
    part["answer"] = answer
    if writes:
        part["writes"] = {_path(write): _written(write) for write in writes}
    if trace.events:
        part["events"] = [tame(decode(event)) for event in trace.events]
    return part


def _written(write: Write) -> Any:
    return {"gone": True} if write.value is ABSENT else tame(decode(encode(write.value)))


def _path(write: Write) -> str:
    key = write.leaf_key
    text = "/".join(map(_key_text, key)) if type(key) is tuple else _key_text(key)
    return f"{write.container}/{text}"


def _key_text(key: Any) -> str:
    return key if type(key) is str and key.isidentifier() else ascii(key)
