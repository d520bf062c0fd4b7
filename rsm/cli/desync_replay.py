"""`rsm desync replay`: run a log again, under this code and under other code or settings, and compare the roots."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from rsm.cli.errors import FOUND, Unreadable, message
from rsm.cli.options import Command, json_option, path_argument
from rsm.cli.output import print_json, print_line, progress
from rsm.cli.target import DISK, file_bytes, load_machine, require_log
from rsm.desync import report
from rsm.desync.below_floor import replay_below_floor
from rsm.desync.bundle import is_bundle
from rsm.desync.finding import EXIT_CODES, Finding
from rsm.desync.gate import replay_against
from rsm.desync.hostile import replay_hostile
from rsm.desync.keeping import free_name
from rsm.desync.recording import Recording
from rsm.desync.replaying import NEWEST, Unreplayable
from rsm.desync.single import replay as replay_alone
from rsm.desync.worker import WorkerDied
from rsm.errors import BadBytes, MediumError, UnknownFormat, WrongMachine
from rsm.node.storage.bundles import BATCHES
from rsm.node.storage.scan import scan

__all__ = ["replay"]

BEGINNING = "beginning"


def _start(_: click.Context, __: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == NEWEST:
        return value
    if value == BEGINNING:
        return 0
    if value.isascii() and value.isdigit() and int(value) < 2**63:
        return int(value)
    raise click.BadParameter(f"{value!r} is neither an index nor {NEWEST!r} nor {BEGINNING!r}.")


def failed_document(error: BaseException) -> dict[str, Any]:
    """A finding that says why there is none."""
    is_damaged = isinstance(error, BadBytes)
    return report.document(Finding(verdict="unchecked", unchecked=(message(error),), is_damaged=is_damaged))


@click.command(cls=Command)
@path_argument(metavar="LOG")
@click.option("--machine", required=True, metavar="MODULE:CLASS", help="The class to run it under.")
@click.option(
    "--against",
    metavar="PATH_OR_VENV",
    help="Run it under other code too: another checkout, a virtual environment, or a Python.",
)
@click.option("--hostile", is_flag=True, help="Run it under settings that must not matter, and tell which one does.")
@click.option(
    "--from",
    "start",
    metavar="INDEX",
    callback=_start,
    help=f"Begin at the snapshot of this index; or {NEWEST!r}, or {BEGINNING!r}. Default: as early as can be.",
)
@click.option(
    "--below-floor",
    "is_below_floor",
    is_flag=True,
    help="The class ships the log's first releases no more: run their commands through upcasters, roots unchecked.",
)
@click.option(
    "--bundle", metavar="DIR", type=click.Path(), help="Where to write a difference. Default: desync-INDEX here."
)
@json_option(failed=failed_document)
def replay(
    path: str,
    machine: str,
    against: str | None,
    hostile: bool,
    start: int | str | None,
    is_below_floor: bool,
    bundle: str | None,
    as_json: bool,
) -> int:
    """Run a log again and compare every root.

    LOG is a machine's directory, its log directory, a file that `rsm log export` wrote, or a bundle. Exits with 1 at
    damage, and at a difference, which is then narrowed down: to the entries between two recorded roots, and with
    --against or --hostile to the command, the paths and the lines of code. It is written as a bundle that a test can
    load.

    \b
    Example: rsm desync replay bank-data --machine bank:Bank --against ../bank-next
    """
    if against is not None and hostile:
        raise click.UsageError("--against and --hostile are two questions: ask one at a time.")
    if is_below_floor and (against is not None or hostile or start not in (None, 0)):
        raise click.UsageError("--below-floor runs the whole log by itself: leave out --against, --hostile and --from.")
    if bundle is not None and os.path.exists(bundle) and (not os.path.isdir(bundle) or os.listdir(bundle)):
        raise Unreadable(f"{bundle}: exists and is not an empty directory: choose another")
    if not is_bundle(DISK, path):
        if os.path.isfile(os.path.join(path, BATCHES)):
            raise Unreadable(f"{path}: a bundle that was not finished; {BATCHES} in it holds what there is of the log")
        require_log(path)
    machine_class = load_machine(machine)
    recording = Recording(DISK, path)
    chosen = (lambda index: free_name(index)) if bundle is None else (lambda _: bundle)
    with _watched(recording) as beat:
        try:
            if is_below_floor:
                with contextlib.redirect_stdout(sys.stderr):
                    finding, _ = replay_below_floor(recording, machine_class, beat=beat)
            elif against is not None:
                finding = replay_against(recording, machine, against, start=start, bundle=chosen, beat=beat)
            elif hostile:
                finding = replay_hostile(recording, machine, start=start, bundle=chosen, beat=beat)
            else:
                # Handlers may print; standard output belongs to this command.
                with contextlib.redirect_stdout(sys.stderr):
                    finding = replay_alone(
                        recording, machine_class, start=start, reference=machine, bundle=chosen, beat=beat
                    )
        except (Unreplayable, WorkerDied, WrongMachine, UnknownFormat) as error:
            finding = Finding(verdict="unchecked", unchecked=(str(error),))
    return show(finding, path, as_json=as_json)


@contextlib.contextmanager
def _watched(recording: Recording) -> Iterator[Callable[[int], None]]:
    """A progress bar where somebody watches; takes indexes."""
    total = file_bytes(recording.log.paths)
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    first, last = recording.first_index, scan_end(recording)
    with progress("replaying", total) as advance:
        yield lambda index: advance(total * (index - first) // max(1, last - first))


def scan_end(recording: Recording) -> int:
    """The last index of the log; only its last segment is read."""
    log = scan(DISK, recording.log_path, first=2**63)
    with contextlib.suppress(MediumError):  # the replay will say it
        for _ in log:
            pass
    return log.last_index


def show(finding: Finding, path: str, *, as_json: bool) -> int:
    """Print a finding; its exit code."""
    if as_json:
        print_json(report.document(finding))
    else:
        for line in report.lines(finding, path):
            print_line(line)
    return FOUND if finding.is_damaged else EXIT_CODES[finding.verdict]
