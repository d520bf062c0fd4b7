"""`rsm shadow`: new code beside a running cluster, on its live traffic; what would differ, by type of command."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

import click

from rsm.cli.access import FindAccess, access_options
from rsm.cli.errors import FINE, FOUND, UNCHECKED, Unreadable
from rsm.cli.options import Command, json_option
from rsm.cli.output import print_json, print_line
from rsm.cli.target import DISK, as_files, load_machine
from rsm.client.following import LogFollower, LogIsGone
from rsm.client.tool import Access
from rsm.desync import shadow_report
from rsm.desync.shadow import Shadow, ShadowReport
from rsm.errors import BadBytes, RsmError, WrongMachine
from rsm.limits import SHADOW_SILENCE_SECONDS_MAX
from rsm.machine.machine import StateMachine
from rsm.node.storage.files import located
from rsm.node.storage.snapshots import read_snapshot, snapshot_position
from rsm.replica.snapshot import restore

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["shadow"]

EXIT_CODES: Final = {"agree": FINE, "differs": FOUND, "unchecked": UNCHECKED}
# Between two questions whether there is more; as often as an idle cluster makes an entry, or a few times more.
POLL_SECONDS: Final = 0.2
# Between two pictures on a terminal. Each computes which containers differ.
PICTURE_SECONDS: Final = 1.0


@click.command(cls=Command)
@click.argument("addresses", metavar="[ADDR]...", nargs=-1)
@click.option("--machine", metavar="NEW:CLASS", required=True, help="The new code.")
@click.option(
    "--against",
    metavar="MODULE:CLASS",
    help="The code in force, where the new code does not ship it as a previous release.",
)
@click.option(
    "--snapshot",
    metavar="FILE_OR_DIR",
    type=click.Path(),
    help="Begin from this snapshot, or the newest there that serves; for a log that no longer begins at 1.",
)
@click.option(
    "--from",
    "first",
    metavar="INDEX",
    type=click.IntRange(min=1),
    help="Compare from this entry of the log on. Default: what comes from now on.",
)
@click.option(
    "--for",
    "seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="End so long after the present end of the log was reached; 0: there. Default: when interrupted.",
)
@access_options
@json_option()
def shadow(
    addresses: tuple[str, ...],
    machine: str,
    against: str | None,
    snapshot: str | None,
    first: int | None,
    seconds: float | None,
    find: FindAccess,
    as_json: bool,
) -> int:
    """Run new code beside a live cluster, and tell what would differ.

    The committed entries are read from a member, as `rsm log export` does (with TLS that takes a certificate of role
    admin), and applied twice in this process: under the code in force, and under the new code, upgraded as the cluster
    would be. Nothing is sent to the cluster. Answers, events and what is written are compared command by command.

    A cluster has no way to send a snapshot to a tool: either its log still begins at index 1, or --snapshot gives the
    start, and the log must reach back to it. Exits with 1 if something differs, with 3 if nothing could be compared.

    \b
    Example: rsm shadow --machine bank_v2:Bank --for 60
    """
    new = load_machine(machine)
    other = None if against is None else load_machine(against)
    access = find(addresses)
    observer = _Observer(new, other, access, seconds)
    with _picture(observer, shows=not as_json and sys.stdout.isatty()) as draw:
        with contextlib.suppress(KeyboardInterrupt):
            observer.run(snapshot, first, draw)
        report = observer.shadow.report()
    if as_json:
        print_json(shadow_report.document(report))
    else:
        for line in shadow_report.lines(report):
            print_line(line)
    return EXIT_CODES[report.verdict]


class _Observer:
    """Reads a log and feeds it to a shadow."""

    def __init__(
        self, new: type[StateMachine], other: type[StateMachine] | None, access: Access, seconds: float | None
    ) -> None:
        self.new = new
        self.shadow = Shadow(new, other)
        self.access = access
        self.seconds = seconds
        self.follower = LogFollower(access)

    def run(self, snapshot: str | None, first: int | None, draw: Callable[[], None]) -> None:
        """Until the time is over, or nothing more can be learned. Errors where it cannot even begin."""
        try:
            status = self.follower.status()
            if status.machine != self.new.definition.name:
                raise WrongMachine(
                    f"the cluster runs machine {status.machine!r}, {self.new.__name__} is {self.new.definition.name!r}"
                )
            end = status.commit_index
            begin = end if first is None else first - 1
            if snapshot is not None:
                self._load(snapshot, begin)
            self._follow(begin, end, draw)
        except LogIsGone as error:
            advice = (
                "give a newer --snapshot"
                if snapshot is not None
                else "begin from one with --snapshot: a file or directory of snapshots of this cluster, such as a "
                "copy of a node's"
            )
            self.shadow.unchecked.append(f"{error}: {advice}")
        finally:
            self.follower.close()

    def _load(self, path: str, begin: int) -> None:
        """Begin from the newest snapshot that is not past `begin`."""
        files = sorted((snapshot_position(DISK, file)[0], file) for file in as_files(path))
        fitting = [file for index, file in files if index <= begin]
        if not fitting:
            raise Unreadable(f"{path}: its oldest snapshot is of index {files[0][0]}: begin behind it with --from")
        with located(fitting[-1], 0), contextlib.redirect_stdout(sys.stderr):
            manifest = restore(self.shadow.present, read_snapshot(DISK, fitting[-1]))
        self.follower.close()
        self.follower = LogFollower(self.access, manifest.index, manifest.chain)

    def _follow(self, begin: int, end: int, draw: Callable[[], None]) -> None:
        """Read on, comparing behind index `begin`. `end`: where the log ended at first."""
        until = silent_since = None
        while not self.shadow.is_over:
            before = self.follower.index
            last = end if self.seconds == 0 else 0
            try:
                self._read(begin, last, draw)
                silent_since = None
            except BadBytes:
                raise
            except LogIsGone:
                raise
            except RsmError as error:  # gone, or on its way up: another member may know more
                now = monotonic()
                silent_since = now if silent_since is None else silent_since
                if now - silent_since > SHADOW_SILENCE_SECONDS_MAX:
                    self.shadow.unchecked.append(f"not followed to the end: {error}")
                    return
            if self.seconds is not None and self.follower.index >= end:
                now = monotonic()
                until = now + self.seconds if until is None else until
                if now >= until:
                    return
            draw()
            if self.follower.index == before:
                sleep(POLL_SECONDS)

    def _read(self, begin: int, last: int, draw: Callable[[], None]) -> None:
        # Handlers may print; standard output belongs to this command.
        with contextlib.redirect_stdout(sys.stderr):
            self._begin_behind(begin)
        for part in self.follower.read(last):
            with contextlib.redirect_stdout(sys.stderr):
                for entry in part:
                    self.shadow.apply(entry)
                    self._begin_behind(begin)
            draw()
            if self.shadow.is_over:
                return

    def _begin_behind(self, index: int) -> None:
        if self.shadow.present.index == index and not self.shadow.is_over:
            self.shadow.begin()


@contextlib.contextmanager
def _picture(observer: _Observer, *, shows: bool) -> Iterator[Callable[[], None]]:
    """A table on a terminal while it runs."""
    if not shows:
        yield lambda: None
        return
    from rich.live import Live

    drawn = 0.0
    with Live(auto_refresh=False, transient=True) as live:

        def draw() -> None:
            nonlocal drawn
            now = monotonic()
            if now - drawn >= PICTURE_SECONDS:
                drawn = now
                shadow = observer.shadow
                words = f"reading the log up to where it begins: index {shadow.present.index:,}"
                live.update(_table(shadow.report()) if shadow.is_comparing else words, refresh=True)

        yield draw


def _table(report: ShadowReport) -> Group:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    head, *rest = shadow_report.rows(report)
    shown = Table(title=escape(shadow_report.headline(report)), title_justify="left")
    for name in head:
        shown.add_column(name, justify="left" if name == head[0] else "right")
    for row in rest:
        shown.add_row(escape(row[0]), row[1], *(cell if cell == "0" else f"[red]{cell}[/]" for cell in row[2:]))
    return Group(shown, escape("\n".join(shadow_report.notes(report))))
