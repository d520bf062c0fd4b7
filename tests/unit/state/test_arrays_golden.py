"""The bytes behind the roots of arrays never change: columns, leaves, buckets, seeds and digests.

As in `test_golden`: a vector that fails means that logs and snapshots written before would be read as divergence.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest

import rsm
from rsm.state.columns import CELL_TYPES
from rsm.state.leaf import bucket_of, container_seed, encode, leaf_hash
from tests.unit.state.stores import batch, store_of

GOLDEN: dict[str, Any] = json.loads((Path(__file__).resolve().parents[2] / "golden" / "arrays.json").read_text())


class Golden(rsm.StateMachine, name="golden", version=1):
    """A column of every type."""

    cells: Annotated[
        rsm.Array,
        rsm.Columns(i8="int8", i16="int16", i32="int32", i64="int64", u8="uint8", u16="uint16", u32="uint32"),
    ]
    empty: Annotated[rsm.Array, rsm.Columns(x="int32")]


def filled(count: int) -> Any:
    """The store of a golden machine with so many rows: each type's ends, then a formula."""
    golden = Golden()
    store = store_of(golden)
    with batch(store):
        golden.cells.resize(count)
        for column in golden.cells.columns:
            cell = CELL_TYPES[Golden.definition.containers[0].value.types[column]]
            values = [cell.low, cell.high, *(number * number % (cell.high + 1) for number in range(2, count))]
            golden.cells.assign(column, values[:count])
    return store


@pytest.mark.parametrize("vector", GOLDEN["leaves"], ids=lambda vector: vector["column"])
def test_the_bytes_of_a_column(vector: dict[str, Any]) -> None:
    """Little-endian cells as `bin`, under the column's name, in the bucket of that name."""
    ledger = filled(3).ledgers["cells"]
    column, cells = vector["column"], bytes.fromhex(vector["cells"])
    assert ledger.leaf(column, None) == cells
    assert encode((column, cells)).hex() == vector["hex"]
    assert bucket_of(column) == vector["bucket"]
    assert leaf_hash(column, cells, ledger.seed) == vector["hash"]


def test_encodings_that_a_reader_can_check_by_hand() -> None:
    """Two rows of two types: the least and the greatest value."""
    store = filled(2)
    assert store.ledgers["cells"].leaf("i16", None).hex() == "0080" + "ff7f"
    assert store.ledgers["cells"].leaf("u32", None).hex() == "00000000" + "ffffffff"
    assert encode(("i8", store.ledgers["cells"].leaf("i8", None))).hex() == "92a26938c402807f"


def test_the_schema_and_the_seed() -> None:
    """Columns by name, each with its type."""
    assert list(Golden.definition.state_schema()["cells"]) == GOLDEN["schema"]
    assert container_seed("cells", *GOLDEN["schema"]) == GOLDEN["seed"]


def test_digests_of_arrays() -> None:
    """Small and large, and one that has no rows."""
    for count, digests in GOLDEN["stores"].items():
        found = [[name, kind, digest.hex()] for name, kind, _, digest in filled(int(count)).digests()]
        assert found == digests
