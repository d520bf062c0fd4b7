"""Traps for what a handler may not do: armed while it runs, in its thread only, and blind to rsm's own code beneath it.

Theory of operation. Python tells a profile function of every call of a C function, with the function itself, however it
was imported (`from time import time as now` is no way round), and of every call of a Python function. Most of what
differs between replicas goes through one of these: clocks, entropy, files, sockets, threads. An audit hook adds what C
code does on its own (`sorted(items, key=id)`, a file opened by a library in C). `hash` alone is also replaced, since
only its argument tells whether it is harmless.

What cannot be seen this way is listed in docs/determinism.md.
"""

from __future__ import annotations

import builtins
import dis
import gc
import sys
import threading
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any, Final

from rsm.testing.blaming import IMPORTLIB, Blame, blame, is_allowed
from rsm.testing.strict_rules import HASH, IDENTITY, INPUT_OUTPUT, Rule
from rsm.testing.trap_tables import (
    ANY,
    ARGUMENTS_MIN,
    AUDIT_HARMLESS,
    AUDITED,
    DIRECTLY_ONLY,
    ENVIRON,
    FUNCTIONS,
    HARMLESS,
    INPUT_OUTPUT_METHODS,
    METHODS,
    MODULES,
    PYTHON,
    RULE_OF_MODULE,
    SHOWN_MODULES,
    STREAMS,
    TRAPPED_NAMES,
)

__all__ = ["Watch", "install", "uninstall", "watch"]

Report = Callable[[Rule, str, Blame], None]


class Watch(threading.local):
    """The traps of one thread. `with watch.over(...)` arms them for one handler."""

    is_armed = False
    importing = 0
    hash_caller: FrameType | None = None  # who called hash(), while it is being made
    own_files: frozenset[str] = frozenset()
    report: Report | None = None

    def run(self, report: Report, own_files: frozenset[str], handler: Callable[..., Any], *arguments: Any) -> Any:
        """Call a handler with the traps armed. `own_files` are the user's even where they lie in a library."""
        before = (self.is_armed, self.report, self.own_files, self.importing, self.hash_caller)
        profile = sys.getprofile()
        # The collector would run finalisers and callbacks of others in the middle of the handler.
        collects = gc.isenabled()
        gc.disable()
        self.report, self.own_files, self.importing, self.hash_caller = report, own_files, 0, None
        self.is_armed = True
        sys.setprofile(_profile)
        try:
            return handler(*arguments)
        finally:
            # A profiler in C, such as cProfile's, cannot be put back from Python: it has seen its last.
            sys.setprofile(profile if callable(profile) else None)
            self.is_armed, self.report, self.own_files, self.importing, self.hash_caller = before
            if collects:
                gc.enable()

    def found(self, rule: Rule, shown: str, frame: FrameType | None, *, directly: bool = False) -> None:
        """Something trapped was called from `frame`: report it, if it is the user's doing."""
        report = self.report
        if report is None:
            return
        self.is_armed = False  # finding out whose line it is opens files
        try:
            blamed = blame(frame, self.own_files, directly=directly)
            if blamed is not None:
                module = blamed.called.partition(".")[0]
                rule = RULE_OF_MODULE.get(module, rule)
                if not is_allowed(blamed, rule.code):
                    report(rule, shown if shown == ENVIRON else blamed.called or shown, blamed)
        finally:
            self.is_armed = True


watch: Final = Watch()


# --- the profile function ---------------------------------------------------------------------------------------------


def _profile(frame: FrameType, event: str, argument: Any) -> None:
    if event == "c_call":
        if argument.__name__ in TRAPPED_NAMES or argument.__module__ in MODULES:
            _c_call(frame, argument)
    elif event == "call":
        code = frame.f_code
        file = code.co_filename
        if file == IMPORTLIB:
            if code.co_name == "_find_and_load":
                watch.importing += 1
        elif file in PYTHON and watch.is_armed and not watch.importing:
            prefix, rule = PYTHON[file]
            if code.co_qualname.startswith(prefix):
                watch.found(rule, ENVIRON, frame)
    elif event == "return" and frame.f_code.co_filename == IMPORTLIB and frame.f_code.co_name == "_find_and_load":
        watch.importing = max(0, watch.importing - 1)


def _c_call(frame: FrameType, function: Any) -> None:
    if not watch.is_armed or watch.importing:
        return
    name = function.__name__
    owner = function.__self__
    if type(owner) is ModuleType:
        module = owner.__name__
        rule = FUNCTIONS.get((module, name))
        if rule is None and (module, ANY) in FUNCTIONS and name not in HARMLESS:
            rule = FUNCTIONS[module, ANY]
        shown = name if module in ("builtins", "_io", "io") else f"{SHOWN_MODULES.get(module, module)}.{name}"
    else:
        rule = _rule_of_method(name, owner)
        kind = owner if isinstance(owner, type) else type(owner)
        shown = f"{kind.__name__}.{name}"
    if rule is None or (name in ARGUMENTS_MIN and _argument_count(frame) >= ARGUMENTS_MIN[name]):
        return
    watch.found(rule, f"{shown}()", frame, directly=name in DIRECTLY_ONLY)


def _rule_of_method(name: str, owner: Any) -> Rule | None:
    kind = owner if isinstance(owner, type) else type(owner)
    known = METHODS.get(name)
    if known is not None:
        module, type_name, rule = known
        if not any(base.__module__ == module and base.__name__ == type_name for base in kind.__mro__):
            return None
        if name == "timestamp" and owner.tzinfo is not None:
            return None
        return rule
    if name in INPUT_OUTPUT_METHODS:
        if kind.__module__ == "_io" and kind.__name__ in ("StringIO", "BytesIO"):
            return None
        if any((base.__module__, base.__name__) in STREAMS for base in kind.__mro__):
            return INPUT_OUTPUT
    return None


_CALLS: Final = frozenset({"CALL", "PRECALL", "CALL_KW"})
_MANY: Final = 255  # a call with *arguments: nobody knows how many


def _argument_count(frame: FrameType) -> int:
    """How many arguments the call has that `frame` is about to make."""
    code, at = frame.f_code.co_code, frame.f_lasti
    if at < 0 or dis.opname[code[at]] not in _CALLS:
        return _MANY
    return code[at + 1]


# --- what the profile function does not see ---------------------------------------------------------------------------


def _audit(event: str, arguments: Any) -> None:
    if not watch.is_armed or watch.importing:
        return
    rule = AUDITED.get(event) or AUDITED.get(event.partition(".")[0])
    if rule is not None and event not in AUDIT_HARMLESS:
        shown = "id()" if rule is IDENTITY else f"{event}()"
        watch.found(rule, shown, sys._getframe(1), directly=rule is IDENTITY)


# hash() of a value whose class makes its own hash of parts asks again for these.
_hash: Final = builtins.hash


def _checked_hash(value: object, /) -> int:
    if not watch.is_armed:
        return _hash(value)
    caller = sys._getframe(1)
    outer = watch.hash_caller
    # The hash of a key is made of hashes of its parts; that does no harm until somebody looks at the number.
    if (outer is not None or caller.f_code.co_name != "__hash__") and _differs(value):
        watch.found(HASH, f"hash() of {type(value).__name__}", outer or caller, directly=True)
    if outer is None and caller.f_code.co_name != "__hash__":
        watch.hash_caller = caller
    try:
        return _hash(value)
    finally:
        watch.hash_caller = outer


def _differs(value: object) -> bool:
    """Whether the hash of a value differs between processes."""
    if value is None or isinstance(value, (str, bytes, memoryview)):
        return True
    if isinstance(value, (tuple, frozenset)):
        return any(map(_differs, value))
    return type(value).__hash__ is object.__hash__ or type(value).__module__ == "datetime"


_installed = 0
_lock: Final = threading.Lock()
_has_hook = False


def install() -> None:
    """Put up what is not put up handler by handler. Counts; the audit hook stays, since none can be removed, idle."""
    global _installed, _has_hook
    with _lock:
        _installed += 1
        if not _has_hook:
            sys.addaudithook(_audit)
            _has_hook = True
        builtins.hash = _checked_hash  # the same to everybody else


def uninstall() -> None:
    """Take it down again with the last who put it up."""
    global _installed
    with _lock:
        _installed -= 1
        if not _installed:
            builtins.hash = _hash
