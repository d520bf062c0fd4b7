"""Checking a class against a lock file, and writing one: each in processes with fixed settings.

A machine is run twice, with other seeds for the hashes of texts and in other time zones. So the first says what it
does, and the second that it does so everywhere: what differs between them is no lock file's business, and is reported
as what it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from rsm.errors import CallerError
from rsm.limits import LOCK_RUN_SECONDS_MAX
from rsm.schemas.checking import Break, Report, compare
from rsm.schemas.child import Answer, Question
from rsm.schemas.document import Example, Lock

__all__ = ["Unrunnable", "check", "make"]

CHILD: Final = ("-P", "-m", "rsm.schemas.child")
SETTINGS: Final = (
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"},
    {"PYTHONHASHSEED": "4242", "TZ": "XYZ-13:45", "LC_ALL": "C.UTF-8"},
)
WORDS_MAX: Final = 300


class Unrunnable(CallerError):
    """The corpus could not be run: nothing is known of what the class does."""


def check(reference: str, lock: Lock) -> Report:
    """Compare a class with what was locked. `Unrunnable`."""
    question = Question(reference, lock)
    with ThreadPoolExecutor(len(SETTINGS)) as pool:
        first, second = pool.map(lambda setting: _ask(question, setting), SETTINGS)
    report = compare(lock, first.found)
    return report._replace(breaks=[*report.breaks, *_unsteady(first.found, second.found)])


def make(reference: str, lock: Lock | None, examples: Sequence[Example] = ()) -> tuple[Lock, Report]:
    """What is to be written, and what of `lock` it breaks: if there is any, it must not be. `Unrunnable`.

    `examples`: calls to add a run of.
    """
    first = _ask(Question(reference, lock, extends=True, examples=list(examples)), SETTINGS[0])
    report = Report([], [], []) if lock is None else compare(lock, first.found)
    extended = first.extended or first.found
    second = _ask(Question(reference, extended), SETTINGS[1])
    return extended, report._replace(breaks=[*report.breaks, *_unsteady(extended, second.found)])


def _unsteady(first: Lock, second: Lock) -> Iterator[Break]:
    for one in compare(first, second).breaks:
        # `is` was seen under the second settings; `was` under the first.
        yield msgspec.structs.replace(
            one,
            kind="unsteady",
            change=f"does not do the same in every process ({SETTINGS[0]['PYTHONHASHSEED']} and "
            f"{SETTINGS[1]['PYTHONHASHSEED']} as PYTHONHASHSEED, other time zones): {one.change}",
            advice="rsm lint and rsm desync replay --hostile say where it comes from",
        )


def _ask(question: Question, setting: dict[str, str]) -> Answer:
    known = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(part for part in (os.getcwd(), known) if part)
    try:
        ran = subprocess.run(
            [sys.executable, *CHILD],
            env={**os.environ, **setting, "PYTHONPATH": path},
            input=msgspec.msgpack.encode(question),
            capture_output=True,
            timeout=LOCK_RUN_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unrunnable(
            f"{question.reference}: its corpus was not through after {LOCK_RUN_SECONDS_MAX:.0f} seconds: does a "
            f"handler, or an upcaster, go on for ever?"
        ) from None
    except OSError as error:
        raise Unrunnable(f"{sys.executable}: cannot be run: {error.strerror}") from error
    if ran.returncode:
        words = ran.stderr.decode(errors="replace").strip().splitlines()
        how = f"ended with code {ran.returncode}" if ran.returncode > 0 else f"was ended by signal {-ran.returncode}"
        raise Unrunnable(
            f"{question.reference}: the process that runs its corpus {how}: {words[-1][:WORDS_MAX] if words else ''}"
        )
    try:
        return msgspec.msgpack.decode(ran.stdout, type=Answer)
    except msgspec.MsgspecError as error:
        raise Unrunnable(f"{question.reference}: the process that runs its corpus gave no answer: {error}") from error
