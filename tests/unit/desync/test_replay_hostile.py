"""Settings that must not matter, each by itself: a healthy machine minds none, a fault is named by its cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsm.desync.environments import Setting, hostile
from rsm.desync.finding import Finding
from rsm.desync.hostile import RELOADED, replay_hostile
from rsm.desync.recording import Recording
from rsm.desync.replaying import Unreplayable
from rsm.node.storage.disk import OsDisk
from tests.replay_stage import ShopLog, checkout, few_settings, shop_of, write_machine

ROOT = Path(__file__).resolve().parents[3]
FIRST = "self.last = sorted(set(words.split()))[0]"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of a healthy shop."""
    log = ShopLog(shop_of(checkout(tmp_path_factory.mktemp("healthy")))).trade(250)
    return write_machine(tmp_path_factory.mktemp("machine") / "data", log)


def run(machine: Path, code: Path, monkeypatch: pytest.MonkeyPatch) -> Finding:
    """A hostile replay in a checkout."""
    monkeypatch.chdir(code)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("TZ", raising=False)
    return replay_hostile(Recording(OsDisk(), str(machine)), "shop:Shop")


def test_a_healthy_machine_minds_nothing(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting was tried, and through snapshots too."""
    finding = run(machine, checkout(tmp_path / "code"), monkeypatch)
    assert (finding.verdict, finding.causes, finding.unchecked) == ("agree", (), ())
    tried = next(note for note in finding.notes if note.startswith("tried: "))
    for name in ("another run", "PYTHONHASHSEED=1", "TZ=", "python -O", "python -X utf8", RELOADED):
        assert name in tried


@pytest.mark.parametrize(
    ("changes", "cause", "path"),
    [
        ([(FIRST, "self.last = list(set(words.split()))[0]")], "PYTHONHASHSEED", "scalars/'last'"),
        ([("self.sold.push(count)", "self.helper.seen += 1; self.sold.push(self.helper.seen)")], RELOADED, "sold/"),
        (
            [
                ("self.total += count", "self.total += count; self.helper.words.setdefault(item, len(item))"),
                (FIRST, "self.last = ' '.join(self.helper.words)"),
            ],
            RELOADED,
            "scalars/'last'",
        ),
        (
            [
                ("class Counter:", "Words = {}\n\n\nclass Counter:"),
                ("self.sold.push(count)", "Words[len(Words)] = 1; self.sold.push(len(Words))"),
            ],
            RELOADED,
            "sold/",
        ),
        ([("self.sold.push(count)", "self.sold.push(time.time_ns())")], "another run", "sold/0"),
    ],
    ids=["set order", "hidden attribute", "insertion order", "module variable", "clock"],
)
def test_a_cause_is_named(
    changes: list[tuple[str, str]],
    cause: str,
    path: str,
    machine: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    soak: bool,
) -> None:
    """The cause, the path that it shows at, and the line; nothing that does not matter is blamed.

    Among fewer settings, and restarts, unless there is time: each is a process.
    """
    if not soak:
        few_settings(monkeypatch)
    code = checkout(tmp_path / "code", *changes)
    finding = run(machine, code, monkeypatch)
    assert (finding.verdict, finding.kind) == ("desync", "apply")
    assert finding.causes
    assert all(one.startswith(cause) for one in finding.causes)
    assert finding.paths[0].path.startswith(path)
    assert finding.command is not None
    assert finding.blame[0].file == str(code / "shop.py")
    assert finding.blame[0].text == finding.blame[1].text


def test_several_causes_are_named_each_by_itself(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that minds the hash seed, the time zone, `-O` and the text mode; it minds nothing else."""
    code = checkout(
        tmp_path / "code",
        ("import time\n", "import sys\nimport time\n"),
        (FIRST, "self.last = str(hash(words))"),
        ("self.total += count", "self.total += count + time.localtime(0).tm_min"),
        ("self.sold.push(count)", "self.sold.push(sys.flags.utf8_mode + 2 * int(__debug__))"),
    )
    causes = run(machine, code, monkeypatch).causes
    for cause in ("PYTHONHASHSEED=1", "PYTHONHASHSEED=4242", "TZ=", "python -O", "python -X utf8"):
        assert any(one.startswith(cause) for one in causes), (cause, causes)
    assert len(causes) == 5


def test_the_settings_differ_in_one_thing_each() -> None:
    """From the first, whose hash seed is fixed."""
    base, variants = hostile("shop:Shop")
    assert variants[0].environment == base.environment
    assert variants[0].command == base.command
    for variant in variants[1:]:
        changed = {name for name, value in variant.environment.items() if base.environment.get(name) != value}
        assert len(changed) + (variant.command != base.command) == 1, variant.name


def test_code_that_cannot_be_loaded(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and nothing was checked."""
    with pytest.raises(Unreplayable, match="cannot import shop: ZeroDivisionError"):
        run(machine, checkout(tmp_path / "code", text="1 / 0\n"), monkeypatch)


def only(patch: pytest.MonkeyPatch, name: str, restarts: int = 0) -> None:
    """Hostile replays try one setting besides another run."""

    def one(reference: str) -> tuple[Setting, list[Setting]]:
        base, variants = hostile(reference)
        return base, [variants[0], next(variant for variant in variants if variant.name == name)]

    patch.setattr("rsm.desync.hostile.hostile", one)
    patch.setattr("rsm.desync.hostile.HOSTILE_RESTARTS", restarts)


def test_what_differs_now_and_then_is_not_blamed_on_the_setting(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting made a difference once, and none when it was looked at again: the code itself changes."""
    only(monkeypatch, "python -O")
    flag = tmp_path / "seen"
    once = f"if not __debug__ and not os.path.exists({str(flag)!r}): open({str(flag)!r}, 'w').close(); self.total += 1"
    code = checkout(
        tmp_path / "code", ("import time\n", "import os\nimport time\n"), (FIRST, f"{FIRST}\n        {once}")
    )
    finding = run(machine, code, monkeypatch)
    assert (finding.verdict, finding.causes) == ("desync", ("another run",))
    assert finding.first_bad_index is not None
    assert finding.checked_to_index < finding.first_bad_index
    assert any("changes from run to run" in note for note in finding.notes)
    assert not any("no root was recorded" in note for note in finding.notes)


def test_a_setting_that_goes_on_where_the_first_run_cannot(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no entry that no run can apply."""
    only(monkeypatch, "python -O")
    code = checkout(tmp_path / "code", (FIRST, f"{FIRST}\n        if __debug__: raise SystemExit(3)"))
    finding = run(machine, code, monkeypatch)
    assert (finding.verdict, finding.causes, finding.minority) == ("desync", ("python -O",), ("replay",))
    assert finding.command is not None
    assert finding.command["name"] == "label"


def test_a_change_behind_the_containers_under_every_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All runs are the same, down to the roots, and yet it is no agreement."""
    only(monkeypatch, "python -O")
    log = ShopLog(shop_of(checkout(tmp_path / "healthy")))
    log.send(log.session, "add", "once", 1)
    machine = write_machine(tmp_path / "data", log.trade(200))
    behind = "self.sold.push(count)\n        if ctx.index > 194: dict.__setitem__(self.stock, 'once', 7)"
    code = checkout(tmp_path / "code", ("self.sold.push(count)", behind))
    finding = run(machine, code, monkeypatch)
    assert (finding.verdict, finding.causes, finding.minority) == ("desync", (), ("replay",))
    assert "outside tracked writes" in finding.notes[0]
