"""Errors as JSON: "problem details" of RFC 9457, one for each way in which a request can fail.

`type` names the kind for programs, `status` is that of HTTP, `detail` says what happened in one line. Besides there are
`field` (the argument at fault), `reason` (what a handler gave), `step` (of a pipeline) where they are known. What may
succeed if it is sent again has `Retry-After`. Texts of unexpected errors stay in the local log.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rsm import errors
from rsm.limits import GATEWAY_RETRY_SECONDS
from rsm.node.log import logger

__all__ = ["KINDS", "Kind", "Problem", "problem_of", "respond"]

MEDIA_TYPE: Final = "application/problem+json"
TYPE: Final = "urn:rsm:problem:"


class Kind(NamedTuple):
    """One kind of problem: its status, and what it means for who reads about it."""

    status: HTTPStatus
    meaning: str


KINDS: Final = {
    "bad-request": Kind(HTTPStatus.BAD_REQUEST, "The request cannot be read: its JSON, a header or a parameter."),
    "foreign-origin": Kind(HTTPStatus.FORBIDDEN, "A page of another origin has sent it."),
    "not-found": Kind(HTTPStatus.NOT_FOUND, "The machine has no such command or query."),
    "method-not-allowed": Kind(HTTPStatus.METHOD_NOT_ALLOWED, "Commands are sent with POST, queries with GET."),
    "too-slow": Kind(HTTPStatus.REQUEST_TIMEOUT, "The body did not come in time."),
    "rejected": Kind(HTTPStatus.CONFLICT, "The handler said no, with a reason; nothing it did was kept."),
    "handler-failed": Kind(HTTPStatus.CONFLICT, "The handler raised; nothing it did was kept."),
    "key-voided": Kind(HTTPStatus.CONFLICT, "The idempotency key was settled as not applied before."),
    "too-large": Kind(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body, the command or the pipeline exceeds its bound."),
    "not-json": Kind(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is to be sent as application/json."),
    "foreign-host": Kind(HTTPStatus.MISDIRECTED_REQUEST, "It was asked by a name that is not its own."),
    "invalid": Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "An argument does not fit its type; it reached no log."),
    "key-reused": Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "The idempotency key was used for something else."),
    "query-failed": Kind(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The query raised, or its result is not what it says; the node's log has more.",
    ),
    "internal": Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "A defect; the gateway's log has more."),
    "busy": Kind(HTTPStatus.SERVICE_UNAVAILABLE, "Too much is on its way; nothing was taken."),
    "unavailable": Kind(HTTPStatus.SERVICE_UNAVAILABLE, "The cluster cannot be reached."),
    "outcome-unknown": Kind(
        HTTPStatus.GATEWAY_TIMEOUT, "No answer in time; send it again with the same idempotency key."
    ),
    "no-answer": Kind(HTTPStatus.GATEWAY_TIMEOUT, "The query was not answered in time."),
}

# The first that fits decides.
ERRORS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (errors.HandlerFailed, "handler-failed"),
    (errors.Rejected, "rejected"),
    (errors.InvalidCommand, "invalid"),
    (errors.KeyReused, "key-reused"),
    (errors.KeyVoided, "key-voided"),
    (errors.LimitExceeded, "too-large"),
    (errors.Busy, "busy"),
    (errors.SessionExpired, "outcome-unknown"),
    (TimeoutError, "outcome-unknown"),
    (errors.NotLeader, "unavailable"),
    (errors.Closed, "unavailable"),
    (errors.WrongMachine, "unavailable"),
    (errors.Unreachable, "unavailable"),
    (errors.StorageError, "unavailable"),
)


class Problem(Exception):
    """A request that is answered with a problem. `more` are its further members."""

    def __init__(self, kind: str, detail: str, *, retry_seconds: float = 0.0, **more: Any) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.more = {name: value for name, value in more.items() if value is not None}
        self.retry_seconds = retry_seconds

    @property
    def status(self) -> HTTPStatus:
        """Of HTTP."""
        return KINDS[self.kind].status

    def document(self) -> dict[str, Any]:
        """The members."""
        head = {"type": TYPE + self.kind, "title": KINDS[self.kind].status.phrase, "status": int(self.status)}
        return head | {"detail": self.detail} | self.more


def problem_of(error: BaseException, *, is_query: bool = False) -> Problem:
    """The problem that an error stands for. `is_query`: it was raised by asking, where nothing can be rejected."""
    if isinstance(error, Problem):
        return error
    if is_query and isinstance(error, errors.HandlerFailed | msgspec.ValidationError):
        return Problem("query-failed", str(error))
    if is_query and isinstance(error, TimeoutError):
        return Problem("no-answer", str(error))
    kind = next((kind for known, kind in ERRORS if isinstance(error, known)), "internal")
    if kind == "internal":
        logger.error("a request failed", error=f"{type(error).__name__}: {error}", exc_info=error)
        return Problem("internal", "the gateway or the machine has a defect; the gateway's log has more")
    retry_seconds = GATEWAY_RETRY_SECONDS if kind == "unavailable" else getattr(error, "retry_seconds", 0.0)
    reason = error.reason if kind == "rejected" and isinstance(error, errors.Rejected) else None
    return Problem(
        kind,
        str(error),
        retry_seconds=retry_seconds,
        field=getattr(error, "field", None),
        reason=reason,
        step=getattr(error, "step", None),
    )


def respond(problem: Problem) -> Response:
    """The answer."""
    headers = {"Cache-Control": "no-store"}
    if problem.retry_seconds:
        headers["Retry-After"] = str(math.ceil(problem.retry_seconds))  # whole seconds: RFC 9110, section 10.2.3
    return Response(msgspec.json.encode(problem.document()), problem.status, headers, MEDIA_TYPE)


async def on_error(_: Request, error: Exception) -> Response:
    """For Starlette: whatever an endpoint raises."""
    return respond(problem_of(error))


async def on_http_error(_: Request, error: Exception) -> Response:
    """For Starlette: what it finds wrong itself, such as a path that leads nowhere."""
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    kind = next((name for name, kind in KINDS.items() if kind.status == status), "bad-request")
    answer = respond(Problem(kind, KINDS[kind].meaning if kind != "not-found" else "there is nothing at this path"))
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer
