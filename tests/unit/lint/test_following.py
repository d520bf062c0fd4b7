"""Handlers are followed: over methods, objects, modules and packages; what none of them reaches is not judged."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from rsm.lint.checking import Finding, Report, lint
from tests.documents import ROOT, blocks


def write(directory: Path, files: dict[str, str]) -> None:
    """Files with these contents, below the directory."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")


MACHINE = """\
    import rsm
    {imports}

    class Shop(rsm.StateMachine, name="shop", version=1):
        total: int

        {setup}

        @rsm.command(version=1)
        def act(self, ctx: rsm.Context) -> None:
            {body}
"""


def machine(imports: str, body: str, setup: str = "pass") -> str:
    """A machine of one command."""
    return dedent(MACHINE).format(imports=imports, body=body, setup=setup)


CLOCK = "import time\n\ndef stamp() -> int:\n    return time.time_ns()\n"


@pytest.mark.parametrize(
    ("files", "where", "chain"),
    [
        (
            {"shop.py": machine("import clock", "self.total = clock.stamp()"), "clock.py": CLOCK},
            "clock.py:4",
            ("Shop.act", "stamp"),
        ),
        (
            {"shop.py": machine("from clock import stamp as at", "self.total = max([1], key=at)"), "clock.py": CLOCK},
            "clock.py:4",
            ("Shop.act", "stamp"),
        ),
        (
            {
                "shop.py": machine("from parts import stamp", "self.total = stamp()"),
                "parts/__init__.py": "from .clock import stamp\n",
                "parts/clock.py": CLOCK,
            },
            "parts/clock.py:4",
            ("Shop.act", "stamp"),
        ),
        (
            {
                "shop.py": machine("from parts import clock", "self.total = clock.stamp()"),
                "parts/__init__.py": "",
                "parts/clock.py": CLOCK,
            },
            "parts/clock.py:4",
            ("Shop.act", "stamp"),
        ),
        (
            {
                "shop.py": machine("import parts.clock", "self.total = parts.clock.stamp()"),
                "parts/clock.py": CLOCK,  # a package without __init__.py
            },
            "parts/clock.py:4",
            ("Shop.act", "stamp"),
        ),
        (
            {"shop.py": machine("from clock import *", "self.total = stamp()"), "clock.py": CLOCK},
            "clock.py:4",
            ("Shop.act", "stamp"),
        ),
        (
            {
                "shop.py": machine(
                    "from book import Book",
                    "self.book.put(ctx)",
                    "def setup(self) -> None:\n        self.book = Book()",
                ),
                "book.py": """\
                    import time

                    class Base:
                        def tick(self) -> int:
                            return self.read()

                        def read(self) -> int:
                            return 0

                    class Book(Base):
                        def put(self, ctx: object) -> int:
                            return self.tick()

                        def read(self) -> int:
                            return time.time_ns()
                    """,
            },
            "book.py:15",
            ("Shop.act", "Book.put", "Base.tick", "Book.read"),
        ),
        (
            {
                "shop.py": machine("from book import Book", "self.total = self.book.now", "book: Book").replace(
                    "book: Book", "@property\n    def book(self) -> Book:\n        return Book()"
                ),
                "book.py": """\
                    import time

                    class Book:
                        @property
                        def now(self) -> int:
                            return time.time_ns()
                    """,
            },
            "book.py:6",
            ("Shop.act", "Book.now"),
        ),
        (
            {
                "shop.py": machine("from clock import START", "self.total = START"),
                "clock.py": "import time\nSTART = time.time_ns()\n",
            },
            "clock.py:2",
            ("Shop.act", "START"),
        ),
        (
            {
                "shop.py": machine("from parts import add", "self.total = add(1, 2)"),
                "parts/__init__.py": "from .fast import add\n",
                "parts/fast.py": """\
                    try:
                        from fast_sum import add
                    except ImportError:
                        def add(a: int, b: int) -> int:
                            return a + b
                    """,
            },
            "parts/fast.py:1",
            (),
        ),
        (
            {
                "shop.py": machine("from base import Base", "self.total = self.stamp()").replace(
                    "rsm.StateMachine", "Base"
                ),
                "base.py": """\
                    import time
                    from rsm import StateMachine as Machine

                    class Base(Machine):
                        def stamp(self) -> int:
                            return time.time_ns()
                    """,
            },
            "base.py:6",
            ("Shop.act", "Base.stamp"),
        ),
        (
            {
                "shop.py": machine("from book import Book", "self.total = len(sorted([Book(), Book()]))"),
                "book.py": """\
                    class Book:
                        def __lt__(self, other: object) -> bool:
                            return id(self) < id(other)
                    """,
            },
            "book.py:3",
            ("Shop.act", "Book.__lt__"),
        ),
    ],
)
def test_a_breach_is_found_where_handlers_lead(
    files: dict[str, str], where: str, chain: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finding stands in the file at fault, with the way that leads there."""
    write(tmp_path, files)
    monkeypatch.chdir(tmp_path)
    report = lint(["shop.py"])
    assert report.unchecked == ()
    found = {f"{finding.file}:{finding.line}": finding for finding in report.findings}
    assert list(found) == [where]
    assert found[where].reached == chain
    assert not chain or found[where].text().endswith(f"(reached from {' -> '.join(chain)})")


def test_relative_imports_in_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One dot, two dots, and a machine named by its module."""
    write(
        tmp_path,
        {
            "firm/__init__.py": "",
            "firm/clock.py": CLOCK,
            "firm/shops/__init__.py": "",
            "firm/shops/near.py": "from ..clock import stamp\n\ndef now() -> int:\n    return stamp()\n",
            "firm/shops/shop.py": machine(
                "from . import near\nfrom .near import now", "self.total = near.now() + now()"
            ),
        },
    )
    monkeypatch.chdir(tmp_path)
    for target in ("firm.shops.shop", "firm.shops.shop:Shop", "firm", "firm/shops", str(tmp_path / "firm")):
        report = lint([target])
        assert [(f.file, f.line, f.reached) for f in report.findings] == [
            ("firm/clock.py", 4, ("Shop.act", "now", "stamp"))
        ], target
        assert report.machines == ("firm/shops/shop.py:Shop",)


def test_what_no_handler_reaches_is_not_judged(tmp_path: Path) -> None:
    """Other functions, other classes, other methods of the machine."""
    source = machine("import time", "self.total = 1") + dedent(
        """
            def report(self) -> float:
                return time.time()

        class Other:
            def act(self) -> int:
                return id(self)

        def main() -> None:
            print(time.time())
        """
    )
    write(tmp_path, {"shop.py": source})
    assert lint([str(tmp_path / "shop.py")]).exit_code == 0


def test_a_base_machine_is_judged_with_the_one_that_inherits_it(tmp_path: Path) -> None:
    """An overridden handler is not judged in its place; one that is not, is; one finding for two machines."""
    source = """\
        import rsm

        class Base(rsm.StateMachine):
            n: int

            @rsm.command(version=1)
            def first(self, ctx: rsm.Context) -> None:
                self.n = id(self)

            @rsm.command(version=1)
            def second(self, ctx: rsm.Context) -> None:
                self.n = id(self)

        class Shop(Base, name="shop", version=1):
            @rsm.command(version=1)
            def first(self, ctx: rsm.Context) -> None:
                self.n = 1
        """
    write(tmp_path, {"shop.py": source})
    report = lint([f"{tmp_path}/shop.py"])
    assert [finding.line for finding in report.findings] == [8, 12]


def unchecked(directory: Path, files: dict[str, str]) -> Report:
    """The report of a shop whose code cannot all be read."""
    write(directory, files)
    report = lint([str(directory / "shop.py")])
    assert report.findings == ()
    assert report.exit_code == 3
    return report


def test_modules_that_import_each_other_and_choose_by_it(tmp_path: Path) -> None:
    """An `if` at the top of each, on a name of the other: the ring is read once, and what is behind it is found."""
    write(
        tmp_path,
        {
            "shop.py": machine("from first import stamp", "self.total = stamp()"),
            "first.py": f"from second import FAST\n\nif FAST:\n    STEP = 2\n\n{CLOCK}",
            "second.py": "from first import STEP\n\nif STEP:\n    SLOW = 1\n\nFAST = True\n",
        },
    )
    report = lint([str(tmp_path / "shop.py")])
    assert [finding.code for finding in report.findings] == ["RSM101"]
    assert report.unchecked == ()


def test_an_import_that_leads_nowhere_is_unchecked(tmp_path: Path) -> None:
    """In the own package it is no foreign package: it is code that was not looked at."""
    report = unchecked(tmp_path, {"shop.py": machine("from .clock import stamp", "self.total = stamp()")})
    assert len(report.unchecked) == 1
    assert "cannot find 'stamp' of '.clock'" in report.unchecked[0]


def test_a_name_that_a_module_does_not_have_is_unchecked(tmp_path: Path) -> None:
    """The module is there, the name is not."""
    files = {"shop.py": machine("from clock import step", "self.total = step()"), "clock.py": CLOCK}
    assert "clock has no 'step'" in unchecked(tmp_path, files).unchecked[0]


def test_a_module_that_is_no_python_is_unchecked(tmp_path: Path) -> None:
    """Told with its line."""
    files = {"shop.py": machine("from clock import stamp", "self.total = stamp()"), "clock.py": "def stamp(\n"}
    assert "clock.py: line 1: no Python" in unchecked(tmp_path, files).unchecked[0]


def test_foreign_packages_are_named(tmp_path: Path) -> None:
    """They are not looked into, and that is said; the standard library and rsm are known."""
    write(
        tmp_path,
        {"shop.py": machine("import json\nimport attrs\nimport zlib", "self.total = attrs.x(json.loads('1'))")},
    )
    report = lint([str(tmp_path / "shop.py")])
    assert (report.foreign, report.exit_code) == (("attrs",), 0)


@pytest.mark.parametrize("target", ["demos/orderbook", "demos.orderbook.machine:OrderBook", "rsm.testing.probe"])
def test_our_own_machines_are_clean(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No finding, nothing unchecked."""
    monkeypatch.chdir(ROOT)
    report = lint([target])
    assert [finding.text() for finding in report.findings] == []
    assert (report.unchecked, report.exit_code) == ((), 0)


@pytest.mark.parametrize("document", ["README.md", "docs/recipes.md", "docs/tutorial.md"])
def test_the_machines_of_the_documents_are_clean(document: str, tmp_path: Path) -> None:
    """What readers copy has no finding."""
    checked = 0
    for number, block in enumerate(blocks(ROOT / document)):
        if block.language == "python" and "rsm.StateMachine, name=" in block.text:
            path = tmp_path / f"block{number}.py"
            path.write_text(block.text, encoding="utf-8")
            assert [finding.text() for finding in lint([str(path)]).findings] == []
            checked += 1
    assert checked


# A line of the order book -> what is put in its place, and the rule that must find it.
PLANTED = {
    "matching.py": ("        remaining = quantity\n", "        remaining = quantity + id(sink) * 0\n", "RSM205"),
    "stops.py": (
        "        tape = self.tapes[instrument]\n",
        "        self.last = tape = self.tapes[instrument]\n",
        "RSM305",
    ),
    "keys.py": (
        '    """The key before all prices of an instrument\'s side."""\n',
        "    for kind in {kind}:\n        pass\n",
        "RSM201",
    ),
    "numbered.py": (
        "        last = self.numbers.get(sender, 0)\n",
        "        last = self.numbers[sender.lower()]\n",
        "RSM404",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_fault_planted_deep_in_the_order_book_is_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rooms below the adapter are followed too: one line changed is one finding, in that file."""
    files = {f"demos/orderbook/{path.name}": path.read_text() for path in (ROOT / "demos/orderbook").glob("*.py")}
    line, instead, code = PLANTED[name]
    key = f"demos/orderbook/{name}"
    assert line in files[key]
    files[key] = files[key].replace(line, instead, 1)
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.chdir(tmp_path)
    found: tuple[Finding, ...] = lint(["demos.orderbook.machine:OrderBook"]).findings
    assert [(finding.file, finding.code) for finding in found] == [(key, code)]
    assert found[0].reached[0].startswith(("OrderBook.", "Numbered."))
