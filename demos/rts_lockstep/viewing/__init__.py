"""What a player sees: the page, its server, and the game put into the page's words."""

from __future__ import annotations
