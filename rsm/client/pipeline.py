"""Pipelines: several commands as one atomic step, in which later commands use the results of earlier ones."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from rsm.client.pending import PendingAnswer
from rsm.client.remote.versions import is_known, version_to_send
from rsm.codec.cbor import Reference
from rsm.errors import CallerError, InvalidCommand, LimitExceeded
from rsm.limits import PIPELINE_STEPS_MAX
from rsm.machine.definition import CommandSpec
from rsm.replica.batch import PIPELINE

if TYPE_CHECKING:
    from rsm.client.proxy import Proxy

R = TypeVar("R")
decode_bodies = msgspec.msgpack.Decoder(list[bytes]).decode


class Result:
    """The result of a pipeline's step (or a field or element of it) before it exists. Typed as the real one."""

    def __init__(self, scope: PipelineScope, step: int, path: tuple[str | int, ...] = ()) -> None:
        self._scope = scope
        self._reference = Reference(step, path)

    def __getattr__(self, name: str) -> Result:
        if name.startswith("_"):
            raise AttributeError(name)
        return Result(self._scope, self._reference.step, (*self._reference.path, name))

    def __getitem__(self, key: str | int) -> Result:
        return Result(self._scope, self._reference.step, (*self._reference.path, key))

    def __iter__(self) -> Any:
        raise TypeError("a result of a pipeline cannot be iterated before it has run; name the element: order[0]")

    def __repr__(self) -> str:
        return f"<result of step {self._reference.step} {self._reference.path}>"


def result(pending: R) -> R:
    """The value of a pipeline's result, after the pipeline has run.

    `CallerError` if it has not run, or was rejected.
    """
    if not isinstance(pending, Result):
        return pending
    return pending._scope.value(pending._reference)  # type: ignore[no-any-return]  # the pipeline knows the type


class PipelineCommand:
    """A command inside a pipeline: calling it adds a step."""

    def __init__(self, scope: PipelineScope, spec: CommandSpec) -> None:
        self._scope = scope
        self._spec = spec

    def __call__(self, *args: Any, **kwargs: Any) -> Result:
        spec = self._spec
        signature, runtime = spec.signature, self._scope._proxy._runtime
        version = spec.version
        if not is_known(spec, runtime.schema):
            runtime.look_again()
            version = version_to_send(spec, runtime.schema)
        values = signature.fill(args, kwargs)
        if not any(_has_result(value) for value in values):
            values = spec.downcast(version, signature.bind(tuple(values), {}))
        elif version == spec.version:
            # What a reference stands for is checked when it is resolved, on the replicas.
            values = [self._scope.referred(value) for value in values]
        else:
            raise InvalidCommand(
                f"{spec.name}: the machine knows version {version} of it, and results of earlier steps cannot be "
                f"brought to that here: run these steps one by one until it is upgraded"
            )
        return self._scope.add(spec, version, values)


class PipelineScope:
    """Collects steps; sends them when the block ends without an exception."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._steps: list[list[Any]] = []
        self._specs: list[CommandSpec] = []
        self._results: list[Any] | None = None
        self._index = 0  # of the entry that answered it
        self._is_over = False

    def add(self, spec: CommandSpec, version: int, values: list[Any]) -> Result:
        """Add a step."""
        if self._is_over:
            raise CallerError("the pipeline's block has ended: begin another")
        if len(self._steps) == PIPELINE_STEPS_MAX:
            raise LimitExceeded(f"a pipeline takes at most {PIPELINE_STEPS_MAX} commands")
        self._steps.append([spec.name, version, values])
        self._specs.append(spec)
        return Result(self, len(self._steps) - 1)

    def referred(self, value: Any) -> Any:
        """A plain value, with references in the place of results."""
        if isinstance(value, Result):
            if value._scope is not self:
                raise InvalidCommand(
                    "a result of another pipeline has no place here: use rsm.result(...) after it has run"
                )
            return value._reference
        if isinstance(value, (list, tuple)):
            return [self.referred(item) for item in value]
        try:
            return msgspec.to_builtins(value, builtin_types=(bytes,))
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidCommand(f"{error}") from None

    def value(self, reference: Reference) -> Any:
        """What a reference stands for, after the pipeline has run."""
        if self._results is None:
            raise CallerError("the pipeline has not run: leave its block first")
        found = self._results[reference.step]
        for part in reference.path:
            found = getattr(found, part) if isinstance(part, str) and not isinstance(found, dict) else found[part]
        return found

    def __getattr__(self, name: str) -> PipelineCommand:
        if name.startswith("_"):
            raise AttributeError(name)
        definition = self._proxy._definition
        spec = definition.methods.get(name)
        if spec is None:
            raise AttributeError(f"{name} is not a command of {definition.name}; a pipeline takes only commands")
        return PipelineCommand(self, spec)

    def _send(self) -> PendingAnswer[list[bytes]]:
        return self._proxy._send("pipeline", PIPELINE, self._steps, decode_bodies, self._proxy._key)

    def _keep(self, bodies: list[bytes], index: int) -> None:
        self._index = index
        try:
            self._results = [spec.decode_result(body) for spec, body in zip(self._specs, bodies, strict=True)]
        except msgspec.ValidationError as error:
            raise CallerError(
                f"the pipeline took effect, but a result is not what its annotation says: {error}"
            ) from None

    def __enter__(self) -> PipelineScope:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        if kind is None and self._steps:
            pending = self._send()
            self._keep(pending.result(self._proxy._runtime.timeout_seconds), pending.index)

    async def __aenter__(self) -> PipelineScope:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        if kind is None and self._steps:
            pending = self._send()
            self._keep(await pending, pending.index)


def _has_result(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_has_result(item) for item in value)
    return isinstance(value, Result)


def index_of(scope: PipelineScope) -> int:
    """The index of the log entry that answered a pipeline, after it has run; a method of it could hide a command."""
    return scope._index
