"""Strict mode finds nothing in machines that are right: the demo's, those of the documents, the simulator's."""

from __future__ import annotations

import contextlib
import random
import sys
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rsm
from demos.orderbook.flowgen import TRADERS, Flow
from demos.orderbook.machine import OrderBook
from rsm.testing import strict
from rsm.testing.probe import Probe, probe_call
from rsm.testing.values import machine_workload
from tests.documents import ROOT, blocks
from tests.unit.recipes.recipes import Counter, Jobs, Locks


def readme_bank() -> Any:
    """The machine of the README, as it is printed there."""
    (source,) = (block.text for block in blocks(ROOT / "README.md") if block.file_name == "bank.py")
    module = ModuleType("readme_bank")
    sys.modules[module.__name__] = module
    exec(compile(source, "bank.py", "exec", dont_inherit=True), vars(module))
    return module.Bank


def test_the_order_book(tmp_path: Path, soak: bool) -> None:
    """A morning of the demo's flow, by seven traders, with queries and streams between: nothing is found."""
    with strict() as block, rsm.open(OrderBook, tmp_path / "d", durability="os") as book:
        sessions = [book.session(principal=trader) if trader else book for trader in TRADERS]
        count = 2_500 if soak else 1_000
        steps = Flow(5).steps(count)
        while chunk := list(islice(steps, 8)):
            sent = [
                (getattr(sessions[command.trader], command.name).send(*command.values), answer)
                for command, answer in chunk
            ]
            assert all(pending.result() == answer for pending, answer in sent)
        book.depth(1, 0)
        assert len(list(book.resting(1, 0))) <= book.counts()[0]
        book.snapshot()
        assert block.commands >= count
        assert block.restores > count / 50
    assert block.findings == []


@pytest.mark.parametrize("machine", [readme_bank(), Probe, Counter, Locks, Jobs], ids=lambda machine: machine.__name__)
def test_small_machines(tmp_path: Path, machine: Any) -> None:
    """Random commands and the machine's queries; refused ones among them."""
    chance = random.Random(machine.__name__)
    workload = probe_call if machine is Probe else machine_workload(machine.definition)
    queries = [spec for spec in machine.definition.queries.values() if not spec.is_stream]
    with strict() as block:
        with rsm.open(machine, tmp_path / "d", durability="os") as client:
            for number in range(150):
                name, values = workload(chance, number)
                with contextlib.suppress(rsm.RsmError):
                    getattr(client, name)(*values)
                for query in queries:
                    if query.signature.count == 0:
                        getattr(client, query.name)()
        assert block.commands >= 100
