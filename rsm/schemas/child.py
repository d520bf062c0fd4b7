"""A class observed in a process of its own: `python -P -m rsm.schemas.child`, one question in, one answer out.

The user's code then runs under settings that we choose, and whatever it prints, changes or breaks stays there. Before
anything else is imported, standard output is put away and becomes standard error.
"""

from __future__ import annotations

import os
import sys

# Before other imports: a module may print when it is imported.
if __name__ == "__main__":
    _ANSWER = os.dup(1)
    os.dup2(2, 1)

import importlib
from typing import Any

import msgspec

from rsm.machine.definition import Definition
from rsm.schemas.document import Example, Lock
from rsm.schemas.observing import extend, observe

__all__ = ["Answer", "Question", "answer"]


class Question(msgspec.Struct):
    """Observe this class, MODULE:CLASS, with the cases and runs of `lock`; `extends`: also with new ones."""

    reference: str
    lock: Lock | None = None
    extends: bool = False
    examples: list[Example] = []


class Answer(msgspec.Struct):
    """What was seen; `extended` if it was asked for."""

    found: Lock
    extended: Lock | None = None


def answer(question: Question) -> Answer:
    """Import and observe. Whatever the class raises comes out."""
    module_name, _, class_name = question.reference.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in class_name.split("."):
        found = getattr(found, part)
    definition: Definition = found.definition
    seen = observe(definition, question.lock)
    return Answer(seen, extend(definition, seen, question.examples) if question.extends else None)


def main(descriptor: int) -> None:
    """Answer the question on standard input."""
    question = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Question)
    view = memoryview(msgspec.msgpack.encode(answer(question)))
    while view:
        view = view[os.write(descriptor, view) :]
    os.close(descriptor)


if __name__ == "__main__":
    main(_ANSWER)
