"""From the cluster to the face: one observer, update by update.

Where the observer takes a snapshot instead of entries (it was too slow, or its state differed and is healed) the face
begins there: the session goes on with the numbers of the log, and its readers see a gap. From when a difference is seen
until it is settled whose state was wrong, nothing is served.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import rsm
from demos.orderbook.face.exchange_face import ExchangeFace
from demos.orderbook.machine import OrderBook

log = logging.getLogger(__name__)

CONNECT_SECONDS_MAX: Final = 60.0
# Entries applied before the loop looks at its other work: one is some milliseconds when batches are full.
ENTRIES_PER_TURN: Final = 4


async def follow(face: ExchangeFace, addresses: Sequence[str]) -> None:
    """Keep the face at the cluster's newest index until it is cancelled.

    Raises `rsm.RsmError` where the observer cannot go on: its reason is in it.
    """
    async with await rsm.observe_async(OrderBook, addresses, timeout_seconds=CONNECT_SECONDS_MAX) as observer:
        taken = 0
        async for update in observer:
            desync = update.desync
            if desync is not None:
                log.error("%s (%s)", desync.reason, desync.verdict)
            if desync is not None and desync.verdict == "open":
                face.halt(desync.reason)
            elif update.snapshot or desync is not None:
                face.load(observer.machine, observer.event_number, update.index, update.log_time)
            else:
                reports = [event.value for event in update.events]
                face.apply(observer.machine, reports, observer.event_number, update.index, update.log_time)
            taken += 1
            if taken % ENTRIES_PER_TURN == 0:
                await asyncio.sleep(0)
