"""A lockstep strategy game on rsm: only orders travel, every player's copy of the world is the same."""

from __future__ import annotations
