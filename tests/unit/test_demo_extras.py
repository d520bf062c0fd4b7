"""Demos without their extra: one line that says what is missing and how to get it, and no traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.documents import ROOT


@pytest.mark.parametrize(
    ("demo", "command", "missing"),
    [("orderbook", "exchange", "starlette"), ("rts_lockstep", "host", "numpy")],
)
def test_what_is_missing_is_one_line(demo: str, command: str, missing: str) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None; from demos.{demo}.__main__ import main; "
        f"sys.exit(main([{command!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"{command}: it needs {missing}: pip install '.[demos]', in the clone\n"
