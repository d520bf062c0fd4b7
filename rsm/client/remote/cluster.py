"""Which node leads, and the links of a client: to the leader, and to one other node for reads that any may answer.

Any address will do to begin with: a node's hello names the leader and all members, so the list of addresses keeps
itself up to date. When the leader's link breaks, or the node says that another leads, the link is dropped with all that
waits on it, and the search begins again; the client sends again what must be.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import deque
from collections.abc import Callable

import msgspec

from rsm.client.remote.link import Link, WrongPort, dial
from rsm.errors import CallerError, RsmError, Unreachable, WrongMachine
from rsm.limits import (
    CLIENT_ADDRESSES_MAX,
    FOLLOWER_SEARCH_SECONDS_MIN,
    LEADER_POLL_SECONDS,
    LEADER_SILENCE_SECONDS_MAX,
    RECONNECT_SECONDS_MAX,
    RECONNECT_SECONDS_MIN,
)
from rsm.node.log import logger
from rsm.node.network.handshake import ClientHello, ServerHello

__all__ = ["Cluster"]


class Cluster:
    """A cluster as a client sees it. Everything runs on the client's loop."""

    def __init__(
        self,
        addresses: tuple[str, ...],
        hello: ClientHello,
        tls: ssl.SSLContext | None,
        *,
        on_leader: Callable[[], None],
        on_follower: Callable[[], None],
    ) -> None:
        """`on_leader` is called when there is a link to a leader (again), `on_follower` when the search for one is
        over.
        """
        self.leader: Link | None = None
        self.follower: Link | None = None
        self.redirects = 0
        self.errors: dict[str, RsmError] = {}  # by address, what it said last
        self.first_round: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._given = addresses
        self._members: tuple[str, ...] = ()
        self._hello = hello
        self._tls = tls
        self._on_leader = on_leader
        self._on_follower = on_follower
        self._hint = ""
        self._silent = ""  # a leader that did not answer: tried last
        self._is_answered = False  # by anybody, in the last round
        self._search_from = 0.0  # no search for a follower before this
        self._wake = asyncio.Event()
        self._searching: asyncio.Task[None] | None = None
        self._running = asyncio.get_running_loop().create_task(self._run())

    @property
    def may_have_follower(self) -> bool:
        """Whether there is a link to a node besides the leader, or there may be one after a search."""
        if self.follower is not None and self.follower.is_open:
            return True
        leader = None if self.leader is None else self.leader.address
        is_time = self._searching is not None or asyncio.get_running_loop().time() >= self._search_from
        return is_time and any(address != leader for address in self._members or self._given)

    def distrust(self, link: Link) -> None:
        """A follower is of no use: do without one for a while."""
        if link is self.follower:
            self.follower = None
            self._search_from = asyncio.get_running_loop().time() + FOLLOWER_SEARCH_SECONDS_MIN
            link.close("it does not answer our reads", at_once=True)

    def moved(self, link: Link, address: str) -> None:
        """This node does not lead (any more); `address` is where the leader is, or empty."""
        if link is self.leader:
            self.redirects += 1
            self._hint = address
            self.leader = None
            link.close("it does not lead")
            self._wake.set()

    @property
    def is_elsewhere(self) -> bool:
        """Whether every address is of another machine, or of a port that is not for clients: time changes nothing."""
        errors = self.errors.values()
        return bool(errors) and all(isinstance(error, (WrongMachine, WrongPort)) for error in errors)

    def unreachable(self) -> RsmError:
        """Why there is no leader, in one line."""
        errors = list(self.errors.values())
        first = next((error for error in errors if isinstance(error, WrongMachine)), None)
        if first is not None and all(isinstance(error, WrongMachine) for error in errors):
            return first
        told = "; ".join(str(error) for error in errors[:8]) or "no node says who leads"
        return Unreachable(f"no leader found: {told}")

    # --- the leader -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause = RECONNECT_SECONDS_MIN
        while True:
            try:
                link = await self._find()
            except Exception:  # ours: a client that does not search any more would wait for ever
                logger.exception("the search for the leader failed")
                link = None
            if not self.first_round.done():
                self.first_round.set_result(None)
            if link is not None:
                self.leader = link
                began = loop.time()
                self._on_leader()
                await self._until_lost(link)
                self.leader = None
                if loop.time() - began > RECONNECT_SECONDS_MAX:
                    pause = RECONNECT_SECONDS_MIN
                    if self._hint:
                        continue  # it knew who leads now; unless this goes on, there is nothing to wait for
            # Up to a half of jitter: clients that lost one leader together must not come back together.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            # Members that answer are about to elect a leader; where nobody answers there is more time.
            pause = min(2 * pause, LEADER_POLL_SECONDS if self._is_answered else RECONNECT_SECONDS_MAX)

    async def _until_lost(self, link: Link) -> None:
        """Until the link breaks or `moved` has dropped it."""
        link.gone.add_done_callback(lambda _: self._wake.set())
        while self.leader is link and link.is_open:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEADER_SILENCE_SECONDS_MAX / 4):
                    await self._wake.wait()
            if link.silent_seconds > LEADER_SILENCE_SECONDS_MAX:
                # Stopped, or cut off: the others may have elected another one. If not, they will say so.
                self._silent = link.address
                link.close(f"no answer for {LEADER_SILENCE_SECONDS_MAX:g} seconds", at_once=True)

    async def _find(self) -> Link | None:
        """Go through all addresses once, following those who know the leader."""
        hint, self._hint = self._hint, ""
        silent, self._silent = self._silent, ""
        rest = [one for one in dict.fromkeys((*self._given, *self._members)) if one not in (hint, silent)]
        waiting = deque(one for one in (hint, *rest, silent) if one)
        tried: set[str] = set()
        self._is_answered = False
        while waiting:
            address = waiting.popleft()
            if address in tried:
                continue
            tried.add(address)
            link = await self._dial(address)
            if link is None:
                continue
            self._is_answered = True
            if link.leads:
                return link
            if link.leader_address and link.leader_address not in tried:
                waiting.appendleft(link.leader_address)
            self.errors[address] = Unreachable(f"{address} does not lead")
            self._keep_follower(link)
            waiting.extend(member for member in self._members if member not in tried)
        return None

    async def _dial(self, address: str) -> Link | None:
        self.errors.setdefault(address, Unreachable(f"{address}: no answer yet"))
        try:
            link = await dial(address, self._hello, self._tls)
        except (RsmError, CallerError) as error:
            self.errors[address] = error
            return None
        self.errors.pop(address, None)
        if link.server is not None:
            self._learn(link.server)
        return link

    def _learn(self, server: ServerHello) -> None:
        """From here on this cluster and no other; its members may have changed."""
        if not self._hello.cluster_id:
            self._hello = msgspec.structs.replace(self._hello, cluster_id=server.cluster_id)
        members = tuple(address for _, address in server.members if address)[:CLIENT_ADDRESSES_MAX]
        if members:
            self._members = members
            known = {*members, *self._given}
            self.errors = {address: error for address, error in self.errors.items() if address in known}

    # --- another node -----------------------------------------------------------------------------------------------

    def _keep_follower(self, link: Link) -> None:
        if self.follower is None or not self.follower.is_open:
            self.follower = link
        elif link is not self.follower:
            link.close("not needed")

    def search_follower(self) -> None:
        """Connect to a node that does not lead, unless that is going on; `on_follower` is called either way."""
        if self._searching is None:
            self._searching = asyncio.get_running_loop().create_task(self._search())

    async def _search(self) -> None:
        try:
            addresses = list(self._members or self._given)
            random.shuffle(addresses)
            for address in addresses:
                leader = self.leader
                if leader is not None and address == leader.address:
                    continue
                link = await self._dial(address)
                if link is not None and link.leads:
                    link.close("it leads")
                elif link is not None:
                    self._keep_follower(link)
                    break
        finally:
            self._searching = None
            self._search_from = asyncio.get_running_loop().time() + FOLLOWER_SEARCH_SECONDS_MIN
            self._on_follower()

    async def close(self) -> None:
        """Stop, and close the links."""
        tasks = [task for task in (self._running, self._searching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        links = [link for link in (self.leader, self.follower) if link is not None]
        self.leader = self.follower = None
        for link in links:
            link.close("the client is closed")
        if links:
            await asyncio.wait([link.gone for link in links], timeout=1)
