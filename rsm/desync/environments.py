"""Where a side runs: this interpreter, another checkout or virtual environment, or the same under hostile settings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from rsm.desync.replaying import Unreplayable

__all__ = ["Setting", "against", "hostile", "own"]

# `-P`: the working directory must not come before what was asked for.
CHILD: Final = ("-P", "-m", "rsm.desync.child")
# Text of these differs from that of others in many ways: comma and point, the order of letters, the dotted i.
LOCALES_WANTED: Final = ("tr_TR", "de_DE", "fr_FR", "sv_SE", "ja_JP")
# Fixed, so that only one thing differs at a time.
HASH_SEED: Final = "0"
OTHER_HASH_SEEDS: Final = ("1", "4242")
# As POSIX writes zones: it takes no table of zones, and nobody lives there.
OTHER_ZONE: Final = "XYZ-13:45"
LISTING_SECONDS_MAX: Final = 10.0


class Setting(NamedTuple):
    """How to start a child: its name in reports, command and environment; the class, and what its path ends with."""

    name: str
    reference: str
    command: list[str]
    environment: dict[str, str]
    last_on_path: tuple[str, ...]


def own(reference: str, name: str = "replay") -> Setting:
    """This interpreter, with the working directory importable."""
    return Setting(name, reference, [sys.executable, *CHILD], _environment(os.getcwd()), ())


def against(reference: str, path: str) -> Setting:
    """Other code: a Python or a virtual environment is run, any other directory comes first on the path.

    In a virtual environment the machine may be installed; if not, it is that of the working directory. `Unreplayable`
    for a path that is neither.
    """
    python = _python_of(path)
    if python is not None:
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
        return Setting(path, reference, [python, *CHILD], environment, (os.getcwd(),))
    if not os.path.isdir(path):
        raise Unreplayable(f"{path}: neither a directory with code nor a virtual environment nor a Python")
    return Setting(path, reference, [sys.executable, *CHILD], _environment(os.path.abspath(path)), ())


def check_origin(path: str, reference: str, file: str) -> None:
    """`Unreplayable` if a checkout did not give the class, which would compare something with itself."""
    if _python_of(path) is not None or not file:
        return
    root = os.path.realpath(path) + os.sep
    if not os.path.realpath(file).startswith(root):
        raise Unreplayable(f"{path}: has no {reference.partition(':')[0]}: it would come from {file}")


def hostile(reference: str) -> tuple[Setting, list[Setting]]:
    """A base, and settings that differ from it in one thing each; a first one that differs in nothing."""
    base = own(reference)
    utf8 = sys.flags.utf8_mode  # fixed: in some locales Python turns it on by itself
    command = [sys.executable, "-X", f"utf8={utf8}", *CHILD]
    base = base._replace(command=command, environment=base.environment | {"PYTHONHASHSEED": HASH_SEED})
    variants = [base._replace(name="another run")]
    for seed in OTHER_HASH_SEEDS:
        variants.append(_with(base, f"PYTHONHASHSEED={seed}", {"PYTHONHASHSEED": seed}))
    variants.append(_with(base, f"TZ={OTHER_ZONE}", {"TZ": OTHER_ZONE}))
    other = _other_locale()
    if other:
        variants.append(_with(base, f"LC_ALL={other}", {"LC_ALL": other}))
    variants.append(base._replace(name="python -O", command=[sys.executable, "-O", *command[1:]]))
    option = f"utf8={1 - utf8}"
    variants.append(base._replace(name=f"python -X {option}", command=[sys.executable, "-X", option, *CHILD]))
    return base, variants


def _with(base: Setting, name: str, changes: dict[str, str]) -> Setting:
    return base._replace(name=name, environment=base.environment | changes)


def _environment(first: str) -> dict[str, str]:
    known = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in (first, known) if part)}


def _python_of(path: str) -> str | None:
    """The interpreter that a path is or holds; None for any other directory."""
    if os.path.isfile(path) and os.access(path, os.X_OK):
        return os.path.abspath(path)
    if os.path.isfile(os.path.join(path, "pyvenv.cfg")):
        # Not resolved: a virtual environment's Python is known by its name.
        return os.path.abspath(os.path.join(path, "bin", "python"))
    return None


def _other_locale() -> str | None:
    """A locale that this system has and that is not the present one, an unusual one if it can be."""
    present = os.environ.get("LC_ALL") or os.environ.get("LANG") or "C"
    try:
        listed = subprocess.run(
            ["locale", "-a"], capture_output=True, text=True, timeout=LISTING_SECONDS_MAX, check=False
        )
        names = listed.stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        names = ["C"]
    return next((name for name in _ranked(names) if _family(name) != _family(present)), None)


def _family(name: str) -> str:
    """What two spellings of one locale have in common; C and POSIX are one."""
    language, _, coding = name.partition(".")
    return f"{'C' if language == 'POSIX' else language}.{coding.lower().replace('-', '')}"


def _ranked(names: list[str]) -> Iterator[str]:
    for wanted in LOCALES_WANTED:
        yield from (name for name in names if name.startswith(wanted))
    yield from names
