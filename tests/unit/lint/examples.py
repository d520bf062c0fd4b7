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
    ),
    "RSM202": (
        "return next(iter(set(words)))",
        "return next(word for word in set(words) if word)",
        "chosen = set(words)\nchosen.pop()",
    ),
    "RSM203": (
        "return sorted(set(words), key=len)",
        "return min({*words}, key=lambda word: word[0])",
    ),
    "RSM204": (
        "return list(dict.fromkeys(set(words)))",
        "counts = {word: 1 for word in set(words)}\nreturn [word for word in counts]",
        "counts = {word: 1 for word in set(words)}\nreturn list({**counts})",
        "counts = dict.fromkeys(set(words))\nfor word in counts.keys():\n    ctx.emit(word)",
    ),
    "RSM205": (
        "return sorted(words, key=id)",
        "return list(map(hash, words))",
        "self.total = id(self) % 2",
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
    ),
    "RSM403": (
        "import numpy as np\nself.total = int(np.zeros(3).sum())",
        "import numpy as np\nself.total = int(np.int_(3))",
        "import numpy as np\nself.total = int(np.array([1], dtype=int).sum())",
    ),
    "RSM404": (
        "self.names[text.upper()] = 1",
        "self.names[text.strip().casefold()] = 1",
        "if text.isalpha():\n    self.total += 1",
        "import unicodedata\nself.names[unicodedata.normalize('NFC', text)] = 1",
        "import re\nself.total = len(re.findall(r'\\w+', text))",
        "return sorted(words, key=str.lower)",
    ),
    "RSM405": (
        "import locale\nself.total = locale.atoi(text)",
        "return format(self.total, 'n')",
        "from datetime import datetime\nreturn datetime(2020, 1, 1).strftime('%B')",
        "return '{:n}'.format(self.total)",
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
)
