"""Events as a feed: numbers without gaps, topics, those who come late or are slow; and queries that are watched."""

from __future__ import annotations

from typing import Any

import pytest

import rsm
from rsm.node.network import protocol
from rsm.node.network.protocol import AnswerStatus
from rsm.replica.answer import decode
from rsm.state.leaf import digest128
from tests.client_service import Nodes
from tests.feed_client import Following
from tests.machines import Everything
from tests.raw_client import Connect, Raw, until

OK, ERROR, BUSY = AnswerStatus.OK, AnswerStatus.ERROR, AnswerStatus.BUSY


class Telling(Everything, name="telling", version=1):
    """Its events are of topics."""

    @staticmethod
    def topic_of(event: Any) -> str:
        text = event[0]
        if text == "bad":
            raise ValueError(text)
        return f"said/{text}" if len(text) > 1 else "letters"


MACHINE = Telling


def tell(nodes: Nodes, *texts: str, times: int = 1) -> int:
    """Events; the number of the last one."""
    nodes.commands("tell", ((text, times) for text in texts))
    return nodes.log.replica.ring.newest


def put(nodes: Nodes, key: str, value: int) -> int:
    return nodes.commands("put", [(key, value)])


def texts(following: Following) -> list[str]:
    return [decode(packed)[0] for _, packed in following.events]


def channels(nodes: Nodes) -> Any:
    return nodes.server.feed._events._channels


# --- events -----------------------------------------------------------------------------------------------------------


def test_all_events_from_the_first_on(nodes: Nodes, connect: Connect) -> None:
    """Those that were and those that come, with the identity that they have in the log."""
    tell(nodes, "one", "two")
    one = Following(connect()).until(2)
    one.until(tell(nodes, "three", times=3))
    kept = nodes.log.replica.ring.after(0, 100)
    assert one.events == [(number, raw.packed) for number, raw in kept]
    rows = [event for frame in one.frames for event in frame.events]
    assert [(row.index, row.position, row.step, row.n) for row in rows] == [
        (raw.index, raw.position, raw.step, raw.number) for _, raw in kept
    ]
    assert one.frames[-1].applied_index == nodes.log.replica.index


def test_only_what_comes(nodes: Nodes, connect: Connect) -> None:
    """Whoever asks for the newest gets nothing older, and knows where that was."""
    tell(nodes, "one", "two")
    one = Following(connect(), newest=True)
    assert one.head.events == 2
    assert texts(one.until(tell(nodes, "three"))) == ["three"]


def test_topics(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic, a branch of the tree, several of them; numbers go on without gaps though events are left out."""
    monkeypatch.setattr("rsm.node.feed.feed.FEED_ALIVE_SECONDS", 0.1)
    said, letters = Following(connect(), 0, "said/"), Following(connect(), 0, "letters", "said/two")
    other = Following(connect(), 0, "sai", "letter")
    again = Following(connect(), 0, "said/two", "letters")
    last = tell(nodes, "one", "a", "bad", "two", "b")
    last = tell(nodes, "three", "c", "bad")
    assert nodes.do(lambda: len(channels(nodes))) == 3
    for one, expected in ((said, ["one", "two", "three"]), (letters, ["a", "two", "b", "c"]), (other, [])):
        assert texts(one.until(last)) == expected
    assert again.until(last).events == letters.events


def test_the_default_topic_is_the_class_of_the_event() -> None:
    """Without a word of the machine's."""

    class Trade(rsm.Struct, frozen=True):
        price: int

    assert Everything.topic_of(Trade(1)) == "Trade"
    assert Everything.topic_of(("a", 1)) == "tuple"


def test_events_that_are_gone(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes too late is told so, and where it goes on."""
    monkeypatch.setattr("rsm.replica.events.EVENTS_KEPT", 5)
    last = tell(nodes, *"abcdefgh")
    one = Following(connect(), 1).until(last)
    assert len(one.skips) == 1
    assert one.frames[0].first_number == 4
    assert texts(one) == list("defgh")
    one.until(tell(nodes, "i"))
    assert texts(one)[-1] == "i"


def test_a_slow_one_goes_on_where_it_was(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost to it while the events are kept, and the others do not wait for it."""
    monkeypatch.setattr("rsm.node.feed.observer.FEED_BUFFER_BYTES_MAX", 50_000)
    slow, quick = Following(connect()), Following(connect())
    last = 0
    for number in range(40):
        last = tell(nodes, f"{number} " * 5000, times=10)
        quick.until(last)
    assert len(quick.events) == last == 400
    assert slow.until(last).events == quick.events
    assert not slow.skips
    until(lambda: nodes.do(lambda: [len(one.live) for one in channels(nodes).values()]) == [2])


def test_channels_go_with_their_last_observer(nodes: Nodes, connect: Connect) -> None:
    """Nothing is left of a subscription that was cancelled."""
    one = Following(connect(), 0, "said/")
    one.raw.request(protocol.Cancel(), one.request_id)
    assert one.raw.ask(protocol.Status())
    assert nodes.do(lambda: dict(channels(nodes))) == {}


# --- watched queries --------------------------------------------------------------------------------------------------


def watch(raw: Raw, seen: bytes, *values: Any, name: str = "word", milliseconds: int = 3000) -> int:
    return raw.request(protocol.Watch(name, list(values), seen, milliseconds))


def test_a_watched_query_is_told_when_it_changes(nodes: Nodes, connect: Connect) -> None:
    """At once at first, then when the result is another one; what does not touch it does not wake its client."""
    raw = connect()
    first = put(nodes, "a", 1)
    watch(raw, bytes(16), "a")
    _, status, [index, packed] = raw.answer()
    assert (status, index, decode(packed)) == (OK, first, 1)
    watch(raw, digest128(packed), "a")
    put(nodes, "b", 5)
    last = put(nodes, "a", 2)
    _, status, [index, packed] = raw.answer()
    assert (status, index, decode(packed)) == (OK, last, 2)


def test_the_wait_is_over(nodes: Nodes, connect: Connect) -> None:
    """Nothing has changed: the client is told so, and asks again."""
    raw, last = connect(), put(nodes, "a", 1)
    seen = digest128(nodes.log.replica.query("word", ["a"]))
    watch(raw, seen, "a", milliseconds=0)
    assert raw.answer()[1:] == (OK, [last, None])
    watch(raw, seen, "a", milliseconds=50)
    assert raw.answer()[1:] == (OK, [last, None])


def test_a_query_is_read_once_for_all_who_watch_it(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty clients cost what one costs, and many changes in a moment are one."""
    seen = digest128(nodes.log.replica.query("word", ["a"]))
    raws = [connect() for _ in range(30)]
    for raw in raws:
        watch(raw, seen, "a")
    server = nodes.services[0].server
    assert server is not None
    until(lambda: nodes.do(lambda: sum(len(one.polls) for one in server.watching._watched.values())) == 30)
    reads: list[int] = []
    query = nodes.log.replica.query

    def counted(*arguments: Any) -> bytes:
        reads.append(nodes.log.replica.index)
        return query(*arguments)

    monkeypatch.setattr(nodes.log.replica, "query", counted)

    def burst() -> None:
        session = nodes.log.open("", 60)
        for number in range(100):
            nodes.log.run(session, "put", "a", number)

    nodes.do(burst)
    assert {decode(raw.answer()[2][1]) for raw in raws} == {99}
    assert len(reads) <= 3


def test_what_is_watched_and_not_waited_for_is_forgotten(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a bound on distinct queries, and those that nobody waits for make room."""
    monkeypatch.setattr("rsm.node.serving.watching.WATCHES_MAX", 2)
    raw, seen = connect(), digest128(nodes.log.replica.query("word", ["a"]))
    first, _ = watch(raw, seen, "a"), watch(raw, seen, "b")
    watch(raw, seen, "c")
    assert raw.answer()[1] == BUSY
    raw.request(protocol.Cancel(), first)
    watch(raw, bytes(16), "c")
    assert raw.answer()[1] == OK


@pytest.mark.parametrize(
    ("name", "values", "error"),
    [
        ("all_words", [], "InvalidCommand"),
        ("nothing", [], "InvalidCommand"),
        ("word", [5], "InvalidCommand"),
        ("spoil", ["scalar"], "HandlerFailed"),
    ],
)
def test_what_cannot_be_watched(nodes: Nodes, connect: Connect, name: str, values: list[Any], error: str) -> None:
    """Generators, queries that there are not, arguments that do not fit, and handlers that raise."""
    raw = connect()
    watch(raw, bytes(16), *values, name=name)
    _, status, fields = raw.answer()
    assert (status, fields[0]) == (ERROR, error)


def test_a_node_in_doubt_answers_no_watch(nodes: Nodes, connect: Connect) -> None:
    """Those who wait are told so with the next entry."""
    raw, seen = connect(), digest128(nodes.log.replica.query("word", ["a"]))
    watch(raw, seen, "a")
    until(lambda: nodes.do(lambda: bool(nodes.server.watching._watched)))
    nodes.do(lambda: setattr(nodes.services[0], "in_doubt", "this node is suspect"))
    put(nodes, "a", 1)
    assert raw.answer()[1:] == (BUSY, ["this node is suspect", 100])
