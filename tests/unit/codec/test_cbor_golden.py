"""The canonical encoding never changes: it is what roots, chains and files are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rsm.codec.cbor import Reference, decode_canonical, encode

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "cbor.json"


def plain(value: Any) -> Any:
    """The JSON of a vector as the value it stands for."""
    if isinstance(value, dict):
        if "bytes" in value:
            return bytes.fromhex(value["bytes"])
        if "reference" in value:
            return Reference(value["reference"][0], tuple(value["reference"][1]))
        return {plain(key): plain(item) for key, item in value["map"]}
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("vector", json.loads(GOLDEN.read_text()), ids=lambda vector: vector["hex"][:20])
def test_the_golden_values(vector: dict[str, Any]) -> None:
    """Encoded to exactly these bytes, and read back from them."""
    value = plain(vector["value"])
    assert encode(value).hex() == vector["hex"]
    assert decode_canonical(bytes.fromhex(vector["hex"]), bytes_max=1000) == value
