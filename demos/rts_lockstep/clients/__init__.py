"""A player's process: the client, what it measures, its desk or its bot."""

from __future__ import annotations
