"""What strict mode finds: the linter's codes where the linter has a rule for it, and what to do instead."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from rsm.desync.finding import PathDifference

__all__ = ["NondeterminismError", "Rule", "StrictFinding"]


class Rule(NamedTuple):
    """One rule: its code and title are the linter's; `advice` ends the sentence that tells of a finding."""

    code: str
    title: str
    advice: str


CLOCK: Final = Rule("RSM101", "clock", "wall clocks differ between replicas; use ctx.now")
RANDOM: Final = Rule("RSM102", "randomness", "every replica draws others; use ctx.random(name)")
UUID: Final = Rule("RSM102", "randomness", "every replica makes another one; use ctx.new_id()")
ENVIRONMENT: Final = Rule("RSM103", "environment", "nodes differ in it; make it an argument of the command")
INPUT_OUTPUT: Final = Rule(
    "RSM104", "input and output", "every replica does it, and every replay again; emit an event, or pass what it reads"
)
PRINT: Final = Rule("RSM105", "log lines and print", "every replica says it, and every replay again; emit an event")
THREAD: Final = Rule("RSM106", "threads and tasks", "what runs at the same time ends in another order on every node")
IDENTITY: Final = Rule("RSM205", "id and hash", "an id is an address; use a key, or ctx.new_id()")
HASH: Final = Rule("RSM205", "id and hash", "it differs in every process; use zlib.crc32 of bytes, or hashlib")
COLLECTOR: Final = Rule("RSM208", "the garbage collector", "it depends on what else the process holds")
MODULE_STATE: Final = Rule("RSM301", "state of a module", "no snapshot has it; declare it as state of the machine")
CLASS_STATE: Final = Rule("RSM302", "state of a class", "no snapshot has it; declare it as state of the machine")
DEFAULT: Final = Rule(
    "RSM304", "mutable default", "it is one object for all calls, and in no snapshot; make it in the call"
)
HELPER_STATE: Final = Rule(
    "RSM305", "state outside the containers", "no snapshot has it; declare it as state of the machine"
)
BEHIND: Final = Rule(
    "RSM306", "mutable values", "write through the containers, and keep nothing in them that can change"
)
QUERY_WRITES: Final = Rule(
    "RSM307", "write in a query", "a query runs on one node and is not in the log; make it a command"
)
FLOAT_VALUE: Final = Rule("RSM401", "float declared", "floats are no state; use integers of a smaller unit")
FLOAT: Final = Rule("RSM402", "float arithmetic", "its last digit follows the C library; use integers")
LOCALE: Final = Rule("RSM405", "locale", "the text follows the language that the node is set to")
TIME_ZONE: Final = Rule("RSM406", "time zone", "nodes are set to different zones; name the zone")
# The linter has no word for this one: only running a command twice shows it.
HIDDEN: Final = Rule(
    "RSM501",
    "hidden state",
    "something besides log and state decides: what differs is in no snapshot, or not in the log",
)


class StrictFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that strict mode found.

    `code` and `title` are those of the rule, the linter's where it has one; `command` is `machine.name` of the command
    or query, `index` and `position` are its place in the log (for a query: the last index applied, and None). `file`
    and `line` are the line at fault of the user's code, or of the handler where no line could be told. `what` is the
    sentence without place and advice; `paths` are the differing values of "live" and "restored", if there are any.
    """

    code: str
    title: str
    command: str
    index: int
    position: int | None = None
    file: str = ""
    line: int = 0
    place: str = ""
    what: str = ""
    advice: str = ""
    paths: tuple[PathDifference, ...] = ()

    def __str__(self) -> str:
        where = f"index {self.index}" if self.position is None else f"index {self.index}, position {self.position}"
        text = f"{self.command} ({where}) {self.what}: {self.advice} [{self.code}]"
        for path in self.paths:
            values = ", ".join(f"{source} {value!r}" for source, value in path.values.items())
            text += f"\n    {path.path}: {values}"
        return text


class NondeterminismError(AssertionError):
    """Code under `rsm.testing.strict()` did what replicas must not do. `findings` says what and where.

    An `AssertionError`, so that test runners count a failure and not an error.
    """

    def __init__(self, findings: tuple[StrictFinding, ...], left_out: int = 0) -> None:
        lines = [f"strict mode found {len(findings) + left_out}:", *map(str, findings)]
        if left_out:
            lines.append(f"and {left_out} more")
        super().__init__("\n".join(lines))
        self.findings = findings
