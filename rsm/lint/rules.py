"""The rules: a code that never changes its meaning, what it finds, and why replicas part by it.

docs/lint.md shows each with an example of what is found and one of what is fine; a test holds the page to this table,
and the linter to the examples.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["CODES", "RULES", "Rule"]


class Rule(NamedTuple):
    """One rule: its code, its name, what it finds, and why that makes replicas differ."""

    code: str
    title: str
    what: str
    why: str


def rule(code: str, title: str, what: str, why: str) -> Rule:
    """A rule, its texts without the line breaks of the source."""
    return Rule(code, title, " ".join(what.split()), " ".join(why.split()))


RULES: Final = (
    rule(
        "RSM101",
        "clock",
        "A clock is read, or waited for: `time.time`, `monotonic`, `sleep`, `datetime.now`, `date.today`, ...",
        """Every replica applies the command at another moment, and a replay years later. `ctx.now` is the time that
        the leader wrote into the log.""",
    ),
    rule(
        "RSM102",
        "randomness",
        """Random numbers or identifiers: `random`, `secrets`, `uuid.uuid1`, `uuid.uuid4`, `os.urandom`,
        `numpy.random`.""",
        """Every replica draws others. A seed of one's own is no help: what `random` makes of a seed differs between
        releases of Python, and its state is in no snapshot.""",
    ),
    rule(
        "RSM103",
        "environment",
        """A fact of the process or its host: `os.environ`, `os.getpid`, `platform`, most of `sys`, `inspect`,
        `__file__`, `pathlib.PurePath`, and what `zlib.compress` and its kin write.""",
        """Nodes differ in it, and so does the next release of the node. What a command needs to know is an argument
        of it.""",
    ),
    rule(
        "RSM104",
        "input and output",
        """Files, sockets, processes, data bases, requests: `open`, `input`, `pathlib.Path`, `os`, `subprocess`,
        `socket`, `sqlite3`, `urllib`, `requests`, ...""",
        """What is read differs between nodes; what is written is written by each of them, and again by every
        replay. An effect is an event: it is emitted, and a consumer performs it once.""",
    ),
    rule(
        "RSM105",
        "log lines and print",
        "`print`, `logging`, `warnings`, `structlog` or `loguru` in code that handlers run.",
        """No state differs by it, as long as nothing goes wrong. But every replica prints it, every replay prints
        it again, and a full disk or a broken pipe makes it raise on one node only.""",
    ),
    rule(
        "RSM106",
        "threads and tasks",
        """`threading`, `asyncio`, `concurrent`, `multiprocessing`, `signal`, `contextvars`, and `async` or `await`.""",
        "What runs at the same time ends in another order on every node.",
    ),
    rule(
        "RSM107",
        "code as data",
        """`eval`, `exec`, `compile`, `__import__`, `importlib`, `ctypes`, `pickle`, `marshal`, `shelve`, `dill`.""",
        """What it does is decided by a text that is not in the log, or by the Python that runs it; pickled bytes
        differ between releases, and reading them runs whatever they say.""",
    ),
    rule(
        "RSM108",
        "code chosen by the environment",
        """A name that comes from a `try` with `except ImportError`, or from an `if` on `sys`, `os` or `platform`.""",
        "A node with another package or another Python runs other code under the same machine version.",
    ),
    rule(
        "RSM109",
        "assert",
        "`assert`, or `__debug__`.",
        "A node that runs with `python -O` does not check it: it goes on where the others reject the command.",
    ),
    rule(
        "RSM201",
        "order of a set",
        """Something goes through a plain `set` or `frozenset` in its own order: a loop, a list, a tuple, a join, an
        unpacking, its text. What does not depend on the order (`sorted`, `len`, `sum`, `any`, `in`, another set)
        is fine, and so is `rsm.Set`, which iterates in the order of its members.""",
        """The order follows from hashes, which for strings differ in every process, and from the set's history,
        which a restored replica does not share.""",
    ),
    rule(
        "RSM202",
        "some element of a set",
        "One element of a plain set is taken: `pop()`, `next(iter(...))`.",
        "Which one depends on hashes and history.",
    ),
    rule(
        "RSM203",
        "ties in a set",
        "`sorted`, `min`, `max`, `nlargest` or `nsmallest` of a plain set, or of a dict in its order, with a key.",
        """Elements whose keys are equal come in the order of the set. A key that ends in the element itself has no
        ties.""",
    ),
    rule(
        "RSM204",
        "a dict in the order of a set",
        "Something goes through a dict that was filled in the order of a plain set.",
        "A dict keeps the order in which it was filled.",
    ),
    rule(
        "RSM205",
        "id and hash",
        "`id()` or `hash()`, called or passed on (`key=id`), and `is` of numbers or texts.",
        """An id is an address. The hash of a string differs in every process, that of an object is made of its
        address.""",
    ),
    rule(
        "RSM206",
        "text with an address",
        "The text of an object whose class says nothing of its own: of a plain class, a function, a method.",
        "It is `<Thing object at 0x7f...>`, with the address of this process.",
    ),
    rule(
        "RSM207",
        "text of an exception",
        """The text of an exception that Python or a library raised: `str(error)`, an f-string, `error.args`,
        `traceback`. Exceptions that the machine's own code defines are fine: it wrote their texts.""",
        "Such texts change between releases of Python and of libraries.",
    ),
    rule(
        "RSM208",
        "the garbage collector",
        "`gc`, `weakref`, `tracemalloc`, `sys.getrefcount`, a `__del__`.",
        "When an object goes depends on the process: on what else it holds, and on what else it has done.",
    ),
    rule(
        "RSM209",
        "unstable sorts",
        """`numpy.sort`, `numpy.argsort` and `.argsort()` without `kind="stable"`; `numpy.partition` and
        `argpartition`.""",
        "Where equal elements end up depends on numpy's release and on the processor.",
    ),
    rule(
        "RSM301",
        "state of a module",
        """A variable of a module is written by code that handlers run, or an object in it is changed, or it is read
        while some function of the module changes it. Constants are fine.""",
        """It is in no snapshot and under no rollback: a replica that was restored, or that rejected a command, has
        another.""",
    ),
    rule(
        "RSM302",
        "state of a class",
        "An attribute of a class is written, or a list, dict, set or object of a class is changed.",
        "All machines and all views of the process share it, and no snapshot has it.",
    ),
    rule(
        "RSM303",
        "cache",
        """`functools.cache`, `lru_cache` or `cached_property` on code that handlers run, or a decorator of your own
        that keeps something between calls.""",
        """A cache answers what was true before: before a rollback, a restored snapshot, another machine of the
        process.""",
    ),
    rule(
        "RSM304",
        "mutable default",
        "A parameter whose default is a list, a dict, a set or another mutable object.",
        """It is one object for all calls: what one call puts into it the next one finds, and no snapshot has it.""",
    ),
    rule(
        "RSM305",
        "state outside the containers",
        """An attribute that the class does not declare is written, or a plain list, dict or set that `setup` made is
        changed; also by objects that `setup` keeps on the machine, by iterators there (`next(self.numbers)`) and by
        functions of `setup` that change its variables. `setattr`, `__dict__`, and writes past a container
        (`dict.__setitem__(self.names, ...)`) count.""",
        """No snapshot has it, no root covers it, no rollback undoes it. rsm refuses some of it, when it happens.""",
    ),
    rule(
        "RSM306",
        "mutable values",
        """A list, a dict or a set is put into a container or declared as a value, or a value is changed where it
        lies.""",
        "A change inside a value passes the container by: nothing hashes it and nothing rolls it back.",
    ),
    rule(
        "RSM307",
        "write in a query",
        "State is written by code that a query runs.",
        "A query runs on one node and is not in the log. rsm refuses the write, and the query fails.",
    ),
    rule(
        "RSM308",
        "catching everything",
        """`except:`, or a clause that catches `BaseException`, `Exception`, `RuntimeError`, `MemoryError`,
        `RecursionError` or their kin, and does not raise again.""",
        """Where memory or the stack ends depends on the node. rsm stops a node on which it happens; a handler that
        catches it goes on, differently from the others.""",
    ),
    rule(
        "RSM401",
        "float declared",
        """`float`, `complex` or `Decimal` in the declared state, in a record kept there, or in a handler's
        parameters.""",
        """Rounding differs with the order of additions and the library; NaN is not equal to itself. rsm refuses the
        class.""",
    ),
    rule(
        "RSM402",
        "float arithmetic",
        """A division with `/`, a negative power, a float literal, `float()`, functions of `math` and numpy that answer
        with floats, `statistics`, `total_seconds()`, and arithmetic with `Decimal`, which rounds as the context of the
        thread says. Of several in one line the first is reported.""",
        """A decision by floats is one by rounding: it follows the library and the processor, and the order of
        additions.""",
    ),
    rule(
        "RSM403",
        "integers as wide as the platform's",
        """numpy's default integers: `int_`, `uint`, `intp`, `dtype=int`, and arrays made without a `dtype`; `struct`
        without `<` or `>`, and the `array` of `l`.""",
        "They have 32 bits on some platforms and releases, 64 on others: sums overflow at different places.",
    ),
    rule(
        "RSM404",
        "tables of Unicode",
        r"""Upper and lower case, kinds of characters, normal forms: `lower()`, `casefold()`, `isalpha()`, ... of
        text that is no constant, `unicodedata`, and `\w`, `\d`, `\s`, `\b` or `IGNORECASE` in a pattern without
        `re.ASCII`.""",
        "Every release of Python brings the tables of another Unicode: the same text has another lower case.",
    ),
    rule(
        "RSM405",
        "locale",
        "`locale`, `gettext`, `strftime`, the format `n`, names of months and days from `calendar` or by `strptime`.",
        "The text follows the language that the node is set to.",
    ),
    rule(
        "RSM406",
        "time zone",
        """The node's own time zone, or its tables of time zones: `time.localtime`, `fromtimestamp` without a zone,
        `astimezone()`, `timestamp()`, `zoneinfo`.""",
        "Nodes are set to different zones, and the tables change several times a year.",
    ),
    rule(
        "RSM901",
        "allowance without a reason",
        "`# rsm: allow[CODE]` that does not say why.",
        "Whoever reads it next has to find out again whether it is safe.",
    ),
    rule(
        "RSM902",
        "allowance of an unknown code",
        "`# rsm: allow[...]` with a code that is none of these, or that cannot be read.",
        "It allows nothing; most likely a slip of the pen.",
    ),
    rule(
        "RSM903",
        "allowance of nothing",
        "`# rsm: allow[CODE] reason` where nothing of that code is found.",
        "The code has changed and the allowance has not. It would hide what comes there next.",
    ),
)
CODES: Final = frozenset(rule.code for rule in RULES)
