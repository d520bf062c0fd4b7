"""Type checkers see the machine behind `rsm.connect`: what is right passes, each mistake is found where it stands."""

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


def test_mypy_accepts_what_is_right_and_finds_each_mistake(tmp_path: Path) -> None:
    """mypy --strict reports the lines that are marked, and no others."""
    path = tmp_path / "use.py"
    path.write_text(SOURCE)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
    found = subprocess.run([*command, str(path)], capture_output=True, text=True, cwd=ROOT, timeout=240, check=False)
    lines = {int(line.split(":")[1]) for line in found.stdout.splitlines() if ": error:" in line}
    expected = {number for number, line in enumerate(SOURCE.splitlines(), 1) if line.endswith("# mistake")}
    assert lines == expected, found.stdout + found.stderr
