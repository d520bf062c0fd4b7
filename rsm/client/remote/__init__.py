"""A machine at the other end of a network: sessions, links, and commands that take effect once."""
