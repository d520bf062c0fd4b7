"""The laws of upcasters, as a check that tests call: `rsm.testing.check_upcasters(Machine)`.

What an old command becomes is part of what a log means, so a step between two versions must be a function of the
command's values, and of the state where it says that it reads it. The laws, for values of every version that the class
still knows, drawn from the types of its parameters:

* *Determinism*: a step gives the same twice, and in another process with another hash seed.
* *Path independence*: one step after another, each result written down and read again, leads to what the whole chain
  leads to.
* *Round trips*: a downcaster that says it is lossless gives back what its upcaster was given.
* *Replay*: a log of commands of all versions leads to the same state and answers twice, and from a snapshot taken in
  the middle.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from rsm.codec.chain import ZERO_CHAIN
from rsm.codec.record import Entry, RecordKind
from rsm.errors import CallerError, InvalidCommand
from rsm.limits import HASH_INTERVAL_ENTRIES
from rsm.machine.definition import CommandSpec, Definition
from rsm.machine.machine import StateMachine
from rsm.machine.upcasting import Drop, Parts, Split
from rsm.machine.values import Signature
from rsm.replica.batch import ACTIVATE, FLAG_HASH_POINT, OPEN_SESSION, encode_call, join_batch, join_item
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts, restore
from rsm.state.leaf import digest128, encode
from rsm.testing.values import draw_value

__all__ = ["UpcasterLawError", "UpcastersChecked", "check_upcasters"]

Examples = Mapping[tuple[str, int], Sequence[Sequence[Any]]]
DRAWS_PER_VALUE_MAX: Final = 20
COMMANDS_PER_BATCH: Final = 8
START: Final = 1_700_000_000 * 10**9
STEP_NANOSECONDS: Final = 10**9
CHILD_SECONDS_MAX: Final = 120.0


class UpcasterLawError(AssertionError):
    """An upcaster or downcaster that breaks a law; the text names it, the law and the values."""


class UpcastersChecked(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked: `steps` by name, with so many `values` altogether, and `commands` replayed. `unchecked`: what
    could not be, with reasons.
    """

    steps: tuple[str, ...]
    values: int
    commands: int
    unchecked: tuple[str, ...] = ()


def check_upcasters(
    machine: type[StateMachine],
    *,
    examples: Examples | None = None,
    count: int = 50,
    seed: int = 0,
    other_process: bool = True,
) -> UpcastersChecked:
    """Hold a machine's upcasters and downcasters to their laws; `UpcasterLawError` names the first that breaks one.

    `count` values are drawn for every version of every command, always the same for one `seed`. A step may refuse
    values (it raises: the command is invalid), but it must do so every time. Where types do not tell which values are
    good (a price that travels as text), give `examples`: `{("place", 1): [["buy", "12.50", 3], ...]}`; these must not
    be refused. `other_process`: also in a child process with another hash seed, if the class can be imported there.

    Look at `unchecked` of the result, or demand that it is empty: a version of which all drawn values were refused was
    not checked.
    """
    check = _Check(machine, examples or {}, count, seed)
    check.run()
    if other_process:
        check.compare_with_child()
    return UpcastersChecked(
        steps=tuple(check.steps), values=check.values, commands=check.commands, unchecked=tuple(check.unchecked)
    )


class _Check:
    def __init__(self, machine: type[StateMachine], examples: Examples, count: int, seed: int) -> None:
        self.machine = machine
        self.definition: Definition = machine.definition
        self.examples = examples
        self.count = count
        self.seed = seed
        self.steps: list[str] = []
        self.values = 0
        self.commands = 0
        self.unchecked: list[str] = []
        self._outcomes: list[bytes] = []
        self._root = b""
        for name, version in examples:
            spec = self.definition.commands.get(name)
            if spec is None or spec.signature_at(version) is None:
                raise CallerError(f"examples of {name!r} version {version}: the machine does not know it")

    def run(self) -> None:
        """All laws in this process."""
        drawn = {
            (name, version): self._drawn(name, version, signature)
            for name, spec in sorted(self.definition.commands.items())
            for version, signature in _signatures(spec)
        }
        old = [(self.definition.commands[name], version) for name, version in drawn]
        old = [(spec, version) for spec, version in old if version in spec.steps]
        for spec, version in old:
            if not _reads_state(spec, version):
                self._check_version(spec, version, drawn[spec.name, version], None)
        # Steps that read the state are tried on the state that the drawn commands lead to.
        machine = self._replayed(drawn).machine
        for spec, version in old:
            if _reads_state(spec, version):
                self._check_version(spec, version, drawn[spec.name, version], machine)

    @property
    def digest(self) -> str:
        """Of every outcome and of the state: what another process must have too."""
        return digest128(encode((self._outcomes, self._root))).hex()

    # --- values -------------------------------------------------------------------------------------------------------

    def _drawn(self, name: str, version: int, signature: Signature) -> list[list[Any]]:
        """Plain values: the examples, then drawn ones."""
        found = []
        for example in self.examples.get((name, version), ()):
            try:
                found.append(signature.bind(tuple(example), {}))
            except InvalidCommand as error:
                raise CallerError(f"an example of {name!r} version {version}: {error}") from None
        chance = random.Random(f"{self.seed}/{name}/{version}")
        for _ in range(self.count * DRAWS_PER_VALUE_MAX):
            if len(found) >= self.count:
                break
            values = tuple(draw_value(parameter.type, chance) for parameter in signature.parameters)
            try:
                found.append(signature.bind(values, {}))
            except InvalidCommand:
                continue  # a rule that the types do not tell
        if not found:
            self.unchecked.append(f"{name} version {version}: no value could be drawn: give examples")
        return found

    # --- one version --------------------------------------------------------------------------------------------------

    def _check_version(self, spec: CommandSpec, version: int, drawn: list[list[Any]], machine: Any) -> None:
        upcaster = spec.steps[version][1]
        self.steps.append(repr(upcaster))
        given = len(self.examples.get((spec.name, version), ()))
        refused = 0
        for number, values in enumerate(drawn):
            self.values += 1
            whole = _led(spec, version, values, machine)
            if encode(whole) != encode(_led(spec, version, values, machine)):
                raise _broken(upcaster, values, "determinism: it gave one thing, then another")
            if encode(whole) != encode(_led_by_steps(spec, version, values, machine)):
                raise _broken(upcaster, values, "path independence: step by step it leads to something else")
            if whole == REFUSED:
                if number < given:
                    raise _broken(upcaster, values, "an example, and it or a later step refuses it")
                refused += 1
            self._check_round_trip(spec, version, values, machine)
            self._outcomes.append(encode((spec.name, version, whole)))
        if drawn and refused == len(drawn):
            self.unchecked.append(f"{upcaster}: refuses all {refused} drawn values: give examples")

    def _check_round_trip(self, spec: CommandSpec, version: int, values: list[Any], machine: Any) -> None:
        if version not in spec.downcasters or not spec.downcasters[version][1].is_lossless:
            return
        signature, downcaster = spec.downcasters[version]
        try:
            later = spec.upcast_once(version, values, machine)
        except Exception:  # whatever it is: replicas make it InvalidCommand
            return
        if not isinstance(later, list):
            return
        target = spec.steps[version][0]
        try:
            back = target.bind(tuple(downcaster.step(*signature.decode(signature.encode(later)))), {})
        except InvalidCommand as error:
            raise _broken(downcaster, values, f"lossless: it refuses what they become, {later!r}: {error}") from None
        if encode(back) != encode(values):
            raise _broken(downcaster, values, f"lossless: they become {later!r}, and come back as {back!r}")
        if repr(downcaster) not in self.steps:
            self.steps.append(repr(downcaster))

    # --- replay -------------------------------------------------------------------------------------------------------

    def _replayed(self, drawn: dict[tuple[str, int], list[list[Any]]]) -> Replica:
        calls = [(name, version, values) for (name, version), found in drawn.items() for values in found]
        random.Random(self.seed).shuffle(calls)
        self.commands = len(calls)
        entries = list(_log(self.definition, calls))
        middle = next(entry.index for entry in entries if entry.index * 2 >= len(entries))
        first, again, restored = Replica(self.machine), Replica(self.machine), Replica(self.machine)
        for entry in entries:
            applied = first.apply(entry)
            others = {"a second replay": again}
            if entry.index > middle:
                others["a replay from a snapshot"] = restored
            for what, replica in others.items():
                other = replica.apply(entry)
                if (other.answers, replica.root()) != (applied.answers, first.root()):
                    _blame(what, entry.index, _calls_at(calls, entry.index), applied.answers, other.answers)
            if entry.index == middle:
                restore(restored, list(parts(first, ZERO_CHAIN)))
        self._root = first.root()
        return first

    # --- another process ----------------------------------------------------------------------------------------------

    def compare_with_child(self) -> None:
        """The same in a child with another hash seed."""
        name = f"{self.machine.__module__}:{self.machine.__qualname__}"
        if self.machine.__module__ == "__main__" or "<" in name:
            self.unchecked.append(f"other process: {name} cannot be imported there")
            return
        asked = msgspec.json.encode([name, list(self._plain_examples()), self.count, self.seed])
        environment = {
            **os.environ,
            "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2",
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        }
        command = [sys.executable, "-c", "from rsm.testing.upcaster_laws import answer_parent; answer_parent()"]
        try:
            done = subprocess.run(
                command, input=asked, env=environment, capture_output=True, timeout=CHILD_SECONDS_MAX, check=False
            )
        except subprocess.TimeoutExpired:
            self.unchecked.append(f"other process: no answer within {CHILD_SECONDS_MAX:g} s")
            return
        answer = done.stdout.decode(errors="replace").strip().rpartition("\n")[2]
        if done.returncode != 0:
            reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            self.unchecked.append(f"other process: {reason or f'it ended with {done.returncode}'}")
        elif answer != self.digest:
            raise UpcasterLawError(
                f"{self.definition.name}: determinism: in a process with another hash seed its old commands lead to "
                f"something else; look for what depends on hashes, ids or the environment (rsm lint finds most of it)"
            )

    def _plain_examples(self) -> Iterator[tuple[str, int, str]]:
        for (name, version), values in self.examples.items():
            signature = self.definition.commands[name].signature_at(version)
            if signature is not None:
                yield name, version, encode([signature.bind(tuple(value), {}) for value in values]).hex()


def answer_parent() -> None:
    """In the child: check again what standard input names, and say what came of it."""
    name, examples, count, seed = msgspec.json.decode(sys.stdin.buffer.read())
    module, _, qualname = name.partition(":")
    machine: Any = __import__(module, fromlist=["*"])
    for part in qualname.split("."):
        machine = getattr(machine, part)
    check = _Check(machine, {}, count, seed)
    given = {}
    for command, version, packed in examples:
        signature = check.definition.commands[command].signature_at(version)
        if signature is not None:
            values = msgspec.msgpack.decode(bytes.fromhex(packed))
            given[command, version] = [signature.decode(encode(value)) for value in values]
    check.examples = given
    check.run()
    print(check.digest)


# --- what an old command becomes, as plain data -----------------------------------------------------------------------

REFUSED: Final = ("refused",)


def _signatures(spec: CommandSpec) -> list[tuple[int, Signature]]:
    old = [(version, signature) for version, (signature, _) in sorted(spec.steps.items())]
    return old if spec.is_retired else [*old, (spec.version, spec.signature)]


def _reads_state(spec: CommandSpec, version: int) -> bool:
    return any(spec.steps[number][1].reads_state for number in range(version, spec.version))


def _led(spec: CommandSpec, version: int, values: list[Any], machine: Any) -> Any:
    """What a replica makes of it: a value that tells one outcome from another."""
    try:
        led = spec.lead(version, encode(values), lambda step, args: step(machine, *args))
    except (InvalidCommand, msgspec.ValidationError):
        return REFUSED
    if isinstance(led, Drop):
        return "drop", led.result
    if isinstance(led, Parts):
        return "split", [(part.name, number, given) for part, number, given in led.parts], led.answers
    return "values", led


def _led_by_steps(spec: CommandSpec, version: int, values: list[Any], machine: Any) -> Any:
    """The same, written down and read again between the steps."""
    while True:
        upcaster = spec.steps[version][1]
        try:
            led = spec.upcast_once(version, values, machine)
            if isinstance(led, Drop):
                return "drop", led.result
            if isinstance(led, Split):
                found = upcaster.parts_of(led)
                return "split", [(part.name, number, given) for part, number, given in found.parts], found.answers
            values, version = msgspec.msgpack.decode(encode(led)), version + 1
            if version not in spec.steps:
                return "values", spec.decode(encode(values))
        except (MemoryError, RecursionError):
            raise
        except Exception:  # whatever it is: replicas make it InvalidCommand
            return REFUSED


def _broken(step: object, values: list[Any], law: str) -> UpcasterLawError:
    return UpcasterLawError(f"{step} of {values!r:.200}: {law}")


# --- a log ------------------------------------------------------------------------------------------------------------


def _log(definition: Definition, calls: list[tuple[str, int, list[Any]]]) -> Iterator[Entry]:
    """A log of these commands, with a hash point at every entry."""
    activation = encode_call(ACTIVATE, 1, [definition.name, definition.version, definition.schema(), b"laws"])
    opening = encode_call(OPEN_SESSION, 1, ["", 0])
    batches = [[join_item(0, 0, 0, activation), join_item(0, 0, 0, opening)]]
    for begin in range(0, len(calls), COMMANDS_PER_BATCH):
        batches.append(
            [
                join_item(1, begin + number, begin + number, encode_call(*call))
                for number, call in enumerate(calls[begin : begin + COMMANDS_PER_BATCH], 1)
            ]
        )
    for index, items in enumerate(batches, 1):
        stamp = START + index * STEP_NANOSECONDS
        flags = 0 if index % HASH_INTERVAL_ENTRIES == 0 else FLAG_HASH_POINT
        payload = join_batch(definition.version, stamp, flags, items)
        yield Entry(index=index, term=1, kind=RecordKind.BATCH, payload=payload)


def _calls_at(calls: list[tuple[str, int, list[Any]]], index: int) -> list[tuple[str, int, list[Any]]]:
    begin = (index - 2) * COMMANDS_PER_BATCH
    return calls[max(0, begin) : max(0, begin + COMMANDS_PER_BATCH)]


def _blame(
    what: str, index: int, calls: list[tuple[str, int, list[Any]]], answers: Sequence[Any], others: Sequence[Any]
) -> None:
    pairs = zip(calls, answers, others, strict=False)
    culprit = next((call for call, answer, other in pairs if answer != other), None)
    if culprit is not None:
        name, version, values = culprit
        raise UpcasterLawError(f"replay: {what} answers {name} version {version} of {values!r:.200} otherwise")
    named = ", ".join(dict.fromkeys(f"{name} v{version}" for name, version, _ in calls))
    raise UpcasterLawError(
        f"replay: {what} is in another state after entry {index} ({named}): a handler or a step keeps something "
        f"outside the state; rsm.testing.strict names it"
    )
