"""Bundles in tests: the evidence of a difference, run again under the class that should no longer make it.

    import rsm.testing

    def test_the_total_is_right() -> None:
        finding = rsm.testing.load_bundle("desync-294").replay(Shop)
        assert finding.verdict == "agree", finding

What is in a bundle is data; the class is the one that is given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from rsm.desync.bundle import Bundle
from rsm.desync.finding import Finding
from rsm.desync.paths import plain
from rsm.desync.recording import Recording
from rsm.desync.single import replay
from rsm.machine.machine import StateMachine
from rsm.node.storage.disk import OsDisk
from rsm.replica.naming import Names, items_of

__all__ = ["LoadedBundle", "load_bundle"]


class LoadedBundle:
    """A bundle: data, whatever the class is called now and wherever it stands.

    `machine` and `version` say whose it is; `from_index` and `to_index` which entries it holds; `good_index` the last
    one at which the roots agreed (0: none); `expected` and `found` the roots by index, as they should be and as they
    were; `environment` where they were found, `verdict` what was known then, both as plain values.
    """

    def __init__(self, path: str) -> None:
        """`StorageError` if there is no bundle, `CorruptFile`, `UnknownFormat`."""
        self.path = path
        head = Bundle.read(OsDisk(), path).head
        self.machine = head.machine
        self.version = head.version
        self.from_index = head.from_index
        self.to_index = head.to_index
        self.good_index = head.good_index
        self.expected = {index: bytes.fromhex(root) for index, root in head.expected.items()}
        self.found = {index: bytes.fromhex(root) for index, root in head.found.items()}
        self.environment = dict(head.environment)
        self.verdict = dict(head.verdict)

    def commands(self) -> Iterator[dict[str, Any]]:
        """Its commands in order: `index`, `position`, `name`, `version`, `values` by field."""
        recording = Recording(OsDisk(), self.path)
        names = Names()
        for manifest in recording.manifests.values():
            names.declare(manifest.machine, manifest.version, manifest.schema)
        for scanned in recording.entries(self.from_index):
            for item in items_of(scanned.entry, names):
                for call in item.calls if not item.is_system else ():
                    yield {
                        "index": item.entry.index,
                        "position": item.position,
                        "name": call.name,
                        "version": call.version,
                        "values": plain(call.values),
                    }

    def replay(self, machine: type[StateMachine]) -> Finding:
        """Run it under a class. `agree`: it gives the roots that are expected; `desync`: it does not, and where.

        `CorruptFile` if the bundle is damaged. A class that cannot run it is `unchecked`.
        """
        return replay(Recording(OsDisk(), self.path), machine)


def load_bundle(path: str | os.PathLike[str]) -> LoadedBundle:
    """The bundle in a directory, as `rsm desync replay` and quarantined nodes write it.

    `StorageError` if there is none, `CorruptFile` for one that is damaged, `UnknownFormat` for that of a newer release.
    """
    return LoadedBundle(os.fspath(path))
