"""The shell: the only code of rsm that touches disks, sockets, clocks and threads."""
