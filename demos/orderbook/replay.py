"""`replay FILE`: run a recorded market through a durable machine and say what was checked.

The format is found out from the content. With `--dir` the machine stays in that directory, and the same command again
goes on where it stopped, however it stopped; without, it lives in a temporary directory. Exit codes: 0 all well; 1 a
check failed, or the recording is damaged or torn; 2 wrong usage or unreadable input.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, NoReturn

import rsm
from demos.exits import FINE, FOUND, UNCHECKED, WRONG, exit_code
from demos.orderbook.formats import Format, FormatError, Source, UnknownFormat, Unreadable, detect, flow, read
from demos.orderbook.formats.flow import FlowRow, ManifestRow
from demos.orderbook.progress import progress_bar
from demos.orderbook.recordings.feeds import ItchReplay, LobsterReplay
from demos.orderbook.recordings.flows import FlowReplay, expected_of
from demos.orderbook.recordings.levels import LevelReplay
from demos.orderbook.recordings.pump import WINDOW, Check, WrongDirectory
from demos.orderbook.recordings.report_stream import ReportStream
from demos.orderbook.recordings.run import Replayed, described, run, sender_of
from demos.scratch import scratch_directory

PROGRAM: Final = "orderbook replay"
INTERRUPTED: Final = 130
# In the directory of a flow's machine, beside the machine's own files.
REPORTS: Final = "reports.txt"

FEEDS: Final[dict[Format, Callable[[], Any]]] = {
    Format.KRAKEN: LevelReplay,
    Format.ITCH: ItchReplay,
    Format.LOBSTER: LobsterReplay,
}
# Told how many messages have been applied.
Advance = Callable[[int], None]


class Usage(Exception):
    """What the caller has to change, in one line."""


class Part(NamedTuple):
    """One machine's share of a replay: the whole file, or one case of a document of cases."""

    name: str
    replayed: Replayed
    reports: ReportStream | None


class Job(NamedTuple):
    """What to replay where: `directory` holds the machine, or one machine per case; `window` commands are in flight."""

    path: str
    kind: Format
    directory: str
    window: int = WINDOW


def replay(job: Job, source: Source, advance: Advance) -> Iterator[Part]:
    """Replay an open file; yields its parts as they are done."""
    sender = sender_of(job.path)
    if job.kind is Format.FLOW:
        rows: Iterator[FlowRow] = flow.read(source)
        yield _flow("", job, job.directory, sender, source, rows, expected_of(job.path), advance)
    elif job.kind is Format.FLOW_CASES:
        for number, case in enumerate(flow.read_cases(source), 1):
            directory = os.path.join(job.directory, f"case-{number:03d}")
            sha256 = hashlib.sha256("\n".join(case.reports).encode("utf-8", "replace")).hexdigest()
            expected = ManifestRow(case.name, len(case.rows), len(case.reports), sha256)
            yield _flow(case.name, job, directory, sender, source, iter(case.rows), expected, advance)
    else:
        recording = FEEDS[job.kind]()
        records = read(source, job.kind)
        yield Part("", run(recording, job.directory, sender, source, records, advance, job.window), None)


def _flow(
    name: str,
    job: Job,
    directory: str,
    sender: str,
    source: Source,
    rows: Iterator[FlowRow],
    expected: ManifestRow | None,
    advance: Advance,
) -> Part:
    recording = FlowReplay(os.path.join(directory, REPORTS), expected)
    try:
        replayed = run(recording, directory, sender, source, rows, advance, job.window)
    finally:
        recording.close()
    return Part(name, replayed, recording.stream)


# --- what is said about it --------------------------------------------------------------------------------------------


def document(path: str, kind: Format, parts: list[Part], failure: str | None) -> dict[str, Any]:
    """The summary as one document; see `demos/orderbook/README.md` for its fields."""
    replays = [part.replayed for part in parts]
    seconds = sum(each.seconds for each in replays)
    commands = sum(each.commands for each in replays)
    checks = [check for each in replays for check in each.checks]
    if kind is Format.FLOW_CASES:
        checks = [Check("cases", "equal", sum(_is_good(part) for part in parts), len(parts))]
    failures = [failure] if failure else [each.failure for each in replays if each.failure]
    last = replays[-1].status if len(replays) == 1 else None
    found: dict[str, Any] = {
        "file": path,
        "format": kind.value,
        "messages": sum(each.messages for each in replays),
        "applied": sum(each.applied for each in replays),
        "commands": commands,
        "checks": [{"name": f"{each.name} {each.verb}", "equal": each.equal, "of": each.of} for each in checks],
        "ok": not failures and all(check.equal == check.of for check in checks),
        "failure": failures[0] if failures else None,
        "index": last.index if last else None,
        "root_index": last.root_index if last else None,
        "root": last.root if last else None,
        "seconds": round(seconds, 6),
        "commands_per_second": round(commands / seconds) if seconds else None,
        "book": replays[0].book if len(replays) == 1 else None,
        "reports": None,
    }
    if kind is Format.FLOW_CASES:
        found["cases"] = [_case(part) for part in parts]
    elif parts and parts[0].reports is not None:
        found["reports"] = _reports(parts[0].reports)
    return found


def _is_good(part: Part) -> bool:
    return part.replayed.failure is None and all(check.equal == check.of for check in part.replayed.checks)


def _case(part: Part) -> dict[str, Any]:
    status = part.replayed.status
    return {
        "name": part.name,
        "ok": _is_good(part),
        "messages": part.replayed.messages,
        "failure": part.replayed.failure,
        "reports": _reports(part.reports) if part.reports else None,
        "index": status.index,
        "root": status.root,
    }


def _reports(stream: ReportStream) -> dict[str, Any]:
    return {"lines": stream.lines, "sha256": stream.sha256}


def tell(found: dict[str, Any], write: Callable[[str], Any]) -> None:
    """The summary for people."""
    rate = f"{found['commands_per_second']:,} commands/s" if found["commands"] else "nothing left to do"
    write(f"{found['file']}: {found['format']}, {found['messages']:,} messages, {found['commands']:,} commands")
    write(f" in {found['seconds']:.2f} s ({rate})\n")
    if found["index"] is not None:
        write(f"log index {found['index']:,}, state root {found['root']} at {found['root_index']:,}\n")
    for name, value in (found["book"] or {}).items():
        if isinstance(value, dict):
            for each, facts in value.items():
                write(f"  {each}: {_facts(facts)}\n")
        else:
            write(f"  {name}: {value}\n")
    for case in found.get("cases", ()):
        write(f"  {'equal ' if case['ok'] else 'DIFFERS'} {case['name']}\n")
    if found["reports"]:
        write(f"{found['reports']['lines']:,} reports, sha256 {found['reports']['sha256']}\n")
    for check in found["checks"]:
        write(f"{check['equal']:,} of {check['of']:,} {check['name']}\n")
    if not found["checks"]:
        write("unchecked: no manifest beside the file names it\n")


def _facts(facts: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {' x '.join(value) if isinstance(value, list) else value}" for name, value in facts.items()
    )


# --- the command ------------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise Usage(f"{message} (--help says more)")


def parser() -> Parser:
    """The command line of `replay`."""
    made = Parser(prog="python -m demos.orderbook replay", description=__doc__, allow_abbrev=False)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument(
        "file", metavar="FILE", help="Kraken book feed, order flow (.orders.csv), cases, ITCH 5.0, LOBSTER"
    )
    made.add_argument("--dir", metavar="DIR", help="keep the machine here, and go on if it is there already")
    made.add_argument("--reports", metavar="OUT", help="write the report stream of a flow (cases: one after another)")
    made.add_argument("--json", action="store_true", help="print one JSON document, and nothing else, on stdout")
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    return made


def main(arguments: Sequence[str]) -> int:
    """Run `replay`; returns the exit code."""
    debug = "--debug" in arguments
    try:
        return _main(parser().parse_args(arguments))
    except SystemExit:  # --help
        return FINE
    except BrokenPipeError:
        # The reader has seen enough; what is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        text, code = explained(error)
        sys.stderr.write(f"{PROGRAM}: {' '.join(text.split())}\n")
        return code


def explained(error: BaseException) -> tuple[str, int]:
    """One line about an error, and its exit code."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    if isinstance(error, FormatError):
        return str(error), WRONG if isinstance(error, Unreadable | UnknownFormat) else FOUND
    if isinstance(error, OSError):
        return f"{error.filename or 'system'}: {error.strerror or error}", WRONG
    if isinstance(error, Usage | WrongDirectory):
        return str(error), WRONG
    if isinstance(error, rsm.RsmError):
        return str(error), exit_code(error)
    return f"internal error: {type(error).__name__}: {error} (--debug shows where)", UNCHECKED


def _main(options: argparse.Namespace) -> int:
    kind = detect(options.file)
    if options.reports and kind not in (Format.FLOW, Format.FLOW_CASES):
        raise Usage(f"--reports: {options.file} is a {kind.value}; only order flows have a report stream")
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(_written_whole(options.reports)) if options.reports else None
        directory = options.dir or str(stack.enter_context(scratch_directory("rsm-replay-")))
        source = stack.enter_context(Source(options.file))
        advance = stack.enter_context(progress_bar(source))
        parts, failure = [], None
        try:
            for part in replay(Job(options.file, kind, directory), source, advance):
                parts.append(part)
        except Unreadable:
            raise
        except FormatError as error:  # of a document of cases; others end inside their part
            failure = described(error, sum(part.replayed.messages for part in parts))
        found = document(options.file, kind, parts, failure)
        if out is not None:
            _copy([part.reports.path for part in parts if part.reports and part.reports.lines], out)
    sys.stdout.write(json.dumps(found) + "\n") if options.json else tell(found, sys.stdout.write)
    sys.stdout.flush()
    if found["failure"]:
        sys.stderr.write(f"{PROGRAM}: {' '.join(found['failure'].split())}\n")
    return FINE if found["ok"] else FOUND


@contextlib.contextmanager
def _written_whole(path: str) -> Iterator[Any]:
    """A file that gets its name when it is complete; opened at once, so that a bad path is known before the work."""
    unfinished = f"{path}.unfinished"
    with open(unfinished, "wb") as file:
        try:
            yield file
        except BaseException:
            os.unlink(unfinished)
            raise
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def _copy(streams: list[str], out: Any) -> None:
    for number, path in enumerate(streams):
        if number:
            out.write(b"\n")
        with open(path, "rb") as stream:
            shutil.copyfileobj(stream, out)
