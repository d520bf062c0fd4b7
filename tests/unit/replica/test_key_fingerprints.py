"""Any command may come under an idempotency key, whatever its fingerprint is."""

from __future__ import annotations

from pathlib import Path

import pytest

import rsm


class Notes(rsm.StateMachine, name="notes", version=1):
    """Keeps the last note."""

    last: int = 0

    @rsm.command(version=1)
    def write(self, ctx: rsm.Context, number: int) -> int:
        self.last = number
        return number


def test_every_fingerprint_fits_its_record(tmp_path: Path) -> None:
    """Of sixty-four commands about half have fingerprints above 2**63: each runs once and is told from others."""
    with rsm.open(Notes, tmp_path / "notes") as notes:
        for number in range(64):
            assert notes.once(f"note {number}").write(number) == number
        for number in range(64):
            assert notes.once(f"note {number}").write(number) == number
            with pytest.raises(rsm.KeyReused):
                notes.once(f"note {number}").write(number + 1)
