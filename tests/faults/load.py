"""A process that books as fast as it can and says what was acknowledged, until it is killed.

python load.py DIRECTORY FIRST SNAPSHOT_LOG_BYTES
"""

from __future__ import annotations

import os
import sys
from collections import deque

import rsm
from tests.faults.ledger_machine import Ledger


def main(directory: str, first: int, snapshot_log_bytes: int) -> None:
    """Keep ten bookings in flight, for many small batches; write each number when its answer is here."""
    with rsm.open(Ledger, directory, snapshot_log_bytes=snapshot_log_bytes) as client:
        in_flight: deque[tuple[int, rsm.Pending[int]]] = deque()
        number = first
        while True:
            source, target = f"from{number % 97}", f"to{number % 89}"
            in_flight.append((number, client.once(f"k{number}").move.send(number, source, target, 1)))
            number += 1
            if len(in_flight) >= 10:
                done, pending = in_flight.popleft()
                pending.result()
                os.write(1, b"%d\n" % done)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
