"""How replicas agree on the log: the engine seam, and the solo engine for a machine that lives in one process."""
