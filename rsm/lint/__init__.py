"""The linter: finds in the source of a machine what would make its replicas differ. It reads, and never runs, code."""
