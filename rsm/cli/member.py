"""`rsm member`: who belongs to a running cluster, and who leads it."""

from __future__ import annotations

from typing import Any

import click

from rsm.cli.access import FindAccess, address_option
from rsm.cli.errors import FINE
from rsm.cli.options import Group, json_option
from rsm.cli.output import print_json, print_line
from rsm.client.tool import Access, ToolConnection, ask_leader
from rsm.errors import BadBytes
from rsm.limits import TOOL_CHANGE_SECONDS_MAX
from rsm.node.network import protocol
from rsm.node.network.addresses import split_address
from rsm.raft.configuration import NODE_ID_MAX

__all__ = ["member"]

NODE_ID = click.IntRange(1, NODE_ID_MAX)


@click.group(cls=Group)
def member() -> None:
    """Change who belongs to a running cluster, and who leads it.

    With TLS this takes a certificate of role admin.

    \b
    Example: rsm member transfer
    """


@member.command()
@click.argument("number", metavar="ID", type=NODE_ID)
@click.argument("peer", metavar="PEER")
@click.argument("client", metavar="CLIENT")
@click.option("--learner", "is_learner", is_flag=True, help="It gets the log and does not vote.")
@address_option
@json_option()
def add(
    number: int,
    peer: str,
    client: str,
    is_learner: bool,
    addresses: tuple[str, ...],
    find: FindAccess,
    as_json: bool,
) -> int:
    """Add a node, or make a learner a voter.

    PEER and CLIENT are the addresses where members and clients reach it. It may be running already, or be started
    later; it gets a snapshot and the log from the leader.

    \b
    Example: rsm member add 4 127.0.0.1:7010 127.0.0.1:7011 --learner
    """
    for address in (peer, client):
        split_address(address)
    request = protocol.Change("add_learner" if is_learner else "add", number, peer, client)
    index = first_number(ask_change(find(addresses), request))
    what = "learner" if is_learner else "voter"
    return told({"node_id": number, "action": request.action, "index": index}, f"node {number} is a {what}", as_json)


@member.command()
@click.argument("number", metavar="ID", type=NODE_ID)
@address_option
@json_option()
def remove(number: int, addresses: tuple[str, ...], find: FindAccess, as_json: bool) -> int:
    """Remove a node, which may be the leader, or gone for good.

    \b
    Example: rsm member remove 4
    """
    request = protocol.Change("remove", number, "", "")
    index = first_number(ask_change(find(addresses), request))
    return told({"node_id": number, "action": "remove", "index": index}, f"node {number} is no member", as_json)


@member.command()
@click.argument("number", metavar="[ID]", type=NODE_ID, required=False)
@address_option
@json_option()
def transfer(
    number: int | None,
    addresses: tuple[str, ...],
    find: FindAccess,
    as_json: bool,
) -> int:
    """Hand the leadership to node ID, or to whoever is furthest.

    \b
    Example: rsm member transfer 2
    """
    access = find(addresses)

    def hand_over(connection: ToolConnection) -> list[Any]:
        # Also when this is the second try, and the answer to the first was lost.
        if number == connection.hello.node_id and connection.hello.leader[:1] == (number,):
            return [number]
        return connection.request(protocol.Transfer(number or 0))

    leader = first_number(ask_leader(access, hand_over))
    return told({"leader_id": leader}, f"node {leader} leads", as_json)


def ask_change(access: Access, request: protocol.Request) -> list[Any]:
    """Have the leader do it; a change may take as long as a new node needs to catch up."""

    def ask(connection: ToolConnection) -> list[Any]:
        return connection.request(request, seconds=TOOL_CHANGE_SECONDS_MAX)

    return ask_leader(access, ask)


def first_number(fields: list[Any]) -> int:
    """The number in an answer."""
    if len(fields) != 1 or type(fields[0]) is not int:
        raise BadBytes(f"an answer of {fields!r:.80}, where a number was due")
    number: int = fields[0]
    return number


def told(document: dict[str, Any], text: str, as_json: bool) -> int:
    """Print what was done."""
    if as_json:
        print_json(document)
    else:
        print_line(f"{text}, from index {document['index']} on" if "index" in document else text)
    return FINE
