"""What a client can do with a machine besides its own commands and queries.

`rsm.open(Bank, path)` gives a proxy that type checkers see as a `Bank`. So the methods of the proxy are declared here,
on the base of every machine; on the machine itself, inside handlers, they refuse to work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Generic, Literal, NoReturn, ParamSpec, Protocol, Self, TypeVar

from rsm.machine.calls import Query
from rsm.machine.outcome import ClientStats, Event, Outcome, Status

T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")


class Watched(Protocol[T_co]):
    """The results of a query, one after another, each other than the one before. `index` is that of the state that the
    last one was read from.
    """

    @property
    def index(self) -> int: ...
    def __iter__(self) -> Iterator[T_co]: ...
    def __next__(self) -> T_co: ...
    def __aiter__(self) -> AsyncIterator[T_co]: ...
    async def __anext__(self) -> T_co: ...


class PipelineScope(Protocol, Generic[T_co]):
    """A pipeline being collected: sent when the block ends without an exception."""

    def __enter__(self) -> T_co: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def __aenter__(self) -> T_co: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ClientSurface:
    """Methods of a client's proxy. `RESERVED` names cannot be state, commands or queries of a machine."""

    def once(self, key: str) -> Self:
        """A view whose commands run at most once for this idempotency key, whichever process repeats them.

        The first answer is kept for `rsm.limits.KEY_WINDOW_SECONDS` of log time. `KeyReused` if the key comes with
        another command or other arguments, `KeyVoided` if `outcome(key)` has settled it as not applied.
        """
        self._client_only("once")

    def outcome(self, key: str, *, sent_at: int = 0) -> Outcome:
        """Settle a time-out through the log: applied (with its answer), not applied (and it never will be), or expired.

        `sent_at` is the log time when the key was first sent; needed only if that is longer ago than the window and was
        done by another process.
        """
        self._client_only("outcome")

    def session(self, *, principal: str = "", ttl_seconds: float | None = None) -> Self:
        """Another session, with its own order and end; close it, or let it expire after `ttl_seconds` of silence.

        A session over the network always expires (after `ttl_seconds` of the client being gone, 60 if not given), and
        has the principal of its connection: `principal` is for machines in this process.
        """
        self._client_only("session")

    def reading(
        self, level: Literal["linearizable", "session", "stale"] | None = None, *, at_least: int | None = None
    ) -> Self:
        """A view whose queries ask for less than the latest state, and so can be answered by any node.

        "linearizable" (the default of `rsm.connect`): all that was acknowledged to anybody before the query began.
        "session": all that this client has written or read. `at_least=index`: all up to that index of the log.
        "stale": whatever the node has. `view.stats.read_index` says which state the last query has seen. Give a level
        or `at_least`. A machine in this process (`rsm.open`) always answers from the latest state.

            print(bank.reading("stale").balance("ann"))
        """
        self._client_only("reading")

    def acking(self, ack: Literal["applied", "confirmed"]) -> Self:
        """A view whose commands, pipelines and outcomes are acknowledged later, or sooner, than the client's own.

        "applied" (the default of `rsm.connect`): durable on a majority, and applied by the leader, whose result it is.
        "confirmed": besides, a majority has compared its state behind the command, results included, and has the same;
        so the answer cannot be that of a leader that has diverged. It takes two more round trips, which all commands
        that are on their way share. A machine in this process (`rsm.open`) has nobody to compare with: no difference.

            bank.acking("confirmed").transfer("ann", "bob", 1_000_000)
        """
        self._client_only("acking")

    @property
    def stats(self) -> ClientStats:
        """Round trips, commands, frames, retries, redirects and the index of the last read, so far."""
        self._client_only("stats")

    def pipeline(self) -> PipelineScope[Self]:
        """Collect commands into one atomic step: results may be arguments of later commands; all or nothing.

        with bank.pipeline() as p:
            order = p.place("XYZ", 100)
            p.tag(order.order_id, "first")
        print(rsm.result(order))

        From asyncio: `async with bank.pipeline() as p`.
        """
        self._client_only("pipeline")

    def events(self, cursor: str | None = None, *, follow: bool = False, skip_gap: bool = False) -> Iterator[Event]:
        """Events in log order, each at least once; a named cursor of the principal remembers, in the log, how far it
        has read.

        `follow` waits for more, until the machine closes (`Closed`). `EventsGap` when the cursor is older than the
        oldest event kept: read the state, then go on with `skip_gap`, which begins at the oldest event there is.
        """
        self._client_only("events")

    def events_async(self, cursor: str | None = None, *, skip_gap: bool = False) -> AsyncIterator[Event]:
        """`events(cursor, follow=True)` for asyncio."""
        self._client_only("events_async")

    def watch(self, query: Query[P, R], *values: P.args, **named: P.kwargs) -> Watched[R]:
        """The result of a query, now and again whenever it has changed: an iterator, and an asynchronous one.

            for balance in bank.watch(Bank.balance, "ann"):
                print(balance)

        It waits without asking over and over. What changes twice in a moment may be seen once, as it is then; an older
        result never comes after a newer one. It goes on over changes of leader, until the client closes (`Closed`).
        Not for generators (`CallerError`).
        """
        self._client_only("watch")

    def snapshot(self) -> int:
        """Write a snapshot now and drop the log before it; returns its index. Commands go on meanwhile."""
        self._client_only("snapshot")

    def status(self) -> Status:
        """Index, root, log time and sizes, as of now; of a client that was closed, as they were then."""
        self._client_only("status")

    def close(self) -> None:
        """End the session (its session-end handlers run), make everything durable, let go of directory or network."""
        self._client_only("close")

    def __enter__(self) -> Self:
        self._client_only("with")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client_only("with")

    async def __aenter__(self) -> Self:
        self._client_only("async with")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client_only("async with")

    def _client_only(self, what: str) -> NoReturn:
        raise TypeError(f"{what} belongs to a client (rsm.open, rsm.connect), not to the machine inside")


RESERVED: frozenset[str] = frozenset(name for name in vars(ClientSurface) if not name.startswith("_"))


def reserved(name: Any) -> bool:
    """Whether a machine may not use this name for state, commands or queries: the client or the base class does."""
    return name in RESERVED or name in ("setup", "topic_of", "definition", "scalars", "_scalars", "_sealed")
