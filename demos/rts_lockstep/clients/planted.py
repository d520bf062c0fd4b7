"""The deer bug, to be planted in one process: a fleeing animal is one sub-tile unit off.

One number of one row, a 256th of a tile: nobody could see it. But the villager who hunts that animal takes another
path, he is in somebody's way, and a few minutes later nothing is the same any more: the classic of lockstep games. The
files, the version and the digest of the code are those of all others; only what this process computes is not, as after
a bad core, a flipped bit or a patch that only some have.
"""

from __future__ import annotations

import inspect
import textwrap
from typing import Final

from demos.rts_lockstep.simulation import wildlife

SOUND: Final = "herd.fear[flees] = FEAR_TURNS"
DEER_ROW: Final = 17
BROKEN: Final = f"herd.fear[flees] = FEAR_TURNS; herd.x[flees[flees == {DEER_ROW}]] += 1"
_sound_fear = wildlife._fear


def plant() -> None:
    """Put the bug in. Safe between two turns: a step that runs goes on as it was."""
    source = textwrap.dedent(inspect.getsource(_sound_fear))
    if source.count(SOUND) != 1:
        raise LookupError(f"the animals have no line with {SOUND!r} any more, or several")
    made: dict[str, object] = {}
    exec(compile(source.replace(SOUND, BROKEN), "wildlife.py with a bug", "exec"), vars(wildlife), made)
    wildlife._fear = made["_fear"]  # type: ignore[assignment]


def pull_out() -> None:
    """Take it out again."""
    wildlife._fear = _sound_fear
