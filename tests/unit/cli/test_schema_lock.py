"""`rsm schema lock` and `rsm schema check`: from a first lock file to a change that is refused.

Most tests run the corpus in this process, which saves starting two for every command; those that are about processes
take `processes`.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import threading
from pathlib import Path

import pytest

import rsm
from rsm.schemas import asking
from rsm.schemas.child import Answer, Question, answer
from rsm.schemas.lockfile import render
from tests.unit.cli.samples import run
from tests.unit.schemas.shops import SHOP, load, locked

MODULE = "locked_shop"


@pytest.fixture
def processes() -> None:
    """Run the corpus where it is run outside of tests."""


@pytest.fixture(autouse=True)
def own_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run it here."""
    if "processes" not in request.fixturenames:
        lock = threading.Lock()  # two threads cannot parse source at once in every Python

        def ask(question: Question, _: object) -> Answer:
            with lock:
                return answer(question)

        monkeypatch.setattr(asking, "_ask", ask)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the machine's module in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    save()
    return tmp_path


def save(*edits: tuple[str, str]) -> str:
    """Write the module, edited; its class is imported anew."""
    text = SHOP
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    shutil.rmtree("__pycache__", ignore_errors=True)  # of the text before, of the same second and size
    Path(f"{MODULE}.py").write_text(f"{text}\nprint('the module prints')\n", encoding="utf-8")
    sys.modules.pop(MODULE, None)
    return f"{MODULE}:Shop"


@pytest.mark.usefixtures("processes")
def test_a_lock_is_made_and_kept() -> None:
    """By processes of its own, from the working directory; what the module prints disturbs nobody."""
    shop = save()
    assert run("schema", "lock", shop).out.startswith("commands.lock: machine shop, versions 1, 2; ")
    assert json.loads(run("schema", "check", shop, "--json").out)["verdict"] == "kept"


def test_a_lock_is_broken(directory: Path) -> None:
    """Written once, kept by the same class, broken by another effect; then nothing is written over it."""
    shop = save()
    ran = run("schema", "lock", shop)
    assert (ran.code, ran.err) == (0, "the module prints\n")
    assert ran.out.startswith("commands.lock: machine shop, versions 1, 2; 5 command versions, ")
    written = Path("commands.lock").read_text()
    assert run("schema", "lock", shop).out == "commands.lock: up to date\n"
    ran = run("schema", "check", shop)
    assert (ran.code, ran.out.startswith("commands.lock: kept: machine shop, ")) == (0, True)

    shop = save(("self.sold += 1", "self.sold += 2"))
    ran = run("schema", "check", shop)
    assert ran.code == 1
    assert ran.out.startswith("machine version 2: sell v1 ")
    assert "scalars/sold was 1, is 2" in ran.out
    document = json.loads(run("schema", "check", shop, "--json").out)
    assert document["verdict"] == "broken"
    assert [one["kind"] for one in document["breaks"]] == ["effect"]
    refused = run("schema", "lock", shop)
    assert refused.code == 1
    assert "commands.lock: not written: 1 thing that it holds as released changed. " in refused.out
    assert json.loads(run("schema", "lock", shop, "--json").out)["written"] is False
    assert Path("commands.lock").read_text() == written

    assert run("schema", "lock", shop, "--never-released", "2").code == 0
    assert run("schema", "check", shop).code == 0


def test_the_file_lies_beside_the_module_or_where_it_is_said() -> None:
    """--file is another place; without a lock file there is nothing to check or to take out of."""
    shop = save()
    missing = run("schema", "check", shop)
    assert (missing.code, missing.err.splitlines()[-1]) == (
        2,
        f"rsm: commands.lock: there is no lock file: rsm schema lock {shop} writes it",
    )
    assert run("schema", "lock", shop, "--retired", "put:1").code == 2
    document = json.loads(run("schema", "lock", shop, "--file", "other.lock", "--json").out)
    assert document == {"lock": "other.lock", "machine": "shop", "written": True, "new": [], "without_cases": []}
    assert run("schema", "check", shop, "--file", "other.lock").code == 0
    assert not Path("commands.lock").exists()


def test_an_edit_by_hand_is_told(directory: Path) -> None:
    """It fails the check, and `lock` puts it right if what was edited is what the code does."""
    shop = save()
    run("schema", "lock", shop)
    path = Path("commands.lock")
    path.write_text(path.read_text().replace("# rsm schema lock writes it.", "# I write it."))
    ran = run("schema", "check", shop)
    assert ran.code == 1
    assert ran.out.startswith("commands.lock: was edited by hand, its checksum is not its own: run rsm schema lock, ")
    assert run("schema", "lock", shop).code == 0
    assert run("schema", "check", shop).code == 0
    path.write_text(path.read_text().replace("  field count: int\n", "  field count: str\n", 1))
    assert run("schema", "lock", shop).code == 1
    path.write_text("no such file\n")
    ran = run("schema", "check", shop)
    assert (ran.code, "line 1 cannot be read" in ran.err) == (2, True)


def test_what_is_new_is_fine_unless_it_must_be_current() -> None:
    """`--current` is for those who want every commit to bring its lock along."""
    run("schema", "lock", save())
    handler = "    @rsm.command(version=1)\n    def shut(self, ctx: rsm.Context) -> None: ...\n\n    def migrate_state"
    shop = save(("    def migrate_state", handler))
    ran = run("schema", "check", shop)
    assert ran.code == 0
    assert f"new since the lock: shut v1: rsm schema lock {shop} adds it\n" in ran.out
    assert json.loads(run("schema", "check", shop, "--json").out)["verdict"] == "new"
    assert run("schema", "check", shop, "--current").code == 1
    assert "  added: shut v1\n" in run("schema", "lock", shop).out
    assert run("schema", "check", shop, "--current").code == 0


def test_what_was_deleted_is_retired() -> None:
    """An upcaster that is deleted breaks the lock until it is said that it was dead; its number stays used."""
    run("schema", "lock", save())
    swap = SHOP[
        SHOP.index('    @rsm.upcast("swap"') : SHOP.index("    @rsm.query\n", SHOP.index('    @rsm.upcast("swap"'))
    ]
    shop = save((swap, ""))
    assert "machine version 2: no longer takes swap v1" in run("schema", "check", shop).out
    shop = save((swap, ""), ("version=2, previous=ShopV1", "version=2"))
    ran = run("schema", "check", shop)
    assert "swap v1: is gone, there is no command swap any more: " in ran.out
    assert "rsm schema lock --retired swap:1" in ran.out
    assert run("schema", "lock", shop, "--retired", "swap:1", "--retired", "1").code == 0
    assert run("schema", "check", shop).code == 0
    again = ("    @rsm.command(version=1)\n    def sell", SHOP_SWAP + "    @rsm.command(version=1)\n    def sell")
    shop = save((swap, ""), ("version=2, previous=ShopV1", "version=2"), again)
    assert "swap v1: was retired, and is back with other fields: " in run("schema", "check", shop).out


SHOP_SWAP = "    @rsm.command(version=1)\n    def swap(self, ctx: rsm.Context, other: int) -> None: ...\n\n"


@pytest.mark.usefixtures("processes")
def test_what_differs_between_processes_is_not_locked() -> None:
    """A hash of a text differs with its seed: that is said, and nothing is written."""
    shop = save(("return self.sold", "return hash(item)"))
    ran = run("schema", "lock", shop)
    assert ran.code == 1
    assert "does not do the same in every process" in ran.out
    assert "rsm desync replay --hostile" in ran.out
    assert not Path("commands.lock").exists()


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ("import os; os._exit(7)", "the process that runs its corpus ended with code 7"),
        ("import os; os.kill(os.getpid(), 9)", "the process that runs its corpus was ended by signal 9"),
        ("while True: pass", "its corpus was not through after 3 seconds"),
    ],
)
@pytest.mark.usefixtures("processes")
def test_what_cannot_be_run_is_unchecked(handler: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that ends the process, or never ends itself: exit code 3, and never a pass."""
    save()
    Path("commands.lock").write_text(render(locked(load(Path()))))
    shop = save(("self.sold += 1", handler))
    if "while" in handler:
        monkeypatch.setattr(asking, "LOCK_RUN_SECONDS_MAX", 3.0)
    ran = run("schema", "check", shop)
    assert (ran.code, ran.out) == (3, "")
    assert f"rsm: unchecked: {shop}: {said}" in ran.err
    if "_exit" in handler:
        document = json.loads(run("schema", "check", shop, "--json").out)
        assert document["verdict"] == "unchecked"
        assert said in document["unchecked"][0]


def test_a_log_gives_a_run_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands that a machine was really sent, from the sessions of those who sent them, once."""
    shop = save()
    monkeypatch.syspath_prepend(".")
    module = importlib.import_module(MODULE)
    with rsm.open(module.Shop, "shop-data") as client:
        client.put("tea", 5, module.Kind.NEW)
        client.sell("tea")
        with client.session(principal="carol") as other:
            other.sell("tea")
    assert run("schema", "lock", shop).code == 0
    before = Path("commands.lock").read_text()
    assert run("schema", "lock", shop, "--log", "shop-data").code == 0
    text = Path("commands.lock").read_text()
    assert '    principal ""\n    principal "carol"\n    step put v3 #' in text
    assert " by 2 " in text
    assert len(text) > len(before)
    assert run("schema", "lock", shop, "--log", "shop-data").out == "commands.lock: up to date\n"
    assert run("schema", "check", save(("self.sold += 1", "self.sold += 2"))).code == 1
