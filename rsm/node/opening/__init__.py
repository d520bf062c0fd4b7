"""Making the directory of a machine, and opening one again, whatever a crash or its disk has left of it."""
