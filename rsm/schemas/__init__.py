"""What a machine has released: the lock file, whether the code still keeps to it, and what is still in use."""
