"""What a leader knows of a member, and how much it may send: stages, the bound in flight, and old news."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rsm.limits import FOLLOWER_BYTES_IN_FLIGHT_MAX
from rsm.raft.progress import Progress, Stage


def test_a_probe_is_alone_on_its_way() -> None:
    """While the meeting point is looked for, one message is in flight, and sending moves nothing."""
    progress = Progress(10, 0.0)
    assert (progress.stage, progress.may_send) == (Stage.PROBE, True)
    progress.sent(15, 100)
    assert (progress.may_send, progress.next_index, progress.bytes_in_flight) == (False, 10, 0)


def test_an_accepted_probe_opens_the_pipeline() -> None:
    """Where the logs meet, sending ahead begins; a second acceptance changes nothing."""
    progress = Progress(10, 0.0)
    progress.sent(9, 0)
    progress.met(9)
    progress.sent(12, 100)
    progress.met(9)
    assert (progress.stage, progress.next_index, progress.bytes_in_flight) == (Stage.REPLICATE, 13, 100)


def test_the_pipeline_is_bounded_in_bytes_and_opens_as_acknowledgements_come() -> None:
    """One message more than the bound is never sent, and what is acknowledged makes room."""
    progress = Progress(1, 0.0)
    progress.met(0)
    half = FOLLOWER_BYTES_IN_FLIGHT_MAX // 2
    progress.sent(1, half)
    assert progress.may_send
    progress.sent(2, half)
    assert not progress.may_send
    assert progress.matched(1)
    assert progress.may_send
    assert progress.bytes_in_flight == half


def test_an_old_acknowledgement_is_no_news() -> None:
    """The match never goes back, and neither does what is sent next."""
    progress = Progress(1, 0.0)
    progress.met(0)
    progress.sent(9, 10)
    assert progress.matched(9)
    assert not progress.matched(4)
    assert (progress.match_index, progress.next_index) == (9, 10)


def test_looking_again_never_goes_back_behind_what_matches() -> None:
    """A hint below the match is an old one."""
    progress = Progress(1, 0.0)
    progress.met(0)
    progress.sent(9, 10)
    progress.matched(5)
    progress.probe(2)
    assert (progress.stage, progress.next_index, progress.bytes_in_flight) == (Stage.PROBE, 6, 0)


def test_waiting_for_a_snapshot_sends_nothing() -> None:
    """Whoever needs what the log no longer holds gets no entries meanwhile."""
    progress = Progress(5, 0.0)
    progress.await_snapshot()
    assert (progress.stage, progress.may_send) == (Stage.SNAPSHOT, False)


STEP = st.one_of(
    st.tuples(st.just("sent"), st.integers(0, 5), st.integers(0, FOLLOWER_BYTES_IN_FLIGHT_MAX)),
    st.tuples(st.sampled_from(["matched", "met", "probe"]), st.integers(0, 60), st.just(0)),
    st.tuples(st.just("await_snapshot"), st.just(0), st.just(0)),
)


@given(st.lists(STEP, max_size=60))
def test_whatever_happens_the_count_is_right(steps: list[tuple[str, int, int]]) -> None:
    """Bytes in flight are those of the messages in flight; the match never falls; the next index is beyond it; only
    one message ever goes over the bound.
    """
    progress = Progress(30, 0.0)
    for name, number, size in steps:
        match = progress.match_index
        if name == "sent":
            if not progress.may_send:
                continue
            progress.sent(progress.next_index + number, size)
        elif name == "await_snapshot":
            progress.await_snapshot()
        else:
            getattr(progress, name)(number)
        sizes = [bytes_sent for _, bytes_sent in progress.in_flight]
        assert progress.bytes_in_flight == sum(sizes)
        assert sum(sizes[:-1]) < FOLLOWER_BYTES_IN_FLIGHT_MAX
        assert progress.match_index >= match
        assert progress.next_index > progress.match_index or progress.stage is Stage.SNAPSHOT
        assert not progress.in_flight or progress.stage is Stage.REPLICATE
