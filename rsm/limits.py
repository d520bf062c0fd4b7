"""Every bound of rsm: one constant each, its reason, and a precedent where there is one.

Reaching a bound is always a named error (`LimitExceeded`, `Busy`, `BadBytes`, `EventsGap`), never silence.
"""

from __future__ import annotations

from typing import Final

# --- bytes that are decoded -----------------------------------------------------------------------------------------

# One Raft entry. etcd's default request limit is 1.5 MiB; a batch carries many commands, so a little more.
ENTRY_BYTES_MAX: Final = 8 * 1024 * 1024
# One command as its client encoded it. A command is a decision, not a file (etcd: 1.5 MiB, Consul: 512 KiB).
COMMAND_BYTES_MAX: Final = 1024 * 1024
# Nesting of values inside a command. No schema that msgspec validates needs more; 16 stops stack games (facts/hardening).
NESTING_DEPTH_MAX: Final = 16

# --- batches --------------------------------------------------------------------------------------------------------

# Commands in one entry: enough to amortise one fdatasync to under a microsecond each, small enough to keep a batch
# under about ten milliseconds of apply time.
BATCH_COMMANDS_MAX: Final = 1024
# Bytes of commands in one entry; leaves room for the head within ENTRY_BYTES_MAX.
BATCH_BYTES_MAX: Final = 1024 * 1024
# Commands in one pipeline: it is one atomic step and its rollback scope lives in memory.
PIPELINE_STEPS_MAX: Final = 256

# --- state ----------------------------------------------------------------------------------------------------------

# Buckets per container: at a million keys a bucket holds about a thousand, one snapshot slice of well under a
# millisecond. A power of two; part of the format.
BUCKETS: Final = 1024

# --- agreement ------------------------------------------------------------------------------------------------------

# A state root is taken at every index divisible by this (Raft entries, not commands).
HASH_INTERVAL_ENTRIES: Final = 64
# Roots a replica keeps, and a manifest carries, for late comparison.
ROOTS_KEPT: Final = 64
# Leaves recomputed at every hash point: about a tenth of a millisecond. A state of n leaves is scrubbed once in
# n / SCRUB_LEAVES_MIN hash points (the scrub period).
SCRUB_LEAVES_MIN: Final = 256

# --- records on disk ------------------------------------------------------------------------------------------------

# Payloads below this are stored as they are: an lz4 frame costs microseconds and saves nothing on small ones.
COMPRESS_BYTES_MIN: Final = 1024
