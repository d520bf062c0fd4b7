"""Examples of what the linter finds and what it lets pass, beyond those of docs/lint.md."""

from __future__ import annotations

from textwrap import dedent, indent

__all__ = ["BAD", "GOOD", "in_machine"]

PREAMBLE = """\
import rsm
from typing import Annotated, Any

class Shop(rsm.StateMachine, name="shop", version=1):
    total: int
    names: rsm.Map[str, int]
    tags: rsm.Map[str, tuple[str, ...]]
    seen: rsm.Set[str]
    line: rsm.Queue[int]
    ladder: rsm.SortedMap[int, None]
    queues: rsm.Table[int, rsm.Queue[int]]
    deer: Annotated[rsm.Array, rsm.Columns(x="int32")]
"""


def in_machine(example: str) -> str:
    """An example as a module: a module as it is; handlers in a machine; other statements in a command of one."""
    example = dedent(example)
    lines = example.splitlines()
    if any(line.startswith("class ") for line in lines):
        return example
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    body = "\n".join(line for line in lines if line not in imports)
    if not any(line.startswith(("def ", "@")) for line in lines):
        head = "@rsm.command(version=1)\ndef act(self, ctx: rsm.Context, text: str, words: list[str]) -> Any:\n"
        body = head + indent(body, "    ")
    return "\n".join([*imports, PREAMBLE, indent(body, "    "), ""])


# Each alone breaks this rule, and no other.
BAD: dict[str, tuple[str, ...]] = {
    "RSM101": (
        "import time as clock\nself.total = clock.monotonic_ns()",
        "from time import time_ns\nself.total = time_ns()",
        "from datetime import datetime as when\nself.total = when.now().year",
        "import datetime\nself.total = datetime.date.today().year",
        "import time\nself.names.update({word: n for n, word in enumerate(words, time.time_ns())})",
        "import time\nread = time.time_ns\nself.total = read()",
        "import time\nself.total = max(words, key=lambda word: time.time_ns()).count('a')",
        "import time\nif text:\n    def inner() -> int:\n        return time.time_ns()\n    self.total = inner()",
        "import time\ntime.sleep(1)",
        """\
        import time
        import rsm
        STARTED = time.time_ns()
        class Shop(rsm.StateMachine, name="shop", version=1):
            total: int
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                self.total = STARTED
        """,
        """\
        from time import *
        import rsm
        class Shop(rsm.StateMachine, name="shop", version=1):
            total: int
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                self.total = time_ns()
        """,
        """\
        import rsm
        class Shop(rsm.StateMachine, name="shop", version=1):
            total: int
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                import time
                self.total = time.time_ns()
        """,
        """\
        import time
        import rsm
        class Shop(rsm.StateMachine, name="shop", version=1):
            total: int
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context, at: int = time.time_ns()) -> None:
                self.total = at
        """,
        """\
        import time
        import rsm
        class Shop(rsm.StateMachine, name="shop", version=1):
            total: int = time.time_ns()
            @rsm.query
            def look(self) -> int:
                return self.total
        """,
        "import email.utils\nctx.emit(email.utils.formatdate())",
        "from datetime import datetime\nself.total = datetime(2020, 1, 1).now().year",
        "import time\nself.total = getattr(time, 'time_ns')()",
        """\
        import time
        import rsm
        class Shop(rsm.StateMachine, name="shop", version=1):
            total: int
            def on_start(self) -> None:
                self.total = time.time_ns()
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context, kind: str) -> None:
                getattr(self, f"on_{kind}")()
        """,
    ),
    "RSM102": (
        "from random import choice\nself.total = len(choice(words))",
        "import random\nself.total = random.Random(7).randrange(10)",
        "import uuid\nself.names[uuid.uuid4().hex] = 1",
        "import secrets\nself.total = secrets.randbelow(6)",
        "import os\nself.total = os.urandom(1)[0]",
        "import numpy as np\nself.total = int(np.random.randint(6))",
    ),
    "RSM103": (
        "from os import environ\nself.total = len(environ['HOME'])",
        "import os\nself.total = os.getpid()",
        "import os\nself.total = len(os.getenv('X', ''))",
        "import platform\nself.names[platform.node()] = 1",
        "import sys\nself.total = sys.maxsize",
        "import sys\nif sys.version_info > (3, 12):\n    self.total = 1",
        "self.names[__file__] = 1",
        "import zlib\nreturn zlib.compress(text.encode())",
        "return rsm.__version__",
    ),
    "RSM104": (
        "import pathlib\nself.total = len(pathlib.Path(text).read_text())",
        "from pathlib import Path\nself.total = len(list(Path(text).iterdir()))",
        "import subprocess\nsubprocess.run(words)",
        "import requests\nrequests.get(text)",
        "import os\nself.total = len(os.listdir(text))",
        "import urllib.request\nurllib.request.urlopen(text)",
        "import socket\nsocket.create_connection((text, 80))",
        "self.total = int(input())",
        "import mimetypes\nreturn mimetypes.guess_type(text)",
    ),
    "RSM105": (
        "print(text)",
        "import warnings\nwarnings.warn(text)",
        """\
        import logging
        import rsm
        log = logging.getLogger(__name__)
        class Shop(rsm.StateMachine, name="shop", version=1):
            total: int
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                log.info("acting")
        """,
    ),
    "RSM106": (
        "import threading\nthreading.Thread(target=print_nothing).start()",
        "import asyncio\nasyncio.run(text)",
        "@rsm.query\nasync def look(self) -> int:\n    return self.total",
    ),
    "RSM107": (
        "exec(text)",
        "import pickle\nself.total = len(pickle.dumps(words))",
        "import importlib\nimportlib.import_module(text)",
    ),
    "RSM108": (
        """\
        import sys
        import rsm
        if sys.platform == "linux":
            LIMIT = 1
        else:
            LIMIT = 2
        class Shop(rsm.StateMachine, name="shop", version=1):
            total: int
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                self.total = LIMIT
        """,
    ),
    "RSM109": ("if __debug__:\n    self.total += 1",),
    "RSM201": (
        "for word in {'a', text}:\n    ctx.emit(word)",
        "self.tags[text] = tuple(set(words))",
        "return [word for word in frozenset(words)]",
        "return ','.join({*words})",
        "first, second = {text, 'b'}\nctx.emit(first)",
        "return [*set(words)]",
        "ctx.emit(str(set(words)))",
        "ctx.emit(f'{set(words)}')",
        "chosen = set(words)\nfor word in chosen:\n    ctx.emit(word)",
        "chosen = {word for word in words}\nchosen.add(text)\nreturn list(chosen)",
        "chosen = set(words)\nif text:\n    chosen = sorted(chosen)\nfor word in chosen:\n    ctx.emit(word)",
        "for word in set(words) - {text}:\n    ctx.emit(word)",
        "for word in self.names.keys() & {text}:\n    ctx.emit(word)",
        "for word in set(words).union(text):\n    ctx.emit(word)",
        "for place, word in enumerate(set(words)):\n    ctx.emit((place, word))",
        "return list(map(len, set(words)))",
        "found = []\nfound.extend(set(words))\nreturn found",
        "found = []\nfound += set(words)\nreturn found",
        "groups = {'a': {text}}\nfor word in groups['a']:\n    ctx.emit(word)",
        "import collections\ngroups = collections.defaultdict(set)\nfor word in groups[text]:\n    ctx.emit(word)",
        "import itertools\nreturn list(itertools.chain(set(words)))",
        """\
        def some(self) -> set[str]:
            return {"a", "b"}
        @rsm.query
        def look(self) -> list[str]:
            return list(self.some())
        """,
        """\
        def some(self):
            return {"a", "b"}
        @rsm.query
        def look(self) -> list[str]:
            return list(self.some())
        """,
        """\
        def show(self, chosen: "frozenset[str] | None") -> list[str]:
            return list(chosen or ())
        @rsm.query
        def look(self) -> list[str]:
            return self.show(None)
        """,
        """\
        @rsm.query
        def look(self) -> Any:
            yield from {self.total, 1}
        """,
        """\
        import rsm
        VALID = frozenset({"a", "b"})
        class Shop(rsm.StateMachine, name="shop", version=1):
            @rsm.query
            def act(self) -> list[str]:
                return list(VALID)
        """,
        """\
        import rsm
        class Row(rsm.Struct):
            marks: frozenset[str]
        class Shop(rsm.StateMachine, name="shop", version=1):
            rows: rsm.Map[int, Row]
            @rsm.query
            def act(self) -> list[str]:
                return list(self.rows[1].marks)
        """,
        "numbers = {word: ctx.new_id() for word in set(words)}\nreturn numbers[text]",
        "return {(word, ctx.new_id()) for word in {*words}}",
        "return list(set.union({text}, words))",
        "import copy\nreturn list(copy.copy(set(words)))",
        "import msgspec\nreturn msgspec.json.encode(set(words))",
    ),
    "RSM202": (
        "return next(iter(set(words)))",
        "return next(word for word in set(words) if word)",
        "chosen = set(words)\nchosen.pop()",
    ),
    "RSM203": (
        "return sorted(set(words), key=len)",
        "return min({*words}, key=lambda word: word[0])",
        "counts = {word: 1 for word in set(words)}\nreturn max(counts, key=counts.get)",
        "import heapq\nreturn heapq.nlargest(2, set(words), key=len)",
        "return sorted(set(words), key=lambda word: (len(word), word[0]))",
    ),
    "RSM204": (
        "return list(dict.fromkeys(set(words)))",
        "counts = {word: 1 for word in set(words)}\nreturn [word for word in counts]",
        "counts = {word: 1 for word in set(words)}\nreturn list({**counts})",
        "counts = dict.fromkeys(set(words))\nfor word in counts.keys():\n    ctx.emit(word)",
        "counts = {word: 1 for word in set(words)}\nreturn list({text: 2} | counts)",
        "counts = {}\ncounts.update({word: 1 for word in set(words)})\nreturn list(counts)",
        "from collections import Counter\nreturn Counter(set(words)).most_common(1)",
    ),
    "RSM205": (
        "return sorted(words, key=id)",
        "return list(map(hash, words))",
        "self.total = id(self) % 2",
        "return text.__hash__()",
        "return self.total is len(words)",
    ),
    "RSM206": (
        "return object.__repr__(self)",
        """\
        import rsm
        def helper() -> None: ...
        class Shop(rsm.StateMachine, name="shop", version=1):
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> str:
                return "%s" % helper
        """,
        "return repr(self)",
        "return str(lambda: 1)",
        "if text:\n    def inner() -> None: ...\n    ctx.emit(f'{inner}')",
        "return str(object())",
    ),
    "RSM207": (
        "try:\n    self.total = int(text)\nexcept ValueError as error:\n    ctx.emit(f'{error}')",
        "try:\n    self.total = int(text)\nexcept ValueError as error:\n    ctx.emit(error.args)",
        "try:\n    self.total = int(text)\nexcept (KeyError, ValueError) as error:\n    ctx.emit('no: %s' % error)",
        "try:\n    self.total = int(text)\nexcept ValueError as error:\n    ctx.emit('no: {}'.format(error))",
        "import traceback\nctx.emit(traceback.format_exc())",
    ),
    "RSM208": ("import gc\ngc.collect()", "import sys\nself.total = sys.getrefcount(text)"),
    "RSM209": (
        "import numpy as np\nreturn [int(n) for n in np.sort(words)]",
        "self.deer.write('x').sort()",
        "import numpy as np\nvalues = np.array([3, 1], dtype=np.int64)\nreturn [int(n) for n in values.argsort()]",
    ),
    "RSM301": (
        """\
        import rsm
        count = 0
        class Shop(rsm.StateMachine, name="shop", version=1):
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                global count
                count += 1
        """,
        """\
        import rsm
        found: list[int] = []
        class Shop(rsm.StateMachine, name="shop", version=1):
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                found.append(ctx.index)
        """,
        """\
        import rsm
        mode = 0
        def switch(to: int) -> None:
            global mode
            mode = to
        class Shop(rsm.StateMachine, name="shop", version=1):
            total: int
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                self.total = mode
        """,
        "globals()['x'] = 1",
        """\
        import itertools
        import rsm
        numbers = itertools.count()
        class Shop(rsm.StateMachine, name="shop", version=1):
            total: int
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                self.total = next(numbers)
        """,
        """\
        import rsm
        class Counter:
            def __init__(self) -> None:
                self.count = 0
                self.seen: list[int] = []
            def up(self) -> int:
                self.step()
                return self.count
            def step(self) -> None:
                self.count += 1
                self.seen.append(self.count)
        counter = Counter()
        class Shop(rsm.StateMachine, name="shop", version=1):
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> int:
                return counter.up()
        """,
        """\
        import rsm
        class Counter:
            def __init__(self) -> None:
                self.count = 0
            def __call__(self) -> int:
                self.count += 1
                return self.count
        number = Counter()
        class Shop(rsm.StateMachine, name="shop", version=1):
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> int:
                return number()
        """,
        """\
        from types import SimpleNamespace
        import rsm
        stats = SimpleNamespace(count=0)
        class Shop(rsm.StateMachine, name="shop", version=1):
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                stats.count += 1
        """,
        """\
        import rsm
        def number() -> int:
            number.last += 1
            return number.last
        number.last = 0
        class Shop(rsm.StateMachine, name="shop", version=1):
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> int:
                return number()
        """,
    ),
    "RSM302": (
        "type(self).latest = 1",
        "self.__class__.latest = 1",
        """\
        import rsm
        class Counter:
            made: list[int] = []
            def note(self, index: int) -> None:
                Counter.made.append(index)
        class Shop(rsm.StateMachine, name="shop", version=1):
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                Counter().note(ctx.index)
        """,
        """\
        import rsm
        class Shop(rsm.StateMachine, name="shop", version=1):
            kept = {}
            @rsm.query
            def act(self) -> int:
                return 1
        """,
        """\
        import rsm
        class Stats:
            def __init__(self) -> None:
                self.count = 0
            def up(self) -> None:
                self.count += 1
        class Shop(rsm.StateMachine, name="shop", version=1):
            stats = Stats()
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                self.stats.up()
        """,
    ),
    "RSM303": (
        """\
        from functools import lru_cache
        import rsm
        @lru_cache(maxsize=8)
        def double(n: int) -> int:
            return 2 * n
        class Shop(rsm.StateMachine, name="shop", version=1):
            total: int
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                self.total = double(self.total)
        """,
        """\
        from functools import lru_cache
        import rsm
        def double(n: int) -> int:
            return 2 * n
        quick = lru_cache(maxsize=8)(double)
        class Shop(rsm.StateMachine, name="shop", version=1):
            total: int
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                self.total = quick(self.total)
        """,
        """\
        import rsm
        def remember(function):
            known = {}
            def inner(n):
                if n not in known:
                    known[n] = function(n)
                return known[n]
            return inner
        @remember
        def double(n: int) -> int:
            return 2 * n
        class Shop(rsm.StateMachine, name="shop", version=1):
            total: int
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                self.total = double(self.total)
        """,
        "import functools\nif text:\n    @functools.cache\n    def double(n): return 2 * n\n    self.total = double(3)",
    ),
    "RSM304": (
        """\
        def put(self, found: dict[str, int] = dict()) -> int:
            return len(found)
        @rsm.query
        def look(self) -> int:
            return self.put()
        """,
    ),
    "RSM305": (
        "self.latest = text",
        "setattr(self, text, 1)",
        "self.__dict__['latest'] = 1",
        "dict.__setitem__(self.names, text, 1)",
        "set.add(self.seen, text)",
        "object.__setattr__(self, 'latest', 1)",
        """\
        import rsm
        class Book:
            def __init__(self, names: rsm.Map[str, int]) -> None:
                self.names = names
                self.count = 0
            def put(self, name: str) -> None:
                self.names[name] = 1
                self.count += 1
        class Shop(rsm.StateMachine, name="shop", version=1):
            names: rsm.Map[str, int]
            def setup(self) -> None:
                self.book = Book(self.names)
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context, name: str) -> None:
                self.book.put(name)
        """,
        """\
        import rsm
        class Book:
            def __init__(self, names: rsm.Map[str, int]) -> None:
                self.names = names
                self.recent: list[str] = []
            def put(self, name: str) -> None:
                self.recent.append(name)
        class Shop(rsm.StateMachine, name="shop", version=1):
            names: rsm.Map[str, int]
            def setup(self) -> None:
                self.book = Book(self.names)
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context, name: str) -> None:
                self.book.put(name)
        """,
        """\
        import itertools
        def setup(self) -> None:
            self.numbers = itertools.count()
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context) -> int:
            return next(self.numbers)
        """,
        """\
        def setup(self) -> None:
            self.numbers = self.count()
        def count(self) -> Any:
            yield from range(10)
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context) -> int:
            return self.numbers.send(None)
        """,
        """\
        def setup(self) -> None:
            count = 0
            def up() -> int:
                nonlocal count
                count += 1
                return count
            self.up = up
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context) -> int:
            return self.up()
        """,
    ),
    "RSM306": (
        "self.tags.setdefault(text, [])",
        "self.tags[text] = words",
        "self.line.push({text})",
        "self.tags[text].append(text)",
        """\
        import rsm
        class Shop(rsm.StateMachine, name="shop", version=1):
            rows: rsm.Map[int, list[int]]
            @rsm.query
            def act(self) -> int:
                return len(self.rows)
        """,
        """\
        import rsm
        class Row(rsm.Struct):
            marks: dict[str, int]
        class Shop(rsm.StateMachine, name="shop", version=1):
            rows: rsm.Map[int, Row]
            @rsm.query
            def act(self) -> int:
                return len(self.rows)
        """,
        """\
        import rsm
        class Row(rsm.Struct):
            count: int
        class Shop(rsm.StateMachine, name="shop", version=1):
            rows: rsm.Map[int, Row]
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context) -> None:
                self.rows[1].count = 2
        """,
    ),
    "RSM307": (
        "@rsm.query\ndef look(self) -> None:\n    self.total = 1",
        "@rsm.query\ndef look(self) -> int:\n    return self.line.pop_first()",
        "@rsm.query\ndef look(self) -> None:\n    del self.names['a']",
        "@rsm.query\ndef look(self) -> None:\n    self.queues[1].push(2)",
        "@rsm.query\ndef look(self) -> int:\n    return int(self.deer.write('x')[0])",
        "@rsm.query\ndef look(self) -> None:\n    self.deer.set('x', 0, 1)",
        "@rsm.query\ndef look(self) -> None:\n    names = self.names\n    names['a'] = 1",
        """\
        def note(self) -> None:
            self.total += 1
        @rsm.query
        def look(self) -> None:
            self.note()
        """,
    ),
    "RSM308": (
        "try:\n    self.total += 1\nexcept:\n    pass",
        "try:\n    self.total += 1\nexcept (ValueError, RecursionError):\n    pass",
        "import contextlib\nwith contextlib.suppress(Exception):\n    self.total += 1",
    ),
    "RSM401": (
        "@rsm.command(version=1)\ndef act(self, ctx: rsm.Context, price: float) -> None: ...",
        """\
        import rsm
        class Row(rsm.Struct):
            price: "float | None"
        class Shop(rsm.StateMachine, name="shop", version=1):
            rows: rsm.Map[int, Row]
            @rsm.query
            def act(self) -> int:
                return len(self.rows)
        """,
        """\
        from typing import Annotated
        import rsm
        Price = Annotated[float, rsm.Meta(gt=0)]
        class Shop(rsm.StateMachine, name="shop", version=1):
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context, price: Price) -> None: ...
        """,
    ),
    "RSM402": (
        "self.total = round(self.total * 1.5)",
        "import math\nself.total = int(math.sqrt(self.total))",
        "from math import log2 as logarithm\nself.total = int(logarithm(8))",
        "self.total = int(float(text))",
        "half = self.total\nhalf /= 2\nself.total = int(half)",
        "import statistics\nself.total = int(statistics.mean([1, 2]))",
        """\
        def scale(self, by: float) -> int:
            return int(self.total * by)
        @rsm.query
        def look(self) -> int:
            return self.scale(2)
        """,
        "self.total = int(1000 * self.total ** -1)",
        "self.total = int(pow(self.total, -1))",
        "import operator\nself.total = int(operator.truediv(self.total, 2))",
        "from datetime import timedelta\nself.total = int(timedelta(seconds=self.total).total_seconds())",
        "from decimal import Decimal\nself.total = int(Decimal(text) * 3)",
        "from decimal import Decimal\nself.total = int(Decimal(text).quantize(Decimal(1)))",
        "import numpy as np\nself.total = int(np.sqrt(self.deer.read('x'))[0])",
        "self.total = int(self.deer.read('x').mean())",
        "self.total = int(self.deer.read('x').astype('float64')[0])",
    ),
    "RSM403": (
        "import numpy as np\nself.total = int(np.zeros(3).sum())",
        "import numpy as np\nself.total = int(np.int_(3))",
        "import numpy as np\nself.total = int(np.array([1], dtype=int).sum())",
        "self.total = int(self.deer.read('x').astype(int)[0])",
        "import numpy as np\nself.total = int(np.zeros(3, dtype='int')[0])",
        "import struct\nreturn struct.pack('l', self.total)",
        "import array\nreturn array.array('l', [1]).tobytes()",
    ),
    "RSM404": (
        "self.names[text.upper()] = 1",
        "self.names[text.strip().casefold()] = 1",
        "if text.isalpha():\n    self.total += 1",
        "import unicodedata\nself.names[unicodedata.normalize('NFC', text)] = 1",
        "import re\nself.total = len(re.findall(r'\\w+', text))",
        "return sorted(words, key=str.lower)",
        "import operator\nreturn sorted(words, key=operator.methodcaller('lower'))",
        "import string\nreturn string.capwords(text)",
        """\
        import re
        import rsm
        WORD = r"\\w+"
        class Shop(rsm.StateMachine, name="shop", version=1):
            @rsm.command(version=1)
            def act(self, ctx: rsm.Context, text: str) -> int:
                return len(re.findall(WORD, text))
        """,
    ),
    "RSM405": (
        "import locale\nself.total = locale.atoi(text)",
        "return format(self.total, 'n')",
        "from datetime import datetime\nreturn datetime(2020, 1, 1).strftime('%B')",
        "return '{:n}'.format(self.total)",
        "from datetime import datetime\nreturn f'{datetime(2020, 1, 1):%B}'",
        "from datetime import datetime\nreturn datetime.strptime(text, '%d %b %Y').year",
    ),
    "RSM406": (
        "import time\nself.total = time.localtime(1).tm_hour",
        "from zoneinfo import ZoneInfo\nctx.emit(ZoneInfo(text).key)",
        "from datetime import datetime\nself.total = datetime(2020, 1, 1).astimezone().hour",
    ),
    "RSM901": ("self.total = int(self.total / 2)  # rsm: allow[RSM402] -",),
    "RSM902": (
        "self.total += 1  # rsm: allow RSM402 because",
        "self.total += 1  # rsm: allow[RSM901] because",
    ),
    "RSM903": ("# rsm: allow[RSM201] it was a set once\nfor word in words:\n    ctx.emit(word)",),
}

# Nothing is found in these.
GOOD: tuple[str, ...] = (
    "self.deer.resize(4)\nself.deer.write('x')[:] = 5\nself.deer.set('x', 0, 1)\nself.deer.assign('x', [1, 2, 3, 4])",
    "@rsm.query\ndef look(self) -> list[int]:\n    return [self.deer.get('x', 0), *self.deer.read('x').tolist()]",
    "self.deer.write('x').sort(kind='stable')",
    "for word in sorted(set(words)):\n    ctx.emit(word)",
    "for word in self.seen:\n    ctx.emit(word)",
    "for word in self.names:\n    ctx.emit(word)",
    "for word, count in self.names.items():\n    ctx.emit((word, count))",
    "return list(self.seen)",
    "self.seen.update(set(words))",
    "return len({*words}), sum(len(word) for word in set(words)), any(word for word in set(words))",
    "return max(set(words)), min(word for word in set(words))",
    "return sorted([word for word in set(words)])",
    "return sorted(word.encode() for word in set(words))",
    "found = list(set(words))\nfound.sort()\nreturn found",
    "chosen = set(words)\nchosen = sorted(chosen)\nfor word in chosen:\n    ctx.emit(word)",
    "return {word: 1 for word in set(words)}.get(text)",
    "return text in {'a', 'b'} and set(words) <= {text}",
    "for word in dict.fromkeys(words):\n    ctx.emit(word)",
    "return self.ladder.lower(7), self.ladder.higher(7), self.ladder.first()",
    "return 'ABC'.lower(), text.encode().lower(), text.encode('ascii').isalpha()",
    "import re\nreturn bool(re.fullmatch(r'\\w+', text, re.ASCII)) and bool(re.match('[a-z]+', text))",
    "import math\nreturn math.isqrt(self.total) + math.gcd(4, 6)",
    "return f'{self.total:,} {text!r} {text:>10} {self.total:03d}'",
    "import os.path\nreturn os.path.basename(text)",
    "import uuid\nreturn uuid.UUID(text).hex, uuid.uuid5(uuid.NAMESPACE_DNS, text).hex",
    "import datetime\nreturn datetime.datetime.fromtimestamp(1, tz=datetime.UTC).isoformat()",
    "import time\nreturn time.gmtime(ctx.now // rsm.SECOND).tm_year",
    "import zlib, hashlib, json\nreturn zlib.crc32(text.encode()), hashlib.sha256(text.encode()).hexdigest()",
    "return ctx.random('a').below(6), ctx.new_id(), ctx.now",
    "self.tags[text] = tuple(words)\nself.tags[text] = (*self.tags.get(text, ()), text)",
    "found = []\nfound.append(text)\nfound += words\nreturn found",
    "groups: dict[str, list[str]] = {}\nfor word in words:\n    groups.setdefault(word, []).append(1)\nreturn groups",
    "groups = {}\ngroups[text] = 1\ndel groups[text]\nreturn groups",
    "try:\n    self.total = int(text)\nexcept ValueError:\n    ctx.reject('no number')",
    "try:\n    self.total += 1\nexcept Exception:\n    raise",
    "try:\n    self.total += 1\nexcept (MemoryError, RecursionError):\n    raise\nexcept Exception:\n    pass",
    "from pathlib import PurePosixPath\nreturn str(PurePosixPath('a') / text)",
    "from fractions import Fraction\nreturn str(Fraction(1, 3) / 2)",
    "import numpy as np\nreturn int(np.sort(np.array([2], dtype=np.int64), kind='stable')[0])",
    "time = 5\nreturn time",
    "open = text\nreturn open",
    "hash = zip\nreturn 1",
    """\
    import time
    import rsm
    class Shop(rsm.StateMachine, name="shop", version=1):
        total: int
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context) -> None:
            self.total = 1
        def report(self) -> float:
            return time.time() / 2
    def main() -> None:
        print(time.time(), open("x"))
        with rsm.open(Shop, "data") as shop:
            print(shop.act())
    if __name__ == "__main__":
        main()
    """,
    """\
    from __future__ import annotations
    from enum import Enum
    from typing import TYPE_CHECKING, ClassVar
    import rsm
    if TYPE_CHECKING:
        from collections.abc import Iterator
    PRICES = {"a": 1, "b": 2}
    class Side(Enum):
        BUY = 0
    class Mistake(ValueError):
        pass
    def check(amount: int) -> None:
        if amount < 0:
            raise Mistake(f"{amount} is below zero")
    class Shop(rsm.StateMachine, name="shop", version=1):
        LIMIT: ClassVar[int] = 5
        STEPS = (1, 2, 3)
        total: int = 3
        names: rsm.Map[str, int]
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, amount: int) -> None:
            try:
                check(amount)
            except Mistake as mistake:
                ctx.reject(str(mistake))
            self.total += PRICES["a"] + self.LIMIT + self.STEPS[0]
            ctx.emit(f"{Side.BUY}")
        @rsm.query
        def look(self) -> Iterator[tuple[str, int]]:
            yield from self.names.items()
        @rsm.upcast("act", from_version=1)
        def older(amount: str) -> tuple[int]:
            return (int(amount),)
    """,
    """\
    from dataclasses import dataclass, field
    import rsm
    @dataclass
    class Basket:
        items: list[str] = field(default_factory=list)
        def put(self, item: str) -> None:
            self.items.append(item)
            self.count = len(self.items)
    class Shop(rsm.StateMachine, name="shop", version=1):
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, item: str) -> str:
            basket = Basket()
            basket.put(item)
            return f"{basket}"
        @rsm.query
        def look(self, item: str) -> int:
            basket = Basket()
            basket.put(item)
            return len(basket.items)
    """,
    """\
    import rsm
    class Book:
        __slots__ = ("names",)
        def __init__(self, names: "dict[str, int]") -> None:
            self.names = names
        def put(self, name: str) -> None:
            self.names[name] = 1
            self.names.pop("x", None)
    class Shop(rsm.StateMachine, name="shop", version=1):
        names: rsm.Map[str, int]
        def setup(self) -> None:
            self.book = Book(self.names)
            self.steps = {"put": self.book.put}
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, name: str) -> None:
            self.steps["put"](name)
            self.book.put(name)
    """,
    "import math\nself.total = math.isqrt(self.total) + 7 // 2 + divmod(7, 2)[0] + 2 ** 10 + pow(2, 10, 7)",
    "import functools, operator\nself.total = functools.reduce(operator.add, map(len, words), 0)",
    "import heapq\nheap = [(len(w), w) for w in words]\nheapq.heapify(heap)\nreturn heapq.heappop(heap)",
    "from collections import Counter\nreturn Counter(words).most_common(3)",
    "a, b = set(words), {text}\nif a & b or a <= b or a.isdisjoint(b) or a == b:\n    self.total = len(a | b)",
    "a = {w: 1 for w in words}\nreturn sorted(a.keys() & {text})",
    "import json\nreturn json.dumps({w: 1 for w in set(words)}, sort_keys=True)",
    "return sorted(set(words), key=lambda w: (len(w), w))",
    "return min(set(words), key=lambda w: (-len(w), w))",
    "def add(n: int) -> int:\n    return n + 1\nself.total = add(self.total)",
    "f = lambda n: n + 1\nself.total = f(self.total)\nreturn sorted(words, key=lambda w: (len(w), w))",
    "import struct\nreturn struct.pack('<qI', 1, 2), struct.unpack('>H', b'ab'), struct.pack('4s', text.encode())",
    "return self.total.to_bytes(8, 'little'), int.from_bytes(b'ab', 'big')",
    "from datetime import timedelta\nreturn timedelta(days=3) // timedelta(seconds=1)",
    "import copy\nreturn copy.deepcopy(words)",
    "x = self.names.get(text)\nif x is None:\n    self.total = 1\nif (self.total == 1) is True:\n    self.total = 2",
    "a = {w: ctx.new_id() for w in sorted(set(words))}\nreturn a[text]",
    "return next((w for w in words if w), None)",
    "it = iter(words)\nreturn next(it), next(it, None)",
    """\
    from typing import NamedTuple, TypedDict, Final, Literal, Self
    import rsm
    class P(NamedTuple):
        x: int
        y: int
        def plus(self, other: "P") -> "P":
            return P(self.x + other.x, self.y + other.y)
    class T(TypedDict):
        a: int
    ORIGIN: Final = P(0, 0)
    NAMES = frozenset({"a", "b"})
    TABLE: dict[str, P] = {"a": P(1, 2)}
    class Shop(rsm.StateMachine, name="shop", version=1):
        total: int
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, side: Literal["a", "b"]) -> str:
            p = ORIGIN.plus(TABLE[side])
            q = p._replace(x=3)
            t: T = {"a": 1}
            t["a"] = 2
            if side in NAMES:
                self.total = p.x + q.y + t["a"]
            return f"{p}"
    """,
    """\
    from dataclasses import dataclass, replace, field
    import rsm
    @dataclass(frozen=True, slots=True, order=True)
    class Money:
        cents: int
        tags: tuple[str, ...] = ()
        def __add__(self, other: "Money") -> "Money":
            return replace(self, cents=self.cents + other.cents)
        @property
        def euros(self) -> int:
            return self.cents // 100
        @classmethod
        def zero(cls) -> "Money":
            return cls(0)
        @staticmethod
        def parse(text: str) -> "Money":
            return Money(int(text))
    ZERO = Money.zero()
    class Shop(rsm.StateMachine, name="shop", version=1):
        total: int
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, text: str) -> str:
            m = sum((Money.parse(text), Money(1)), ZERO)
            self.total += m.euros + ZERO.cents
            return str(m)
    """,
    """\
    import rsm
    class Rules:
        def __init__(self, limit: int) -> None:
            self.limit = limit
            self.steps = [1, 2, 3]
        def allows(self, n: int) -> bool:
            return n < self.limit and n in self.steps
    RULES = Rules(5)
    class Shop(rsm.StateMachine, name="shop", version=1):
        total: int
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, n: int) -> None:
            if RULES.allows(n) and n < RULES.limit:
                self.total = n
    """,
    """\
    import rsm
    from typing import Any, Callable
    def double(n: int) -> int:
        return 2 * n
    OPS: dict[str, Callable[[int], int]] = {"d": double}
    F: Any = double
    class Shop(rsm.StateMachine, name="shop", version=1):
        total: int
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, n: int) -> None:
            self.total = F(n) + OPS["d"](n)
    """,
    """\
    from enum import Enum, IntEnum, Flag, auto, StrEnum
    import rsm
    class Side(StrEnum):
        BUY = auto()
        SELL = auto()
        @property
        def other(self) -> "Side":
            return Side.SELL if self is Side.BUY else Side.BUY
    class Level(IntEnum):
        LOW = 1
    class Shop(rsm.StateMachine, name="shop", version=1):
        total: int
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, side: Side) -> str:
            for one in Side:
                self.total += Level.LOW
            if side is Side.BUY:
                return side.other.value
            return f"{side} {side.name} {Level(1)!r}"
    """,
    """\
    import abc
    import rsm
    class Fee(abc.ABC):
        @abc.abstractmethod
        def of(self, n: int) -> int: ...
    class Flat(Fee):
        def __init__(self, by: int) -> None:
            self.by = by
        def of(self, n: int) -> int:
            return n + self.by
    class Shop(rsm.StateMachine, name="shop", version=1):
        total: int
        def setup(self) -> None:
            self.fee: Fee = Flat(3)
            self.limit = 5
            self.names_by_kind = {"a": 1}
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, n: int) -> None:
            self.total = self.fee.of(n) + self.limit + self.names_by_kind["a"]
    """,
    """\
    import rsm
    class Builder:
        def __init__(self) -> None:
            self.parts: list[str] = []
            self.n = 0
        def add(self, part: str) -> "Builder":
            self.parts.append(part)
            self.n += 1
            return self
        def text(self) -> str:
            return ",".join(self.parts)
    class Shop(rsm.StateMachine, name="shop", version=1):
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, words: list[str]) -> str:
            b = Builder()
            for w in words:
                b.add(w)
            return b.add("x").text()
    """,
    """\
    import contextlib
    import rsm
    class Shop(rsm.StateMachine, name="shop", version=1):
        total: int
        @contextlib.contextmanager
        def change(self):
            before = self.total
            yield before
            self.total = before + 1
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context) -> None:
            with self.change() as b:
                self.total = b
    """,
    """\
    import functools
    import rsm
    def positive(f):
        @functools.wraps(f)
        def inner(self, ctx, n):
            if n < 0:
                ctx.reject("negative")
            return f(self, ctx, n)
        return inner
    class Shop(rsm.StateMachine, name="shop", version=1):
        total: int
        @positive
        def put(self, ctx: rsm.Context, n: int) -> None:
            self.total = n
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, n: int) -> None:
            self.put(ctx, n)
    """,
    """\
    import rsm
    class Shop(rsm.StateMachine, name="shop", version=1):
        total: int
        def _on_a(self) -> None:
            self.total = 1
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, kind: str) -> None:
            getattr(self, f"_on_{kind}")()
    """,
    """\
    import numpy as np
    import rsm
    from typing import Annotated
    class Shop(rsm.StateMachine, name="shop", version=1):
        deer: Annotated[rsm.Array, rsm.Columns(x="int32", y="int32")]
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context) -> int:
            x = self.deer.read("x").astype(np.int64)
            y = np.zeros(3, dtype=np.int64)
            y[:] = np.arange(3, dtype=np.int64) // 2
            order = np.argsort(x, kind="stable")
            keep = np.flatnonzero(x > 3)
            out = np.where(x > 2, x, 0)
            return int(out.sum()) + int(np.dot(x, x)) + int(keep.size) + int(order[0]) + int(np.maximum(x, 1).max())
    """,
    """\
    from typing import Generic, TypeVar
    import rsm
    T = TypeVar("T")
    class Box(Generic[T]):
        def __init__(self, value: T) -> None:
            self.value = value
    class Shop(rsm.StateMachine, name="shop", version=1):
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, n: int) -> int:
            box = Box(n)
            box.value += 1
            return box.value
    """,
    """\
    import rsm
    from types import MappingProxyType
    from operator import itemgetter, attrgetter
    RATES = MappingProxyType({"a": 1})
    first = itemgetter(0)
    class Shop(rsm.StateMachine, name="shop", version=1):
        total: int
        @rsm.command(version=1)
        def act(self, ctx: rsm.Context, words: list[str]) -> None:
            self.total = RATES["a"]
            for k, v in RATES.items():
                self.total += v
            ctx.emit(sorted(words, key=first))
    """,
    "l = [w for w in set(words)]\nl.sort()\nreturn l",
    "from datetime import datetime, UTC\nreturn datetime(2020, 1, 1, tzinfo=UTC).isoformat()",
    "from datetime import datetime\nreturn datetime.strptime(text, '%Y-%m-%d').year, f'{self.total:%}'",
    "import zlib\nreturn zlib.crc32(b'a'), zlib.adler32(b'a'), zlib.decompress(text.encode())",
    "import array\nreturn array.array('q', [1, 2]).tolist()",
    "return abs(self.total), round(self.total), round(self.total, -2), -self.total // 3, max(self.total, 1)",
    "n = 5\nreturn sum(i ** 2 for i in range(n)), (-1) ** n",
    "from decimal import Decimal\nreturn Decimal(text).as_tuple().digits, Decimal(text) == 1",
    "from decimal import Decimal\nreturn '%s' % Decimal(text)",
    "import heapq\nreturn heapq.nsmallest(2, set(words)), heapq.nlargest(2, (len(word) for word in set(words)))",
)
