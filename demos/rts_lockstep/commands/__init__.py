"""What `python -m demos.rts_lockstep` can do, a module each."""

from __future__ import annotations
