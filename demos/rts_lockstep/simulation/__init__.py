"""The parts of a turn of the world: pure functions of columns of integers; no clock, no rsm."""

from __future__ import annotations
