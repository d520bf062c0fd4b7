"""Machines that do what handlers must not do, one thing each, on a line that ends with the name of the thing."""

from __future__ import annotations

import asyncio
import copy
import functools
import itertools
import locale
import logging
import math
import os
import platform
import random
import secrets
import socket
import subprocess
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic as ticks
from time import time as now
from typing import Any

import rsm

SEEN: dict[str, int] = {}
NUMBERS = itertools.count()
LABELS: list[str] = []


class Thing:
    """An object that says nothing of itself."""


@dataclass(frozen=True)
class Key:
    """A key made of text."""

    text: str


class Tally:
    """A helper object that counts by itself."""

    def __init__(self) -> None:
        self.calls = 0
        self.by_name: dict[str, int] = {}


def remember(name: str, names: list[str] = []) -> int:  # noqa: B006  # the fault itself
    names.append(name)
    return len(names)


def count_up() -> None:
    global LABELS
    LABELS = [*LABELS, "x"]


def own_helper() -> float:
    return time.perf_counter()  # in a helper


# What is done by name; the line at fault ends with the name.
DEEDS: dict[str, Callable[[Any, rsm.Context], Any]] = {
    "time.time": lambda self, ctx: time.time(),  # time.time
    "from time import time": lambda self, ctx: now(),  # from time import time
    "renamed monotonic": lambda self, ctx: ticks(),  # renamed monotonic
    "sleep": lambda self, ctx: time.sleep(0),  # sleep
    "gmtime": lambda self, ctx: time.gmtime(),  # gmtime
    "datetime.now": lambda self, ctx: datetime.now(UTC),  # datetime.now
    "datetime.utcnow": lambda self, ctx: datetime.today(),  # datetime.utcnow
    "date.today": lambda self, ctx: date.today(),  # date.today
    "in a helper": lambda self, ctx: own_helper(),
    "local time": lambda self, ctx: datetime.fromtimestamp(3),  # local time
    "localtime": lambda self, ctx: time.localtime(3),  # localtime
    "naive timestamp": lambda self, ctx: datetime(2020, 1, 1).timestamp(),  # naive timestamp
    "random.random": lambda self, ctx: random.random(),  # random.random
    "random.choice": lambda self, ctx: random.choice([1, 2]),  # random.choice
    "a seeded generator": lambda self, ctx: random.Random(3).random(),  # a seeded generator
    "secrets": lambda self, ctx: secrets.token_hex(),  # secrets
    "uuid1": lambda self, ctx: uuid.uuid1(),  # uuid1
    "uuid4": lambda self, ctx: uuid.uuid4(),  # uuid4
    "urandom": lambda self, ctx: os.urandom(2),  # urandom
    "environ": lambda self, ctx: os.environ.get("HOME"),  # environ
    "getenv": lambda self, ctx: os.getenv("HOME"),  # getenv
    "getpid": lambda self, ctx: os.getpid(),  # getpid
    "platform": lambda self, ctx: platform.node(),  # platform
    "id": lambda self, ctx: id(self),  # id
    "key=id": lambda self, ctx: sorted([Thing(), Thing()], key=id),  # key=id
    "hash of text": lambda self, ctx: hash("text"),  # hash of text
    "hash of a tuple": lambda self, ctx: hash((1, ("text",))),  # hash of a tuple
    "hash of a key": lambda self, ctx: hash(Key("text")),  # hash of a key
    "hash of an object": lambda self, ctx: hash(Thing()),  # hash of an object
    "open": lambda self, ctx: open(os.devnull).close(),  # open
    "read_bytes": lambda self, ctx: Path(os.devnull).read_bytes(),  # read_bytes
    "listdir": lambda self, ctx: os.listdir("."),  # listdir
    "socket": lambda self, ctx: socket.socket().close(),  # socket
    "subprocess": lambda self, ctx: subprocess.run(["true"], check=True),  # subprocess
    "print": lambda self, ctx: print("", end=""),  # print
    "logging": lambda self, ctx: logging.getLogger("planted").warning("planted"),  # logging
    "warnings": lambda self, ctx: warnings.warn("planted", stacklevel=1),  # warnings
    "thread": lambda self, ctx: threading.Thread(target=int).start(),  # thread
    "asyncio": lambda self, ctx: asyncio.new_event_loop().close(),  # asyncio
    "locale": lambda self, ctx: locale.localeconv(),  # locale
    "strftime": lambda self, ctx: datetime(2020, 1, 1).strftime("%B"),  # strftime
    "sin": lambda self, ctx: math.sin(1),  # sin
    "a float": lambda self, ctx: self.values.__setitem__("a", 1.5),  # a float
    "attribute": lambda self, ctx: setattr(self, "other", 3),  # attribute
}
FINE: dict[str, Callable[[Any, rsm.Context], Any]] = {
    "nothing": lambda self, ctx: None,
    "log time": lambda self, ctx: ctx.now,
    "random stream": lambda self, ctx: ctx.random("dice").between(1, 6),
    "gmtime of a number": lambda self, ctx: time.gmtime(3),
    "a time with a zone": lambda self, ctx: datetime.fromtimestamp(3, UTC).timestamp(),
    "uuid5": lambda self, ctx: uuid.uuid5(uuid.NAMESPACE_DNS, "text"),
    "hash of numbers": lambda self, ctx: hash((1, 2)),
    "a dict with keys of text": lambda self, ctx: {Key("text"): 1, "text": 2}[Key("text")],
    "a sorted set": lambda self, ctx: sorted({"b", "a"}),
    "deep copy": lambda self, ctx: copy.deepcopy([Thing()]),
    "text of a dataclass": lambda self, ctx: repr(Key("text")),
    "isqrt": lambda self, ctx: math.isqrt(17),
    "an allowed line": lambda self, ctx: time.time(),  # rsm: allow[RSM101] the test of allowances
    "path arithmetic": lambda self, ctx: str(Path("a") / "b"),
    "writes": lambda self, ctx: self.values.update(a=1, b=2),
}


class Planted(rsm.StateMachine, name="planted", version=1):
    """Does one thing by name."""

    values: rsm.Map[str, int]
    total: int

    @rsm.command(version=1)
    def do(self, ctx: rsm.Context, what: str) -> None:
        (DEEDS.get(what) or FINE[what])(self, ctx)

    @rsm.command(version=1)
    def imports(self, ctx: rsm.Context) -> None:
        import this_is_planted  # type: ignore[import-not-found]

        this_is_planted.nothing()

    @rsm.query
    def look(self, what: str) -> None:
        DEEDS.get(what, FINE["nothing"])(self, None)  # type: ignore[arg-type]  # none of those asked needs one

    @rsm.query
    def write(self) -> None:
        self.values["a"] = 1  # write in a query

    @rsm.query
    def items(self) -> Iterator[int]:
        yield 1
        yield int(time.time())  # in a stream


class Forgetful(rsm.StateMachine, name="forgetful", version=1):
    """Remembers what no snapshot has."""

    values: rsm.Map[str, int]
    total: int
    hits = 0

    def setup(self) -> None:
        self.tally = Tally()
        self.cache: dict[str, int] = {}

    @rsm.command(version=1)
    def fine(self, ctx: rsm.Context, name: str) -> int:
        self.values[name] = self.values.get(name, 0) + 1
        return self.values[name]

    @rsm.command(version=1)
    def global_dict(self, ctx: rsm.Context, name: str) -> None:
        SEEN[name] = ctx.index

    @rsm.command(version=1)
    def global_name(self, ctx: rsm.Context, name: str) -> None:
        count_up()

    @rsm.command(version=1)
    def global_count(self, ctx: rsm.Context, name: str) -> None:
        next(NUMBERS)

    @rsm.command(version=1)
    def class_attribute(self, ctx: rsm.Context, name: str) -> None:
        Forgetful.hits += 1

    @rsm.command(version=1)
    def mutable_default(self, ctx: rsm.Context, name: str) -> None:
        remember(name)

    @rsm.command(version=1)
    def helper(self, ctx: rsm.Context, name: str) -> None:
        self.tally.calls += 1

    @rsm.command(version=1)
    def helper_dict(self, ctx: rsm.Context, name: str) -> None:
        self.tally.by_name[name] = 1

    @rsm.command(version=1)
    def hidden_attribute(self, ctx: rsm.Context, name: str) -> None:
        self.__dict__["hidden"] = name

    @rsm.command(version=1)
    def behind(self, ctx: rsm.Context, name: str) -> None:
        dict.__setitem__(self.values, name, 3)

    @rsm.query
    def caching(self, name: str) -> int:
        return self.cache.setdefault(name, self.values.get(name, 0))

    @rsm.command(version=1)
    def by_cache(self, ctx: rsm.Context, name: str) -> int:
        self.total = self.caching(name)
        return self.total


class Stale(rsm.StateMachine, name="stale", version=1):
    """Decides by a cache of what the state was."""

    fees: rsm.Map[str, int]

    @rsm.command(version=1)
    def set_fee(self, ctx: rsm.Context, name: str, fee: int) -> None:
        self.fees[name] = fee

    @functools.cache  # noqa: B019  # the fault itself
    def fee_of(self, name: str) -> int:
        return self.fees.get(name, 0)

    @rsm.command(version=1)
    def charge(self, ctx: rsm.Context, name: str) -> int:
        return self.fee_of(name)


class Addressed(rsm.StateMachine, name="addressed", version=1):
    """Answers, writes and says what differs from run to run, without a call that a trap would see."""

    names: rsm.Map[str, str]
    order: rsm.Map[int, str]

    @rsm.command(version=1)
    def answer(self, ctx: rsm.Context) -> str:
        return f"{Thing()}"

    @rsm.command(version=1)
    def write(self, ctx: rsm.Context, name: str) -> None:
        self.names[name] = f"{Thing()}"

    @rsm.command(version=1)
    def emit(self, ctx: rsm.Context) -> None:
        ctx.emit(f"{Thing()}")

    @rsm.command(version=1)
    def later(self, ctx: rsm.Context) -> None:
        ctx.schedule(ctx.now, Addressed.write, "timer")

    @rsm.query
    def asked(self) -> str:
        return f"{Thing()}"


class InsertionOrder(rsm.StateMachine, name="insertion_order", version=1):
    """Iterates in the order in which a plain dict underneath was filled: another one after a restore."""

    values: rsm.Map[str, int]

    @rsm.command(version=1)
    def put(self, ctx: rsm.Context, name: str) -> None:
        self.values[name] = ctx.index

    @rsm.command(version=1)
    def first(self, ctx: rsm.Context) -> str:
        return next(iter(dict.keys(self.values)))


class Clocked(rsm.StateMachine, name="clocked", version=1):
    """Reads a clock when it is told to."""

    at: int

    @rsm.command(version=1)
    def set(self, ctx: rsm.Context, by_clock: bool) -> None:
        self.at = time.time_ns() if by_clock else ctx.now
