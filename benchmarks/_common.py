"""What the benchmarks share: the command line, the machine they ran on, medians, tables, temporary directories.

Each benchmark prints a plain table for people, or with `--json` one JSON document and nothing else on stdout; progress
goes to stderr. Numbers carry their unit in their name. Things that are compared run in the same process, in turns, and
are summarised by medians, so that a disturbance from outside hits both sides.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

SYNC_PROBE_SECONDS = 0.5
SYNC_PROBE_BYTES = 4096


class Options(argparse.Namespace):
    """The command line of every benchmark."""

    json: bool
    quick: bool
    dir: str


def run(
    description: str,
    measure: Callable[[Options], dict[str, Any]],
    show: Callable[[dict[str, Any]], None],
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> None:
    """Parse the command line (and what a benchmark adds to it), measure, and print the document or its table."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="under 60 seconds")
    parser.add_argument(
        "--dir", default=tempfile.gettempdir(), metavar="DIR", help="where data lies meanwhile (default: %(default)s)"
    )
    add_arguments(parser)
    options = parser.parse_args(namespace=Options())
    began = time.monotonic()
    document = measure(options)
    document["wall_seconds"] = round(time.monotonic() - began, 1)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        show(document)


def progress(text: str) -> None:
    """Say on stderr what is being done."""
    print(f"  {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def scratch(options: Options) -> Iterator[Path]:
    """A directory that is gone afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="rsm-benchmark-", dir=options.dir, ignore_cleanup_errors=True) as path:
        yield Path(path)


def document(name: str, options: Options, directory: Path, durability: str) -> dict[str, Any]:
    """The head of a document: what ran, and where."""
    return {
        "benchmark": name,
        "quick": options.quick,
        "durability": durability,
        "environment": {
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "system": platform.platform(terse=True),
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 2),
            "fsyncs_per_second": fsyncs_per_second(directory),
        },
    }


def processor() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def fsyncs_per_second(directory: Path) -> int:
    """How often this disk makes 4 KiB durable in a second, written into space that the file already has."""
    sync = getattr(os, "fdatasync", os.fsync)
    path = directory / "fsync-probe"
    with path.open("wb", buffering=0) as file:
        file.write(bytes(1 << 20))
        os.fsync(file.fileno())
        count, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < SYNC_PROBE_SECONDS:
            os.pwrite(file.fileno(), os.urandom(SYNC_PROBE_BYTES), (count * SYNC_PROBE_BYTES) % (1 << 20))
            sync(file.fileno())
            count += 1
    path.unlink()
    return round(count / elapsed)


def resident_bytes() -> int | None:
    """Memory of this process that is in use, where the system tells."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


class Taken(NamedTuple):
    """What some work took: seconds on the wall, and seconds of processor time in all threads of this process."""

    wall_seconds: float
    processor_seconds: float


def taken(work: Callable[[], object]) -> Taken:
    """Do some work. The garbage of what was before is collected first."""
    gc.collect()
    began, processor_began = time.perf_counter(), time.process_time()
    work()
    return Taken(time.perf_counter() - began, time.process_time() - processor_began)


def median(values: Sequence[float], digits: int = 2) -> float:
    """The median, rounded."""
    return round(statistics.median(values), digits)


def percentile(values: Sequence[float], fraction: float) -> float:
    """The value below which that part of all values lies (the nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def table(title: str, rows: Sequence[tuple[str, Any]]) -> None:
    """Print names and values in two columns."""
    print(f"\n{title}")
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        shown = f"{value:,}" if isinstance(value, int | float) else "-" if value is None else value
        print(f"  {name:<{width}}  {shown}")


def show_head(document: dict[str, Any]) -> None:
    """Print what ran, and where."""
    where = document["environment"]
    print(f"{document['benchmark']}, durability {document['durability']}: Python {where['python']},")
    print(f"{where['cores']} cores of {where['processor']} (load {where['load_average']}),")
    print(f"{where['fsyncs_per_second']} fsyncs of 4 KiB a second")
