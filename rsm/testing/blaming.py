"""Whose code it was: the nearest line of the user's above a call, past the libraries that were only asked to do it.

`random.choice` is told as that, with the user's line, not as the `getrandbits` in it. Frames of rsm end the search
without a finding. So do imports (modules run once, whatever they do then) and finalisers, which run whenever the
collector likes.
"""

from __future__ import annotations

import linecache
import os
import re
import sysconfig
from types import CodeType, FrameType, TracebackType
from typing import Final, NamedTuple

__all__ = ["IMPORTLIB", "RSM_DIRECTORY", "Blame", "blame", "blame_traceback", "is_allowed", "is_user_file"]

USER: Final = "user"
LIBRARY: Final = "library"  # the standard library, installed packages: what they do is the doing of who called them
OURS: Final = "rsm"

RSM_DIRECTORY: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# Not "data" and "scripts": these are /usr, or a directory with an environment and a program in it.
LIBRARY_DIRECTORIES: Final = tuple(
    {
        spelled + os.sep
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
        for spelled in (sysconfig.get_paths()[name], os.path.realpath(sysconfig.get_paths()[name]))
    }
)
IMPORTLIB: Final = "<frozen importlib._bootstrap>"
_owners: dict[str, str] = {}


def owner_of(filename: str) -> str:
    """Whose code a file holds: "user", "library" or "rsm"."""
    owner = _owners.get(filename)
    if owner is None:
        owner = _owners[filename] = _classify(filename)
    return owner


def _classify(filename: str) -> str:
    if filename.startswith(RSM_DIRECTORY):
        return OURS
    # "<string>": methods that dataclasses and named tuples make.
    if filename == "<string>" or filename.startswith(("<frozen ", *LIBRARY_DIRECTORIES)):
        return LIBRARY
    return USER


def is_user_file(filename: str) -> bool:
    """Whether a file is neither rsm's, nor the standard library's, nor that of an installed package."""
    return owner_of(filename) == USER


class Blame(NamedTuple):
    """The line of the user's code that did something, and what it called to do it ("" where it did it itself)."""

    file: str
    line: int
    called: str = ""

    @property
    def place(self) -> str:
        """`bank.py:17`, relative to the working directory where it lies below."""
        return f"{shown_path(self.file)}:{self.line}"


def shown_path(file: str) -> str:
    """A path as people want to read it."""
    try:
        relative = os.path.relpath(file)
    except ValueError:  # another drive
        return file
    return file if relative.startswith(os.pardir) else relative


_ALLOWED: Final = re.compile(r"#\s*rsm:\s*allow\[([A-Z0-9,\s]+)\]")


def is_allowed(blamed: Blame, code: str) -> bool:
    """Whether the line says `# rsm: allow[CODE] reason`, as the linter reads it."""
    found = _ALLOWED.search(linecache.getline(blamed.file, blamed.line))
    return found is not None and code in re.split(r"[,\s]+", found[1])


def blame(frame: FrameType | None, own_files: frozenset[str], *, directly: bool = False) -> Blame | None:
    """The nearest line of the user's above a call; None if rsm, an import or a finaliser is in between.

    `directly`: only where the user's own line made the call.
    """
    called = ""
    while frame is not None:
        code = frame.f_code
        file = code.co_filename
        owner = USER if file in own_files else owner_of(file)
        if owner == USER:
            return None if code.co_name == "__del__" else Blame(file, frame.f_lineno, called)
        if owner == OURS or directly:
            return None
        module = str(frame.f_globals.get("__name__", ""))
        if file == IMPORTLIB or code.co_name == "__del__" or module == "weakref":
            return None
        if file != "<string>":
            called = f"{module}.{_shown_name(module, code)}()"
        frame = frame.f_back
    return None


def _shown_name(module: str, code: CodeType) -> str:
    name = code.co_qualname.replace("<locals>.", "").removesuffix(".__init__")
    # The functions of `random` are methods of an object that nobody names.
    return name.removeprefix("Random.") if module == "random" else name


def blame_traceback(trace: TracebackType | None, own_files: frozenset[str]) -> Blame | None:
    """The innermost line of the user's in a traceback."""
    found = None
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file in own_files or owner_of(file) == USER:
            found = Blame(file, trace.tb_lineno)
        trace = trace.tb_next
    return found
