"""The machines of docs/recipes.md, as they are printed there."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from tests.documents import ROOT, blocks


def recipe(file_name: str) -> Any:
    """The module that a file of the page is."""
    (source,) = (block.text for block in blocks(ROOT / "docs" / "recipes.md") if block.file_name == file_name)
    module = ModuleType(f"recipe_{file_name.removesuffix('.py')}")
    sys.modules[module.__name__] = module  # where the types of a struct's fields are looked up
    exec(compile(source, file_name, "exec", dont_inherit=True), vars(module))
    return module


Counter = recipe("counter.py").Counter
Locks = recipe("locks.py").Locks
jobs = recipe("jobs.py")
Jobs, ATTEMPTS_MAX = jobs.Jobs, jobs.ATTEMPTS_MAX
