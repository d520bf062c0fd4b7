"""How the commands of a remote client go out: sessions, frames on their way, and what becomes of both.

Commands wait in their session's core. The pump takes them from there in frames: at once while few frames are on their
way, collected into full ones when there are more, so that one command alone is not held up and many are cheap. When
another node leads, every session begins anew with what is unanswered; the replicas see to it that nothing runs twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from rsm.client.remote.calls import is_passing
from rsm.client.remote.link import Link
from rsm.client.remote.retry import SessionCore, Taken
from rsm.errors import BadBytes, Busy, NotLeader, RsmError, SessionExpired, UnknownFormat
from rsm.limits import (
    CLIENT_BYTES_IN_FLIGHT_MAX,
    CLIENT_COMMANDS_PER_FRAME,
    CLIENT_FRAMES_EAGER,
    CLIENT_FRAMES_IN_FLIGHT_MAX,
    RECONNECT_SECONDS_MAX,
    RECONNECT_SECONDS_MIN,
)
from rsm.node.network import protocol
from rsm.node.network.protocol import AnswerStatus
from rsm.node.submissions import Submission
from rsm.replica.answer import Answer, Status
from rsm.replica.batch import KEEP_ALIVE, encode_call

__all__ = ["ClientSession", "Sender"]


class ClientSession:
    """A session of this client. `handle` is the number it began with; `core.number` is the one that it has now."""

    def __init__(self, handle: int, ttl: int) -> None:
        self.handle = handle
        self.ttl = ttl
        self.core = SessionCore(handle)
        self.is_dirty = False  # listed with the pump
        self.is_held = False  # the server was busy: not yet
        self.is_over = False  # the cluster ended it
        self.is_opening = False
        self.is_closed = False  # the client did
        self.has_lapsed = False  # it ended in silence: the next command must hear of it
        self.keep_alive_expired = False
        self.last_sent = 0.0
        self.large_bytes = 0  # of large commands ever pushed; guarded by the runtime's lock
        self.failures = 0  # in a row

    @property
    def large_bytes_waiting(self) -> int:
        """Bytes of large commands that wait for their answer."""
        return self.large_bytes - self.core.large_bytes_done


class _KeepAlive(Submission):
    """Being sent is all it does."""

    __slots__ = ("_session",)

    def __init__(self, session: ClientSession) -> None:
        super().__init__(session.handle, encode_call(KEEP_ALIVE, 1, []))
        self._session = session

    def complete(self, answer: Answer) -> None:
        self._session.keep_alive_expired = answer.status == Status.SESSION_EXPIRED


class Sender:
    """The pump. `push` and `wake` are for any thread, all else for the client's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reopen: Callable[[ClientSession], None]) -> None:
        self.link: Link | None = None
        self.moved: Callable[[Link, str], None] = _nothing
        self.answered: Callable[[], None] = lambda: None  # after answers came in
        self.index = 0  # the newest that an answer told
        self.commands = 0
        self.frames = 0
        self.frames_answered = 0
        self._loop = loop
        self._reopen = reopen
        self._dirty: deque[ClientSession] = deque()
        self._is_due = False
        self._frames_in_flight = 0
        self._bytes_in_flight = 0

    # --- from any thread ----------------------------------------------------------------------------------------------

    def push(self, session: ClientSession, submission: Submission) -> None:
        """Queue a command; `Busy` if there are too many."""
        session.core.push(submission)
        # After the push: the pump clears each flag before it looks at what the flag is for.
        if not session.is_dirty:
            session.is_dirty = True
            self._dirty.append(session)
        if not self._is_due:
            self._is_due = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: the runtime looks at what comes late
                self._loop.call_soon_threadsafe(self.pump)

    # --- on the loop --------------------------------------------------------------------------------------------------

    def touch(self, session: ClientSession) -> None:
        """It may have something to send."""
        if not session.is_dirty:
            session.is_dirty = True
            self._dirty.append(session)
        self.pump()

    def begin(self, link: Link, sessions: list[ClientSession]) -> None:
        """There is a leader (again): what is unanswered goes there."""
        self.link = link
        for session in sessions:
            if session.core.sent:
                session.core.rewind()
            if not session.is_dirty:
                session.is_dirty = True
                self._dirty.append(session)
        self.pump()

    def pump(self) -> None:
        """Send what may be sent."""
        link = self.link
        while link is not None and link.is_open:
            while self._dirty:
                session = self._dirty[0]
                if not self._pump_session(link, session):
                    return  # an answer that comes in pumps again; until then nobody needs to wake us
                self._dirty.popleft()
            self._is_due = False
            if not self._dirty:
                return
            self._is_due = True  # something came in between
        self._is_due = True  # the next leader pumps

    def _pump_session(self, link: Link, session: ClientSession) -> bool:
        """Send what this session has; False if too much is on its way."""
        session.is_dirty = False
        core = session.core
        while not session.is_held:
            ready = core.ready
            if not ready:
                break
            if (
                self._frames_in_flight >= CLIENT_FRAMES_IN_FLIGHT_MAX
                or self._bytes_in_flight >= CLIENT_BYTES_IN_FLIGHT_MAX
                or (self._frames_in_flight >= CLIENT_FRAMES_EAGER and ready < CLIENT_COMMANDS_PER_FRAME)
            ):
                session.is_dirty = True
                return False
            taken = core.take()
            if taken is None:
                break
            self._frames_in_flight += 1
            self._bytes_in_flight += len(taken.items)
            self.frames += 1
            session.last_sent = self._loop.time()
            frame = _Frame(self, session, taken, link)
            link.commands(taken.count, taken.items, frame, wants_confirmation=taken.wants_confirmation)
        if session.is_over and not core.sent and core.unanswered:
            self._renew(session)
        return True

    def _renew(self, session: ClientSession) -> None:
        """Commands wait in a session that has ended: the first ones after a silent end hear of it, later ones go on."""
        if session.has_lapsed or session.is_closed:
            session.has_lapsed = False
            session.core.fail_waiting()
        elif not session.is_opening:
            session.is_opening = True
            self._reopen(session)

    def reopened(self, session: ClientSession, number: int) -> None:
        """The session goes on under another number."""
        session.is_opening = session.is_over = session.keep_alive_expired = False
        session.core.restart(number)
        self.touch(session)

    def keep_alive(self, session: ClientSession) -> None:
        """Say that the session is still wanted, if nothing was said for a third of its time."""
        silent = self._loop.time() - session.last_sent
        if silent * 3e9 >= session.ttl * 0.9 and not session.core.unanswered and not session.is_over:
            session.core.push(_KeepAlive(session))
            self.touch(session)

    # --- answers to frames --------------------------------------------------------------------------------------------

    def frame_done(self, taken: Taken) -> None:
        """A frame is not on its way any more."""
        self._frames_in_flight -= 1
        self._bytes_in_flight -= len(taken.items)

    def frame_answered(self, session: ClientSession, taken: Taken, index: int, answers: list[Answer]) -> None:
        """The commands of a frame have their answers."""
        core = session.core
        if index > self.index:
            self.index = index  # before anybody is woken: their next read must see what they wrote
        completed = core.answered(taken, answers, index)
        self.commands += completed
        self.frames_answered += 1
        session.failures = 0
        if core.is_expired and not session.is_over:
            session.is_over = True
            session.has_lapsed = completed == 1 and session.keep_alive_expired
            if not session.has_lapsed:
                core.fail_waiting()
        self._next(session)

    def frame_refused(self, session: ClientSession, taken: Taken, link: Link, error: RsmError) -> None:
        """The server did not take a frame, or does not know what became of it."""
        self.frames_answered += 1
        core = session.core
        if isinstance(error, NotLeader):
            self.moved(link, error.address)
        elif is_passing(error):
            if taken.round == core.round:
                core.rewind()  # the frames behind this one report gaps, of a round that is over
                session.failures += 1
                pause = min(RECONNECT_SECONDS_MIN * 2**session.failures, RECONNECT_SECONDS_MAX)
                self._hold(session, error.retry_seconds if isinstance(error, Busy) else pause)
        else:
            # What was sent cannot be sent again, and what comes behind it cannot run without it.
            core.is_expired = session.is_over = True
            core.fail_all(error)
        self._next(session)

    def _hold(self, session: ClientSession, seconds: float) -> None:
        if not session.is_held:
            session.is_held = True
            self._loop.call_later(seconds, self._release, session)

    def _release(self, session: ClientSession) -> None:
        session.is_held = False
        self.touch(session)

    def _next(self, session: ClientSession) -> None:
        self.answered()
        if session.core.unanswered:
            self.touch(session)
        else:
            self.pump()


def _nothing(_: Link, __: str) -> None:
    return None


class _Frame:
    """A frame of commands on its way."""

    __slots__ = ("_link", "_sender", "_session", "_taken")

    is_prompt = True

    def __init__(self, sender: Sender, session: ClientSession, taken: Taken, link: Link) -> None:
        self._sender = sender
        self._session = session
        self._taken = taken
        self._link = link

    def answered(self, status: AnswerStatus, fields: list[Any]) -> bool:
        sender, taken = self._sender, self._taken
        sender.frame_done(taken)
        if status == AnswerStatus.OK:
            try:
                index, answers = protocol.decode_answers(fields, taken.count)
            except BadBytes as error:
                sender.frame_refused(self._session, taken, self._link, error)
            else:
                sender.frame_answered(self._session, taken, index, answers)
        else:
            refusal = protocol.error_of(status, fields)
            if isinstance(refusal, UnknownFormat) and taken.wants_confirmation:
                refusal = UnknownFormat(f'{self._link.address} is of a release without ack="confirmed": {refusal}')
            sender.frame_refused(self._session, taken, self._link, refusal)
        return False

    def lost(self, reason: str) -> None:
        """The next leader gets it again."""
        self._sender.frame_done(self._taken)


def expired(what: str) -> SessionExpired:
    """For commands of a session that the client itself has closed."""
    return SessionExpired(f"{what}: not sent: the session is closed")
