"""Public tools for testing machines and storage: strict mode, a simulated cluster, a disk that fails as disks fail.

`strict`, `load_bundle`, `check_upcasters` and what they give and raise stand here; the rest is in its modules
(`rsm.testing.simulator`, `rsm.testing.disk`, ...).
"""

from __future__ import annotations

from rsm.testing.bundles import LoadedBundle, load_bundle
from rsm.testing.strict_mode import Strict, strict
from rsm.testing.strict_rules import NondeterminismError, StrictFinding
from rsm.testing.upcaster_laws import UpcasterLawError, UpcastersChecked, check_upcasters

__all__ = [
    "LoadedBundle",
    "NondeterminismError",
    "Strict",
    "StrictFinding",
    "UpcasterLawError",
    "UpcastersChecked",
    "check_upcasters",
    "load_bundle",
    "strict",
]
