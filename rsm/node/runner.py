"""The process of one node: a `Member` on an event loop, between its peers, its clients and its disk.

Everything happens on the loop's one thread, except syncs of the log and the writing of snapshots. Whatever comes in
(a message, a request, a timer, a sync's end) is handed to the member at once; what follows from it is done once in the
loop's next turn, for all that came meanwhile. So under load one turn makes one batch, one write and one message to each
peer, and alone a command waits for nobody.

Whatever the member raises ends the node: everybody who waits is told, and the exit code says whether another start may
help (a failed sync, a damaged record: the rest is fetched from the others) or not (a divergence).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import resource
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from hashlib import blake2b
from typing import Any, Final

import msgspec

from rsm.codec.chain import next_chain
from rsm.errors import Busy, CallerError, Closed, DivergenceError, RsmError, UnknownFormat, WrongMachine
from rsm.limits import COLLECTOR_OBJECTS, EXPORT_PART_BYTES, FAREWELL_SECONDS_MAX, RELEASES_MAX, TICK_SECONDS_MAX
from rsm.machine.definition import Definition
from rsm.machine.machine import StateMachine
from rsm.node.agreement.code_identity import code_digest
from rsm.node.config import NodeConfig
from rsm.node.fed_member import FedMember
from rsm.node.feed.node import FeedNode
from rsm.node.log import describe, logger
from rsm.node.member import Member, MemberOptions
from rsm.node.network.addresses import split_address
from rsm.node.network.handshake import PeerHello
from rsm.node.network.transport import PeerTransport
from rsm.node.opening.bootstrap import is_prepared, prepare
from rsm.node.requests import Read, Request, SystemRequest
from rsm.node.service import Reply, schema_digest
from rsm.node.serving.server import ClientServer
from rsm.node.serving.web import WebServer
from rsm.node.snapshotting.snapshotter import Snapshots, Snapshotter
from rsm.node.standing import leader_of, status_of
from rsm.node.status import NodeStatus
from rsm.node.storage.disk import Disk, OsDisk
from rsm.node.storage.journal import Journal
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.node.storage.syncer import Syncer
from rsm.node.telemetry import Metrics, configure_logging
from rsm.raft.configuration import Configuration
from rsm.raft.configuration import Member as ClusterMember
from rsm.raft.messages import Message
from rsm.replica.answer import Answer, Status, decode, raise_answer
from rsm.replica.batch import CLOSE_SESSION, OPEN_SESSION
from rsm.replica.replica import Replica

__all__ = ["Runner", "cluster_id_of", "founders", "run_node"]

# Exit codes of the process. The supervisor does not start one again that refused.
FINE: Final = 0
REFUSED: Final = 1
UNUSABLE: Final = 2
FAILED: Final = 70


def founders(config: NodeConfig) -> Configuration:
    """The configuration that a new cluster begins with."""
    members = sorted(config.cluster.members, key=lambda member: member.id)
    return Configuration(tuple(ClusterMember(member.id, member.peer, member.client) for member in members))


def cluster_id_of(config: NodeConfig) -> bytes:
    """The id that a new cluster has: the one given, else made of its name and its first members."""
    if config.cluster.id is not None:
        return bytes.fromhex(config.cluster.id)
    return blake2b(config.cluster.name.encode() + b"\0" + founders(config).encode(), digest_size=16).digest()


class Runner:
    """One node in this process; the `Service` of its client server. `run` returns when it has ended."""

    def __init__(
        self, machine: type[StateMachine], config: NodeConfig, disk: Disk | None = None, *, is_founding: bool = False
    ) -> None:
        self._machine = machine
        self._config = config
        self._is_founding = is_founding
        self._is_closing = False
        self._disk = OsDisk() if disk is None else disk
        self._loop = asyncio.get_running_loop()
        self._chance = random.SystemRandom()
        self._syncer = Syncer(self._sync, self._synced)
        self._is_syncing = False
        self._is_flush_due = False
        self._is_tick_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._failure: BaseException | None = None
        self._started = time.monotonic()
        self._dialed: Configuration | None = None
        self._leader: int | None = None
        self._member: Member | None = None
        self.metrics = Metrics(self.node_status)

    @property
    def member(self) -> Member:
        """The node itself, once it is open."""
        if self._member is None:
            raise CallerError("the node is not open yet")
        return self._member

    # --- life --------------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Open the directory and the ports, serve until told to stop or until something fails; the exit code."""
        node, config = self._config.node, self._config
        began = time.perf_counter()
        self._open()
        opened_seconds = time.perf_counter() - began  # at most what it took to apply what its snapshot does not hold
        hello = PeerHello(
            self.cluster_id,
            0,
            self.definition.name,
            tuple((one.version, schema_digest(one)) for one in self.definition.releases()[:RELEASES_MAX]),
            code_digest(self._machine),
            node.id,
            node.peer_listen,
            secrets.token_bytes(8),
        )
        self._transport = PeerTransport(
            hello=hello,
            listen=split_address(node.peer_listen),
            tls=config.tls,
            on_message=self._receive,
            on_connected=self._connected,
            on_disconnected=self._disconnected,
            is_member=self._is_member,
            random=self._chance,
            code_must_match=config.cluster.strict_code,
        )
        self._server = ClientServer(
            self,
            tls=None if config.tls is None else config.tls.server_context(),
            applying_seconds=opened_seconds,
        )
        member = self.member
        member.on_applied, member.on_swapped = self._server.applied, self._server.swapped
        member.dispatch = self._dispatch
        member.stopwatch = time.perf_counter
        web = WebServer(self.node_status, self.metrics)
        try:
            await self._transport.start()
            await _listen("clients", node.client_listen, self._server.start)
            if node.web_listen is not None:
                await _listen("the web", node.web_listen, web.start)
            for name in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(name, self._stop)
            _calm_collector()
            logger.info("serving", peers=node.peer_listen, clients=node.client_listen, web=node.web_listen or "")
            self._tick()
            return await self._ended
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await self._close(web)

    def _open(self) -> None:
        config = self._config
        node, limits = config.node, config.limits
        if not is_prepared(self._disk, node.directory):
            # Only who is told to founds a cluster. To anybody else an empty directory means that a leader will tell it
            # the rest: it may have been a founder once, and lost its disk, and the cluster may have others by now.
            is_founder = self._is_founding and any(member.id == node.id for member in config.cluster.members)
            configuration = founders(config) if is_founder else Configuration()
            prepare(self._disk, node.directory, self._machine, configuration, cluster_id_of(config))
            if is_founder:
                logger.info("founding a cluster with the others", path=node.directory)
            else:
                logger.info("an empty directory: waiting for the leader of its cluster", path=node.directory)
        options = MemberOptions(
            node_id=node.id,
            path=node.directory,
            heartbeat_seconds=limits.heartbeat_seconds,
            election_seconds_min=limits.election_seconds_min,
            election_seconds_max=limits.election_seconds_max,
            durability=limits.durability,
            snapshot_log_bytes=limits.snapshot_log_bytes,
            hash_seconds=limits.hash_seconds,
        )
        self._member = Member.open(
            self._machine,
            options,
            self._disk,
            now=self._loop.time(),
            wall_clock=time.time_ns,
            chance=self._chance,
            snapshots_of=self._snapshots_of,
        )
        self._member.leading.observe = self._observe

    def _snapshots_of(self, replica: Replica, journal: Journal, files: SnapshotFiles, log_bytes: int) -> Snapshots:
        return Snapshotter(
            replica,
            journal,
            files,
            log_bytes=log_bytes,
            tail_bytes=journal.bytes_after(replica.index),
            wake=self._wake,
        )

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self._kick)

    async def _close(self, web: WebServer) -> None:
        self._is_closing = True
        await self._server.close()
        await web.close()
        await self._transport.close()
        await asyncio.to_thread(self._syncer.stop)
        self.member.close()

    def _stop(self) -> None:
        """Asked to end: hand leadership over first, so that nobody waits for an election."""
        member = self.member
        if self._ended.done():
            return
        others = [number for number in member.configuration.voters if number != member.node_id]
        if member.is_leader and any(self._transport.is_connected(number) for number in others):
            member.transfer(0, self._end, self._end)
            self._loop.call_later(FAREWELL_SECONDS_MAX, self._end, None)
            self._kick()
        else:
            self._end(None)

    def _end(self, _: object, code: int = FINE) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
            logger.critical(
                "the node has stopped",
                error=describe(error),
                exc_info=None if isinstance(error, RsmError) else error,
            )
        refused = isinstance(error, DivergenceError | WrongMachine | UnknownFormat)
        self._end(None, REFUSED if refused else FAILED)

    # --- the member's turns ------------------------------------------------------------------------------------------

    def _kick(self) -> None:
        """Something came in: see to it in the loop's next turn."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _guarded(self, call: Callable[..., None], *arguments: Any) -> None:
        if self._failure is not None or self._is_closing:
            return
        try:
            call(*arguments)
        except BaseException as error:  # whatever it is: state and disk are in doubt
            self._fail(error)

    def _flush(self) -> None:
        self._is_flush_due = False
        self._guarded(self._flush_member)

    def _flush_member(self) -> None:
        member, loop = self.member, self._loop
        now = loop.time()
        member.flush(now)
        self._dispatch()
        if member.configuration != self._dialed:
            self._dialed = member.configuration
            self._transport.set_peers(self._peer_addresses())
        if member.leader_id != self._leader:
            self._leader = member.leader_id
            self.metrics.leader_changes_total += 1
        self._schedule(member.next_wake(now))

    def _dispatch(self) -> None:
        member = self.member
        outbox, member.outbox = member.outbox, []
        for peer, message in outbox:
            self._transport.send(peer, message)
        if outbox:
            self._transport.flush()
        if member.needs_sync and not self._is_syncing:
            self._is_syncing = True
            self._syncer.ask()

    def _schedule(self, seconds: float) -> None:
        if seconds <= 0:
            # What is due may be the clock's or the rest of a long turn: see to both.
            if not self._is_tick_due:
                self._is_tick_due = True
                self._loop.call_soon(self._tick)
            return
        at = self._loop.time() + min(seconds, TICK_SECONDS_MAX)
        if self._timer is not None:
            if self._loop.time() < self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._is_tick_due = False
        self._timer_at = 0.0
        self._guarded(lambda: self.member.tick(self._loop.time()))
        self._kick()

    def _sync(self) -> None:
        self.member.journal.sync()

    def _synced(self, seconds: float, error: BaseException | None) -> None:
        self._is_syncing = False
        if error is not None:
            self._fail(error)
            return
        self.metrics.fsync_seconds.observe(seconds)
        self._guarded(lambda: self.member.synced(self._loop.time()))
        self._kick()

    def _observe(self, commands: int, seconds: float) -> None:
        metrics = self.metrics
        metrics.commands_total += commands
        metrics.batches_total += 1
        metrics.batch_commands.observe(commands)
        metrics.commit_seconds.observe(seconds)

    # --- peers -------------------------------------------------------------------------------------------------------

    def _receive(self, sender: int, message: Message) -> None:
        self._guarded(lambda: self.member.receive(sender, message, self._loop.time()))
        self._kick()

    def _connected(self, peer: int) -> None:
        self._guarded(lambda: self.member.connected(peer, self._loop.time()))
        self._kick()

    def _disconnected(self, peer: int) -> None:
        self._guarded(lambda: self.member.disconnected(peer, self._loop.time()))
        self._kick()

    def _is_member(self, number: int) -> bool:
        configuration = self.member.configuration
        # One that has no configuration yet hears from whoever is of its cluster.
        return not configuration.members or configuration.get(number) is not None

    def _peer_addresses(self) -> dict[int, str]:
        configuration = self.member.configuration
        members = configuration.members or founders(self._config).members
        return {member.id: member.peer_address for member in members if member.id != self.node_id}

    # --- the service behind the clients' port ------------------------------------------------------------------------

    @property
    def node_id(self) -> int:
        """Its number."""
        return self._config.node.id

    @property
    def cluster_id(self) -> bytes:
        """The cluster that it belongs to."""
        return self.member.directory.identity.cluster_id

    @property
    def definition(self) -> Definition:
        """The machine that it runs."""
        return self._machine.definition

    @property
    def replica(self) -> Replica:
        """Its copy of the state."""
        return self.member.replica

    @property
    def leader(self) -> tuple[int, str] | None:
        """The leader's number and client address, if they are known."""
        known = leader_of(self.member)
        return None if known is None else (known.id, known.client_address)

    @property
    def members(self) -> list[tuple[int, str]]:
        """Number and client address of every member."""
        return [(member.id, member.client_address) for member in self.member.configuration.members]

    @property
    def doubt(self) -> str:
        """Why its state must not be shown now, or an empty text."""
        return self.member.agreeing.unservable(self._loop.time())

    @property
    def feed_node(self) -> FeedNode:
        """What its feed needs of it."""
        return FedMember(self.member, self._disk, self._config.limits.hash_seconds, self)

    def principal_of(self, session: int) -> str | None:
        """Whose session it is; None if there is no such session."""
        member = self.member
        if not member.is_leader or member.leading.barred:
            raise member.not_leader()
        if not member.leading.is_ready:
            raise Busy("the leader is catching up with what was committed before it", retry_seconds=0.02)
        found = member.replica.sessions.get(session)
        return None if found is None else found.principal

    def _check_works(self) -> None:
        if self._failure is not None:
            raise Closed("the node has stopped: see its log")

    def submit(self, request: Request) -> None:
        """Put commands into the log."""
        self._check_works()
        self.member.submit(request)
        self._kick()

    def read(self, read: Read) -> None:
        """Have the state looked at."""
        self._check_works()
        self.member.read(read)
        if read.consistency == "linearizable":
            self._kick()

    def open_session(self, principal: str, ttl_nanoseconds: int, reply: Reply) -> None:
        """-> index, number"""

        def done(index: int, answer: Answer) -> None:
            try:
                if answer.status != Status.OK:
                    raise_answer(answer, "session")
                reply.complete(index, decode(answer.body))
            except RsmError as error:
                reply.fail(error)

        self.submit(SystemRequest(OPEN_SESSION, [principal, ttl_nanoseconds], done, reply.fail))

    def close_session(self, number: int, reply: Reply) -> None:
        """-> index"""
        self.submit(SystemRequest(CLOSE_SESSION, [number], lambda index, _: reply.complete(index), reply.fail))

    def change(self, action: str, node_id: int, peer_address: str, client_address: str, reply: Reply) -> None:
        """ "add", "add_learner" or "remove" a member -> index"""
        if action not in ("add", "add_learner", "remove"):
            raise CallerError(f"{action!r:.40} is no change of membership: add, add_learner or remove")
        member = ClusterMember(node_id, peer_address, client_address)
        self.member.change(action, member, reply.complete, reply.fail)  # type: ignore[arg-type]  # checked above
        self._kick()

    def transfer(self, node_id: int, reply: Reply) -> None:
        """Hand leadership to a node, 0 for any -> its number"""
        self.member.transfer(node_id, reply.complete, reply.fail)
        self._kick()

    def upgrade(self, version: int, reply: Reply) -> None:
        """Move the machine to a version -> index"""
        self.member.upgrade(version, reply.complete, reply.fail)
        self._kick()

    def snapshot(self, reply: Reply) -> None:
        """Write a snapshot -> index"""
        if not self.member.is_leader:
            raise self.member.not_leader()  # only a leader can make the hash point that it takes
        wanted: Future[int] = self.member.snapshots.ask()

        def tell(future: Future[int]) -> None:
            error = future.exception()
            if error is None:
                reply.complete(future.result())
            else:
                reply.fail(error if isinstance(error, Exception) else CallerError("internal error, see the node's log"))

        def done(future: Future[int]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed, and everybody was told
                self._loop.call_soon_threadsafe(tell, future)

        wanted.add_done_callback(done)
        self._kick()

    def when_events(self, notify: Callable[[], None]) -> None:
        """Call `notify` once when there are new events."""
        self.member.events_waiting.append(notify)

    def export(self, first: int, last: int) -> Iterator[tuple[dict[str, Any] | None, list[list[Any]]]]:
        """Entries of the log in parts, the committed ones only."""
        member = self.member
        journal = member.journal
        first = first or journal.first_index
        last = min(last or member.commit_index, member.commit_index)
        if not journal.first_index <= first <= last + 1:
            raise CallerError(
                f"index {first} is not in the log, which holds {journal.first_index} to {member.commit_index}"
            )
        head: dict[str, Any] | None = {
            "cluster_id": self.cluster_id,
            "group_id": journal.group_id,
            "first_index": first,
            "previous_term": journal.term_at(first - 1),
            "previous_chain": journal.chain_at(first - 1),
        }
        chain = journal.chain_at(first - 1)
        while first <= last or head is not None:
            part: list[list[Any]] = []
            for entry in journal.read(first, last, bytes_max=EXPORT_PART_BYTES) if first <= last else ():
                chain = next_chain(chain, entry.index, entry.term, entry.kind, entry.payload)
                part.append([entry.index, entry.term, int(entry.kind), entry.payload, chain])
            yield head, part
            first, head = first + len(part), None

    def roots(self, first: int, last: int) -> Iterator[list[tuple[int, bytes]]]:
        """What its book of roots has of these indexes."""
        return self.member.roots.read(first, last)

    # --- where it stands ---------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What `rsm status` shows."""
        fields: dict[str, Any] = msgspec.to_builtins(self.node_status(), builtin_types=(bytes,))
        return fields

    def node_status(self) -> NodeStatus:
        """Everything that it says of itself; the metrics that nobody counts as they happen are brought up to date."""
        member, transport, server = self.member, self._transport, self._server
        metrics, links = self.metrics, transport.stats.values()
        metrics.elections_total = member.elections
        metrics.desync_cases_total = member.case_log.disputes
        metrics.busy_total = member.leading.refusals
        metrics.bytes_in_total = sum(link.bytes_in for link in links)
        metrics.bytes_out_total = sum(link.bytes_out for link in links)
        metrics.feed_bytes_total = server.feed.bytes_total
        metrics.feed_skips_total = server.feed.skips_total
        metrics.refused_connections_total = transport.limiter.refused + server.limiter.refused
        return status_of(
            member,
            is_connected=transport.is_connected,
            clients=server.limiter.established,
            observers=len(server.feed.observers),
            uptime_seconds=int(time.monotonic() - self._started),
            failure=self._failure,
        )


async def _listen(whom: str, address: str, start: Callable[[str, int], Any]) -> None:
    host, port = split_address(address)
    try:
        await start(host, port)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise CallerError(f"cannot listen for {whom} on {host}:{port}: {reason}") from error


def _calm_collector() -> None:
    """Spare the garbage collector what is there for good, and call it less often: a batch makes thousands of objects
    that live for its length. It took 8 percent of a node's time, and half of that looking at modules.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTOR_OBJECTS, 20, 50)


def _allow_files() -> None:
    """As many open files as the system lets this user have: every connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_node(machine: type[StateMachine], config: NodeConfig, *, is_founding: bool = False) -> int:
    """Run one node in this process until it is told to stop (SIGTERM, SIGINT) or something fails; the exit code.

    With `is_founding`, an empty directory becomes that of a founder of a new cluster. `CallerError` and its kin for
    what a new start would not mend: a port in use, another machine's directory.
    """
    configure_logging(config.node.id, config.log.format, config.log.level)
    _allow_files()
    try:
        import uvloop  # not there on every platform

        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    except ImportError:
        factory = asyncio.new_event_loop

    async def main() -> int:
        return await Runner(machine, config, is_founding=is_founding).run()

    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())
