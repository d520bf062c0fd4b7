"""`rsm call` and `rsm query`: one command, or one read, of a running cluster, without the class of its machine.

Names and fields come from the schema that the log declares, which a node serves with its status. So arguments may be
given by name; a value is checked by the cluster itself.
"""

from __future__ import annotations

import json
import time
from typing import Any

import click

from rsm.cli.access import FindAccess, address_option
from rsm.cli.errors import FINE, FOUND, Unreadable
from rsm.cli.options import Command, json_option
from rsm.cli.output import plain, print_json, print_line
from rsm.client.tool import RETRY_SECONDS, Access, ToolConnection, ask_leader, run_command
from rsm.errors import BadBytes, HandlerFailed, NotLeader, Rejected, Unreachable
from rsm.limits import KEY_LENGTH_MAX, TOOL_TRY_SECONDS_MAX
from rsm.node.network import protocol
from rsm.node.network.protocol import Consistency
from rsm.node.status import NodeStatus
from rsm.replica.answer import Answer, Status, decode, raise_answer
from rsm.replica.batch import encode_call

__all__ = ["call", "query"]


@click.command(cls=Command)
@click.argument("command", metavar="COMMAND")
@click.argument("arguments", metavar="JSON")
@click.option("--key", "idempotency_key", metavar="K", help="Run at most once for this idempotency key.")
@click.option("--confirmed", "is_confirmed", is_flag=True, help="Answer when a majority has the state that it led to.")
@address_option
@json_option("Print one JSON document: index and result, or why it was rejected.")
def call(
    command: str,
    arguments: str,
    idempotency_key: str | None,
    is_confirmed: bool,
    addresses: tuple[str, ...],
    find: FindAccess,
    as_json: bool,
) -> int:
    """Run one command and print its result.

    JSON holds the arguments: an object by name, or an array by position; bytes are given as hex. Exits with 1 if the
    machine rejects the command, with 3 if the outcome is unknown: with --key it can be repeated safely.

    \b
    Example: rsm call deposit '{"to": "ann", "amount": 100}'
    """
    values = parse_arguments(arguments)
    if idempotency_key is not None and not 0 < len(idempotency_key) <= KEY_LENGTH_MAX:
        raise click.UsageError(f"--key takes 1 to {KEY_LENGTH_MAX} characters.")
    access = find(addresses)
    version, fields = command_of(status_of(access), command)
    encoded = encode_call(command, version, positional(command, fields, values))
    index, answer = run_command(access, encoded, idempotency_key, is_confirmed=is_confirmed)
    if answer.status == Status.INVALID:
        # Which of them it was the log does not say: the answer is part of the root, and a library's wording is not.
        takes = ", ".join(f"{name}: {declared}" for name, declared, *_ in fields)
        raise Unreadable(f"{command}: the values do not fit what it takes: {takes or 'nothing'}")
    return report(command, index, answer, as_json=as_json)


def report(command: str, index: int, answer: Answer, *, as_json: bool) -> int:
    """Print what a command came to."""
    if answer.status == Status.OK:
        result = plain(decode(answer.body))
        if as_json:
            print_json({"index": index, "result": result})
        else:
            print_line(json.dumps(result, ensure_ascii=False))
        return FINE
    try:
        raise_answer(answer, command)
    except Rejected as error:  # HandlerFailed too
        reason = str(error) if isinstance(error, HandlerFailed) else error.reason
        if as_json:
            print_json({"index": index, "rejected": reason})
        else:
            click.echo(f"rsm: {command}: rejected: {reason}", err=True)
        return FOUND


@click.command(cls=Command)
@click.argument("name", metavar="NAME")
@click.argument("arguments", metavar="JSON")
@click.option("--stale", is_flag=True, help="Ask any member, also one that is cut off, and take what it has.")
@address_option
@json_option("Print one JSON document: index and result.")
def query(
    name: str,
    arguments: str,
    stale: bool,
    addresses: tuple[str, ...],
    find: FindAccess,
    as_json: bool,
) -> int:
    """Run one query and print its result.

    JSON holds the arguments, as for rsm call. The read is linearizable unless --stale is given. A query that streams is
    printed as an array.

    \b
    Example: rsm query balance '["ann"]'
    """
    values = parse_arguments(arguments)
    access = find(addresses)
    status = status_of(access)
    fields = status.schema.get("queries", {}).get(name)
    if fields is None:
        raise Unreadable(unknown("query", name, status, status.schema.get("queries", {})))
    read = Read(name, positional(name, fields, values), is_stream=name in status.streaming_queries)
    if stale:
        index, result = ask_any(access, lambda connection: read.run(connection, Consistency.STALE))
    else:
        index, result = ask_leader(access, lambda connection: read.run(connection, Consistency.LINEARIZABLE))
    if as_json:
        print_json({"index": index, "result": result})
    else:
        print_line(json.dumps(result, ensure_ascii=False))
    return FINE


class Read:
    """A query with its values."""

    def __init__(self, name: str, values: list[Any], *, is_stream: bool) -> None:
        self.name = name
        self.values = values
        self.is_stream = is_stream

    def run(self, connection: ToolConnection, consistency: Consistency) -> tuple[int, Any]:
        """Index and result, as JSON has it."""
        if not self.is_stream:
            fields = connection.request(protocol.Query(self.name, self.values, consistency, 0))
            if len(fields) != 2 or type(fields[0]) is not int or type(fields[1]) is not bytes:
                raise BadBytes("the answer to a query must be [index, result]")
            return fields[0], plain(decode(fields[1]))
        index, items = 0, []
        for index, packed in connection.stream(protocol.Stream(self.name, self.values, consistency, 0)):  # noqa: B007
            items += [plain(decode(item)) for item in packed]
        return index, items


def ask_any(access: Access, work: Any) -> tuple[int, Any]:
    """Ask one member after the other, whether it leads or not."""
    last: Unreachable | NotLeader = Unreachable("no address to ask")
    for address in access.addresses:
        try:
            with ToolConnection(address, access) as connection:
                found: tuple[int, Any] = work(connection)
                return found
        except (Unreachable, NotLeader) as error:
            last = error
    raise last


# --- arguments --------------------------------------------------------------------------------------------------------


def parse_arguments(text: str) -> dict[str, Any] | list[Any]:
    """The JSON of the command line. `Unreadable` unless it is an object or an array."""
    try:
        values = json.loads(text, object_pairs_hook=_without_doubles)
    except ValueError as error:
        raise Unreadable(f"the arguments are not JSON: {error}: {text!r:.80}") from error
    if not isinstance(values, dict | list):
        raise Unreadable("the arguments must be a JSON object by name, or an array by position")
    return values


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a name stands there twice")
    return dict(pairs)


def status_of(access: Access, seconds: float = TOOL_TRY_SECONDS_MAX) -> NodeStatus:
    """The status of the first member that knows the schema, which is in the log; `Unreachable`.

    A member that has just started applies its log only when a leader tells it how far.
    """
    deadline = time.monotonic() + seconds
    last = Unreachable("no address to ask")
    while True:
        answered = False
        for address in access.addresses:
            try:
                with ToolConnection(address, access) as connection:
                    status = connection.status()
            except Unreachable as error:
                last = error
                continue
            if status.schema:
                return status
            answered, last = True, Unreachable(f"{address}: has not applied its log yet, for want of a leader")
        if not answered or time.monotonic() + RETRY_SECONDS > deadline:
            raise last
        time.sleep(RETRY_SECONDS)


def command_of(status: NodeStatus, name: str) -> tuple[int, list[Any]]:
    """The newest version of a command, and its fields."""
    versions = status.schema.get("commands", {}).get(name)
    if not versions:
        raise Unreadable(unknown("command", name, status, status.schema.get("commands", {})))
    newest = max(versions, key=int)
    return int(newest), versions[newest]


def unknown(what: str, name: str, status: NodeStatus, known: dict[str, Any]) -> str:
    """One line about a name that there is not."""
    return f"{status.machine} has no {what} {name!r}; there are {', '.join(sorted(known)) or 'none'}"


def positional(name: str, fields: list[Any], values: dict[str, Any] | list[Any]) -> list[Any]:
    """The values in the order of the fields; `Unreadable` names what is missing or too many."""
    names = [str(field[0]) if isinstance(field, list | tuple) else str(field) for field in fields]
    types = [str(field[1]) if isinstance(field, list | tuple) else "" for field in fields]
    if isinstance(values, dict):
        strange = [given for given in values if given not in names]
        missing = [wanted for wanted in names if wanted not in values]
        if strange or missing:
            what = f"no field {strange[0]!r}" if strange else f"the field {missing[0]!r} is missing"
            raise Unreadable(f"{name}: {what}; it takes {', '.join(names) or 'nothing'}")
        values = [values[wanted] for wanted in names]
    if len(values) != len(names):
        raise Unreadable(f"{name} takes {len(names)} values ({', '.join(names) or 'none'}), not {len(values)}")
    return [
        from_json(f"{name}: {field}", value, declared)
        for field, value, declared in zip(names, values, types, strict=True)
    ]


def from_json(where: str, value: Any, declared: str) -> Any:
    """A JSON value as the field's type has it: bytes come as hex."""
    if not isinstance(value, str) or "bytes" not in {part.partition("(")[0] for part in declared.split("|")}:
        return value
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise Unreadable(f"{where} holds bytes: give them as hex") from None
