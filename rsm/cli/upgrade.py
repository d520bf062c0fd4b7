"""`rsm upgrade`: which machine versions the nodes of a running cluster ship, and the step to the next one."""

from __future__ import annotations

from typing import Any

import click

from rsm.cli.access import FindAccess, access_options, address_option
from rsm.cli.errors import FINE, FOUND, UNCHECKED
from rsm.cli.member import ask_change, first_number, told
from rsm.cli.options import Group, json_option
from rsm.cli.output import print_json, print_line, table
from rsm.client.survey import Survey, survey
from rsm.node.network import protocol

__all__ = ["upgrade"]


@click.group(cls=Group)
def upgrade() -> None:
    """Move the machine of a running cluster to another version.

    \b
    Example: rsm upgrade status
    """


@upgrade.command()
@click.argument("addresses", metavar="[ADDR ...]", nargs=-1)
@access_options
@json_option()
def status(addresses: tuple[str, ...], find: FindAccess, as_json: bool) -> int:
    """Show the version in force, and which versions every node ships.

    Exits with 0 if every voter ships the newest version that any node ships, with 1 if not, and with 3 if not all
    could be asked.

    \b
    Example: rsm upgrade status
    """
    found = survey(find(addresses))
    document = readiness(found)
    if as_json:
        print_json(document)
    else:
        rows = [("node", "role", "in force", "ships", "code", "state")]
        rows += [
            (str(one["node_id"]), one["role"], str(one["version"]), span(one["releases"]), one["code"], one["state"])
            for one in document["nodes"]
        ]
        table(rows)
        print_line(document["verdict"])
    if document["unasked"]:
        return UNCHECKED
    return FOUND if document["behind"] else FINE


@upgrade.command()
@click.argument("version", metavar="N", type=click.IntRange(1, 2**31 - 1))
@address_option
@json_option()
def commit(version: int, addresses: tuple[str, ...], find: FindAccess, as_json: bool) -> int:
    """Put machine version N in force, at one index on every node.

    Refused while a voter does not ship it. There is no way back.

    \b
    Example: rsm upgrade commit 3
    """
    index = first_number(ask_change(find(addresses), protocol.Upgrade(version)))
    return told({"version": version, "index": index}, f"version {version} is in force", as_json)


def readiness(found: Survey) -> dict[str, Any]:
    """Who ships what, and what that means."""
    nodes: list[dict[str, Any]] = [
        {
            "node_id": one.node_id,
            "role": one.role,
            "version": one.version,
            "releases": list(one.releases),
            "code": one.code_digest,
            "state": one.standing,
            "is_voter": one.node_id in one.voters,
        }
        for one in sorted(found.statuses, key=lambda one: one.node_id)
    ]
    unasked = [asked.address for asked in found.asked if asked.status is None]
    voters = [one for one in nodes if one["is_voter"]]
    newest = max((one["releases"][1] for one in voters), default=0)
    behind = [one["node_id"] for one in voters if not one["releases"][0] <= newest <= one["releases"][1]]
    in_force = max((one["version"] for one in nodes), default=0)
    if not nodes:
        verdict = "no member could be asked"
    elif unasked:
        verdict = f"could not ask {', '.join(unasked)}: start it, or remove it"
    elif behind and newest <= in_force:
        verdict = f"version {in_force} is in force: upgrade node {', '.join(map(str, behind))}, which lacks it"
    elif behind:
        numbers = ", ".join(map(str, behind))
        verdict = f"version {newest} cannot be put in force yet: upgrade node {numbers}"
    elif newest > in_force:
        verdict = f"every voter ships version {newest}: rsm upgrade commit {newest}"
    else:
        verdict = f"version {in_force} is in force, and no voter ships a newer one"
    return {
        "in_force": in_force,
        "newest": newest,
        "behind": behind,
        "unasked": unasked,
        "nodes": nodes,
        "verdict": verdict,
    }


def span(releases: list[int]) -> str:
    """ "1 to 3", or "2"."""
    oldest, newest = releases
    return f"{oldest} to {newest}" if oldest != newest else f"{newest}"
