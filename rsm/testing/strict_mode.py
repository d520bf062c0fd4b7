"""Strict mode: inside `with rsm.testing.strict():` every machine is watched, and every command runs twice.

Theory of operation. While at least one block is open, `Replica.apply`, `query` and `stream` are replaced, and so are
the handlers of every machine that is met: outside handlers nothing is slower or different, and rsm's own code has no
seam for it. A handler runs with the traps of `rsm.testing.traps` armed, between two looks at what the user's modules
and helper objects remember (`rsm.testing.fingerprints`). After each entry the second run follows
(`rsm.testing.shadow`).

What is found goes to the innermost open block, whichever thread runs the machine, and is raised when the block ends:
in a handler it would become a rejection, and nobody would see the next one.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self

from rsm.codec.record import Entry
from rsm.errors import DivergenceError
from rsm.limits import STRICT_FINDINGS_MAX
from rsm.machine.definition import Definition
from rsm.replica.answer import decode
from rsm.replica.batch import Batch
from rsm.replica.replica import Applied, Replica
from rsm.testing import traps
from rsm.testing.strict_rules import BEHIND, HIDDEN, NondeterminismError, StrictFinding
from rsm.testing.watched import Watched, place_of

__all__ = ["Strict", "strict"]

OnFinding = Callable[[StrictFinding, Replica], None]


def strict(*, every: int | None = None, collect: bool = False) -> Strict:
    """A block, or a decorator, under which handlers that replicas cannot share are found, with the line at fault.

    `every`: how many log entries apart the second replica is restored from a snapshot; None restores it before every
    entry while the state is small, and keeps the cost of an entry bounded when it is not. `collect`: leave the findings
    in `.findings`, and raise nothing. Otherwise `NondeterminismError` is raised at the end of the block, or added as a
    note to the exception that ends it.
    """
    return Strict(every=every, collect=collect)


class Strict(contextlib.ContextDecorator):
    """An open block of strict mode; see `strict`. `findings` are in the order found, each once."""

    def __init__(self, *, every: int | None = None, collect: bool = False, on_finding: OnFinding | None = None) -> None:
        if every is not None and (type(every) is not int or every < 1):
            raise ValueError(f"every must be a number of entries from 1, not {every!r}")
        self.findings: list[StrictFinding] = []
        self.left_out = 0
        self._every = every
        self._collect = collect
        self._on_finding = on_finding
        self._seen: set[tuple[Any, ...]] = set()
        self._watched: weakref.WeakKeyDictionary[Replica, Watched] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def _recreate_cm(self) -> Self:
        return type(self)(every=self._every, collect=self._collect, on_finding=self._on_finding)

    def __enter__(self) -> Self:
        _open(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _close(self)
        if self._collect or not self.findings:
            return
        if error is None:
            self.check()
        else:
            error.add_note(str(NondeterminismError(tuple(self.findings), self.left_out)))

    def check(self) -> None:
        """Raise `NondeterminismError` if anything was found so far."""
        if self.findings:
            raise NondeterminismError(tuple(self.findings), self.left_out)

    @property
    def commands(self) -> int:
        """How many handlers of commands were watched so far."""
        return sum(watched.commands for watched in list(self._watched.values()))

    @property
    def restores(self) -> int:
        """How often a second replica was restored from a snapshot so far: what hidden state is found by."""
        return sum(watched.shadow.restores for watched in list(self._watched.values()))

    def found(self, finding: StrictFinding, replica: Replica) -> None:
        """Keep a finding, unless it was made before."""
        # Of what differs, the first time says most; of what grows, the next items are no news.
        what = "" if finding.code in (HIDDEN.code, BEHIND.code) else finding.what.partition("[")[0]
        known = (finding.code, finding.command, finding.place, what)
        with self._lock:
            if known in self._seen:
                return
            if len(self.findings) >= STRICT_FINDINGS_MAX:
                self.left_out += 1
                return
            self._seen.add(known)
            self.findings.append(finding)
        if self._on_finding is not None:
            self._on_finding(finding, replica)

    def watched(self, replica: Replica) -> Watched:
        """What is kept of a replica that is watched."""
        watched = self._watched.get(replica)
        if watched is None:
            watched = self._watched[replica] = Watched(replica, self._every, self.found)
        return watched


# --- what is replaced while a block is open ---------------------------------------------------------------------------


class _Doing(threading.local):
    """What the thread is doing: applying or reading a live replica, or its copy."""

    watched: Watched | None = None
    copy: Replica | None = None


_doing: Final = _Doing()
_blocks: Final[list[Strict]] = []
_lock: Final = threading.RLock()
_definitions: Final[dict[int, tuple[Definition, list[tuple[Any, str, Any]]]]] = {}
_apply, _query, _stream = Replica.apply, Replica.query, Replica.stream


def _open(block: Strict) -> None:
    with _lock:
        _blocks.append(block)
        traps.install()
        if len(_blocks) == 1:
            Replica.apply = _strict_apply  # type: ignore[method-assign]
            Replica.query = _strict_query  # type: ignore[method-assign]
            Replica.stream = _strict_stream  # type: ignore[method-assign]


def _close(block: Strict) -> None:
    with _lock:
        for number in range(len(_blocks) - 1, -1, -1):  # by identity: blocks of two threads need not end in turn
            if _blocks[number] is block:
                del _blocks[number]
                traps.uninstall()
                break
        if not _blocks:
            Replica.apply, Replica.query, Replica.stream = _apply, _query, _stream  # type: ignore[method-assign]
            for _, replaced in _definitions.values():
                for owner, attribute, original in replaced:
                    setattr(owner, attribute, original)
            _definitions.clear()


def _watched_now(replica: Replica) -> Watched | None:
    """What the innermost block keeps of a replica; None if every block has been closed meanwhile."""
    with _lock:
        if not _blocks:
            return None
        definition = replica.definition
        if id(definition) not in _definitions:
            _definitions[id(definition)] = (definition, _replace_handlers(definition))
        return _blocks[-1].watched(replica)


def _replace_handlers(definition: Definition) -> list[tuple[Any, str, Any]]:
    replaced: list[tuple[Any, str, Any]] = []

    def put(owner: Any, attribute: str, handler: Any) -> None:
        replaced.append((owner, attribute, getattr(owner, attribute)))
        setattr(owner, attribute, handler)

    for spec in definition.commands.values():
        put(spec, "handler", _watching(spec.name, spec.handler))
        for version, (_, upcaster) in spec.steps.items():
            put(upcaster, "step", _watching_upcaster(f"{spec.name} (upcaster from {version})", upcaster.step))
    for query in definition.queries.values():
        put(query, "handler", (_watching_stream if query.is_stream else _watching_query)(query.name, query.handler))
    if definition.session_end is not None:
        put(definition, "session_end", _watching("on_session_end", definition.session_end))
    return replaced


def _watching(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def handler(machine: Any, *arguments: Any) -> Any:
        watched = _doing.watched
        if watched is None:
            return original(machine, *arguments)
        if _doing.copy is not None:
            return watched.run_again(_doing.copy, name, original, machine, arguments)
        return watched.run("command", name, original, machine, arguments)

    handler.__wrapped_by_strict__ = original  # type: ignore[attr-defined]
    return handler


def _watching_upcaster(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def step(*arguments: Any) -> Any:
        watched = _doing.watched
        if watched is None or _doing.copy is not None:
            return original(*arguments)
        return watched.run("upcaster", name, original, None, arguments)

    return step


def _watching_query(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def handler(machine: Any, *arguments: Any) -> Any:
        watched = _doing.watched
        if watched is None or _doing.copy is not None:
            return original(machine, *arguments)
        return watched.run("query", name, original, machine, arguments)

    handler.__wrapped_by_strict__ = original  # type: ignore[attr-defined]
    return handler


def _watching_stream(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def handler(machine: Any, *arguments: Any) -> Any:
        watched = _doing.watched
        if watched is None:
            return original(machine, *arguments)
        return watched.iterate(name, original, machine, arguments)

    handler.__wrapped_by_strict__ = original  # type: ignore[attr-defined]
    return handler


@contextlib.contextmanager
def _doing_so(watched: Watched | None, copy: Replica | None = None) -> Iterator[None]:
    before = _doing.watched, _doing.copy
    _doing.watched, _doing.copy = watched, copy
    try:
        yield
    finally:
        _doing.watched, _doing.copy = before


def _strict_apply(self: Replica, entry: Entry, batch: Batch | None = None) -> Applied:
    if _doing.copy is self:
        return _apply(self, entry, batch)
    watched = _watched_now(self)
    if watched is None:
        return _apply(self, entry, batch)
    shadow = watched.shadow
    since = shadow.restored_index
    behind = shadow.before(self, has_caches=watched.has_caches)
    if behind:
        watched.changed_behind(self, since, behind)
    try:
        watched.deeds, watched.again, before = [], [], watched.deeds
        with _doing_so(watched):
            applied = _apply(self, entry, batch)
    except DivergenceError as error:
        watched.deeds = watched.deeds or before
        watched.changed_behind(self, since, str(error))
        raise
    with _doing_so(watched, shadow.replica):
        parting = shadow.after(self, entry, applied, watched.deeds, lambda: watched.again)
    if parting is not None:
        watched.parted(self, entry, parting)
    return applied


def _strict_query(self: Replica, name: str, values: list[Any]) -> bytes:
    if _doing.copy is self:
        return _query(self, name, values)
    watched = _watched_now(self)
    if watched is None:
        return _query(self, name, values)
    with _doing_so(watched):
        packed = _query(self, name, values)
    with _doing_so(watched, watched.shadow.replica):
        again = watched.shadow.query(self, name, values)
    if again is not None and again != packed:
        what = f"answered {decode(packed)!r}, but {decode(again)!r} on a copy restored from a snapshot"
        spec = self.definition.queries[name]
        watched.tell(HIDDEN, what, name, self.index, None, place_of(spec.handler))
    return packed


def _strict_stream(self: Replica, name: str, values: list[Any]) -> Iterator[bytes]:
    with _doing_so(_watched_now(self)):
        return _stream(self, name, values)
