"""What every replica decides, with no I/O: batches, apply, sessions, keys, timers, pipelines, events, snapshots."""
