"""Hash seed: a name's shard is taken from its `hash()`, which for strings differs in every process."""

from __future__ import annotations

import zlib

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Chooses a shard by `hash`."""

    shards: rsm.Map[str, int]

    @rsm.command()
    def assign(self, ctx: rsm.Context, name: str) -> int:
        self.shards[name] = hash(name) % 1_000_003
        return len(self.shards)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Chooses a shard by a checksum of the bytes."""

    shards: rsm.Map[str, int]

    @rsm.command()
    def assign(self, ctx: rsm.Context, name: str) -> int:
        self.shards[name] = zlib.crc32(name.encode()) % 1_000_003
        return len(self.shards)
