"""State as paths with plain values: what two processes can compare, whatever classes each of them has.

`orders/17` with a struct of two fields becomes `orders/17/price` and `orders/17/quantity`, as in `rsm.state.diff`;
bytes become hexadecimal, as in JSON. Of an array, `deer/17/x` is a cell: row, then column.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from rsm.limits import DIFFERENT_LEAVES_MAX
from rsm.replica.answer import Status, decode, decode_refusal
from rsm.replica.batch import PIPELINE
from rsm.state.arrays import ArrayLedger
from rsm.state.columns import ROWS
from rsm.state.leaf import ABSENT, digest128
from rsm.state.ledger import Ledger

__all__ = ["answer_value", "flatten", "leaf_path", "leaf_values", "plain"]

INTEGER_BITS: Final = 64


def leaf_path(container: str, leaf_key: Any, *, nested: bool) -> str:
    """The path of one leaf."""
    return f"{container}/" + ("/".join(repr(part) for part in leaf_key) if nested else repr(leaf_key))


def leaf_values(ledger: Ledger | None, container: str, leaf_key: Any, value: Any) -> dict[str, Any]:
    """The paths of one leaf, with a plain value each: of an array's column those of its cells, and of its row count.

    A column with more than `DIFFERENT_LEAVES_MAX` cells is told by a digest, under its name.
    """
    if not isinstance(ledger, ArrayLedger) or leaf_key not in ledger.cells:
        return flatten(leaf_path(container, leaf_key, nested=ledger is not None and ledger.nested), value)
    cell, data = ledger.cells[leaf_key], b"" if value is ABSENT else value
    count = len(data) // cell.size_bytes
    counted: dict[str, Any] = {f"{container}/{ROWS}": count}
    if count > DIFFERENT_LEAVES_MAX:
        return counted | {f"{container}/{leaf_key}": digest128(data).hex()}
    return counted | {f"{container}/{row}/{leaf_key}": number for row, number in enumerate(cell.decode(data))}


def flatten(path: str, value: Any) -> dict[str, Any]:
    """The paths below a leaf, with a plain value each; none for `ABSENT`."""
    if value is ABSENT:
        return {}
    if isinstance(value, msgspec.Struct) and value.__struct_fields__:
        found: dict[str, Any] = {}
        for field in value.__struct_fields__:
            found |= flatten(f"{path}/{field}", getattr(value, field))
        return found
    if isinstance(value, tuple) and value:
        found = {}
        for number, part in enumerate(value):
            found |= flatten(f"{path}/{number}", part)
        return found
    return {path: plain(value)}


def plain(value: Any) -> Any:
    """A value as JSON and MessagePack can hold it; what they cannot becomes its text."""
    if value is None or type(value) in (bool, str):
        return value
    if type(value) is int:
        return value if value.bit_length() < INTEGER_BITS else str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, msgspec.Struct):
        return {field: plain(getattr(value, field)) for field in value.__struct_fields__}
    return repr(value)


def answer_value(name: str, status: int, body: bytes) -> Any:
    """The answer to a command of this name as a plain value: the result (of a pipeline a list, one for each step), or a
    map that says how it was refused.
    """
    try:
        if status == Status.OK:
            result = decode(body) if body else None
            if name == PIPELINE and type(result) is list:
                result = [decode(step) if type(step) is bytes and step else step or None for step in result]
            return plain(result)
        how = Status(status).name.lower()
        if not body:
            return {"status": how}
        reason, step = decode_refusal(body)
        return {"status": how, "reason": reason} | ({"step": step} if step >= 0 else {})
    except (msgspec.MsgspecError, ValueError):
        return {"status": status, "body": body.hex()}
