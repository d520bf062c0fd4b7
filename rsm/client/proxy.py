"""The typed proxy: what `rsm.open(Bank, path)` gives, seen by type checkers as a `Bank`.

Commands are methods that are sent through the log, queries are methods that read. A proxy stands for one session;
`once` gives views of it with an idempotency key, `session` gives others beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from itertools import chain
from types import TracebackType
from typing import Any

import msgspec

from rsm.client.events import decoded_event
from rsm.client.pending import ConfirmedAnswer, PendingAnswer, PendingValue
from rsm.client.pipeline import PipelineScope
from rsm.client.remote.versions import is_known, version_to_send
from rsm.client.runtime import Runtime
from rsm.client.watching import Watch, watched_query
from rsm.codec import cbor
from rsm.errors import CallerError, Closed, InvalidCommand, LimitExceeded, RsmError, SessionExpired
from rsm.limits import COMMAND_BYTES_MAX, EVENTS_PER_READ, KEY_LENGTH_MAX, KEYS_REMEMBERED, SESSION_TTL_SECONDS_MAX
from rsm.machine.calls import BoundCommand, BoundQuery
from rsm.machine.definition import CommandSpec, Definition, QuerySpec
from rsm.machine.outcome import ClientStats, Event, Outcome, Reading, Status
from rsm.replica.answer import Answer, decode, raise_answer
from rsm.replica.answer import Status as AnswerStatus
from rsm.replica.batch import CURSOR, OUTCOME, encode_call
from rsm.replica.events import RawEvent

SECOND = 10**9
LINEARIZABLE = Reading()


class ClientCommand(BoundCommand[Any, Any]):
    """A command of a proxy."""

    def __init__(self, proxy: Proxy, spec: CommandSpec) -> None:
        self._proxy = proxy
        self._spec = spec
        self._head = call_head(spec.name, spec.version)
        self._bind = spec.signature.bind
        self._encode = cbor.encode_plain if spec.signature.is_plain else cbor.encode
        self._known = spec if spec.signature.is_plain else None  # plain values decode to themselves
        self.__doc__ = spec.handler.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.send(*args, **kwargs).result(self._proxy._runtime.timeout_seconds)

    def send(self, *args: Any, **kwargs: Any) -> PendingAnswer[Any]:
        values = self._bind(args, kwargs)
        return self._submit(self._head + self._encode(values), values)

    def _submit(self, call: bytes, values: list[Any]) -> PendingAnswer[Any]:
        spec, proxy = self._spec, self._proxy
        if len(call) > COMMAND_BYTES_MAX:
            raise too_large(call)
        pending = proxy._pending(spec.name, spec.decode_result, proxy._session, call, proxy._key, self._known, values)
        proxy._runtime.submit(pending)
        return pending

    def __repr__(self) -> str:
        return f"<command {self._spec.name} v{self._spec.version} of {self._proxy!r}>"


class OlderCommand(ClientCommand):
    """A command of a proxy whose machine does not know this version of it, as far as the proxy has heard."""

    def __init__(self, proxy: Proxy, spec: CommandSpec) -> None:
        super().__init__(proxy, spec)
        self._known = None  # what is sent are other values

    def send(self, *args: Any, **kwargs: Any) -> PendingAnswer[Any]:
        spec, runtime = self._spec, self._proxy._runtime
        runtime.look_again()
        values = self._bind(args, kwargs)
        version = version_to_send(spec, runtime.schema)
        values = spec.downcast(version, values)
        return self._submit(call_head(spec.name, version) + cbor.encode(values), values)


class PendingRead(PendingValue[Any]):
    """A query on its way. The proxy learns which state it has seen."""

    __slots__ = ("_decode_packed", "_proxy")

    def __init__(self, proxy: Proxy, spec: QuerySpec) -> None:
        super().__init__(spec.name)
        self._proxy = proxy
        self._decode_packed = spec.decode_result

    def _value(self) -> Any:
        index, packed = super()._value()
        self.index = self._proxy._read_index = index
        return self._decode_packed(packed)


class ClientQuery(BoundQuery[Any, Any]):
    """A query of a proxy."""

    def __init__(self, proxy: Proxy, name: str, spec: QuerySpec) -> None:
        self._proxy = proxy
        self._name = name
        self._spec = spec
        self.__name__ = name
        self.__doc__ = spec.handler.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        spec, proxy = self._spec, self._proxy
        values = spec.signature.bind(args, kwargs)
        if spec.is_stream:
            slices = proxy._runtime.stream(self._name, values, proxy._level)
            return map(spec.decode_result, chain.from_iterable(slices))
        proxy._read_index, packed = proxy._runtime.query(self._name, values, proxy._level)
        return spec.decode_result(packed)

    def send(self, *args: Any, **kwargs: Any) -> PendingRead:
        spec, proxy = self._spec, self._proxy
        if spec.is_stream:
            raise CallerError(f"{self._name} is a generator: iterate over it")
        pending = PendingRead(proxy, spec)
        proxy._runtime.query_later(self._name, spec.signature.bind(args, kwargs), proxy._level, pending)
        return pending

    def __repr__(self) -> str:
        return f"<query {self._name} of {self._proxy!r}>"


class Proxy:
    """One session with a machine. Thread-safe; commands of a session take effect in the order they were sent."""

    def __init__(
        self,
        runtime: Runtime,
        definition: Definition,
        session: int,
        *,
        owns_runtime: bool,
        key: str | None = None,
        level: Reading = LINEARIZABLE,
        pending: type[PendingAnswer[Any]] = PendingAnswer,
    ) -> None:
        self._pending = pending  # how its commands wait for their answer
        self._runtime = runtime
        self._definition = definition
        self._session = session
        self._owns_runtime = owns_runtime
        self._key = key
        self._level = level
        self._is_view = False
        self._is_closed = False
        self._read_index = 0
        self._key_times: OrderedDict[str, int] = OrderedDict()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # nobody's command; and a proxy that is being copied has no definition to look in yet
            raise AttributeError(name)
        definition = self._definition
        member: Any
        if name in definition.methods:
            spec = definition.methods[name]
            if not is_known(spec, self._runtime.schema):
                return OlderCommand(self, spec)  # and not kept: the machine may be upgraded
            member = ClientCommand(self, spec)
        elif name in definition.queries:
            member = ClientQuery(self, name, definition.queries[name])
        elif name in definition.state_schema():
            raise AttributeError(f"{name} is state of the machine; read it through a query")
        else:
            raise AttributeError(f"{definition.name} has no command or query {name!r}")
        setattr(self, name, member)
        return member

    def _send(
        self,
        what: str,
        name: str,
        values: list[Any],
        decode_body: Callable[[bytes], Any] = decode,
        key: str | None = None,
        pending_type: type[PendingAnswer[Any]] | None = None,
    ) -> PendingAnswer[Any]:
        """Send one of the system's own commands in this session."""
        call = encode_call(name, 1, values)
        if len(call) > COMMAND_BYTES_MAX:
            raise too_large(call)
        pending = (pending_type or self._pending)(what, decode_body, self._session, call, key)
        self._runtime.submit(pending)
        return pending

    # --- what every client can do; documented in rsm.machine.surface ------------------------------------------------

    def once(self, key: str) -> Proxy:
        check_name("an idempotency key", "key", key)
        self._key_times.setdefault(key, max(self._runtime.log_time(), 1))
        while len(self._key_times) > KEYS_REMEMBERED:
            self._key_times.popitem(last=False)
        return self._view(key=key)

    def _view(
        self,
        *,
        key: str | None = None,
        level: Reading | None = None,
        pending: type[PendingAnswer[Any]] | None = None,
    ) -> Proxy:
        """This session, seen otherwise."""
        view = Proxy(
            self._runtime,
            self._definition,
            self._session,
            owns_runtime=False,
            key=self._key if key is None else key,
            level=self._level if level is None else level,
            pending=self._pending if pending is None else pending,
        )
        view._is_view = True
        view._key_times = self._key_times
        return view

    def reading(self, level: str | None = None, *, at_least: int | None = None) -> Proxy:
        if (level is None) == (at_least is None):
            raise InvalidCommand("give reading() a level or at_least", "level")
        if at_least is not None:
            if type(at_least) is not int or not 0 <= at_least < 2**63:
                raise InvalidCommand(f"at_least is an index of the log, not {at_least!r}", "at_least")
            return self._view(level=Reading("at_least", at_least))
        return self._view(level=level_of(level))

    def acking(self, ack: str) -> Proxy:
        return self._view(pending=pending_of(ack))

    @property
    def stats(self) -> ClientStats:
        return msgspec.structs.replace(self._runtime.stats(), read_index=self._read_index)

    def outcome(self, key: str, *, sent_at: int = 0) -> Outcome:
        check_name("an idempotency key", "key", key)
        pending = self._send("outcome", OUTCOME, [key, sent_at or self._key_times.get(key, 0)])
        state, status, body = pending.result(self._runtime.timeout_seconds)
        if state != "applied":
            return Outcome(state)
        if status == AnswerStatus.OK:
            return Outcome("applied", decode(body))
        try:
            raise_answer(Answer(status, body), key)
        except CallerError as error:
            return Outcome("applied", None, str(error))

    def session(self, *, principal: str = "", ttl_seconds: float | None = None) -> Proxy:
        if ttl_seconds is not None and not 0 < ttl_seconds <= SESSION_TTL_SECONDS_MAX:
            raise InvalidCommand(f"ttl_seconds must be above 0 and at most {SESSION_TTL_SECONDS_MAX}", "ttl_seconds")
        ttl = 0 if ttl_seconds is None else max(1, int(ttl_seconds * SECOND))
        number = self._runtime.open_session(principal, ttl)
        return Proxy(
            self._runtime, self._definition, number, owns_runtime=False, level=self._level, pending=self._pending
        )

    def pipeline(self) -> PipelineScope:
        return PipelineScope(self)

    def events(self, cursor: str | None = None, *, follow: bool = False, skip_gap: bool = False) -> Iterator[Event]:
        number = self._start(cursor, skip_gap).result()
        while True:
            chunk = self._events_after(number, wait=follow).result()
            for _, event in chunk:
                yield decoded_event(self._definition, event)
            if chunk:
                number = chunk[-1][0]
                if cursor is not None:
                    with self._closed_rather_than_expired():
                        self._moved(cursor, number).result(self._runtime.timeout_seconds)
            elif not follow:
                return

    async def events_async(self, cursor: str | None = None, *, skip_gap: bool = False) -> AsyncIterator[Event]:
        number = await self._start(cursor, skip_gap)
        while True:
            chunk = await self._events_after(number, wait=True)
            for _, event in chunk:
                yield decoded_event(self._definition, event)
            if chunk:
                number = chunk[-1][0]
                if cursor is not None:
                    with self._closed_rather_than_expired():
                        await self._moved(cursor, number)

    def watch(self, query: Any, *values: Any, **named: Any) -> Watch[Any]:
        name, spec = watched_query(self._definition, query)
        return Watch(self._runtime, name, spec, spec.signature.bind(values, named))

    def _start(self, cursor: str | None, skip_gap: bool) -> PendingValue[int]:
        if cursor is not None:
            check_name("a cursor", "cursor", cursor)
        pending: PendingValue[int] = PendingValue("events")
        self._runtime.cursor_later(self._session, cursor, skip_gap, pending)
        return pending

    def _events_after(self, number: int, *, wait: bool) -> PendingValue[list[tuple[int, RawEvent]]]:
        pending: PendingValue[list[tuple[int, RawEvent]]] = PendingValue("events")
        self._runtime.events_later(number, EVENTS_PER_READ, pending, wait=wait)
        return pending

    @contextlib.contextmanager
    def _closed_rather_than_expired(self) -> Iterator[None]:
        """Who reads while the client is being closed learns that, and not what became of its session."""
        try:
            yield
        except SessionExpired:
            if self._is_closed:
                raise Closed("the client is closed") from None
            raise

    def _moved(self, cursor: str, number: int) -> PendingAnswer[Any]:
        # That a cursor moves is nobody's result: it need not be confirmed.
        return self._send("events", CURSOR, [cursor, number], pending_type=PendingAnswer)

    def snapshot(self) -> int:
        return self._runtime.snapshot()

    def status(self) -> Status:
        return self._runtime.status()

    def close(self) -> None:
        if self._is_view:
            raise CallerError("a view made by once(), reading() or acking() cannot be closed; close its client")
        if self._owns_runtime:
            self._runtime.close(self._session)
        elif not self._is_closed:
            with contextlib.suppress(Closed):  # with the machine, or before: the session has ended or will
                self._runtime.close_session(self._session)
            self._is_closed = True

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What went wrong inside the block is the better story.
        with contextlib.suppress(*([] if error is None else [RsmError])):
            self.close()

    async def __aenter__(self) -> Proxy:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def __repr__(self) -> str:
        return f"<client of {self._definition.name}, session {self._session}>"


@cache
def call_head(name: str, version: int) -> bytes:
    """What every encoded call of a command begins with. Kept, since `once` makes commands anew for every key."""
    return encode_call(name, version, [])[:-1]


def too_large(call: bytes) -> LimitExceeded:
    """The error for a command that no log would take."""
    return LimitExceeded(f"a command of {len(call)} bytes exceeds the bound of {COMMAND_BYTES_MAX}")


def check_name(what: str, field: str, name: str) -> None:
    """`InvalidCommand` unless a key or cursor is text that the log can hold."""
    if not isinstance(name, str) or not 0 < len(name) <= KEY_LENGTH_MAX:
        raise InvalidCommand(f"{what} is text of 1 to {KEY_LENGTH_MAX} characters", field)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidCommand(f"{what} is not valid Unicode: {error}", field) from None


def level_of(level: str | None) -> Reading:
    """How new a read must be, by name; `InvalidCommand`."""
    if level not in ("linearizable", "session", "stale"):
        raise InvalidCommand(f"a read is linearizable, session, stale or at_least, not {level!r}", "level")
    return Reading(level)  # type: ignore[arg-type]  # one of the three


def pending_of(ack: str) -> type[PendingAnswer[Any]]:
    """What waits for the answer of a command that is acknowledged so; `InvalidCommand`."""
    if ack not in ("applied", "confirmed"):
        raise InvalidCommand(f"a command is acknowledged when it is applied or confirmed, not {ack!r}", "ack")
    return ConfirmedAnswer if ack == "confirmed" else PendingAnswer


def open_session(runtime: Runtime, principal: str, ttl: int) -> int:
    """Open a session; `ttl` in nanoseconds, 0 for as long as the process lives. Its number."""
    return runtime.open_session(principal, ttl)
