"""How fast the page drew its units: the judge of what `window.game.debug.record` kept of every frame."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np


def walked_at_most_their_speed(frames: list[dict[str, Any]], speed: np.ndarray) -> float:
    """Fail if a unit moved faster between two frames than `speed` of its kind (sub-tile units per turn) allows, in the
    shorter of the two frames' turns. Returns the way of all units together, so that a test can say that any moved.
    """
    walked = 0.0
    for before, after in pairwise(frames):
        earlier, later = np.array(before["units"]), np.array(after["units"])
        same = {(row[0], row[1], row[2]): place for place, row in enumerate(earlier.tolist())}
        pairs = [
            (same[row[0], row[1], row[2]], place)
            for place, row in enumerate(later.tolist())
            if (row[0], row[1], row[2]) in same
        ]
        here, there = np.array(pairs).T
        way = np.hypot(*(later[there, 3:5] - earlier[here, 3:5]).T)
        share = (after["now"] - before["now"]) / min(before["turn_ms"], after["turn_ms"])
        most = speed[later[there, 1].astype(int)] * share
        worst = int(np.argmax(way - most))
        assert way[worst] <= most[worst] * 1.000001 + 0.001, (
            f"turn {after['turn']}: {later[there[worst]].tolist()} went {way[worst]:.1f}, may go {most[worst]:.1f}"
        )
        walked += float(way.sum())
    return walked
