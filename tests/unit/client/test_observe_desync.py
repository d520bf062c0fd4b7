"""An observer finds its own desync, names it, heals it, and keeps the evidence."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import pytest

import rsm
import rsm.testing
from rsm.cli.main import main
from rsm.desync.kept_evidence import kept_evidence
from rsm.limits import EVIDENCE_KEPT, OBSERVER_HEALS_MAX
from rsm.node.storage.disk import OsDisk
from tests import observed_bank
from tests.client_service import Nodes
from tests.observed_bank import Bank, hash_point, planted, until, until_index

BUG_LINE = next(
    number
    for number, line in enumerate(Path(observed_bank.__file__).read_text().splitlines(), 1)
    if "# the bug" in line
)


def test_a_planted_bug_is_named_and_healed(nodes: Nodes, bank: Bank, tmp_path: Path) -> None:
    """At the next root: index, command, path with both values, line; then the observer has the cluster's state."""
    bank.deposit("ann", 2)
    with rsm.observe(Bank, nodes.addresses, from_index=0, record=tmp_path / "record", trace=True) as observer:
        good = hash_point(nodes)
        until_index(observer, good)
        bank.deposit("ann", 4)
        until_index(observer, good + 1)
        with planted():
            bank.deposit("bob", 6)
            until_index(observer, good + 2)
        bank.deposit("ann", 8)
        bad = hash_point(nodes)
        open_, *_, healed = until(observer, lambda update: update.desync and update.desync.verdict != "open")[2 - 1 :]
        assert open_.desync is not None
        assert (open_.index, open_.desync.verdict, open_.snapshot) == (bad, "open", False)
        desync = healed.desync
        assert desync is not None
        assert healed.snapshot
        assert (desync.verdict, desync.index, desync.good_index) == ("observer", bad, good)
        assert desync.root == open_.root != desync.expected == nodes.log.replica.roots[bad]
        assert desync.source in nodes.addresses
        assert desync.command is not None
        assert (desync.command.name, desync.command.version) == ("deposit", 1)
        assert desync.command.values == {"to": "bob", "amount": 6}
        assert desync.command.position == 0
        assert [(path.path, path.mine, path.theirs) for path in desync.paths][:1] == [("balances/'bob'", 7, 6)]
        (line,) = desync.lines
        assert (line.file, line.line, line.index) == (observed_bank.__file__, BUG_LINE, good + 2)
        assert line.text.startswith("bank.balances[to] += 1")
        assert line.what == "balances/'bob'"
        assert desync.healed_index == healed.index >= bad
        assert observer.machine.balance("bob") == 6
        bank.deposit("bob", 2)
        updates = until_index(observer, hash_point(nodes))
        assert updates[-1].root == nodes.log.replica.root()
        assert all(update.desync is None for update in updates)
    finding = rsm.testing.load_bundle(desync.evidence).replay(Bank)
    assert finding.verdict == "agree"  # this code has not got the bug; its source had
    assert finding.evidence is not None
    assert [path.path for path in finding.evidence.paths][:1] == ["balances/'bob'"]


def test_without_a_trace_the_paths_are_named_and_a_lone_command(nodes: Nodes, bank: Bank) -> None:
    """The line is what `trace` is for; the command is told where there was but one."""
    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        until_index(observer, hash_point(nodes))
        bank.deposit("bob", 6)
        with planted():
            until_index(observer, hash_point(nodes) - 1)
            healed = until(observer, lambda update: update.snapshot)[-1]
        desync = healed.desync
        assert desync is not None
        assert desync.command is not None
        assert desync.command.values == {"to": "bob", "amount": 6}
        assert desync.paths[0].path == "balances/'bob'"
        assert desync.lines == ()
        assert desync.evidence == ""


def test_the_root_that_a_quorum_confirmed_counts(nodes: Nodes, bank: Bank) -> None:
    """A node that is as wrong as the observer sends the same roots; what the log has confirmed tells."""
    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        index = hash_point(nodes)
        wrong = bytes(16)
        nodes.log.replica.is_lone = False
        nodes.do(lambda: nodes.log.lead("rsm.confirmed", index, wrong))
        for service in nodes.services:
            nodes.do(service.notify)
        update = until(observer, lambda update: update.desync)[-1]
        assert update.desync is not None
        assert update.desync.source == "rsm.confirmed"
        assert (update.desync.index, update.desync.expected) == (index, wrong)
        assert update.index == index + 1
        assert update.desync.good_index == 0  # what the node said counts no longer


def test_old_entries_are_known_as_closely_as_they_were_confirmed(
    nodes: Nodes, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node has no roots of them any more, but the log has: the difference lies behind the last that agreed."""

    def confirmed_hash_point() -> int:
        index = hash_point(nodes)
        nodes.do(lambda: nodes.log.lead("rsm.confirmed", index, nodes.log.replica.roots[index]))
        return index

    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        inbox = observer._receiver.inbox
        taken = inbox.take
        monkeypatch.setattr(inbox, "take", lambda: _without_roots(taken()))
        bank.deposit("ann", 2)
        good = confirmed_hash_point()
        until_index(observer, good + 1)
        bank.deposit("bob", 6)
        bad = confirmed_hash_point()
        with planted():
            desync = until(observer, lambda update: update.desync)[-1].desync
        assert desync is not None
        assert (desync.source, desync.index, desync.good_index) == ("rsm.confirmed", bad, good)
        assert desync.command is not None
        assert desync.command.values == {"to": "bob", "amount": 6}


def _without_roots(received: Any) -> Any:
    return msgspec.structs.replace(received, roots={}) if getattr(received, "roots", None) else received


def test_where_the_first_writes_are_forgotten_no_later_one_is_to_blame(
    nodes: Nodes, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The places of writes are bounded: with the command that did it among those that are gone, none is named."""
    monkeypatch.setattr("rsm.client.observing.tracing.OBSERVER_PLACES_MAX", 3)
    with rsm.observe(Bank, nodes.addresses, from_index=0, trace=True) as observer:
        good = hash_point(nodes)
        until_index(observer, good)
        bank.deposit("bob", 6)
        with planted():
            until_index(observer, good + 1)
        for _ in range(5):
            bank.deposit("bob", 2)
        hash_point(nodes)
        desync = until(observer, lambda update: update.snapshot)[-1].desync
    assert desync is not None
    assert (desync.paths[0].path, desync.paths[0].mine, desync.paths[0].theirs) == ("balances/'bob'", 17, 16)
    assert desync.command is None


def test_evidence_that_cannot_be_written_is_no_reason_to_stop(
    nodes: Nodes, bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state that differs may be of any kind: the observer is healed without."""

    def odd(*_: object) -> None:
        raise TypeError("of no kind that is known")

    monkeypatch.setattr("rsm.client.observing.record.Record._write", odd)
    with rsm.observe(Bank, nodes.addresses, from_index=0, record=tmp_path / "record") as observer:
        until_index(observer, hash_point(nodes))
        bank.deposit("bob", 6)
        with planted():
            until_index(observer, hash_point(nodes) - 1)
            desync = until(observer, lambda update: update.snapshot)[-1].desync
        assert desync is not None
        assert (desync.verdict, desync.evidence) == ("observer", "")
        assert observer.machine.balance("bob") == 6


def test_unfinished_evidence_counts_for_nothing(nodes: Nodes, bank: Bank, tmp_path: Path) -> None:
    """What crashes have left takes no place of what is kept."""
    with rsm.observe(Bank, nodes.addresses, from_index=0, record=tmp_path / "record") as observer:
        for number in range(EVIDENCE_KEPT):
            (tmp_path / "record" / "evidence" / f"00{number}").mkdir(parents=True)
        until_index(observer, hash_point(nodes))
        bank.deposit("bob", 6)
        with planted():
            until_index(observer, hash_point(nodes) - 1)
            desync = until(observer, lambda update: update.snapshot)[-1].desync
    assert desync is not None
    assert rsm.testing.load_bundle(desync.evidence).replay(Bank).verdict == "agree"
    source: Any = SimpleNamespace(path=str(tmp_path / "record"), name="record")
    kept = kept_evidence(OsDisk(), source, desync.index)
    assert kept is not None
    assert kept.command == {"name": "deposit", "version": 1, "values": {"to": "bob", "amount": 6}}


def test_a_node_that_differs_is_left(nodes: Nodes, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its root is another one, but the confirmed snapshot is what the observer has: the node is wrong."""
    bank.deposit("ann", 2)
    with rsm.observe(Bank, nodes.addresses[0], from_index=0) as observer:
        observer._receiver.addresses.append(nodes.addresses[1])
        until_index(observer, nodes.log.replica.index)
        before = observer.status.address
        taken = observer._receiver.inbox.take
        monkeypatch.setattr(observer._receiver.inbox, "take", lambda: _with_wrong_roots(taken(), before))
        hash_point(nodes)
        told = until(observer, lambda update: update.desync and update.desync.verdict != "open")[-1]
        assert told.desync is not None
        assert told.desync.verdict == "node"
        assert told.desync.source == before
        assert not told.snapshot
        until_index(observer, hash_point(nodes))
        bank.deposit("ann", 2)
        updates = until_index(observer, hash_point(nodes))
        assert all(update.desync is None for update in updates)
        assert observer.status.snapshots == 0


def _with_wrong_roots(received: Any, address: str) -> Any:
    if getattr(received, "address", "") == address and received.roots and received.subscription == 1:
        return msgspec.structs.replace(received, roots=dict.fromkeys(received.roots, bytes(16)))
    return received


def test_an_entry_that_cannot_be_applied_here(nodes: Nodes, bank: Bank) -> None:
    """What breaks a handler in this process alone breaks the observer's state: it is replaced, and goes on."""

    def fails(bank: Bank, to: str, amount: int) -> None:
        bank.balances[to] = 1000
        raise MemoryError("only here")

    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        until_index(observer, nodes.log.replica.index)
        bank.deposit("ann", 6)
        with planted(fails):
            broken = until(observer, lambda update: update.desync)[-1]
        assert broken.desync is not None
        assert "MemoryError: only here" in broken.desync.reason
        bank.deposit("ann", 2)
        hash_point(nodes)
        healed = until(observer, lambda update: update.snapshot)[-1]
        assert healed.desync is not None
        assert healed.desync.verdict == "observer"
        until_index(observer, nodes.log.replica.index)
        assert observer.machine.balance("ann") == 8


def test_a_change_behind_the_containers_back(nodes: Nodes, bank: Bank) -> None:
    """The scrub finds it though no command did it, and the paths tell what it was."""
    for number in range(200):
        bank.deposit(f"who{number}", 2)
    with rsm.observe(Bank, nodes.addresses, from_index=0, trace=True) as observer:
        until_index(observer, hash_point(nodes))
        for number in range(200):
            dict.__setitem__(observer.machine.balances, f"who{number}", 7)
        for _ in range(40):
            hash_point(nodes)
        found = until(observer, lambda update: update.desync)[-1]
        assert found.desync is not None
        assert found.desync.root == found.desync.expected == b""
        assert "balances" in found.desync.reason
        bank.deposit("late", 2)
        hash_point(nodes)
        healed = until(observer, lambda update: update.snapshot)[-1].desync
        assert healed is not None
        assert healed.paths[0].path.startswith("balances/'who")
        assert (healed.paths[0].mine, healed.paths[0].theirs) == (7, 2)
        assert healed.command is None  # what ran behind it has not done it
        assert observer.machine.balance("who0") == 2


def test_one_that_differs_again_and_again_stops(nodes: Nodes, bank: Bank) -> None:
    """A bug that stays is not healed for ever."""

    def differ(times: int) -> None:
        for _ in range(times):
            bank.deposit("bob", 2)
            hash_point(nodes)
            until(observer, lambda update: update.snapshot)

    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer, planted():
        until_index(observer, hash_point(nodes))
        with pytest.raises(rsm.DivergenceError, match="again after a healing"):
            differ(OBSERVER_HEALS_MAX + 2)
        with pytest.raises(rsm.DivergenceError):
            observer.next(0)


def test_records_of_two_observers_are_compared(
    nodes: Nodes, bank: Bank, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`rsm desync compare` says of two records what the one observer said of itself; equal ones agree."""
    paths = [tmp_path / name for name in ("good", "bad")]
    observers = [rsm.observe(Bank, nodes.addresses, from_index=0, record=path, trace=True) for path in paths]
    for observer in observers:
        until_index(observer, hash_point(nodes))
    for observer in observers:
        until_index(observer, nodes.log.replica.index)
    bank.deposit("bob", 6)
    bad = hash_point(nodes)
    until_index(observers[0], bad)
    with planted():
        desync = until(observers[1], lambda update: update.snapshot)[-1].desync
    assert desync is not None
    for observer in observers:
        until_index(observer, nodes.log.replica.index)
        observer.close()
    assert main(["desync", "compare", *map(str, paths), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["kind"], said["first_bad_index"], said["minority"]) == ("apply", bad, [str(paths[1])])
    assert said["first_bad_command"] == 0
    assert said["command"] == {"name": "deposit", "version": 1, "values": {"to": "bob", "amount": 6}}
    assert said["paths"][0] == {"path": "balances/'bob'", "values": {str(paths[0]): 6, str(paths[1]): 7}}
    assert [(line["file"], line["line"]) for line in said["blame"]] == [(observed_bank.__file__, BUG_LINE)]
    assert main(["desync", "compare", *map(str, paths)]) == 1
    shown = capsys.readouterr().out
    assert f"{observed_bank.__file__}:{BUG_LINE} wrote balances/'bob'" in shown
    assert main(["desync", "replay", desync.evidence, "--machine", "tests.observed_bank:Bank"]) == 0
    assert "the source of the bundle is otherwise" in capsys.readouterr().out


class Herd(rsm.StateMachine, name="herd", version=1):
    """Deer in an array."""

    deer: Annotated[rsm.Array, rsm.Columns(x="int32", y="int32")]

    @rsm.command(version=1)
    def move(self, ctx: rsm.Context, step: int) -> int:
        self.deer.resize(20)
        self.deer.write("x")[:] += step
        if threading.get_ident() in observed_bank.PLANTED:
            self.deer.set("x", 17, 99)  # a deer astray
        return step


def test_a_deer_goes_astray() -> None:
    """Of an array, the row and column are named."""
    pytest.importorskip("numpy")
    nodes = Nodes(1, Herd)
    try:
        with (
            rsm.connect(Herd, nodes.addresses) as client,
            rsm.observe(Herd, nodes.addresses, from_index=0, trace=True) as observer,
        ):
            client.move(5)
            until_index(observer, hash_point(nodes))
            client.move(1)
            with planted():
                until_index(observer, nodes.log.replica.index)
            hash_point(nodes)
            desync = until(observer, lambda update: update.snapshot)[-1].desync
            assert desync is not None
            assert [(path.path, path.mine, path.theirs) for path in desync.paths][:1] == [("deer/17/x", 99, 6)]
            assert [line.text for line in desync.lines] == ['self.deer.set("x", 17, 99)  # a deer astray']
    finally:
        nodes.close()
