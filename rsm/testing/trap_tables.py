"""What is trapped: C functions, methods of C types, Python functions and audit events, each with its rule."""

from __future__ import annotations

import os
import platform
from typing import Final

from rsm.testing.strict_rules import (
    CLOCK,
    COLLECTOR,
    ENVIRONMENT,
    FLOAT,
    IDENTITY,
    INPUT_OUTPUT,
    LOCALE,
    PRINT,
    RANDOM,
    THREAD,
    TIME_ZONE,
    UUID,
    Rule,
)

__all__ = [
    "ANY",
    "ARGUMENTS_MIN",
    "AUDITED",
    "AUDIT_HARMLESS",
    "DIRECTLY_ONLY",
    "ENVIRON",
    "FUNCTIONS",
    "HARMLESS",
    "INPUT_OUTPUT_METHODS",
    "METHODS",
    "MODULES",
    "PYTHON",
    "RULE_OF_MODULE",
    "SHOWN_MODULES",
    "STREAMS",
    "TRAPPED_NAMES",
]

ANY: Final = "*"
ENVIRON: Final = "os.environ"
# Functions of modules: (module, function) -> rule.
FUNCTIONS: Final[dict[tuple[str, str], Rule]] = {}


def _trap(rule: Rule, module: str, names: str) -> None:
    for name in names.split():
        FUNCTIONS[module, name] = rule


_trap(CLOCK, "time", "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns")
_trap(CLOCK, "time", "thread_time thread_time_ns clock_gettime clock_gettime_ns sleep gmtime asctime strftime")
_trap(TIME_ZONE, "time", "localtime mktime ctime tzset")
_trap(RANDOM, "posix", "urandom getrandom")
_trap(RANDOM, "nt", "urandom")
_trap(RANDOM, "_ssl", "RAND_bytes")
_trap(UUID, "_uuid", ANY)
_trap(ENVIRONMENT, "posix", "getpid getppid uname getlogin cpu_count getuid geteuid getgid getegid times getloadavg")
_trap(ENVIRONMENT, "posix", "sysconf putenv unsetenv sched_getaffinity getcwd getcwdb")
_trap(ENVIRONMENT, "nt", "getpid getppid getlogin cpu_count times putenv getcwd")
_trap(COLLECTOR, "sys", "getsizeof getrefcount")
_trap(COLLECTOR, "gc", ANY)
_trap(LOCALE, "_locale", ANY)
_trap(FLOAT, "math", "acos acosh asin asinh atan atan2 atanh cbrt cos cosh erf erfc exp exp2 expm1 gamma lgamma")
_trap(FLOAT, "math", "log log10 log1p log2 pow sin sinh tan tanh")
_trap(THREAD, "_thread", "start_new_thread start_new start_joinable_thread allocate_lock RLock get_ident get_native_id")
_trap(INPUT_OUTPUT, "builtins", "input open")
_trap(PRINT, "builtins", "print breakpoint")
_trap(PRINT, "_warnings", "warn warn_explicit")
for _module in ("io", "_io"):
    _trap(INPUT_OUTPUT, _module, "open open_code")
for _module in ("posix", "nt", "_socket", "select", "_posixsubprocess", "_winapi", "fcntl", "mmap", "_sqlite3"):
    _trap(INPUT_OUTPUT, _module, ANY)
for _module in ("_multiprocessing", "_posixshmem", "termios", "syslog", "_signal", "_overlapped"):
    _trap(INPUT_OUTPUT, _module, ANY)
MODULES: Final = frozenset(module for module, name in FUNCTIONS if name == ANY)
NAMES: Final = frozenset(name for _, name in FUNCTIONS)

# Of modules that are trapped whole: what only computes.
HARMLESS: Final = frozenset(
    [
        "fspath",
        "_path_normpath",
        "_path_splitroot",
        "_path_splitroot_ex",
        "strerror",
        "major",
        "minor",
        "makedev",
        "WEXITSTATUS",
        "WIFEXITED",
        "WIFSIGNALED",
        "WIFSTOPPED",
        "WSTOPSIG",
        "WTERMSIG",
        "WCOREDUMP",
        "waitstatus_to_exitcode",
        "inet_aton",
        "inet_ntoa",
        "inet_pton",
        "inet_ntop",
        "htonl",
        "htons",
        "ntohl",
        "ntohs",
    ]
)
# Library code may call these for its own ends (`copy.deepcopy` calls `id`, `reprlib` asks for the thread).
DIRECTLY_ONLY: Final = frozenset(
    {"allocate_lock", "RLock", "get_ident", "get_native_id", "getsizeof", "getrefcount", "warn", "warn_explicit"}
)
# With fewer arguments than this they read a clock, or the time zone; with as many, they only compute.
ARGUMENTS_MIN: Final = {"gmtime": 1, "asctime": 1, "strftime": 2, "fromtimestamp": 2, "astimezone": 1}
# Methods of types: name -> (module of the type, name of the type, rule).
METHODS: Final[dict[str, tuple[str, str, Rule]]] = {
    "now": ("datetime", "datetime", CLOCK),
    "utcnow": ("datetime", "datetime", CLOCK),
    "today": ("datetime", "date", CLOCK),
    "fromtimestamp": ("datetime", "date", TIME_ZONE),
    "astimezone": ("datetime", "datetime", TIME_ZONE),
    "timestamp": ("datetime", "datetime", TIME_ZONE),
    "strftime": ("datetime", "date", LOCALE),
    **dict.fromkeys(("random", "getrandbits", "seed", "setstate"), ("_random", "Random", RANDOM)),
}
INPUT_OUTPUT_METHODS: Final = frozenset(
    [
        "write",
        "writelines",
        "read",
        "readline",
        "readlines",
        "readinto",
        "readall",
        "read1",
        "flush",
        "truncate",
        "seek",
        "send",
        "sendall",
        "sendto",
        "recv",
        "recvfrom",
        "recv_into",
        "connect",
        "connect_ex",
        "accept",
        "bind",
        "listen",
    ]
)
TRAPPED_NAMES: Final = frozenset(METHODS) | INPUT_OUTPUT_METHODS | NAMES
# Python functions: file -> how the names begin, and the rule.
PYTHON: Final[dict[str, tuple[str, Rule]]] = {
    type(os.environ).__getitem__.__code__.co_filename: ("_Environ.", ENVIRONMENT),  # a frozen module: no __file__
    platform.node.__code__.co_filename: ("", ENVIRONMENT),  # keeps what it has asked for once
}
# Modules by whose name a call is told, whatever C function it ends in.
RULE_OF_MODULE: Final = {
    "uuid": UUID,
    "platform": ENVIRONMENT,
    "locale": LOCALE,
    "secrets": RANDOM,
    "random": RANDOM,
    "threading": THREAD,
    "concurrent": THREAD,
    "asyncio": THREAD,
    "multiprocessing": THREAD,
    "logging": PRINT,
    "structlog": PRINT,
    "warnings": PRINT,
    **dict.fromkeys(
        ("subprocess", "socket", "pathlib", "tempfile", "shutil", "glob", "urllib", "http", "sqlite3"), INPUT_OUTPUT
    ),
}
SHOWN_MODULES: Final = {
    "_warnings": "warnings",
    "posix": "os",
    "nt": "os",
    "_io": "io",
    "_socket": "socket",
    "_thread": "threading",
}
# Audit events, by their first word.
AUDITED: Final[dict[str, Rule]] = {
    "builtins.id": IDENTITY,
    "builtins.input": INPUT_OUTPUT,
    "open": INPUT_OUTPUT,
    "os": INPUT_OUTPUT,
    "socket": INPUT_OUTPUT,
    "subprocess": INPUT_OUTPUT,
    "shutil": INPUT_OUTPUT,
    "sqlite3": INPUT_OUTPUT,
    "fcntl": INPUT_OUTPUT,
    "mmap": INPUT_OUTPUT,
    "signal": INPUT_OUTPUT,
    "syslog": INPUT_OUTPUT,
    "ctypes": INPUT_OUTPUT,
    "_thread": THREAD,
}
AUDIT_HARMLESS: Final = frozenset({"os.fwalk", "ctypes.set_errno", "ctypes.get_errno"})
STREAMS: Final = frozenset({("_io", "_IOBase"), ("_socket", "socket")})
