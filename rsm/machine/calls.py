"""What `@rsm.command`, `@rsm.query` and `@rsm.on_session_end` put on a class, and what a caller sees.

The decorators keep the handler's parameters (without self and context) in the type, so that type checkers check calls
on a client's proxy: `bank.deposit("ann", 500)` is `int`, `bank.deposit.send("ann", 500)` is `Pending[int]`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from rsm.errors import DefinitionError

if TYPE_CHECKING:
    from rsm.machine.context import Context

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
M = TypeVar("M")


class Pending(abc.ABC, Generic[R_co]):
    """An answer on its way. Wait with `.result()`, or `await` it from asyncio.

    Commands sent from one session take effect in the order they were sent.
    """

    __slots__ = ()

    @property
    @abc.abstractmethod
    def index(self) -> int:
        """The index of the log entry that answered a command, or of the state that a query has seen; 0 before that.

        A repeat (`once`) gets its answer from a later entry than the one in which the command took effect.
        """

    @abc.abstractmethod
    def result(self, timeout_seconds: float | None = None) -> R_co:
        """Wait for the answer. `Rejected` and its kin as the command decided; `TimeoutError` leaves it on its way."""

    @abc.abstractmethod
    def done(self) -> bool:
        """Whether the answer is here."""

    @abc.abstractmethod
    def __await__(self) -> Generator[Any, None, R_co]: ...


class BoundCommand(abc.ABC, Generic[P, R]):
    """A command on a client's proxy."""

    @abc.abstractmethod
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Send, wait until it is durable and applied, and return the handler's result."""

    @abc.abstractmethod
    def send(self, *args: P.args, **kwargs: P.kwargs) -> Pending[R]:
        """Send and return at once; many may be in flight."""


class Command(Generic[P, R]):
    """A handler with its stable name and version."""

    def __init__(self, handler: Callable[..., R], version: int, name: str) -> None:
        self.handler = handler
        self.version = version
        self.name = name
        self.__doc__ = handler.__doc__

    @overload
    def __get__(self, instance: None, owner: Any) -> Command[P, R]: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> BoundCommand[P, R]: ...
    def __get__(self, instance: object | None, owner: Any) -> Command[P, R] | BoundCommand[P, R]:
        if instance is None:
            return self
        raise TypeError(
            f"{self.name} is a command: call it on a client (rsm.open), or from a handler with ctx.schedule; "
            f"code that handlers share belongs in a plain method"
        )

    def __repr__(self) -> str:
        return f"<command {self.name} v{self.version}>"


class BoundQuery(abc.ABC, Generic[P, R]):
    """A query on a client's proxy."""

    @abc.abstractmethod
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Read, and return the result."""

    @abc.abstractmethod
    def send(self, *args: P.args, **kwargs: P.kwargs) -> Pending[R]:
        """Ask and return at once; the result can be awaited. Not for generators: iterate over these."""


class Query(Generic[P, R]):
    """A read: it sees the state at one index and may change nothing."""

    def __init__(self, handler: Callable[..., R]) -> None:
        self.handler = handler
        self.name = handler.__name__
        self.__doc__ = handler.__doc__

    @overload
    def __get__(self, instance: None, owner: Any) -> Query[P, R]: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> BoundQuery[P, R]: ...
    def __get__(self, instance: object | None, owner: Any) -> Query[P, R] | BoundQuery[P, R]:
        if instance is None:
            return self
        # On the machine itself it is a plain method: a handler's own read.
        return self.handler.__get__(instance, owner)  # type: ignore[no-any-return]  # proxies have a BoundQuery

    def __repr__(self) -> str:
        return f"<query {self.name}>"


class SessionEnd:
    """The handler that runs in the log when a session closes or expires."""

    def __init__(self, handler: Callable[..., None]) -> None:
        self.handler = handler


def command(
    version: int = 1, *, name: str | None = None
) -> Callable[[Callable[Concatenate[M, Context, P], R]], Command[P, R]]:
    """Make a method a command: `def place(self, ctx: rsm.Context, price: int) -> int`.

    Its annotated parameters are its schema. `version` counts up when the schema changes (with an upcaster from the
    version before); `name` keeps the name in the log stable when the method is renamed. Commands run one after another,
    in log order, on every replica; one that raises is rolled back and rejected.
    """

    if callable(version):
        raise DefinitionError(
            f"{getattr(version, '__name__', version)}: write @rsm.command(version=1), with parentheses"
        )

    def decorate(handler: Callable[Concatenate[M, Context, P], R]) -> Command[P, R]:
        return Command(handler, version, name or handler.__name__)

    return decorate


def query(handler: Callable[Concatenate[M, P], R]) -> Query[P, R]:
    """Make a method a query: `def balance(self, who: str) -> int`. A generator's items all come from one index."""
    return Query(handler)


def on_session_end(handler: Callable[[Any, Context], None]) -> Any:
    """Make a method run, in the log, when a session closes or expires: `ctx.session` and `ctx.principal` say whose."""
    return SessionEnd(handler)
