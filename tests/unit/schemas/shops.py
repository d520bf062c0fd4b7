"""A shop with a history, and what somebody may do to it: each edit is text put in the place of other text."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

from rsm.machine.definition import Definition
from rsm.schemas.document import Lock
from rsm.schemas.observing import extend, observe

SHOP = """
from __future__ import annotations
import enum
import rsm

class Kind(enum.Enum):
    NEW = 1
    USED = 2

class ShopV1(rsm.StateMachine, name="shop", version=1):
    stock: rsm.Map[str, int]

    @rsm.command(version=1)
    def put(self, ctx: rsm.Context, item: str, count: int) -> int:
        if count < 0:
            ctx.reject("less than nothing")
        self.stock[item] = self.stock.get(item, 0) + count
        return self.stock[item]

    @rsm.command(version=1)
    def swap(self, ctx: rsm.Context, old: str, new: str) -> int:
        self.stock[new] = self.stock.pop(old, 0)
        return self.stock[new]

    @rsm.query
    def left(self, item: str) -> int:
        return self.stock.get(item, 0)

class Shop(rsm.StateMachine, name="shop", version=2, previous=ShopV1):
    stock: rsm.Map[str, int]
    sold: int

    @rsm.command(version=3)
    def put(self, ctx: rsm.Context, item: str, count: int, kind: Kind = Kind.NEW) -> int:
        if count < 0:
            ctx.reject("less than nothing")
        self.stock[item] = self.stock.get(item, 0) + count
        ctx.emit(item)
        return self.stock[item]

    @rsm.command(version=1)
    def sell(self, ctx: rsm.Context, item: str) -> int:
        if not self.stock.get(item):
            ctx.reject("nothing left")
        self.stock[item] -= 1
        self.sold += 1
        ctx.schedule(ctx.now + 10, Shop.put, "returned", 1)
        return self.sold

    @rsm.upcast("put", from_version=1)
    def put_1(item: str, count: int) -> tuple[str, int]:
        return item.lower(), count

    @rsm.upcast("put", from_version=2)
    def put_2(item: str, count: int) -> tuple[str, int, Kind]:
        return item, count, Kind.USED

    @rsm.upcast("swap", from_version=1, into={"put": 2, "sell": 1})
    def swap_1(old: str, new: str) -> rsm.Split | rsm.Drop:
        if old == new:
            return rsm.drop(0)
        return rsm.split(("put", old, 1), ("put", new, 2), answers=1)

    @rsm.query
    def left(self, item: str) -> int:
        return self.stock.get(item, 0)

    def migrate_state(self, old: ShopV1) -> None:
        self.sold = len(old.stock)
"""
_numbers = itertools.count()


def load(directory: Path, *edits: tuple[str, str], name: str = "Shop", text: str = SHOP) -> Definition:
    """The class, from a module of its own, after the edits; each must find its place."""
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    module_name = f"edited_shop_{next(_numbers)}"
    path = directory / f"{module_name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    found: Any = getattr(module, name)
    definition = found.definition
    assert isinstance(definition, Definition)
    return definition


def locked(definition: Definition, lock: Lock | None = None) -> Lock:
    """What `rsm schema lock` would write."""
    return extend(definition, observe(definition, lock))
