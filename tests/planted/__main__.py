"""`python -m tests.planted [--write]`: run all planted faults; print the table, or write it into the page."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.planted.faults import FAULTS
from tests.planted.other_python import NoOtherPython
from tests.planted.running import Run
from tests.planted.seen import TOOLS, UNCHECKED
from tests.planted.table import PAGE, merged, read, render, replaced


def main() -> None:
    """Run them all."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the table into docs/determinism.md")
    writes = parser.parse_args().write
    rows = {}
    for fault in FAULTS:
        with tempfile.TemporaryDirectory() as directory:
            try:
                found = Run(fault, Path(directory).resolve()).run()
                rows[fault.title] = {tool: found[tool].text for tool in TOOLS}
            except NoOtherPython as reason:
                print(f"{fault.title}: not run: {reason}")
                rows[fault.title] = dict.fromkeys(TOOLS, UNCHECKED)
    page = PAGE.read_text(encoding="utf-8")
    table = merged(rows, read(page))
    if writes:
        PAGE.write_text(replaced(page, table), encoding="utf-8")
    else:
        print(render(table))


if __name__ == "__main__":
    main()
