"""New code beside the code in force, on the same entries: what would differ, by type of command, before it is deployed.

Theory of operation. Two replicas apply every entry. The *present* one runs the releases that the log selects. The
*trial* begins as a copy of it, is taken to the new release as a cluster would be (migration included), and from there
on is given what the present one is given: commands are upcast as they would be after the commit. Both are traced, and
what a command did on one side is compared with what it did on the other: its answer, its events, and the leaves that it
wrote, in those containers that both declare alike. What a migration has put elsewhere cannot be compared, and is named.
Where both are of one version and one schema, the roots are compared too.

Without other code to compare with (the new class is of the version in force and nothing else was given) there is one
replica, and what it is held against are the roots that the cluster has confirmed in its log.

A difference stays in the state: commands behind it may differ because of it. The first example of each type tells.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Literal

import msgspec

from rsm.codec.record import Entry
from rsm.desync.finding import PathDifference
from rsm.desync.paths import answer_value, leaf_path, leaf_values, plain
from rsm.errors import DivergenceError, ReleaseMissing, RsmError, WrongMachine
from rsm.limits import SHADOW_PATHS_MAX
from rsm.machine.definition import Definition
from rsm.machine.machine import StateMachine
from rsm.node.log import describe
from rsm.replica.answer import Answer, decode
from rsm.replica.batch import PIPELINE, Batch
from rsm.replica.naming import Names, items_of
from rsm.replica.replica import Applied
from rsm.replica.snapshot import parts, restore
from rsm.replica.trace import BEGIN, MALFORMED, SESSION_END, CommandTrace, TracingReplica, Write, pack_leaf

__all__ = ["NEW", "PRESENT", "Example", "Shadow", "ShadowReport", "TypeReport"]

# The sources in examples.
PRESENT: Final = "present"
NEW: Final = "new"
UNKNOWN: Final = "(unknown)"  # whatever clients call commands that neither side has: a bounded number of types
SYSTEM: Final = "rsm."
TIMERS: Final = "rsm.timer_due"
MIGRATION: Final = "migrate_state"

What = Literal["result", "events", "state"]


class Example(msgspec.Struct, frozen=True):
    """The first command of its type that differed in `what`. `position` is below 0 for timers and ended sessions.

    A source that has no value at a path of the state did not write it.
    """

    index: int
    position: int
    command: dict[str, Any]
    paths: tuple[PathDifference, ...]


class TypeReport(msgspec.Struct):
    """How many commands of one type were compared, how many differed in what, and the first of each."""

    commands: int = 0
    result: int = 0
    events: int = 0
    state: int = 0
    examples: dict[str, Example] = {}

    @property
    def differs(self) -> bool:
        """Whether any did."""
        return bool(self.result or self.events or self.state)


class ShadowReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen so far.

    `present_version` and `new_version` of the machine; `first_index` and `last_index` of the entries compared, 0 for
    none; `commands` in them; `types` by name. `roots_compared` hash points, the first that differed at `root_differs`
    (0: none). `confirmed_index`: up to here the cluster has confirmed the roots of the present code.
    `containers_differ` hold other values now, `not_compared` are declared by one side only, or otherwise. `findings`
    are differences that are of no command, `unchecked` reasons why something was not compared.
    """

    verdict: Literal["agree", "differs", "unchecked"]
    machine: str
    present_version: int
    new_version: int
    first_index: int
    last_index: int
    commands: int
    types: dict[str, TypeReport]
    roots_compared: int
    root_differs: int
    confirmed_index: int
    containers_differ: tuple[str, ...]
    not_compared: tuple[str, ...]
    findings: tuple[str, ...]
    unchecked: tuple[str, ...]


class _Trial(TracingReplica):
    """The new code: takes batches of the version in force as if they had come after its own upgrade."""

    def _apply_batch(self, index: int, batch: Batch) -> list[Answer]:
        return super()._apply_batch(index, batch._replace(machine_version=self.system.machine_version))

    def move_on(self, version: int) -> str:
        """Upgrade release by release, as commits would; what is wrong with it, "" for nothing."""
        while self.definition.version < version:
            target = self.next_release
            if target is None:
                return f"version {version} does not follow version {self.definition.version}"
            self._upgrade(self.index, target)
            failures, self.executor.failures = self.executor.failures, []
            if failures:
                last = failures[0].traceback.strip().splitlines()[-1]
                return (
                    f"{MIGRATION} to version {target.version} raised, and the cluster would stay at version "
                    f"{self.definition.version}: {last}"
                )
        return ""


class Shadow:
    """Compares a new class with the one in force, entry by entry. Takes bounded memory beside the two states."""

    def __init__(self, new: type[StateMachine], against: type[StateMachine] | None = None) -> None:
        """`against`: the code in force, if `new` does not ship it as a `previous` release. `WrongMachine`."""
        self._new = new
        self._newest: Definition = new.definition
        if against is not None and against.definition.name != self._newest.name:
            raise WrongMachine(
                f"{against.__name__} is machine {against.definition.name!r}, {new.__name__} is {self._newest.name!r}"
            )
        self._has_other_code = against is not None
        self.present = TracingReplica(against or new, self._take)
        self.present.is_lone = False
        self.trial: _Trial | None = None
        self.is_comparing = False  # what came so far led to the state to begin with
        self._names = Names()
        self._entry: Entry | None = None
        self._waiting: dict[int | str, deque[CommandTrace]] = {}
        self._pairs: tuple[Definition, Definition] | None = None
        self._compared: frozenset[str] = frozenset()
        self._not_compared: tuple[str, ...] = ()
        self._types: dict[str, TypeReport] = {}
        self._findings: list[str] = []
        self.unchecked: list[str] = []
        self.is_over = False  # nothing more can be learned
        self._first = self._last = self._commands = 0
        self._roots = self._root_differs = 0

    # --- entries --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """From here on the entries are compared; before, they only lead to the state of here."""
        if not self.is_comparing:
            self.is_comparing = True
            self._make_trial()

    def apply(self, entry: Entry) -> None:
        """The next committed entry. `BadBytes` if it is none, `ReleaseMissing` if neither class ships its version."""
        if self.is_over:
            return
        if self.is_comparing and self.trial is None:
            self._make_trial()
        self._entry = entry
        self._waiting.clear()
        try:
            applied = self.present.apply(entry)
        except ReleaseMissing as error:
            self._end(str(error))
            return
        except RsmError:
            raise
        except Exception as error:
            self._end(f"entry {entry.index}: the code in force cannot apply it: {describe(error)}")
            return
        if not self.is_comparing:
            return
        self._first = self._first or entry.index
        self._last = entry.index
        if self.trial is not None and not self.is_over:
            self._apply_trial(self.trial, entry, applied)

    def _apply_trial(self, trial: _Trial, entry: Entry, applied: Applied) -> None:
        self._find_containers(trial)
        try:
            tried = trial.apply(entry)
        except DivergenceError as error:
            self._fail(f"entry {entry.index}: the new code cannot apply it: {error}")
            return
        except RsmError as error:
            self._end(f"entry {entry.index}: the new code cannot apply it: {error}")
            return
        except Exception as error:
            self._fail(f"entry {entry.index}: the new code cannot apply it: {describe(error)}")
            return
        for left in self._waiting.values():
            for trace in left:
                self._compare(trace, None)
        if trial.fault:
            self._fail(f"index {entry.index}: {trial.fault}")
        if applied.root is not None and tried.root is not None and self._is_one_version:
            self._roots += 1
            if applied.root != tried.root:
                self._root_differs = self._root_differs or entry.index

    def _end(self, reason: str) -> None:
        self.unchecked.append(reason)
        self.is_over = True

    def _fail(self, finding: str) -> None:
        self._findings.append(finding)
        self.is_over = True

    # --- the trial ------------------------------------------------------------------------------------------------

    @property
    def _is_one_version(self) -> bool:
        """Whether the roots of both can be the same."""
        trial = self.trial
        return trial is not None and trial.definition.version == self.present.definition.version

    def _make_trial(self) -> None:
        """A copy of the state, moved on to the new release; none if the code would be compared with itself."""
        present = self.present
        if not present.system.machine_version:
            return  # the log has not begun
        version = present.definition.version
        if version > self._newest.version:
            self._end(f"version {version} is in force, and {self._new.__name__} is version {self._newest.version}")
            return
        if version == self._newest.version and not self._has_other_code:
            return
        trial = _Trial(self._new, self._meet)
        trial.is_lone = False
        present.roots.setdefault(present.index, present.root())
        try:
            restore(trial, list(parts(present, bytes(16))))
        except WrongMachine as error:
            self._end(f"{self._new.__name__} cannot take over the state of index {present.index}: {error}")
            return
        refusal = trial.move_on(self._newest.version)
        if refusal:
            self._fail(refusal)
            return
        self.trial = trial

    def _find_containers(self, trial: _Trial) -> None:
        """The containers that both declare alike; anew when one of them goes over to another release."""
        pair = self.present.definition, trial.definition
        if self._pairs == pair:
            return
        self._pairs = pair
        ours, theirs = self.present.store.ledgers, trial.store.ledgers
        alike = {
            name
            for name, ledger in ours.items()
            if name in theirs and (ledger.kind, ledger.schema) == (theirs[name].kind, theirs[name].schema)
        }
        self._compared = frozenset({name for name in alike if not name.startswith(SYSTEM)} | {TIMERS})
        self._not_compared = tuple(
            sorted(name for name in ours.keys() | theirs.keys() if name not in alike and not name.startswith(SYSTEM))
        )
        for definition in pair:
            self._names.declare(definition.name, definition.version, definition.schema())

    # --- commands -------------------------------------------------------------------------------------------------

    def _type_of(self, trace: CommandTrace) -> str:
        """What a trace is counted as; "" for what no client and no timer has asked for."""
        name = trace.name
        if name == BEGIN or (name.startswith(SYSTEM) and name != PIPELINE):
            return ""
        known = name in self.present.definition.commands or name in self._newest.commands
        return name if known or name in (PIPELINE, SESSION_END) else UNKNOWN

    def _take(self, trace: CommandTrace) -> None:
        """One command of the present side: it waits for the other's."""
        if not self.is_comparing or not self._type_of(trace):
            return
        self._commands += 1
        if self.trial is None:
            self._count(self._type_of(trace))
        else:
            self._waiting.setdefault(_place(trace), deque()).append(trace)

    def _meet(self, trace: CommandTrace) -> None:
        """The same command of the trial."""
        if self._type_of(trace):
            waiting = self._waiting.get(_place(trace))
            self._compare(waiting.popleft() if waiting else None, trace)

    def _count(self, name: str) -> TypeReport:
        found = self._types.setdefault(name, TypeReport(examples={}))
        found.commands += 1
        return found

    def _compare(self, ours: CommandTrace | None, theirs: CommandTrace | None) -> None:
        trace = ours or theirs
        if trace is None:
            return
        counted = self._count(self._type_of(trace))
        if ours is None or theirs is None:  # a timer that only one side has set, or for another time
            counted.state += 1
            who = NEW if ours is None else PRESENT
            self._example(counted, "state", trace, [PathDifference("ran", {who: True})])
            return
        if (ours.status, ours.body) != (theirs.status, theirs.body):
            counted.result += 1
            if "result" not in counted.examples:
                values = {PRESENT: _answer(ours), NEW: _answer(theirs)}
                self._example(counted, "result", trace, [PathDifference("result", values)])
        if ours.events != theirs.events:
            counted.events += 1
            if "events" not in counted.examples:
                self._example(counted, "events", trace, _events(ours, theirs))
        if ours.writes or theirs.writes:
            one, other = self._written(ours), self._written(theirs)
            if one.keys() != other.keys() or any(not _is_same(one[key], other[key]) for key in one):
                counted.state += 1
                if "state" not in counted.examples:
                    self._example(counted, "state", trace, self._paths(one, other))

    def _written(self, trace: CommandTrace) -> dict[tuple[str, Any], Write]:
        return {(one.container, one.leaf_key): one for one in trace.writes if one.container in self._compared}

    def _paths(self, ours: dict[tuple[str, Any], Write], theirs: dict[tuple[str, Any], Write]) -> list[PathDifference]:
        found: dict[str, dict[str, Any]] = {}
        for source, writes, other in ((PRESENT, ours, theirs), (NEW, theirs, ours)):
            for key, write in writes.items():
                if key in other and _is_same(write, other[key]):
                    continue
                ledger = self.present.store.ledgers[write.container]
                path = leaf_path(write.container, write.leaf_key, nested=ledger.nested)
                values = leaf_values(ledger, write.container, write.leaf_key, write.value) or {path: "(removed)"}
                for part, value in values.items():
                    found.setdefault(part, {})[source] = value
        return [
            PathDifference(path, values)
            for path, values in found.items()
            if len(values) < 2 or values[PRESENT] != values[NEW] or type(values[PRESENT]) is not type(values[NEW])
        ]

    def _example(self, counted: TypeReport, what: What, trace: CommandTrace, paths: list[PathDifference]) -> None:
        if what not in counted.examples:
            command = {"name": trace.name, "version": 0, "values": {}}
            if trace.position >= 0 and self._entry is not None:
                command = _command_at(self._entry, trace.position, self._names) or command
            counted.examples[what] = Example(trace.index, trace.position, command, tuple(paths[:SHADOW_PATHS_MAX]))

    # --- the report -----------------------------------------------------------------------------------------------

    def report(self) -> ShadowReport:
        """As of now. It computes which containers differ, which takes the time of a root."""
        findings, unchecked = list(self._findings), list(self.unchecked)
        present, trial = self.present, self.trial
        if present.difference is not None:
            index = present.difference.index
            if self._is_new_itself:
                findings.append(
                    f"the cluster has confirmed root {present.difference.confirmed.hex()} at index {index}, the new "
                    f"code has {present.difference.root.hex()}"
                )
            else:
                findings.append(
                    f"version {present.definition.version} as it is given here is not what the cluster runs: confirmed "
                    f"at index {index} is root {present.difference.confirmed.hex()}, this code has "
                    f"{present.difference.root.hex()}"
                )
        if present.fault:
            findings.append(f"the code in force: {present.fault}")
        if self._root_differs and not any(one.differs for one in self._types.values()):
            findings.append(f"the roots differ at index {self._root_differs}, and no command did anything else")
        if not self._commands and not self.is_over:
            unchecked.append("no command was seen")
        if self._is_new_itself and present.difference is None and present.compared_index <= self._first:
            unchecked.append("the cluster has confirmed no root for what ran: nothing to compare the new code with")
        differs = tuple(self._containers_that_differ(trial)) if trial is not None else ()
        is_other = bool(findings or differs or self._root_differs) or any(one.differs for one in self._types.values())
        return ShadowReport(
            verdict="differs" if is_other else "unchecked" if unchecked else "agree",
            machine=self._newest.name,
            present_version=present.definition.version,
            new_version=self._newest.version,
            first_index=self._first,
            last_index=self._last,
            commands=self._commands,
            types=dict(sorted(self._types.items())),
            roots_compared=self._roots,
            root_differs=self._root_differs,
            confirmed_index=present.compared_index,
            containers_differ=differs,
            not_compared=self._not_compared,
            findings=tuple(findings),
            unchecked=tuple(unchecked),
        )

    @property
    def _is_new_itself(self) -> bool:
        """Whether the only replica runs the new code."""
        return not self._has_other_code and self.present.definition is self._newest and self.trial is None

    def _containers_that_differ(self, trial: _Trial) -> list[str]:
        is_open = trial.store.is_open or self.present.store.is_open
        if is_open or trial.index != self.present.index:  # one of them could not apply an entry to its end
            return []
        self.present.store.digests()
        trial.store.digests()
        ours, theirs = self.present.store.ledgers, trial.store.ledgers
        return [name for name in sorted(self._compared) if ours[name].sum_bytes() != theirs[name].sum_bytes()]


def _place(trace: CommandTrace) -> int | str:
    """What makes two traces those of one command: its position; of a timer its name, since one side may have more."""
    return trace.position if trace.position >= 0 else trace.name


def _is_same(ours: Write, theirs: Write) -> bool:
    return pack_leaf(ours.leaf_key, ours.value) == pack_leaf(theirs.leaf_key, theirs.value)


def _answer(trace: CommandTrace) -> Any:
    if trace.name == MALFORMED:
        return None
    return answer_value(trace.name, trace.status, trace.body)


def _events(ours: CommandTrace, theirs: CommandTrace) -> list[PathDifference]:
    found = []
    for number in range(max(len(ours.events), len(theirs.events))):
        sides = ((PRESENT, ours.events), (NEW, theirs.events))
        packed = {source: events[number] for source, events in sides if number < len(events)}
        if len(packed) < 2 or packed[PRESENT] != packed[NEW]:
            values = {source: plain(decode(event)) for source, event in packed.items()}
            found.append(PathDifference(f"event/{number}", values))
    return found


def _command_at(entry: Entry, position: int, names: Names) -> dict[str, Any] | None:
    for item in items_of(entry, names):
        if item.position == position and item.call is not None:
            calls = item.calls
            values = (
                plain(calls[0].values) if item.steps is None else {"steps": [plain(call._asdict()) for call in calls]}
            )
            return {"name": item.call.name, "version": item.call.version, "values": values}
    return None
