"""Where two snapshots of one index differ, path by path, without the class of their machine.

The sums of the manifests say in which buckets; only those are decoded, as plain MessagePack. The schema in the manifest
names the fields of structs, so that a path reads like that of `rsm.state.diff`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from rsm.desync.finding import PathDifference
from rsm.desync.sources import Snapshot
from rsm.errors import BadBytes
from rsm.limits import BUCKETS, DIFFERENT_LEAVES_MAX, DIFFERENT_PATHS_MAX
from rsm.node.storage.disk import Disk
from rsm.node.storage.snapshots import read_snapshot
from rsm.replica.contents import NESTED_KIND
from rsm.replica.sessions import SessionRecord
from rsm.replica.snapshot import decode_chunk
from rsm.state.columns import ARRAY_KIND, CELL_TYPES, CellType, differing_cells
from rsm.state.types import describe

__all__ = ["SnapshotDifference", "compare_snapshots", "differing_buckets"]

_leaves: Final = msgspec.msgpack.Decoder(list[tuple[msgspec.Raw, msgspec.Raw]]).decode
_plain: Final = msgspec.msgpack.Decoder().decode
_column_name: Final = msgspec.msgpack.Decoder(str).decode
_column_data: Final = msgspec.msgpack.Decoder(bytes).decode
_MISSING: Final = object()
SCALARS: Final = "scalars"
# Records of the system that a schema names without their fields.
_SYSTEM_RECORDS: Final = {"SessionRecord/1": describe(SessionRecord)}


class SnapshotDifference(NamedTuple):
    """Buckets that differ, by container, and paths: at most `DIFFERENT_PATHS_MAX`; `has_more` says that there are
    others.
    """

    buckets: dict[str, list[int]]
    paths: tuple[PathDifference, ...]
    has_more: bool


def differing_buckets(left: Snapshot, right: Snapshot) -> dict[str, list[int]]:
    """The buckets whose sums differ, by container; all of one that only one side has, or has with another schema."""
    ours, theirs = left.manifest.state, right.manifest.state
    found: dict[str, list[int]] = {}
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs or ours[name][:2] != theirs[name][:2]:
            found[name] = list(range(BUCKETS))
            continue
        one, other = ours[name][2], theirs[name][2]
        if one != other:
            found[name] = [at for at in range(BUCKETS) if one[8 * at : 8 * at + 8] != other[8 * at : 8 * at + 8]]
    return found


def compare_snapshots(disk: Disk, snapshots: dict[str, Snapshot]) -> SnapshotDifference:
    """The differing paths of two snapshots of one index, with the value of each source. `BadBytes`, `StorageError`."""
    (left_name, left), (right_name, right) = snapshots.items()
    buckets = differing_buckets(left, right)
    wanted = {name: frozenset(numbers) for name, numbers in buckets.items()}
    ours, theirs = _read(disk, left, wanted), _read(disk, right, wanted)
    has_more = len(ours) > DIFFERENT_LEAVES_MAX or len(theirs) > DIFFERENT_LEAVES_MAX
    paths: list[PathDifference] = []
    arrays = _arrays_of(left, right)
    if not has_more:
        for container in sorted(arrays.keys() & buckets.keys()):
            cells = differing_cells(
                container, arrays[container], _columns(ours, container), _columns(theirs, container)
            )
            for path, *pair in islice(cells, DIFFERENT_PATHS_MAX + 1):
                paths.append(PathDifference(path, dict(zip((left_name, right_name), pair, strict=True))))
        for container, key in sorted(ours.keys() | theirs.keys(), key=_users_first):
            one, other = ours.get((container, key)), theirs.get((container, key))
            if one == other or container in arrays:
                continue
            for path, values in _of_leaf(left, container, key, one, other):
                named = {
                    name: value
                    for name, value in zip((left_name, right_name), values, strict=True)
                    if value is not _MISSING
                }
                paths.append(PathDifference(path, named))
            if len(paths) > DIFFERENT_PATHS_MAX:
                return SnapshotDifference(buckets, tuple(paths[:DIFFERENT_PATHS_MAX]), True)
    return SnapshotDifference(buckets, tuple(paths), has_more)


def _arrays_of(left: Snapshot, right: Snapshot) -> dict[str, dict[str, CellType]]:
    """The arrays that both have with the same columns, and these."""
    found = {}
    for name, (kind, schema, _) in left.manifest.state.items():
        if kind == ARRAY_KIND and right.manifest.state.get(name, ("", "", b""))[:2] == (kind, schema):
            fields = dict(_fields(schema.partition("; ")[2]))
            if CELL_TYPES.keys() >= set(fields.values()):
                found[name] = {column: CELL_TYPES[of] for column, of in fields.items()}
    return found


def _columns(leaves: dict[tuple[str, bytes], bytes], container: str) -> dict[str, bytes]:
    """The columns among some leaves. What is none was not written by us: the sums of such a file are not right."""
    found: dict[str, bytes] = {}
    for (name, key), value in leaves.items():
        if name == container:
            try:
                found[_column_name(key)] = _column_data(value)
            except msgspec.MsgspecError as error:
                raise BadBytes(f"a leaf of the array {name!r} is no column: {error}") from error
    return found


def _users_first(leaf: tuple[str, bytes]) -> tuple[bool, str, bytes]:
    # Whatever differs, the system's digest over all answers probably does too: the cause is in the machine's state.
    return leaf[0].startswith("rsm."), *leaf


def _read(disk: Disk, snapshot: Snapshot, wanted: dict[str, frozenset[int]]) -> dict[tuple[str, bytes], bytes]:
    """The leaves of the buckets wanted, as they lie in the file; a few more than the bound if there are too many."""
    found: dict[tuple[str, bytes], bytes] = {}
    records = read_snapshot(disk, snapshot.path)
    next(records, None)  # the manifest
    for _, payload in records:
        name, buckets = decode_chunk(payload)
        for bucket, packed in buckets:
            if bucket in wanted.get(name, ()):
                try:
                    found.update(((name, bytes(key)), bytes(value)) for key, value in _leaves(packed))
                except msgspec.MsgspecError as error:
                    raise BadBytes(f"{snapshot.path}: the leaves of {name!r} cannot be read: {error}") from error
        if len(found) > DIFFERENT_LEAVES_MAX:
            break
    return found


def _of_leaf(
    snapshot: Snapshot, container: str, key: bytes, one: bytes | None, other: bytes | None
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    kind, schema = snapshot.manifest.state.get(container, ("", "", b""))[:2]
    decoded = _decode(key)
    if kind == NESTED_KIND and type(decoded) is tuple:
        path = f"{container}/{'/'.join(map(repr, decoded))}"
    else:
        path = f"{container}/{decoded!r}"
    values = tuple(_MISSING if data is None else _decode(data) for data in (one, other))
    yield from _of_value(path, value_type(kind, schema, decoded), values[0], values[1])


def _decode(data: bytes) -> Any:
    return _frozen(_plain(data))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if type(value) is list else value


def _of_value(path: str, declared: str, one: Any, other: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if type(one) is tuple and type(other) is tuple and len(one) == len(other):
        fields = struct_fields(declared)
        for number, pair in enumerate(zip(one, other, strict=True)):
            if msgspec.msgpack.encode(pair[0]) != msgspec.msgpack.encode(pair[1]):
                name, of = fields[number] if len(fields) == len(one) else (str(number), "")
                yield from _of_value(f"{path}/{name}", of, *pair)
    else:
        yield path, (one, other)


def value_type(kind: str, schema: str, key: Any) -> str:
    """The declared type of a container's values, as the schema writes it; empty where it cannot be told."""
    types = schema.partition("; ")[2]
    if kind == SCALARS:
        return next((of for name, of in _fields(types) if name == key), "")
    declared = types.partition(" -> ")[2].removeprefix("queue ") if " -> " in types else types
    return _SYSTEM_RECORDS.get(declared, declared)


def struct_fields(declared: str) -> list[tuple[str, str]]:
    """Name and type of each field of `struct Order(id:int,quantity:int)`; of a union, those of its struct."""
    for part in _split(declared, "|"):
        name, parenthesis, rest = part.partition("(")
        if parenthesis and name.startswith("struct ") and rest.endswith(")"):
            return _fields(rest[:-1])
    return []


def _fields(text: str) -> list[tuple[str, str]]:
    pairs = (part.partition(":") for part in _split(text, ","))
    return [(name, of) for name, colon, of in pairs if colon]


def _split(text: str, separator: str) -> Iterator[str]:
    """Parts of a type, split where no parenthesis, bracket or quote is open."""
    depth, quote, start = 0, "", 0
    is_escaped = False
    for at, character in enumerate(text):
        if quote:
            if is_escaped:
                is_escaped = False
            elif character == "\\":
                is_escaped = True
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character == separator and not depth:
            yield text[start:at]
            start = at + 1
    yield text[start:]
