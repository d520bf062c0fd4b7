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
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"


class NoOtherPython(Exception):
    """There is none, and why."""


def _version(python: str, program: str) -> str:
    """What an interpreter prints, or an empty text if it cannot."""
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _is_new(version: str) -> bool:
    """Whether a version is from 3.12 on, where several texts and sums became others."""
    return tuple(map(int, version.split("."))) >= (3, 12)


def _installed() -> list[str]:
    """Interpreters of another version on this machine, bare; first those on the other side of 3.12."""
    found = [shutil.which(name) for name in NAMES]
    found += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"), reverse=True)]
    program = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    versions = [(python, _version(python, program)) for python in found if python]
    usable = [(python, one) for python, one in versions if one in ("3.11", "3.12", "3.13", "3.14") and one != OWN]
    return [python for python, _ in sorted(usable, key=lambda pair: _is_new(pair[1]) == _is_new(OWN))]


def other_python(*, across: bool = False) -> str:
    """Its path: `$RSM_OTHER_PYTHON`, or an environment made below this one's directory. `NoOtherPython`.

    `across`: it must lie on the other side of 3.12 than this one.
    """
    python, version = _found()
    if across and _is_new(version) == _is_new(OWN):
        raise NoOtherPython(f"{python} is {version}, this one {OWN}: what is planted here became another with 3.12")
    return python


@functools.cache
def _found() -> tuple[str, str]:
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return chosen, _works(chosen, f"{VARIABLE}={chosen}")
    if sys.prefix == sys.base_prefix:
        raise NoOtherPython(f"the tests do not run in a virtual environment to put another one into; set {VARIABLE}")
    path = Path(sys.prefix) / "other-python"
    python = str(path / "bin" / "python")
    version = _version(python, WORKS)
    if not version:
        _make(path, python)
        version = _works(python, python)
    return python, version


def _works(python: str, name: str) -> str:
    version = _version(python, WORKS)
    if not version:
        raise NoOtherPython(f"{name}: it cannot import rsm")
    if version == OWN:
        raise NoOtherPython(f"{name}: it is {version} like this one")
    return version


def _make(path: Path, python: str) -> None:
    bare = _installed()
    if not bare:
        raise NoOtherPython(f"no other Python from 3.11 on is installed here, and {VARIABLE} names none")
    needs = [one.partition(";")[0] for one in metadata.requires("rsm-toolkit") or () if "extra ==" not in one]
    words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    try:
        subprocess.run([bare[0], "-m", "venv", "--clear", str(path)], check=True, capture_output=True, timeout=60)
        subprocess.run([python, *words, *needs], check=True, capture_output=True, timeout=INSTALL_SECONDS_MAX)
        (packages,) = path.glob("lib/python*/site-packages")
        (packages / "rsm.pth").write_text(f"{ROOT}\n")
    except (OSError, subprocess.SubprocessError) as error:
        raise NoOtherPython(f"{bare[0]}: what rsm needs cannot be installed for it: {error}") from error
