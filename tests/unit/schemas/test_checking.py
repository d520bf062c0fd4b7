"""A lock file holds a machine to what it released: every kind of change is found and named, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsm.limits import LOCK_CASES_MAX
from rsm.schemas.checking import compare
from rsm.schemas.document import Lock
from rsm.schemas.observing import observe
from tests.machines import Bank, Everything
from tests.unit.schemas.shops import load, locked


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Lock:
    """The lock of the shop as it was released."""
    return locked(load(tmp_path_factory.mktemp("shop")))


def found(lock: Lock, directory: Path, *edits: tuple[str, str]) -> list[str]:
    """The lines of what is not as it was, after the edits."""
    return [one.line for one in compare(lock, observe(load(directory, *edits), lock)).breaks]


def test_what_did_not_change_is_kept(lock: Lock, tmp_path: Path) -> None:
    """The same class again has no break, adds nothing, and locks to the same."""
    again = load(tmp_path)
    report = compare(lock, observe(again, lock))
    assert (report.breaks, report.new) == ([], [])
    assert locked(again, lock) == lock


def test_a_comment_is_a_note(lock: Lock, tmp_path: Path) -> None:
    """Other source that does the same is told of, and breaks nothing."""
    report = compare(lock, observe(load(tmp_path, ("import enum\n", "import enum  # of kinds\n")), lock))
    assert report.breaks == []
    assert report.notes == [
        "machine version 1: its code changed, its effect on the corpus did not",
        "machine version 2: its code changed, its effect on the corpus did not",
    ]


@pytest.mark.parametrize("machine", [Bank, Everything])
def test_a_corpus_goes_where_the_handlers_go(machine: type[Bank]) -> None:
    """Every command has a bounded number of cases; between them they return, and are refused where that is possible."""
    made = locked(machine.definition)
    for versions in made.commands.values():
        for command in versions.values():
            assert 0 < len(command.cases) <= LOCK_CASES_MAX or not command.fields
    details = " ".join(step.detail for release in made.releases.values() for run in release.runs for step in run.steps)
    assert '"answer":["ok"' in details
    if machine is Everything:
        assert '"of":"ring"' in details  # a timer fired
        assert '"answer":["rejected","no ' in details
        assert '"events":[["ended"' in details  # the sessions ended


EDITS = {
    "put v3: its fields changed: note is new (str): restore them, and give version 4 the new ones, with an upcaster "
    "from version 3": (
        ("kind: Kind = Kind.NEW", "kind: Kind = Kind.NEW, note: str = ''"),
        ("-> tuple[str, int, Kind]", "-> tuple[str, int, Kind, str]"),
        ("return item, count, Kind.USED", "return item, count, Kind.USED, ''"),
    ),
    "put v3: its fields changed: kind was enum Kind(NEW=1,USED=2), is enum Kind(NEW=1,USED=2,BROKEN=3): ": (
        ("    USED = 2\n", "    USED = 2\n    BROKEN = 3\n"),
    ),
    "sell v1: its fields changed: item is gone (was str); what is new (str): ": (
        ("def sell(self, ctx: rsm.Context, item: str)", "def sell(self, ctx: rsm.Context, what: str)"),
    ),
    "put v1 to v2: the upcaster gives something else for ": (("item.lower(), count", "item.upper(), count"),),
    "swap v1 to v2: the upcaster gives something else for ": (("answers=1", "answers=0"),),
    "machine version 2: its state changed: lost is new (scalar int): restore it, and make the change in a new machine "
    "version (version=..., previous=this class)": (("    sold: int\n", "    sold: int\n    lost: int\n"),),
    "machine version 2: its events changed: is new (str): ": (
        ("version=2, previous=ShopV1)", "version=2, previous=ShopV1, event=str)"),
    ),
    "machine version 2: sell v1 ": (("self.sold += 1", "self.sold += 2"),),
    "machine version 2: sell v1": (("ctx.now + 10", "ctx.now + 11"),),
    "machine version 2: put v": (("ctx.emit(item)", "ctx.emit(item + '!')"),),
    "machine version 2: migrate_state makes ": (("self.sold = len(old.stock)", "self.sold = -len(old.stock)"),),
    "query left: its fields changed: kind is new (int): released clients cannot ask it any more: ": (
        ("    def left(self, item: str)", "    def left(self, item: str, kind: int = 0)"),
    ),
    "query left: is gone: ": (("    def left(", "    def remaining("),),
    "machine version 1: is gone: keep its class (previous=...); if rsm schema usage says that it is dead, run rsm "
    "schema lock --retired 1": (("version=2, previous=ShopV1", "version=2"),),
    "machine version 2: is gone: keep its class": (("version=2, previous=ShopV1", "version=3, previous=ShopV1"),),
    "sell v1: is gone, there is no command sell any more: restore it, or an upcaster from it; if ": (
        ("    @rsm.command(version=1)\n    def sell", "    def sell"),
        (', "sell": 1}', "}"),
    ),
    "put v1: is gone: ": (
        ('    @rsm.upcast("put", from_version=1)\n', "    @staticmethod\n"),
        ("    @rsm.command(version=1)\n    def put", "    @rsm.command(version=2)\n    def put"),
    ),
    "machine version 2: no longer takes put v1: restore the command or its upcaster in this class": (
        ('    @rsm.upcast("put", from_version=1)\n', "    @staticmethod\n"),
    ),
}


@pytest.mark.parametrize("line", EDITS, ids=lambda line: line[:50])
def test_each_change_is_named(lock: Lock, tmp_path: Path, line: str) -> None:
    """One line of what is found begins with what changed, and says what to do."""
    lines = found(lock, tmp_path, *EDITS[line])
    assert any(one.startswith(line) for one in lines), lines


def test_the_effect_shows_the_path_with_both_values(lock: Lock, tmp_path: Path) -> None:
    """The first call that does something else is named with its values, the path, and what was and is there."""
    lines = found(lock, tmp_path, ("self.sold += 1", "self.sold += 2"))
    assert len(lines) == 1
    assert "has another effect (the corpus, step " in lines[0]
    assert 'the answer was ["ok",1], is ["ok",2]; scalars/sold was 1, is 2: restore it, ' in lines[0]


def test_an_upcaster_shows_both_results(lock: Lock, tmp_path: Path) -> None:
    """Before and after stand in the line and in the break."""
    report = compare(lock, observe(load(tmp_path, ("item.lower(), count", "item.lower(), count + 1")), lock))
    broken = next(one for one in report.breaks if one.kind == "upcast")
    assert broken.before != broken.now
    assert f"was {broken.before}, is {broken.now}" in broken.line


def test_an_old_class_that_does_something_else_is_found(lock: Lock, tmp_path: Path) -> None:
    """A frozen class is held to its runs too."""
    edit = ("self.stock[new] = self.stock.pop(old, 0)", "self.stock[new] = self.stock.pop(old, 1)")
    lines = found(lock, tmp_path, edit)
    assert any(line.startswith("machine version 1: swap v1 ") for line in lines), lines


def test_a_handler_that_begins_to_raise_is_found(lock: Lock, tmp_path: Path) -> None:
    """An exception is an outcome like any other: recorded, compared, told."""
    lines = found(lock, tmp_path, ("self.sold += 1", "self.sold += 1 // 0"))
    assert 'is ["failed","handler_failed"]' in lines[0]


def test_another_machine_is_another_machine(lock: Lock) -> None:
    """A lock file of another machine says whose it is."""
    report = compare(lock, observe(Bank.definition, lock))
    assert [one.line for one in report.breaks] == [
        "machine: the lock file is of machine 'shop', the class is 'bank': a machine keeps its name for ever; name "
        "another file with --file"
    ]


def test_what_is_new_is_fine_and_is_added_behind(lock: Lock, tmp_path: Path) -> None:
    """A new command, a new version with an upcaster and a new machine version break nothing; locking keeps the rest."""
    more = """
class ShopV3(rsm.StateMachine, name="shop", version=3, previous=Shop):
    stock: rsm.Map[str, int]
    sold: int

    @rsm.command(version=4)
    def put(self, ctx: rsm.Context, item: str, count: int, kind: Kind, note: str) -> int:
        return count

    @rsm.command(version=1)
    def sell(self, ctx: rsm.Context, item: str) -> int:
        return 0

    @rsm.command(version=1)
    def shut(self, ctx: rsm.Context) -> None: ...

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

    put_3 = rsm.upcast_fields(
        "put", from_version=3, old={"item": str, "count": int, "kind": Kind}, default={"note": ""}
    )

    @rsm.query
    def left(self, item: str) -> int:
        return 0
"""
    definition = load(
        tmp_path, ("        self.sold = len(old.stock)\n", f"        self.sold = len(old.stock)\n{more}"), name="ShopV3"
    )
    report = compare(lock, observe(definition, lock))
    assert report.breaks == []
    assert report.new == ["put v4", "shut v1", "machine version 3"]
    made = locked(definition, lock)
    for version in (1, 2):
        was, now = lock.releases[version], made.releases[version]
        assert (now.runs, now.takes, now.state, now.migration) == (was.runs, was.takes, was.state, was.migration)
    assert made.commands["put"][1] == lock.commands["put"][1]
    assert len(made.commands["put"][3].upcasts) == len(lock.commands["put"][3].cases)
    assert made.releases[3].migration


def test_a_command_that_is_added_to_a_release_gets_a_run_of_its_own(lock: Lock, tmp_path: Path) -> None:
    """What was run before is run as it was; the new command is tried beside the known ones."""
    place = '    @rsm.upcast("put", from_version=1)'
    handler = "def lose(self, ctx: rsm.Context, item: str) -> int:\n        return self.stock.pop(item, 0)"
    definition = load(tmp_path, (place, f"    @rsm.command(version=1)\n    {handler}\n\n{place}"))
    report = compare(lock, observe(definition, lock))
    assert (report.breaks, report.new) == ([], ["lose v1"])
    made = locked(definition, lock)
    runs = made.releases[2].runs
    assert runs[0] == lock.releases[2].runs[0]
    assert len(runs) == 2
    assert {(step.name, step.version) for step in runs[1].steps} >= {("lose", 1), ("put", 3)}
    assert locked(definition, made) == made


READER = """
class Desk(rsm.StateMachine, name="desk", version=1):
    owners: rsm.Map[int, str]

    @rsm.command(version=1)
    def put(self, ctx: rsm.Context, number: int, owner: str) -> None:
        self.owners[number] = owner

    @rsm.command(version=2)
    def take(self, ctx: rsm.Context, number: int, owner: str) -> bool:
        return self.owners.pop(number, "") == owner

    @rsm.upcast("take", from_version=1, reads_state=True)
    def take_1(self, number: int) -> tuple[int, str]:
        return number, self.owners.get(number, "")

    @rsm.upcast("look", from_version=1)
    def look_1(number: int) -> rsm.Drop:
        if number < 0:
            raise ValueError(number)
        return rsm.drop(number)
"""


def test_a_step_that_reads_the_state_is_seen_in_the_runs(tmp_path: Path) -> None:
    """What it makes of a case depends on where it stands; what it made of it in a run does not."""
    desk = load(tmp_path, text=f"import rsm\n{READER}", name="Desk")
    made = locked(desk)
    assert set(made.commands["take"][1].upcasts) == {'{"reads":"state"}'}
    drops = made.commands["look"][1].upcasts
    assert any(text.startswith('{"drop":') for text in drops)
    assert '{"raises":"ValueError"}' in drops
    edit = ('self.owners.get(number, "")', 'self.owners.get(number, "?")')
    report = compare(made, observe(load(tmp_path, edit, text=f"import rsm\n{READER}", name="Desk"), made))
    assert [one.kind for one in report.breaks] == ["effect"]
    assert "take v1 " in report.breaks[0].line


def test_releases_that_share_a_mixin_of_steps_keep_their_own(tmp_path: Path) -> None:
    """A step that two releases inherit leads, in each of them, to that release's handlers."""
    text = """
import rsm

class Steps:
    @rsm.upcast("both", from_version=1, into={"add": 1})
    def both_1(number: int) -> rsm.Split:
        return rsm.split(("add", number), ("add", number), answers=1)

class One(Steps, rsm.StateMachine, name="sums", version=1):
    total: int

    @rsm.command(version=1)
    def add(self, ctx: rsm.Context, number: int) -> int:
        self.total = min(self.total + number, 2**60)
        return self.total
"""
    made = locked(load(tmp_path, text=text, name="One"))
    two = text + (
        '\nclass Two(Steps, rsm.StateMachine, name="sums", version=2, previous=One):\n'
        "    total: int\n\n    @rsm.command(version=1)\n"
        "    def add(self, ctx: rsm.Context, number: int) -> int:\n        return -1\n"
    )
    assert compare(made, observe(load(tmp_path, text=two, name="Two"), made)).breaks == []
