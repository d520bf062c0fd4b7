"""`rsm node`: one member of a cluster, as a process."""

from __future__ import annotations

import click

from rsm.cli.errors import Unreadable
from rsm.cli.options import Command
from rsm.cli.target import load_machine
from rsm.node.config import load_config

__all__ = ["node"]


@click.command(cls=Command)
@click.option("--machine", metavar="MODULE:CLASS", help="The class to run; may stand in the file instead.")
@click.option("--config", "path", metavar="FILE", type=click.Path(), required=True, help="The node's configuration.")
@click.option(
    "--found", "is_founding", is_flag=True, help="With an empty directory: found the cluster, with the others."
)
def node(machine: str | None, path: str, is_founding: bool) -> int:
    """Run one member of a cluster until it is told to stop.

    SIGTERM and SIGINT end it in good order. What it does is logged on standard error. Exits with 1 if it found damage
    or a desync, with 2 if the configuration, a port or the directory is wrong.

    Give --found once, when every member named in the file starts for the first time. Without it a node whose
    directory is empty waits for the leader of its cluster, which fills it.

    \b
    Example: rsm node --machine bank:Bank --config node-1.toml
    """
    config = load_config(path)
    name = machine or config.node.machine
    if name is None:
        raise Unreadable(f"{path}: which machine? Give --machine, or machine = ... in [node]")
    machine_class = load_machine(name)
    # Imported here: other commands need none of it.
    from rsm.node.runner import run_node

    return run_node(machine_class, config, is_founding=is_founding)
