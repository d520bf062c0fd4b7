"""Random commands of any machine: values drawn from the types of its handlers' parameters, within their bounds.

Every call is checked against the schema as a client would; a machine whose rules are too fine for its types to say (a
pattern, a checksum) is given commands by `workload=` instead.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from rsm.errors import CallerError, InvalidCommand
from rsm.machine.definition import Definition
from rsm.schemas.drawing import draw_value

__all__ = ["Workload", "draw_value", "machine_workload"]

# A command, and the values to call it with. The number is the call's own.
Workload = Callable[[random.Random, int], tuple[str, list[Any]]]

DRAWS_MAX: Final = 50


def machine_workload(definition: Definition) -> Workload:
    """Random calls of a machine's commands, all equally often. `CallerError` if the types do not lead to any."""
    specs = [spec for _, spec in sorted(definition.methods.items())]
    if not specs:
        raise CallerError(f"{definition.name} has no commands to simulate")

    def draw(chance: random.Random, number: int) -> tuple[str, list[Any]]:
        for _ in range(DRAWS_MAX):
            spec = chance.choice(specs)
            values = [draw_value(parameter.type, chance) for parameter in spec.signature.parameters]
            try:
                return spec.name, spec.signature.bind(tuple(values), {})
            except InvalidCommand:
                continue  # a rule that the types do not tell
        raise CallerError(
            f"{DRAWS_MAX} random calls of {definition.name} were all invalid: give a workload that makes valid ones"
        )

    return draw
