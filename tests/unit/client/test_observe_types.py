"""Type checkers see the machine behind an observer and the result of a watched query; each mistake is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.documents import ROOT

SOURCE = """
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
    """mypy --strict reports the lines that are marked, and no others."""
    path = tmp_path / "use.py"
    path.write_text(SOURCE)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
    found = subprocess.run([*command, str(path)], capture_output=True, text=True, cwd=ROOT, timeout=240, check=False)
    lines = {int(line.split(":")[1]) for line in found.stdout.splitlines() if ": error:" in line}
    expected = {number for number, line in enumerate(SOURCE.splitlines(), 1) if line.endswith("# mistake")}
    assert lines == expected, found.stdout + found.stderr
