"""Scalars: the plain attributes of a machine, tracked under one container.

The values live in the machine's own instance dictionary, where reading them costs what reading any attribute costs;
assigning goes through `write`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from rsm.state.containers import Check, Record, refuse_write
from rsm.state.leaf import ABSENT
from rsm.state.ledger import Ledger

SCALARS: Final = "scalars"


class Scalars:
    """The tracked attributes of one machine object."""

    __slots__ = ("_ledger", "_record", "_values", "checks", "defaults")

    _ledger: Ledger

    def __init__(self, values: dict[str, Any], defaults: dict[str, Any], checks: dict[str, Check]) -> None:
        self._values = values
        self.defaults = defaults
        self.checks = checks
        self._record: Record = refuse_write

    def write(self, name: str, value: Any) -> None:
        """Assign one declared attribute."""
        self.checks[name](value)
        self._record((self, name, self._values[name]))
        self._values[name] = value

    def __len__(self) -> int:
        return len(self.checks)

    def _leaf(self, leaf_key: Any, default: Any) -> Any:
        return self._values.get(leaf_key, default)

    def _restore(self, leaf_key: Any, old: Any) -> None:
        if old is ABSENT:
            self._values.pop(leaf_key, None)
        else:
            self._values[leaf_key] = old

    def _empty(self) -> None:
        for name in self.checks:
            self._values.pop(name, None)


class ScalarLedger(Ledger):
    """The books of scalars: every leaf has a type of its own."""

    __slots__ = ("_decoders",)

    def __init__(self, name: str, schema: str, types: dict[str, Any], container: Scalars) -> None:
        super().__init__(name, "scalars", schema, str, msgspec.Raw, container)
        self._decoders = {scalar: msgspec.msgpack.Decoder(declared).decode for scalar, declared in types.items()}

    def decode_leaves(self, data: bytes) -> list[tuple[Any, Any]]:
        """Typed leaves from their MessagePack."""
        return [(scalar, self._decoders[scalar](raw)) for scalar, raw in super().decode_leaves(data)]
