"""What a check found: one record, from which the report for people and the JSON for scripts are made."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

__all__ = ["EXIT_CODES", "Blame", "Finding", "Kind", "PathDifference", "Verdict"]

Verdict = Literal["agree", "desync", "unchecked"]
# log: the command chains part. codec: the same commands, encoded otherwise. apply: one log, two states. snapshot: a
# snapshot is not the state that its log gives.
Kind = Literal["log", "codec", "apply", "snapshot"]
EXIT_CODES: Final[dict[Verdict, int]] = {"agree": 0, "desync": 1, "unchecked": 3}


class PathDifference(msgspec.Struct, frozen=True):
    """One path of the state, such as `orders/17/quantity`, and its value at each source; absent where it has none."""

    path: str
    values: dict[str, Any]


class Blame(msgspec.Struct, frozen=True):
    """The line of the user's code at which one source did what the other did not.

    `what`: the path that it wrote, or `result` or `event` with a number; `value` is what it gave it, None if it took it
    away. `line` is 0 and `text` empty where no line did it, as when a source wrote less than the other.
    """

    source: str
    file: str
    line: int
    text: str
    what: str
    value: Any


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a check.

    `first_bad_index` and `first_bad_command` (position in the batch) say where the sources part, as far as could be
    told; `command` has `name`, `version` and `values`. `minority` are the sources that differ from the majority: they
    differ, which is not to say that they are wrong. Everything up to `checked_to_index` was compared. `unchecked` are
    reasons why something could not be compared: with one of them the verdict is never `agree`.

    What a replay adds: `good_index`, the last index at which the roots agreed (0: none before); `commands`, those among
    which the bad one is, if it could not be told more closely; `blame`; `causes`, what made a hostile replay differ,
    each by itself; `notes` for people; `bundle`, the directory that was written; `reexecuted`, how many commands were
    run once more to find the bad one; `replayed_from` and `replayed_commands`; `evidence`, what the source of a bundle
    did otherwise than the code that replays it now; `is_damaged`: one of the reasons in `unchecked` is damage.
    """

    verdict: Verdict
    kind: Kind | None = None
    first_bad_index: int | None = None
    first_bad_command: int | None = None
    command: dict[str, Any] | None = None
    paths: tuple[PathDifference, ...] = ()
    minority: tuple[str, ...] = ()
    checked_to_index: int = 0
    unchecked: tuple[str, ...] = ()
    good_index: int | None = None
    commands: tuple[dict[str, Any], ...] = ()
    blame: tuple[Blame, ...] = ()
    causes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    bundle: str | None = None
    reexecuted: int | None = None
    replayed_from: int | None = None
    replayed_commands: int | None = None
    evidence: Finding | None = None
    is_damaged: bool = False
