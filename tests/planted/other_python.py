"""Another Python than the one that runs the tests, with what rsm needs installed."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VARIABLE = "RSM_OTHER_PYTHON"
NAMES = ("python3.13", "python3.12", "python3.11", "python3.14")
WORKS = "import sys, rsm.desync.child, rsm.node.member; print('%d.%d' % sys.version_info[:2])"
INSTALL_SECONDS_MAX = 180


class NoOtherPython(Exception):
    """There is none, and why."""


def _version(python: str, program: str) -> str:
    """What an interpreter prints, or an empty text if it cannot."""
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _installed() -> list[str]:
    """Interpreters of another version on this machine, bare."""
    found = [shutil.which(name) for name in NAMES]
    found += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"), reverse=True)]
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    program = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    versions = [(python, _version(python, program)) for python in found if python]
    return [python for python, version in versions if version in ("3.11", "3.12", "3.13", "3.14") and version != own]


@functools.cache
def other_python() -> str:
    """Its path: `$RSM_OTHER_PYTHON`, or an environment made below this one's directory. `NoOtherPython`."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        if not _version(chosen, WORKS):
            raise NoOtherPython(f"{VARIABLE}={chosen}: it cannot import rsm")
        return chosen
    if sys.prefix == sys.base_prefix:
        raise NoOtherPython(f"the tests do not run in a virtual environment to put another one into; set {VARIABLE}")
    path = Path(sys.prefix) / "other-python"
    python = path / "bin" / "python"
    if _version(str(python), WORKS):
        return str(python)
    bare = _installed()
    if not bare:
        raise NoOtherPython(f"no other Python from 3.11 on is installed here, and {VARIABLE} names none")
    needs = [one.partition(";")[0] for one in metadata.requires("rsm-toolkit") or () if "extra ==" not in one]
    words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    try:
        subprocess.run([bare[0], "-m", "venv", "--clear", str(path)], check=True, capture_output=True, timeout=60)
        subprocess.run([str(python), *words, *needs], check=True, capture_output=True, timeout=INSTALL_SECONDS_MAX)
        (packages,) = path.glob("lib/python*/site-packages")
        (packages / "rsm.pth").write_text(f"{ROOT}\n")
    except (OSError, subprocess.SubprocessError) as error:
        raise NoOtherPython(f"{bare[0]}: what rsm needs cannot be installed for it: {error}") from error
    if not _version(str(python), WORKS):
        raise NoOtherPython(f"{python}: it cannot import rsm")
    return str(python)
