"""`rsm desync`: whether copies of a machine agree, and where they part."""

from __future__ import annotations

import click

from rsm.cli.desync_compare import compare
from rsm.cli.desync_replay import replay
from rsm.cli.desync_watch import watch
from rsm.cli.options import Group

__all__ = ["desync"]


@click.group(cls=Group)
def desync() -> None:
    """Find out whether copies agree, and where not.

    \b
    Example: rsm desync compare n1 n2 n3
    """


desync.add_command(compare)
desync.add_command(replay)
desync.add_command(watch)
