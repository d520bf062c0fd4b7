"""Types are made known to msgspec while their module is imported, and not when they are first converted to.

msgspec (0.22) looks at a class when it first decodes or converts to it, and puts what it has found so far on the class
meanwhile. A second thread that converts to the same class at that moment takes the half for the whole, and the process
dies of a segmentation fault. Clients and tools convert in many threads, and all of them first do so at the same moment:
when they connect.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["make_known"]


def make_known(*kinds: Any) -> None:
    """Have msgspec look at these types, and at all that they hold. Call it where they are defined, below them."""
    for kind in kinds:
        msgspec.msgpack.Decoder(kind)
