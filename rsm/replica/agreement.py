"""Agreement: what the voters say of their roots at a disputed hash point, and what follows from it.

Theory of operation. A leader that sees two roots for one hash point logs `rsm.dispute`. That opens a *case*. Every
voter of that index answers with its *word* (`rsm.attest`): its root there, or that it no longer knows it, or that it
does not trust its own state. A case is a fold over these entries and the log's clock, so it is the same on every node,
also on one whose state is not; it is no part of the state root.

| a case is   | and then                          | it becomes                                                       |
|-------------|-----------------------------------|------------------------------------------------------------------|
| attesting   | a majority gives one root         | decided: whoever has another one differs                         |
| attesting   | all have spoken, or time is up    | reexecuting: each runs the log again from a confirmed snapshot   |
| reexecuting | a majority gives one root         | decided                                                          |
| reexecuting | all have run it, or time is up    | undecided: an alarm, and nobody is quarantined                   |
| undecided   | a late word makes a majority      | decided                                                          |
| any         | a majority distrusts its own      | undecided: what all have in common is no minority's fault        |
| decided     | a late word with another root     | decided: that node differs too                                   |
| decided     | `rsm.returned`                    | decided: that node has proved itself since                       |

Who is in the minority *differs*, which is not to say that it is wrong: the word carries versions and the digest of the
code, so that a report can say what else differs. Words of another machine version or state schema than the majority's
cannot be compared: they are unchecked.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from rsm.codec.shapes import make_known
from rsm.errors import BadBytes
from rsm.limits import (
    ATTEST_SECONDS,
    CASES_KEPT,
    CODE_DIGEST_LENGTH_MAX,
    FAULT_LENGTH_MAX,
    MEMBERS_MAX,
    REEXECUTE_SECONDS,
)

__all__ = ["Agreement", "Case", "CaseState", "Word"]

CaseState = Literal["attesting", "reexecuting", "decided", "undecided"]
ROOT_BYTES: Final = 16
SCHEMA_DIGEST_BYTES: Final = 16
SECOND: Final = 10**9


class Word(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one voter says of itself at a case's index.

    `root`: of its state as it was there; empty if it no longer knows. `rerun`: what running the log again from a
    confirmed snapshot gave it; empty if it did not. `version` and `schema`: what the root was taken of. `code`: digest
    of the machine's code, hexadecimal. `fault`: why it does not trust its own state, empty if it does.
    """

    root: bytes
    rerun: bytes
    version: int
    schema: bytes
    code: str
    fault: str

    @property
    def claim(self) -> tuple[bytes, int, bytes] | None:
        """What it stands for: a root, and of what; None if it knows none, or trusts none."""
        root = self.rerun or (b"" if self.fault else self.root)
        return (root, self.version, self.schema) if root else None

    @property
    def is_well_formed(self) -> bool:
        """Whether every part has a possible length."""
        return (
            len(self.root) in (0, ROOT_BYTES)
            and len(self.rerun) in (0, ROOT_BYTES)
            and self.version >= 0
            and len(self.schema) == SCHEMA_DIGEST_BYTES
            and len(self.code) <= CODE_DIGEST_LENGTH_MAX
            and len(self.fault) <= FAULT_LENGTH_MAX
        )


class Case(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """One disputed hash point. `voters` of that index; `deadline` in log time, nanoseconds; `root` is the majority's,
    of `version` and `schema`, once decided; `changed_at` the entry that last changed `state`; `returned` the entry at
    which a node had proved itself.
    """

    index: int
    voters: tuple[int, ...]
    deadline: int
    changed_at: int
    state: CaseState = "attesting"
    words: dict[int, Word] = {}
    root: bytes = b""
    version: int = 0
    schema: bytes = b""
    returned: dict[int, int] = {}

    @property
    def quorum(self) -> int:
        """How many voters make a majority."""
        return len(self.voters) // 2 + 1

    @property
    def is_open(self) -> bool:
        """Whether words are being waited for."""
        return self.state in ("attesting", "reexecuting")

    @property
    def is_common_fault(self) -> bool:
        """Whether a majority does not trust its own state: its handlers, or its memory, are all alike."""
        return sum(bool(word.fault) for word in self.words.values()) >= self.quorum

    @property
    def minority(self) -> tuple[int, ...]:
        """Who differs from the majority, returned or not; empty unless decided."""
        if self.state != "decided":
            return ()
        return tuple(number for number, word in sorted(self.words.items()) if self.differs(word))

    @property
    def out(self) -> tuple[int, ...]:
        """Who differs and has not returned."""
        return tuple(number for number in self.minority if number not in self.returned)

    @property
    def unchecked(self) -> dict[int, str]:
        """Voters whose root could not be compared, and why."""
        reasons = {number: "it has not attested" for number in self.voters if number not in self.words}
        for number, word in sorted(self.words.items()):
            if self.state == "decided" and (word.version, word.schema) != (self.version, self.schema):
                reasons[number] = f"its root is of machine version {word.version} or of another state schema"
            elif not word.root and not word.fault:
                reasons[number] = "it no longer knows its root there"
        return reasons

    def differs(self, word: Word) -> bool:
        """Whether a word is of a state that is not the majority's."""
        if (word.version, word.schema) != (self.version, self.schema):
            return False
        return bool(word.fault) or (bool(word.root) and word.root != self.root)


_decode_cases = msgspec.msgpack.Decoder(list[Case]).decode
make_known(Word, Case)


class Agreement:
    """All cases that are kept, by index; the newest `CASES_KEPT`. Deterministic: a fold over the log."""

    def __init__(self) -> None:
        self.cases: dict[int, Case] = {}
        self.clock = 0  # log time by the entries' stamps: the clock in the state is the state's
        self.deadline: int | None = None  # the earliest of all open cases

    def dispute(self, index: int, voters: tuple[int, ...], at: int) -> None:
        """Open a case, unless there is one. `at`: the entry that says so."""
        if index in self.cases or len(voters) > MEMBERS_MAX:
            return
        if len(self.cases) >= CASES_KEPT:
            closed = [number for number, case in self.cases.items() if not case.is_open]
            if not closed:
                return
            del self.cases[closed[0]]
        self.cases[index] = Case(index, voters, self.clock + ATTEST_SECONDS * SECOND, at, words={}, returned={})
        self._settle(at)

    def attest(self, index: int, node: int, word: Word, at: int) -> None:
        """A voter's word. The first one stands; later ones add a rerun, or tell that one that returned is out again."""
        case = self.cases.get(index)
        if case is None or node not in case.voters:
            return
        known = case.words.get(node)
        if known is None:
            case.words[node] = word
        elif word.rerun and not known.rerun:
            case.words[node] = msgspec.structs.replace(known, rerun=word.rerun)
        elif node in case.returned and case.differs(word):
            del case.returned[node]  # it has run the log again, and differs again
        self._settle(at)

    def returned(self, node: int, index: int, at: int) -> None:
        """A node had the majority's root at `index`: it is well again, as far as cases before that are concerned."""
        for case in self.cases.values():
            if case.index < index and node in case.out:
                case.returned[node] = at

    def pass_time(self, at: int, stamp: int) -> None:
        """An entry's stamp; cheap while nothing is open."""
        if stamp > self.clock:
            self.clock = stamp
        if self.deadline is not None and self.clock >= self.deadline:
            self._settle(at)

    def out(self) -> dict[int, int]:
        """Nodes that differ and have not returned, with the index of the newest case that says so."""
        return {number: case.index for case in self.cases.values() for number in case.out}

    def _settle(self, at: int) -> None:
        for case in self.cases.values():
            _settle(case, at, self.clock)
        self.deadline = min((case.deadline for case in self.cases.values() if case.is_open), default=None)

    # --- snapshots ------------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """MessagePack of all cases; the same on every node, since maps are in the order of the log."""
        return msgspec.msgpack.encode(list(self.cases.values()))

    def restore(self, packed: bytes, clock: int) -> None:
        """Take over what `encode` gave at a log time; `BadBytes` if it is not that."""
        try:
            cases = _decode_cases(packed)
        except msgspec.MsgspecError as error:
            raise BadBytes(f"the snapshot's verdicts cannot be read: {error}") from error
        if len(cases) > CASES_KEPT:
            raise BadBytes(f"the snapshot has {len(cases)} verdicts, more than {CASES_KEPT}")
        self.cases = {case.index: case for case in cases}
        self.clock = clock
        self.deadline = min((case.deadline for case in cases if case.is_open), default=None)


def _settle(case: Case, at: int, clock: int) -> None:
    """Move one case on as far as its words and the clock allow."""
    if case.is_common_fault:
        if case.state != "undecided":
            case.state, case.changed_at = "undecided", at
        return
    if case.state == "decided":
        return
    majority = _majority(case)
    if majority is not None:
        case.state, case.changed_at = "decided", at
        case.root, case.version, case.schema = majority
        return
    if case.state == "attesting" and (len(case.words) == len(case.voters) or clock >= case.deadline):
        case.state, case.changed_at = "reexecuting", at
        case.deadline = clock + REEXECUTE_SECONDS * SECOND
    elif case.state == "reexecuting" and (_have_all_rerun(case) or clock >= case.deadline):
        case.state, case.changed_at = "undecided", at


def _have_all_rerun(case: Case) -> bool:
    return len(case.words) == len(case.voters) and all(word.rerun for word in case.words.values())


def _majority(case: Case) -> tuple[bytes, int, bytes] | None:
    """What a majority stands for, if somebody has it in service: running again may by chance give two the same."""
    counts: dict[tuple[bytes, int, bytes], int] = {}
    for word in case.words.values():
        claim = word.claim
        if claim is not None:
            counts[claim] = counts.get(claim, 0) + 1
    alive = {word.root for word in case.words.values() if not word.fault}
    return next((claim for claim, count in counts.items() if count >= case.quorum and claim[0] in alive), None)


def summary(case: Case) -> dict[str, Any]:
    """A case as plain values, for reports: roots in hexadecimal."""
    return {
        "index": case.index,
        "state": case.state,
        "root": case.root.hex(),
        "minority": list(case.minority),
        "out": list(case.out),
        "roots": {str(number): word.root.hex() for number, word in sorted(case.words.items())},
        "reruns": {str(number): word.rerun.hex() for number, word in sorted(case.words.items()) if word.rerun},
        "codes": {str(number): word.code for number, word in sorted(case.words.items())},
        "faults": {str(number): word.fault for number, word in sorted(case.words.items()) if word.fault},
        "unchecked": {str(number): reason for number, reason in case.unchecked.items()},
    }
