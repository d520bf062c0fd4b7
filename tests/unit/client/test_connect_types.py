"""Type checkers see the machine behind a client, an observer and a watched query: what is right passes, each mistake is
found where it stands.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.documents import ROOT

CONNECTED = """
from __future__ import annotations
import rsm
class Bank(rsm.StateMachine, name="bank", version=1):
    balances: rsm.Map[str, int]
    @rsm.command(version=1)
    def deposit(self, ctx: rsm.Context, to: str, amount: int) -> int:
        return self.balance(to) + amount
    @rsm.query
    def balance(self, who: str) -> int:
        return self.balances.get(who, 0)
def use() -> int:
    client = rsm.connect(Bank, ["h:1"], read="session", session_ttl_seconds=5)
    trips: int = client.stats.round_trips
    pending: rsm.Pending[int] = client.balance.send("ann")
    rsm.connect(Bank, "h:1", ack="confirmed").acking("applied").deposit("ann", 1)
    sure: int = client.acking("confirmed").deposit("ann", 1)
    read = client.reading("stale").balance("ann") + client.reading(at_least=7).balance("ann")
    return read + sure + trips + pending.result()
async def use_async() -> int:
    async with await rsm.connect_async(Bank, "h:1,h:2") as client:
        await client.acking("confirmed").once("k").deposit.send("ann", 1)
        return await client.balance.send("ann") + await client.deposit.send("ann", 1)
def mistakes(client: Bank) -> None:
    client.reading("stale").balance(5)  # mistake
    client.reading("dirty").balance("ann")  # mistake
    client.acking("never").deposit("ann", 1)  # mistake
    client.acking("confirmed").deposit("ann", "5")  # mistake
    rsm.connect(Bank, "h:1", ack="never")  # mistake
    client.deposit("ann", "5")  # mistake
    client.balance.send(7)  # mistake
    rsm.connect(Bank, "h:1", read="dirty")  # mistake
"""
OBSERVED = """
from __future__ import annotations
import rsm
class Bank(rsm.StateMachine, name="bank", version=1):
    balances: rsm.Map[str, int]
    @rsm.query
    def balance(self, who: str) -> int:
        return self.balances.get(who, 0)
def use() -> int:
    with rsm.observe(Bank, ["h:1"], record="dir", trace=True) as observer:
        found: rsm.Update | None = observer.next(0.5)
        for update in observer:
            desync: rsm.Desync | None = update.desync
            if desync is not None:
                print(desync.paths[0].path, desync.lines[0].line)
        status: rsm.ObserverStatus = observer.status
        machine: Bank = observer.machine
        return machine.balance("ann") + status.index + (found.index if found else 0)
async def use_async(client: Bank) -> int:
    async with await rsm.observe_async(Bank, "h:1", events_only=True, topics=["a/"]) as observer:
        async for update in observer:
            print(update.events[0].value)
    async for balance in client.watch(Bank.balance, "ann"):
        return balance + 1
    return next(client.watch(Bank.balance, who="ann")) + 1
def mistakes(observer: rsm.Observer[Bank], client: Bank) -> None:
    observer.machine.balance(5)  # mistake
    observer.machine.nothing("ann")  # mistake
    observer.next("soon")  # mistake
    client.watch(Bank.balance, 5)  # mistake
    client.watch(Bank.balance)  # mistake
    name: str = next(client.watch(Bank.balance, "ann"))  # mistake
    rsm.observe(Bank, "h:1", from_index="first")  # mistake
    rsm.observe(int, "h:1")  # mistake
"""


def test_mypy_accepts_what_is_right_and_finds_each_mistake(tmp_path: Path) -> None:
    """mypy --strict reports the lines that are marked, and no others. It runs with the project's settings and cache."""
    expected = set()
    for name, source in [("connected.py", CONNECTED), ("observed.py", OBSERVED)]:
        (tmp_path / name).write_text(source)
        expected |= {(name, number) for number, line in enumerate(source.splitlines(), 1) if line.endswith("# mistake")}
    command = [sys.executable, "-m", "mypy", "--strict", *map(str, tmp_path.iterdir())]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=240, check=False)
    parts = [line.split(":") for line in found.stdout.splitlines() if ": error:" in line]
    assert {(Path(part[0]).name, int(part[1])) for part in parts} == expected, found.stdout + found.stderr
