#!/usr/bin/env python3
"""Writes the golden logs of the order book's releases: tests/golden/releases/*.log, with the roots beside them.

    python tests/golden/make_release_logs.py NAME...

A golden log is written once, when its release is, and never again: what it says is what that release did. So a file
that exists is left alone; delete it first if a release that nobody has run yet is still to change.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import rsm  # noqa: E402
from demos.orderbook.releases.flow import Flow  # noqa: E402
from demos.orderbook.releases.v1 import ExchangeV1  # noqa: E402
from demos.orderbook.releases.v2 import ExchangeV2  # noqa: E402
from demos.orderbook.releases.v3 import Exchange  # noqa: E402
from rsm.node.storage.disk import OsDisk  # noqa: E402
from rsm.node.storage.root_book import BOOK_NAME, ROOTS_SUFFIX, RootBook  # noqa: E402
from rsm.replica.batch import ACTIVATE, FLAG_HASH_POINT, FLAG_UPGRADE, encode_call, join_item  # noqa: E402
from tests.machines import Log  # noqa: E402
from tests.replay_stage import write_segment  # noqa: E402

DIRECTORY = ROOT / "tests" / "golden" / "releases"
RELEASES = {1: ExchangeV1, 2: ExchangeV2, 3: Exchange}
TRADERS = ("ann", "bob", "cid")
INSTRUMENTS = (1, 2)
COMMANDS = 300
ITEMS_PER_ENTRY_MAX = 6
ENTRIES_PER_ROOT = 8
# Releases in force, one after the other.
LOGS = {"v1": (1,), "v2": (2,), "v1-v2-v3": (1, 2, 3)}


class ExchangeLog(Log):
    """A log of the exchange that moves from release to release. Old clients go on when it does."""

    def __init__(self, versions: tuple[int, ...], seed: int, commands: int = COMMANDS) -> None:
        self.random = rsm.Random.named("golden", seed)
        super().__init__(RELEASES[max(versions)], activate=False)
        self.machine: Any = RELEASES[versions[0]]
        self.lead(ACTIVATE, "exchange", versions[0], self.machine.definition.schema(), b"golden seed")
        self.sessions = [self.open(trader) for trader in TRADERS]
        self.flows = [
            iter(Flow(seed + place, INSTRUMENTS, 1_000_000 * (place + 1), terms=max(versions) > 1))
            for place in range(len(TRADERS))
        ]
        for instrument in INSTRUMENTS:
            self.run(self.sessions[0], "list_instrument", instrument, f"SYM{instrument}")
        for number, version in enumerate(versions):
            if number:
                self.upgrade(RELEASES[version])
            self.trade(version, commands // len(versions))
        self.entry([], FLAG_HASH_POINT)

    def upgrade(self, target: type[rsm.StateMachine]) -> None:
        """To the next release, at one index."""
        call = encode_call(ACTIVATE, 1, ["exchange", target.definition.version, target.definition.schema(), b""])
        self.entry([join_item(0, 0, 0, call)], FLAG_UPGRADE | FLAG_HASH_POINT)
        self.machine = target
        if self.replica.definition is not target.definition:
            raise RuntimeError(f"version {target.definition.version} did not come into force: {self.applied[-1]}")

    def trade(self, in_force: int, commands: int) -> None:
        """So many commands, several an entry. Each client says them in its own version, which may be an old one."""
        draw, sent = self.random, 0
        while sent < commands:
            self.now += 10**6 * (1 + draw.below(100))
            place = draw.below(len(TRADERS))
            session, version = self.sessions[place], 1 + draw.below(in_force) if place == 0 else in_force
            calls = [
                call
                for intent in islice(self.flows[place], 1 + draw.below(ITEMS_PER_ENTRY_MAX))
                for call in intent.calls(version)
            ]
            first = self.next_sequence(session)
            self.entry(
                [
                    join_item(session, first + number, first, encode_call(name, of_version, list(values)))
                    for number, (name, of_version, values) in enumerate(calls)
                ],
                0 if len(self.entries) % ENTRIES_PER_ROOT else FLAG_HASH_POINT,
            )
            sent += len(calls)

    def write(self, path: Path) -> None:
        """The log as `rsm log export` writes it, and the roots beside it."""
        write_segment(path, self.entries)
        book = RootBook(OsDisk(), str(path.parent))
        for applied in self.applied:
            if applied.root is not None:
                book.note(applied.index, applied.root)
        book.close()
        (path.parent / BOOK_NAME).rename(f"{path}{ROOTS_SUFFIX}")


def main(names: list[str]) -> int:
    """Write the logs of these names."""
    DIRECTORY.mkdir(exist_ok=True)
    for name in names:
        path = DIRECTORY / f"{name}.log"
        if name not in LOGS or path.exists():
            print(f"{name}: {'exists' if path.exists() else 'known are ' + ', '.join(LOGS)}", file=sys.stderr)
            return 1
        log = ExchangeLog(LOGS[name], seed=len(LOGS[name]) * 10 + LOGS[name][0])
        log.write(path)
        roots = sum(applied.root is not None for applied in log.applied)
        print(f"{path.relative_to(ROOT)}: {len(log.entries)} entries, {roots} roots, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
