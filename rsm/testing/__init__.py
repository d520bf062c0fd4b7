"""Public tools for testing machines and storage: a disk that fails the way disks fail."""
