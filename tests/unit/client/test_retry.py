"""The session core against a server that loses, repeats and reorders frames: each command once, in order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.client.remote.retry import SessionCore, Taken
from rsm.codec import cbor
from rsm.errors import Busy, SessionExpired
from rsm.limits import SESSION_COMMANDS_SENT_MAX
from rsm.node.submissions import Submission
from rsm.replica.answer import Answer, Status
from rsm.replica.batch import CLOSE_SESSION, encode_call, encode_head
from tests.machines import Everything, Log, contents


class Sent(Submission):
    """A command that remembers what it was told."""

    __slots__ = ("answers", "errors", "number")

    def __init__(self, number: int, key: str | None = None) -> None:
        super().__init__(0, encode_call("push", 1, [number, "x"]), key)
        self.number = number
        self.answers: list[Answer] = []
        self.errors: list[BaseException] = []

    def complete(self, answer: Answer) -> None:
        self.answers.append(answer)

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)


def items_of(taken: Taken) -> list[Any]:
    """A frame's items, decoded."""
    items: list[Any] = cbor.decode(encode_head(4, taken.count) + taken.items, bytes_max=1 << 21)
    return items


class Server:
    """A real replica behind a log in memory; `restart` replays the log into a new one."""

    def __init__(self) -> None:
        self.log = Log(Everything)

    def apply(self, taken: Taken) -> list[Answer]:
        return self.log.entry([cbor.encode(item) for item in items_of(taken)]).answers

    def restart(self) -> None:
        entries, self.log = self.log.entries, Log(Everything, activate=False)
        for entry in entries:
            self.log.apply(entry)


def pushes(replica: Any) -> list[int]:
    """What the commands left in the state."""
    return [value for _, value in contents(replica)["line"]]


def core_and_server() -> tuple[SessionCore, Server]:
    """A session of a new replica."""
    server = Server()
    return SessionCore(server.log.open()), server


def test_items_carry_session_number_and_the_lowest_unanswered() -> None:
    """An item is [session, sequence, lowest unanswered, name, version, values], and its key if there is one."""
    core = SessionCore(7)
    for number in range(3):
        core.push(Sent(number, "k" if number == 2 else None))
    taken = core.take()
    assert taken is not None
    assert items_of(taken) == [
        [7, 1, 1, "push", 1, [0, "x"]],
        [7, 2, 1, "push", 1, [1, "x"]],
        [7, 3, 1, "push", 1, [2, "x"], "k"],
    ]
    core.answered(taken, [Answer(Status.OK, b"\x01")] * 3)
    core.push(Sent(3))
    after = core.take()
    assert after is not None
    assert items_of(after) == [[7, 4, 4, "push", 1, [3, "x"]]]


def test_frames_are_bounded_in_number_and_bytes_but_never_empty() -> None:
    """A frame holds up to so many commands and bytes; a command that is larger by itself travels alone."""
    core = SessionCore(1)
    for number in range(10):
        core.push(Sent(number))
    sizes = [taken.count for _ in range(4) if (taken := core.take(4, 1 << 20)) is not None]
    assert sizes == [4, 4, 2]
    core.rewind()
    alone = [taken.count for _ in range(11) if (taken := core.take(4, 1)) is not None]
    assert alone == [1] * 10


class SentConfirmed(Sent):
    """One that wants to be confirmed."""

    __slots__ = ()
    wants_confirmation = True


def test_frames_are_of_one_kind() -> None:
    """Commands that want to be confirmed travel in frames of their own, in order, also when they are sent again."""
    core = SessionCore(1)
    for number, kind in enumerate([Sent, Sent, SentConfirmed, SentConfirmed, SentConfirmed, Sent]):
        core.push(kind(number))
    for _ in range(2):
        frames = []
        while (taken := core.take()) is not None:
            frames.append((taken.first_sequence, taken.count, taken.wants_confirmation))
        assert frames == [(1, 2, False), (3, 3, True), (6, 1, False)]
        core.rewind()


def test_the_queue_is_bounded_and_so_is_what_is_sent() -> None:
    """A full queue says Busy; more than the window is not sent before something is answered."""
    core = SessionCore(1, commands_max=SESSION_COMMANDS_SENT_MAX + 5)
    for number in range(SESSION_COMMANDS_SENT_MAX + 5):
        core.push(Sent(number))
    with pytest.raises(Busy):
        core.push(Sent(-1))
    frames = []
    while (taken := core.take()) is not None:
        frames.append(taken)
    assert sum(frame.count for frame in frames) == SESSION_COMMANDS_SENT_MAX
    assert core.ready == 0
    core.answered(frames[0], [Answer(Status.OK, b"")] * frames[0].count)
    assert core.ready == 5


def test_a_gap_rewinds_once_however_many_frames_report_it() -> None:
    """The first of eight frames is lost: seven report gaps, each command is sent again once, not seven times."""
    core, server = core_and_server()
    commands = [Sent(number) for number in range(32)]
    for command in commands:
        core.push(command)
    frames = [core.take(4) for _ in range(8)]
    for frame in frames[1:]:
        assert frame is not None
        core.answered(frame, server.apply(frame))
    again = 0
    while (taken := core.take(4)) is not None:
        again += taken.count
        core.answered(taken, server.apply(taken))
    assert again == core.retries == 32
    assert pushes(server.log.replica) == list(range(32))
    assert all(len(command.answers) == 1 for command in commands)


def test_a_gap_of_an_earlier_round_does_not_rewind() -> None:
    """Reports of gaps that arrive after the rewind that heals them cause no second one."""
    core, server = core_and_server()
    for number in range(3):
        core.push(Sent(number))
    first, second, third = (core.take(1) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    late = server.apply(third)
    core.answered(second, server.apply(second))
    taken = core.take()
    assert taken is not None
    assert taken.count == 3
    core.answered(third, late)
    assert core.take() is None
    core.answered(taken, server.apply(taken))
    assert core.unanswered == 0


def test_an_expired_session_completes_with_that_and_starts_again() -> None:
    """Sent commands get the answer "expired", waiting ones hear that they were not sent, later ones go elsewhere."""
    core, server = core_and_server()
    sent, waiting, later = Sent(0), Sent(1), Sent(2)
    core.push(sent)
    taken = core.take()
    core.push(waiting)
    server.log.lead(CLOSE_SESSION, core.number)
    assert taken is not None
    core.answered(taken, server.apply(taken))
    assert [answer.status for answer in sent.answers] == [Status.SESSION_EXPIRED]
    assert core.is_expired
    assert core.take() is None
    assert core.fail_waiting() == 1
    assert isinstance(waiting.errors[0], SessionExpired)
    core.restart(server.log.open())
    core.push(later)
    again = core.take()
    assert again is not None
    assert core.answered(taken, [Answer(Status.OK, b"stale")]) == 0
    core.answered(again, server.apply(again))
    assert [answer.status for answer in later.answers] == [Status.OK]


def test_a_session_without_a_place_in_the_log_ends_instead_of_sending_for_ever() -> None:
    """A cluster that misses what it has answered cannot be healed by sending again: the outcome is unknown."""
    core = SessionCore(1)
    command = Sent(0)
    core.push(command)
    taken = core.take()
    assert taken is not None
    core.answered(taken, [Answer(Status.SEQUENCE_GAP, b"")])
    assert core.is_expired
    assert isinstance(command.errors[0], SessionExpired)


ACTIONS = st.lists(
    st.sampled_from(
        ["push", "push", "take", "take", "deliver", "lose", "repeat", "swap", "answer", "drop", "reconnect", "restart"]
    ),
    max_size=80,
)


@given(ACTIONS, st.integers(1, 4))
def test_each_command_takes_effect_once_in_order(actions: list[str], frame_commands: int) -> None:
    """Whatever is lost, repeated, reordered or cut off both ways, the state is that of the commands, once, in order."""
    core, server = core_and_server()
    commands: list[Sent] = []
    requests: list[Taken] = []
    replies: list[tuple[Taken, list[Answer]]] = []
    for action in actions:
        if action == "push":
            commands.append(Sent(len(commands)))
            core.push(commands[-1])
        elif action == "take" and (taken := core.take(frame_commands)) is not None:
            requests.append(taken)
        elif action == "deliver" and requests:
            taken = requests.pop(0)
            replies.append((taken, server.apply(taken)))
        elif action == "lose" and requests:
            requests.pop(0)
        elif action == "repeat" and requests:
            requests.append(requests[0])
        elif action == "swap" and len(requests) > 1:
            requests[0], requests[1] = requests[1], requests[0]
        elif action == "answer" and replies:
            core.answered(*replies.pop(0))
        elif action == "drop" and replies:
            replies.pop(0)
        elif action == "restart":
            server.restart()
        elif action == "reconnect":
            replies.clear()
            core.rewind()
        assert pushes(server.log.replica) == list(range(len(pushes(server.log.replica))))
    core.rewind()
    for _ in range(4 * len(commands) + 4):
        taken_now = core.take(frame_commands)
        if taken_now is not None:
            core.answered(taken_now, server.apply(taken_now))
    assert core.unanswered == 0
    assert not core.is_expired
    assert pushes(server.log.replica) == list(range(len(commands)))
    assert all([answer.status for answer in command.answers] == [Status.OK] for command in commands)
