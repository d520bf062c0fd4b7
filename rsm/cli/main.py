"""The program `rsm`: the command groups, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from rsm.cli.errors import FINE, exit_code, line
from rsm.cli.options import LazyGroup, Session
from rsm.cli.output import print_json_line

__all__ = ["main"]

PROGRAM = "rsm"
# Where each command is, imported when it is asked for: a node need not load the simulator to start.
COMMANDS = {
    "node": "rsm.cli.node",
    "cluster": "rsm.cli.cluster",
    "status": "rsm.cli.status",
    "call": "rsm.cli.call",
    "query": "rsm.cli.call",
    "member": "rsm.cli.member",
    "upgrade": "rsm.cli.upgrade",
    "log": "rsm.cli.log",
    "snapshot": "rsm.cli.snapshot",
    "desync": "rsm.cli.desync",
    "gateway": "rsm.cli.gateway",
    "lint": "rsm.cli.lint",
    "schema": "rsm.cli.schema",
    "shadow": "rsm.cli.shadow",
    "sim": "rsm.cli.sim",
    "certs": "rsm.cli.certs",
}


@click.group(cls=LazyGroup, modules=COMMANDS)
@click.version_option(package_name="rsm-toolkit", prog_name=PROGRAM)
def cli() -> None:
    """Run replicated state machines, and look inside their logs and snapshots.

    Exit codes: 0 fine; 1 a desync, corruption or a failed check was found; 2 wrong usage or unreadable input; 3 could
    not be checked.

    \b
    Example: rsm cluster up --machine bank:Bank --dir c1
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    session = Session()
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show must not end a report half-way.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    try:
        # Not cli.main(), which has its own ideas of errors and exit codes.
        with cli.make_context(PROGRAM, list(sys.argv[1:] if arguments is None else arguments), obj=session) as context:
            code = cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except BrokenPipeError:
        forget_output()  # the reader has seen enough
        return FINE
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return exit_code(error)
    except (Exception, KeyboardInterrupt) as error:
        if session.debug:
            traceback.print_exc()
        click.echo(line(error, PROGRAM), err=True)
        try:
            if session.failed is not None:
                print_json_line(session.failed(error))  # a line: --watch may have printed others
            sys.stdout.flush()
        except OSError:
            forget_output()
        return exit_code(error)
    return FINE if code is None else int(code)


def forget_output() -> None:
    """What is still buffered for standard output must not fail again when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
