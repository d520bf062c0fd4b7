"""The bytes and numbers behind roots never change: encodings of leaves, buckets, seeds, hashes, digests and roots.

A vector that fails means that logs and snapshots written before would be read as divergence. If that is wanted it is a
new format: a new name for `ALGORITHM`, or a new number in the file's head, and new vectors beside the old ones.
"""

from __future__ import annotations

import ast
import enum
import json
from pathlib import Path
from typing import Any

import pytest
import xxhash

import rsm
from rsm.codec.record import Entry, RecordKind
from rsm.replica.batch import FLAG_HASH_POINT, encode_call, join_batch, join_item
from rsm.replica.replica import Replica
from rsm.state.leaf import ALGORITHM, bucket_of, container_seed, digest128, encode, leaf_hash
from rsm.state.store import Store
from tests.unit.state.stores import batch, store_of

GOLDEN: dict[str, Any] = json.loads((Path(__file__).resolve().parents[2] / "golden" / "state.json").read_text())


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Order(rsm.Struct):
    owner: str
    quantity: int
    side: Side
    limit: int | None
    marks: tuple[str, ...]


class Golden(rsm.StateMachine, name="golden", version=3):
    """Every kind of container, with contents that a formula gives."""

    map: rsm.Map[str, int]
    orders: rsm.Map[int, Order]
    ordered: rsm.SortedMap[tuple[int, str], bytes]
    seen: rsm.Set[bytes]
    queue: rsm.Queue[str]
    table: rsm.Table[int, rsm.Queue[tuple[int, str]]]
    total: int
    label: str
    best: Order | None

    @rsm.command(version=2)
    def fill(self, ctx: rsm.Context, count: int) -> int:
        """Fill everything, by numbers and by `ctx`."""
        fill(self, count)
        self.map["random"] = ctx.random("golden").below(10**9)
        self.map["id"] = ctx.new_id()
        self.map["now"] = ctx.now
        ctx.emit((count, "filled"))
        ctx.schedule(ctx.now + 10, Golden.fill, 1)
        return count


def fill(golden: Golden, count: int) -> None:
    """Contents that depend on `count` alone."""
    for number in range(count):
        golden.map[f"key-{number}"] = number * number - 50
        limit = None if number % 3 else number
        side = Side.BUY if number % 2 else Side.SELL
        golden.orders[number - 3] = Order(f"owner {number}", number << 40, side, limit, ("é",) * (number % 4))
        golden.ordered[-number, str(number)] = bytes([number % 256]) * number
        golden.seen.add(bytes([number % 256, 255]))
        golden.queue.push(f"item {number}")
        golden.table[number % 5].push_front((number, ""))
    golden.queue.pop_first()
    golden.total = count
    golden.label = "\x00ß\U0001f600"
    golden.best = golden.orders[-3]


def filled(count: int) -> Store:
    """The store of a golden machine."""
    golden = Golden()
    store = store_of(golden)
    with batch(store):
        fill(golden, count)
    return store


def replica_after_entries() -> Replica:
    """A replica after a fixed log: activation, a session, two commands, a tick that fires a timer."""
    replica = Replica(Golden)
    activate = ["golden", 3, replica.definition.schema(), bytes(range(16))]
    call = encode_call("fill", 2, [20])
    log = [
        [join_item(0, 0, 0, encode_call("rsm.activate", 1, activate))],
        [join_item(0, 0, 0, encode_call("rsm.open_session", 1, ["ann", 0]))],
        [join_item(1, 1, 1, call), join_item(1, 2, 1, encode_call("fill", 2, [30]))],
        [],
    ]
    for index, items in enumerate(log, 1):
        payload = join_batch(3, 1_000 + index * 7, FLAG_HASH_POINT, items)
        replica.apply(Entry(index, 1, RecordKind.BATCH, payload))
    return replica


@pytest.mark.parametrize("vector", GOLDEN["leaves"], ids=lambda vector: f"{vector['key']}: {vector['value']}"[:40])
def test_the_encoding_bucket_and_hash_of_a_leaf(vector: dict[str, Any]) -> None:
    """MessagePack of [leaf key, value]; the bucket is the low ten bits of the key's hash."""
    key, value = ast.literal_eval(vector["key"]), ast.literal_eval(vector["value"])
    assert encode((key, value)).hex() == vector["hex"]
    assert bucket_of(key) == vector["bucket"]
    assert leaf_hash(key, value, vector["seed"]) == vector["hash"]


def test_encodings_that_a_reader_can_check_by_hand() -> None:
    """The shortest forms of MessagePack, structs as arrays, enums as their values, members with null."""
    assert encode((1, 2)).hex() == "920102"
    assert encode(("a", -1)).hex() == "92a161ff"
    assert encode((128, 65536)).hex() == "92cc80ce00010000"
    assert encode((2**63 - 1, -(2**63))).hex() == "92cf7fffffffffffffffd38000000000000000"
    assert encode((b"\x01", None)).hex() == "92c40101c0"
    assert encode((True, ())).hex() == "92c390"
    assert encode((0, Order("b", 3, Side.BUY, None, ()))).hex() == "920095a16203a3627579c090"
    assert encode((0, Order("b", 3, Side.BUY, None, ()))) == encode((0, ("b", 3, "buy", None, ())))


def test_hashes_are_those_of_the_published_algorithm() -> None:
    """XXH3 of the empty input and of one byte, from the reference implementation's tables."""
    assert xxhash.xxh3_64_intdigest(b"") == 0x2D06800538D394C2
    assert xxhash.xxh3_128_hexdigest(b"") == "99aa06d3014798d86001c324468d497f"


@pytest.mark.parametrize("vector", GOLDEN["seeds"], ids=lambda vector: vector["name"])
def test_the_seed_of_a_container(vector: dict[str, Any]) -> None:
    """Made of name, kind and schema."""
    assert container_seed(vector["name"], vector["kind"], vector["schema"]) == vector["seed"]


def test_the_schemas_and_digests_of_a_filled_store() -> None:
    """Every kind of container, small and large; kind and schema are part of it."""
    assert GOLDEN["algorithm"] == ALGORITHM
    for count, digests in GOLDEN["stores"].items():
        found = [[name, kind, schema, digest.hex()] for name, kind, schema, digest in filled(int(count)).digests()]
        assert found == digests


def test_the_first_leaves_of_a_snapshot() -> None:
    """A bucket is an array of leaves; which one a key lies in is part of the format."""
    found = [[name, bucket, leaves.hex()] for name, bucket, count, leaves in filled(3).cut().chunks() if count == 1]
    assert found == GOLDEN["buckets"]


def test_the_roots_of_a_replica() -> None:
    """System state, sessions, answers, timers, random numbers and all."""
    replica = replica_after_entries()
    assert {str(index): root.hex() for index, root in replica.roots.items()} == GOLDEN["roots"]
    by_hand = digest128(encode(("golden", 3, replica.store.digests())))
    assert by_hand == replica.roots[4]
