"""The game as a machine: seats and tokens, which turn runs an order, pauses, late comers, the result."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from demos.rts_lockstep.machine import Game
from demos.rts_lockstep.orders import MOVE, RESIGN, TRAIN
from demos.rts_lockstep.records import (
    GROUPS_MAX,
    ORDERS_PER_COMMAND_MAX,
    ORDERS_WAITING_MAX,
    SILENT_MS_MAX,
    Phase,
    Say,
    Told,
)
from demos.rts_lockstep.turns import TURN_MS_MAX
from demos.rts_lockstep.world import World
from rsm.replica.answer import Answer, Status, decode
from rsm.replica.batch import FLAG_HASH_POINT
from tests.machines import SECOND, Log
from tests.unit.rts.game_stage import MS, TOKEN, Match


def reason(answer: Answer) -> str:
    """Why a command was rejected."""
    assert answer.status == Status.REJECTED, answer
    return str(decode(answer.body)[0])


# --- seats ------------------------------------------------------------------------------------------------------------


def test_the_match_begins_when_the_last_seat_is_taken() -> None:
    match = Match(3, joined=2)
    assert match.standing.phase == Phase.LOBBY
    assert match.replica.next_due() is None
    match.join("cid")
    assert match.standing.phase == Phase.RUNNING
    assert [match.number(name) for name in ("ann", "bob", "cid")] == [0, 1, 2]
    assert match.turns(3) == [1, 2, 3]


def test_the_host_may_begin_and_who_comes_late_takes_a_free_seat() -> None:
    match = Match(3, joined=1)
    assert reason(match.send(match.open("eve"), "start")).startswith("join first")
    match.run(match.host, "start")
    match.turns(20)
    assert match.join("bob") == 1
    assert match.order("bob", 20) == 22
    match.turns(5)
    assert match.standing.missing == ()


def test_the_token_is_needed_and_is_not_in_the_state() -> None:
    match = Match(2, joined=0)
    eve = match.open("eve")
    assert reason(match.send(eve, "join", "guess", "Eve", -1)) == "this is not the token of this game"
    assert reason(match.send(match.open(), "join", TOKEN, "Nobody", -1)).startswith("a player has a principal")
    match.join("ann")
    assert TOKEN.encode() not in match.game.token
    match.join("bob")
    assert reason(match.send(eve, "join", TOKEN, "Eve", -1)).startswith("all seats are taken")


def test_a_seat_is_its_principal_s_and_the_newest_session_speaks_for_it() -> None:
    match = Match(2)
    match.turns(4)
    before = match.sessions["ann"]
    assert match.join("ann") == 0
    assert match.order("ann", 4) == 6
    assert reason(match.send(before, "act", 4, [], 0, 0)) == "your seat was taken from elsewhere, under your name"
    match.close(match.sessions["ann"])
    assert reason(match.send(before, "act", 4, [], 0, 0)) == "join first: this session has no seat"


def test_a_wish_for_a_seat_is_granted_if_that_is_free() -> None:
    match = Match(3, joined=0)
    assert match.join("ann", wish=2) == 2
    assert match.join("bob", wish=2) == 0
    assert match.join("cid", wish=1) == 1


def test_numbers_that_make_no_match_open_none() -> None:
    log = Log(Game)
    answer = log.send(log.open("host"), "open_game", bytes(32), 1, 8, 100, 80, 200, 48)
    assert reason(answer).startswith("these numbers make no match")


def test_whoever_has_no_seat_orders_nothing() -> None:
    match = Match(2)
    spectator = match.open("eve")
    for name, values in (("act", (0, [], 0, 0)), ("pause", (True,)), ("vote", (0,))):
        assert reason(match.send(spectator, name, *values)) == "join first: this session has no seat"
    assert reason(match.send(spectator, "turn")) == "only the machine's own timers run turns"
    assert reason(match.send(match.sessions["ann"], "turn")) == "only the machine's own timers run turns"
    assert reason(match.send(spectator, "open_game", bytes(32), 1, 2, 100, 0, 200, 48)) == "the game is open already"


# --- orders -----------------------------------------------------------------------------------------------------------


def test_an_order_runs_two_turns_after_the_one_it_was_given_in() -> None:
    match = Match(2)
    match.turns(10)
    assert match.order("ann", stamp=10) == 12
    (row,) = match.game.waiting.values()
    unit = row.units[0]
    match.turns(1)
    assert match.game.units.get("state", unit) == 0
    assert len(match.game.waiting) == 1
    match.turns(1)
    assert match.game.units.get("state", unit) == 1
    assert len(match.game.waiting) == 0


def test_an_order_that_comes_late_runs_in_the_next_turn() -> None:
    match = Match(2)
    match.turns(10)
    assert match.order("ann", stamp=3) == 11
    assert match.order("bob", stamp=9) == 11
    assert match.order("bob", stamp=10) == 12
    match.turns(2)
    assert len(match.game.waiting) == 0


def test_nobody_is_ahead_of_the_log() -> None:
    match = Match(2)
    match.turns(10)
    assert reason(match.say("ann", 11)) == "turn 11 has not run: nobody is ahead of the log"
    assert reason(match.say("ann", -1)) == "turn -1 has not run: nobody is ahead of the log"


def test_orders_of_one_turn_run_in_the_order_of_the_log() -> None:
    match = Match(2)
    match.turns(2)
    places = [4000, 9000, 6000]
    for place in places:
        match.order("ann", 2, place, place)
    assert [order.x for order in match.game.waiting.values()] == places


def test_a_group_is_named_once_and_then_stands_for_its_units() -> None:
    match = Match(2)
    match.turns(2)
    match.say("ann", 2, Say(MOVE, (0, 3, 7, 2), 4000, 4000, group=4))
    match.say("ann", 2, Say(MOVE, (), 5000, 5000, group=4))
    match.say("bob", 2, Say(MOVE, (), 5000, 5000, group=4))  # his own group 4 is empty
    assert [order.units for order in match.game.waiting.values()] == [(0, 3, 7, 2), (0, 3, 7, 2), ()]
    match.turns(3)


def test_orders_have_bounds() -> None:
    match = Match(2)
    match.turns(2)
    one = Say(TRAIN, target=0)
    invalid = match.say("ann", 2, *[one] * (ORDERS_PER_COMMAND_MAX + 1))
    assert invalid.status == Status.INVALID
    for wrong in (Say(9), Say(MOVE, (), -1, 0), Say(MOVE, (), 1 << 40, 0), Say(MOVE, group=GROUPS_MAX + 1)):
        assert match.say("ann", 2, wrong).status == Status.INVALID
    assert "come in runs" in reason(match.say("ann", 2, Say(MOVE, (190, 20), 5000, 5000)))
    assert "come in runs" in reason(match.say("ann", 2, Say(MOVE, (1,), 5000, 5000)))
    for _ in range(ORDERS_WAITING_MAX // 16):
        assert match.say("ann", 2, *[one] * 16).status == 0
    assert "of your orders wait" in reason(match.say("ann", 2, one))
    assert match.say("bob", 2, one).status == 0
    match.turns(3)
    assert match.say("ann", 5, one).status == 0


# --- who is missing ---------------------------------------------------------------------------------------------------


def silent_turns(match: Match) -> int:
    return SILENT_MS_MAX // match.game.turn_ms + 2


def test_the_match_waits_for_a_player_of_whom_nothing_is_heard() -> None:
    match = Match(3)
    match.turns(silent_turns(match) + 10, heard=("ann", "bob"))
    standing = match.standing
    assert standing.missing == (2,)
    stood = standing.turn
    match.turns(10, heard=("ann", "bob"))
    assert match.standing.turn == stood
    assert match.say("cid", stood).status == 0  # he is back
    assert match.standing.missing == ()
    match.turns(2)
    assert match.standing.turn == stood + 2
    assert [(news.told, news.player) for news in match.told(Told.MISSING, Told.RETURNED)] == [
        (Told.MISSING, 2),
        (Told.RETURNED, 2),
    ]


def test_a_client_that_leaves_is_missed_at_once_and_may_come_back() -> None:
    match = Match(2)
    match.turns(5)
    match.close(match.sessions["bob"])
    match.turns(1)
    assert match.standing.missing == (1,)
    match.join("bob")
    match.turns(3)
    assert match.standing.missing == ()
    assert match.standing.turn == 8


def test_a_stall_of_the_log_makes_nobody_silent_and_no_burst() -> None:
    match = Match(2)
    match.turns(5)
    match.now += 60 * SECOND  # no leader for a minute
    match.entry([])
    assert match.standing.missing == ()
    assert match.standing.turn == 6
    match.now += 10 * MS
    match.entry([])
    assert match.standing.turn == 6
    assert match.turns(3) == [7, 8, 9]


def test_the_others_go_on_without_him_by_vote() -> None:
    match = Match(4)
    match.turns(silent_turns(match) + 5, heard=("ann", "bob", "cid"))
    ann, bob = match.sessions["ann"], match.sessions["bob"]
    assert match.standing.missing == (3,)
    assert match.standing.votes_needed == 2  # of three
    assert reason(match.send(ann, "vote", 1)) == "nobody waits for that player"
    assert match.run(ann, "vote", 3) is False
    assert match.run(ann, "vote", 3) is False  # once more is not twice
    assert match.standing.votes == ((3, 0),)
    assert match.run(bob, "vote", 3) is True
    match.turns(2, heard=("ann", "bob", "cid"))
    assert match.standing.missing == ()
    assert match.game.players.get("alive", 3) == 0
    assert match.standing.phase == Phase.RUNNING
    assert match.say("dan", match.standing.turn).status == 0  # he may look on
    assert reason(match.say("dan", match.standing.turn, Say(TRAIN, target=0))) == "you are out of the match"
    assert [news.player for news in match.told(Told.DROPPED, Told.OUT)] == [3, 3]


def test_votes_are_forgotten_when_he_comes_back() -> None:
    match = Match(4)
    match.close(match.sessions["dan"])
    match.turns(1)
    match.run(match.sessions["ann"], "vote", 3)
    match.join("dan")
    match.turns(1)
    match.close(match.sessions["dan"])
    match.turns(1)
    assert match.standing.votes == ()
    assert match.run(match.sessions["bob"], "vote", 3) is False


def without(match: Match, *names: str) -> None:
    """Their clients leave, and are missed."""
    for name in names:
        match.close(match.sessions.pop(name))
    match.turns(1)


def test_a_voter_who_leaves_takes_his_vote_along_and_those_that_are_left_decide() -> None:
    """Nobody can vote twice, so the one vote of the last one there must do, whenever it was given."""
    match = Match(3)
    match.turns(3)
    without(match, "cid")
    assert match.run(match.sessions["ann"], "vote", 2) is False  # of ann and bob
    without(match, "bob")
    match.turns(1)
    assert match.standing.missing == (1,)
    assert [news.player for news in match.told(Told.DROPPED)] == [2]

    match = Match(4)
    match.turns(3)
    without(match, "dan")
    match.run(match.sessions["ann"], "vote", 3)
    without(match, "ann")
    assert match.run(match.sessions["bob"], "vote", 3) is False  # one of two who are there
    assert match.run(match.sessions["cid"], "vote", 3) is True


def test_who_is_voted_out_or_has_resigned_is_not_there_any_more() -> None:
    """His town stands until the next turn, but there is none while another one is missing."""
    match = Match(3)
    match.turns(3)
    without(match, "bob", "cid")
    ann = match.sessions["ann"]
    assert match.run(ann, "vote", 1) is True
    assert match.standing.votes_needed == 1
    assert match.run(ann, "vote", 2) is True
    match.turns(1)
    assert (match.standing.phase, match.standing.winner) == (Phase.OVER, 0)

    match = Match(3)
    match.turns(3)
    without(match, "cid")
    match.say("bob", match.standing.turn, Say(RESIGN))
    assert reason(match.send(match.sessions["bob"], "vote", 2)) == "you are out of the match"
    assert match.run(match.sessions["ann"], "vote", 2) is True


def test_nobody_votes_against_himself() -> None:
    match = Match(3)
    match.turns(silent_turns(match) + 1, heard=("ann", "bob"))
    assert match.standing.missing == (2,)
    assert reason(match.send(match.sessions["cid"], "vote", 2)) == "nobody waits for that player"
    assert match.standing.votes == ()


def test_a_match_that_all_have_left_waits_for_any_of_them() -> None:
    match = Match(2)
    match.turns(3)
    without(match, "ann", "bob")
    match.turns(50)
    assert (match.standing.turn, match.standing.missing) == (3, (0, 1))
    match.join("bob")
    assert match.run(match.sessions["bob"], "vote", 0) is True
    match.turns(1)
    assert match.standing.winner == 1


# --- pause ------------------------------------------------------------------------------------------------------------


def test_who_is_out_neither_pauses_nor_resumes() -> None:
    match = Match(3)
    match.turns(2)
    match.say("cid", 2, Say(RESIGN))
    match.turns(2)
    for wanted in (True, False):
        assert reason(match.send(match.sessions["cid"], "pause", wanted)) == "you are out of the match"


def test_a_pause_stops_the_world_and_keeps_what_was_ordered() -> None:
    match = Match(2)
    match.turns(5)
    match.run(match.sessions["ann"], "pause", True)
    assert match.standing.paused_by == 0
    due = match.order("bob", 5)
    match.turns(40)
    assert match.standing.turn == 5
    assert match.standing.missing == ()  # clients go on reporting
    match.run(match.sessions["bob"], "pause", False)
    match.turns(2)
    assert match.standing.turn == due == 7
    assert len(match.game.waiting) == 0


# --- how long turns are -----------------------------------------------------------------------------------------------


def test_turns_follow_the_slowest_player_up_at_once_and_down_slowly() -> None:
    match = Match(2)
    match.turns(5)
    match.say("ann", 5, round_trip_ms=40, frame_ms=8)
    match.say("bob", 5, round_trip_ms=395, frame_ms=8)
    match.turns(1)
    assert match.standing.turn_ms == 400
    before = match.now
    match.turns(10, heard=())
    assert match.now - before == pytest.approx(10 * 400 * MS, rel=0.01)
    match.say("bob", 12, round_trip_ms=50)
    match.turns(5)
    assert match.standing.turn_ms == 400
    match.turns(120)
    assert match.standing.turn_ms == 200
    paces = [news.value for news in match.told(Told.PACE)]
    assert paces[0] == 400
    assert paces[1:] == sorted(paces[1:], reverse=True)
    assert paces[-1] == 200


def test_a_slow_computer_counts_as_a_slow_line_does() -> None:
    match = Match(2)
    match.turns(2)
    match.say("ann", 2, round_trip_ms=10, frame_ms=400)
    match.turns(1)
    assert match.standing.turn_ms == 500
    match.say("bob", 3, round_trip_ms=59_000)
    match.turns(1)
    assert match.standing.turn_ms == TURN_MS_MAX


def test_who_is_missing_or_out_slows_nobody_down() -> None:
    match = Match(3)
    match.turns(2)
    match.say("cid", 2, Say(RESIGN), round_trip_ms=900)
    match.turns(3)
    assert match.game.players.get("alive", 2) == 0
    match.turns(200)
    assert match.standing.turn_ms == 200


# --- the result -------------------------------------------------------------------------------------------------------


def test_the_last_town_centre_wins_and_the_result_stands() -> None:
    match = Match(3)
    match.turns(3)
    match.say("ann", 3, Say(RESIGN))
    match.turns(2)
    assert match.standing.phase == Phase.RUNNING
    match.say("cid", 5, Say(RESIGN))
    match.turns(2, heard=())
    standing = match.standing
    assert (standing.phase, standing.winner) == (Phase.OVER, 1)
    assert [(news.player, news.told) for news in match.told(Told.OUT, Told.OVER)] == [
        (0, Told.OUT),
        (2, Told.OUT),
        (1, Told.OVER),
    ]
    assert match.replica.next_due() is None  # no turn comes any more
    assert reason(match.say("bob", standing.turn)) == "the match is over"
    match.tick(3600)
    assert match.standing == standing


# --- restoring --------------------------------------------------------------------------------------------------------


def test_who_is_restored_from_a_snapshot_in_the_middle_goes_on_equal() -> None:
    match = Match(3)
    match.turns(20)
    match.order("ann", 20)
    match.run(match.sessions["bob"], "pause", True)
    match.close(match.sessions.pop("cid"))
    match.turns(3)
    match.run(match.sessions["bob"], "vote", 2)
    match.turns(1)
    match.entry([], FLAG_HASH_POINT)
    late: Any = match.restored()
    assert late.root() == match.replica.root()
    since = len(match.entries)
    match.run(match.sessions["bob"], "pause", False)
    match.run(match.sessions["ann"], "vote", 2)
    match.turns(30)
    match.order("bob", match.standing.turn)
    match.turns(10)
    for entry in match.entries[since:]:
        late.apply(entry)
    assert late.machine.world.turn == match.standing.turn > 50
    assert late.root() == match.replica.root() == match.replayed().root()


def test_a_turn_that_fails_does_not_stop_the_match_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rollback takes the next timer along: whoever speaks next sets it again, and what the turn died of is gone."""
    match = Match(2)
    match.turns(4)
    match.order("ann", 4)
    run = match.order("bob", 3)
    match.run(match.sessions["bob"], "act", 4, [[RESIGN, [], 0, 0, -1, 0]], 0, 0)
    waiting = len(match.game.waiting)

    def fail(world: World, orders: Any) -> NoReturn:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(World, "step", fail)
        match.now = match.replica.next_due() or 0
        match.entry([], FLAG_HASH_POINT)
    assert match.replica.next_due() is None
    assert match.game.world.turn == 4
    assert len(match.game.waiting) == waiting
    match.now += 2 * SECOND
    match.say("ann", 4)
    assert match.replica.next_due() == match.now + match.game.turn_ms * MS
    assert not [key for key, order in match.game.waiting.items() if key[0] <= run and order.kind != RESIGN]
    assert [order.kind for order in match.game.waiting.values()].count(RESIGN) == 1
    due = match.replica.next_due()
    match.say("bob", 4)
    assert match.replica.next_due() == due
    assert match.turns(1) == [5]
