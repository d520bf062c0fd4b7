"""A match on this machine: the cluster under it, bots in processes of their own, what is heard of them."""

from __future__ import annotations
