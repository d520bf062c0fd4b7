"""What surrounds the game in a client: measures, traffic, clicks as orders, desyncs in its words, the planted bug."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

import rsm
from demos.rts_lockstep.clients import planted
from demos.rts_lockstep.clients import player as players
from demos.rts_lockstep.clients.bots import DRILL, TURNS_PER_ORDER, WAR, Bot
from demos.rts_lockstep.clients.desk import Desk
from demos.rts_lockstep.clients.measuring import BEHIND_ENTRIES_MAX, PAGE_SECONDS_MAX, Measures
from demos.rts_lockstep.clients.player import Moment
from demos.rts_lockstep.clients.reports import Ran, Used
from demos.rts_lockstep.clients.suspects import first_difference, first_line, seen_by_page
from demos.rts_lockstep.clients.traffic import HEADER_BYTES, TrafficMeter
from demos.rts_lockstep.commands import hosting, joining, replaying
from demos.rts_lockstep.commands.hosting import FILE, opened, parse
from demos.rts_lockstep.commands.running import workplace
from demos.rts_lockstep.orders import GATHER, MOVE, RESIGN, TRAIN
from demos.rts_lockstep.plain import new_world
from demos.rts_lockstep.records import Phase, Say
from demos.rts_lockstep.simulation import wildlife
from demos.rts_lockstep.staging.match import Tally, bits_per_second, worst_bits_per_second
from demos.rts_lockstep.units import DEER_BASE, IDLE, VILLAGER
from demos.rts_lockstep.viewing import view
from demos.rts_lockstep.viewing import view_messages as messages
from demos.rts_lockstep.viewing.asks import Unclear, said_by
from demos.rts_lockstep.viewing.picture import hello_of, lines_of, projectiles_of, status_of, turn_of, units_of
from demos.rts_lockstep.viewing.view import Order
from rsm.client.observing.observed import DesyncPath
from tests.documents import ROOT
from tests.unit.rts.game_stage import Match

# --- measures ---------------------------------------------------------------------------------------------------------


def test_one_hiccup_is_not_told() -> None:
    measures = Measures()
    assert (measures.round_trip_ms(), measures.frame_ms(200)) == (0, 0)
    for seconds in (0.05, 0.06, 3.0, 0.04):
        measures.answered(seconds)
    assert measures.round_trip_ms() == 60
    measures.answered(2.0)
    assert measures.round_trip_ms() == 2000


def test_who_cannot_keep_up_says_so_whatever_the_work_is() -> None:
    measures = Measures()
    for _ in range(3):
        measures.stepped(0.015, behind_entries=1)
    assert measures.frame_ms(200) == 15
    measures.page_drew(40)
    assert measures.frame_ms(200) == 40
    measures.stepped(0.015, behind_entries=BEHIND_ENTRIES_MAX + 1)
    assert measures.frame_ms(200) == 200


def test_a_page_that_sleeps_slows_nobody_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two open pages the slow one counts, and none of them when it has said nothing for a while."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    measures = Measures()
    measures.page_drew(300)
    measures.page_drew(10)
    assert measures.frame_ms(200) == 300
    now += PAGE_SECONDS_MAX + 1
    assert measures.frame_ms(200) == 0
    measures.page_drew(10)
    assert measures.frame_ms(200) == 10


@pytest.mark.skipif(not TrafficMeter().is_known, reason="this system does not count segments")
def test_traffic_is_what_the_kernel_counts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        meter, blind = TrafficMeter(), TrafficMeter({port})
        before = meter.sample()
        with socket.create_connection(("127.0.0.1", port)) as near, server.accept()[0] as far:
            near.sendall(b"x" * 1000)
            assert far.recv(4096)
            deadline = time.monotonic() + 5
            while (now := meter.sample()).bytes_out - before.bytes_out < 1000 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert now.bytes_out - before.bytes_out == 1000
            assert now.bytes_in - before.bytes_in == 1000
            assert now.packets_out - before.packets_out >= 3
            assert now.all_bytes_out == now.bytes_out + HEADER_BYTES * now.packets_out
            # The end at the port is left out; the other one has sent all there is.
            assert blind.sample().bytes_in - before.bytes_in < 1000
        assert meter.sample().bytes_out - before.bytes_out == 1000  # closed connections count on


def test_bits_per_second_and_their_worst_stretch() -> None:
    def used(at: float, size: int, packets: int = 0) -> Used:
        return Used(at, size, 0, packets, 0)

    said = [used(0, 0), used(1, 100), used(2, 200), used(3, 1200), used(4, 1300)]
    assert bits_per_second(said) == pytest.approx(8 * 1300 / 4)
    assert worst_bits_per_second(said, 0.9) == pytest.approx(8000)
    assert bits_per_second([used(0, 0), used(1, 0, packets=10)]) == 8 * 10 * HEADER_BYTES
    assert bits_per_second(said[:1]) == 0


def test_a_tally_counts_turns_with_one_root_and_names_the_others() -> None:
    tally = Tally(2)
    for name, turn, root in (("a", 1, "x"), ("b", 1, "x"), ("a", 2, "x"), ("b", 2, "y"), ("a", 3, "z")):
        tally.hear(name, Ran(0.0, turn, turn, root, 200, 1.0, 10, 0))
    assert (tally.equal_turns, tally.compared_roots) == (1, 4)
    assert tally.unequal == [(2, {"a": "x", "b": "y"})]
    assert tally.turn == 2


# --- clicks -----------------------------------------------------------------------------------------------------------


def test_clicks_become_orders() -> None:
    def ask(order: str, units: tuple[int, ...] = (), **fields: int | None) -> Order:
        return Order(click=1, order=order, units=units, **fields)  # type: ignore[arg-type]

    assert said_by(ask("move", (7, 5, 6, DEER_BASE + 1), x=300, y=-5), 100) == Say(MOVE, (5, 3), 300, 0)
    assert said_by(ask("gather", (5,), target=DEER_BASE + 3), 100) == Say(GATHER, (5, 1), target=DEER_BASE + 3)
    assert said_by(ask("train", kind=VILLAGER), 100) == Say(TRAIN, target=VILLAGER)
    for wrong in (ask("move"), ask("move", (100,)), ask("train", kind=9), ask("train"), ask("attack", (1,), target=-7)):
        with pytest.raises(Unclear):
            said_by(wrong, 100)


# --- bots and pictures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", [WAR, DRILL])
def test_bots_say_the_same_twice_and_what_they_say_is_taken(style: str) -> None:
    match = Match(2, soldiers=6)
    bots = [[Bot(3, player, style) for player in (0, 1)] for _ in range(2)]
    said = 0
    for _ in range(40):
        match.turns(1)
        for player, name in enumerate(("ann", "bob")):
            orders, again = (pair[player].orders(match.game) for pair in bots)
            assert orders == again
            if orders:
                said += 1
                assert match.say(name, match.standing.turn, *orders).status == 0
    assert 4 <= said <= 2 * (40 // TURNS_PER_ORDER + 1)


def test_what_is_left_of_an_animal_is_shown_until_it_is_eaten() -> None:
    world = new_world()
    world.setup(7, 2, units_max=200)
    for row, food in ((2, 30), (3, 0)):
        world.deer.set("hp", row, 0)
        world.deer.set("food", row, food)
        world.deer.set("fear", row, 3)
    deer = units_of(SimpleNamespace(units=world.units, deer=world.deer))[1]  # type: ignore[arg-type]
    assert DEER_BASE + 3 not in deer.id
    place = list(deer.id).index(DEER_BASE + 2)
    assert isinstance(deer.hp, np.ndarray)
    assert isinstance(deer.state, np.ndarray)
    assert (deer.hp[place], deer.state[place]) == (0, IDLE)


def test_the_picture_is_the_state() -> None:
    match = Match(2, soldiers=6)
    match.turns(5)
    game = match.game
    hello, turn = hello_of(game, 0), turn_of(game, 9, b"\x01" * 16)
    assert len(hello.tiles) == hello.size**2
    assert [seat.name for seat in hello.players] == ["Ann", "Bob"]
    units, deer = units_of(game)
    assert len(units.id) == sum(line.units for line in lines_of(game)) == int((game.units.read("hp") > 0).sum())
    assert int(deer.id[0]) == DEER_BASE
    assert (turn.turn, turn.root, turn.paused, turn.result) == (5, "01" * 16, False, None)
    assert len(projectiles_of(game).x) == len(game.projectiles)
    match.close(match.sessions["bob"])
    match.turns(1)
    status = status_of(game)
    assert (status.waiting, status.paused, status.votes[0].needed) == ((1,), True, 1)
    match.send(match.sessions["ann"], "vote", 1)
    match.turns(1, heard=("ann",))
    result = turn_of(game, 20, b"\x02" * 16).result
    assert game.phase == Phase.OVER
    assert result is not None
    assert (result.winner, result.root) == (0, "02" * 16)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_a_directory_is_the_same_one_for_processes_that_begin_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with workplace(Path("war")) as kept:
        assert kept == tmp_path / "war"
        assert kept.is_dir()


def test_a_directory_with_a_match_goes_on_as_it_was_opened_and_no_other_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "match").mkdir()
    first = opened(parse(["--players", "3", "--seed", "5", "--units", "200"]), tmp_path / "match" / FILE)
    options = parse(["--dir", str(tmp_path / "match")])
    assert opened(options, options.dir / FILE) == first
    assert (first.players, first.seed, first.units) == (3, 5, 200)
    assert (options.dir / FILE).stat().st_mode & 0o077 == 0
    with pytest.raises(SystemExit):
        parse(["--dir", str(tmp_path)])


def test_seats_follow_the_bots_and_what_makes_no_match_is_told_in_the_words_of_the_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert [parse(words).players for words in ([], ["--bots", "3"], ["--bots", "1"], ["--players", "5"])] == [
        2,
        4,
        2,
        5,
    ]
    for words, said in (
        (["--bots", "2", "--players", "2"], "--bots must be 0 to 1: one of 2 seats is yours"),
        (["--bots", "8"], "--bots must be 0 to 7"),
        (["--units", "5"], "--units must be 64 to 1500"),
        (["--size", "5"], "--size must be 48 to 126"),
        (["--soldiers", "-1"], "--soldiers must be 0 to 750"),
        (["--page-port", "70000"], "70000 is no port: 0 to 65535"),
    ):
        with pytest.raises(SystemExit) as ended:
            parse(words)
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


def test_a_page_port_that_is_taken_is_told_with_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        golden = str(ROOT / "tests/golden/lockstep/v1.log")
        assert replaying.main([golden, "--page-port", str(port)]) == 2
    assert capsys.readouterr().err == f"replay: cannot listen at 127.0.0.1:{port}: Address already in use\n"


def test_an_address_that_is_none_and_one_where_nobody_answers_end_differently(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is for the caller to change; of the second nothing can be said."""
    monkeypatch.setattr(players, "CONNECT_SECONDS", 0.3)
    assert joining.main(["nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert joining.main([f"127.0.0.1:{port}", "--token", "guess"]) == 3
    complaint = capsys.readouterr().err
    assert complaint.startswith("join: ")
    assert complaint.count("\n") == 1


class Seats:
    """A desk whose page a test opens, and who sat down there."""

    def __init__(self, *, is_seated: bool = False, refused: str = "") -> None:
        self.viewer = SimpleNamespace(was_opened=False)
        self.player = SimpleNamespace(number=0 if is_seated else None)
        self.refused = refused
        self.sat = 0

    def sit_down(self) -> None:
        self.sat += 1
        if self.refused:
            raise rsm.Rejected(self.refused)


def arrival(seats: Seats, bots: int) -> hosting.Arrival:
    return hosting.Arrival(seats, bots)  # type: ignore[arg-type]


def test_the_host_sits_down_once_when_his_page_is_open() -> None:
    seats = Seats()
    waiting = arrival(seats, bots=0)
    waiting.look()
    assert seats.sat == 0
    assert waiting.announcement().startswith("you sit down when your page is open; the match begins")
    seats.viewer.was_opened = True
    for _ in range(3):
        waiting.look()
    assert seats.sat == 1
    began = Seats(is_seated=True)
    began.viewer.was_opened = True
    arrival(began, bots=1).look()
    assert began.sat == 0


def test_bots_wait_a_bounded_time_for_the_host_and_friends_until_he_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "PAGE_SECONDS_MAX", 0.0)
    alone, with_bots = Seats(), Seats()
    for seats, bots in ((alone, 0), (with_bots, 2)):
        waiting = arrival(seats, bots)
        time.sleep(0.001)
        waiting.look()
    assert (alone.sat, with_bots.sat) == (0, 1)


def test_a_host_who_finds_all_seats_taken_looks_on(capsys: pytest.CaptureFixture[str]) -> None:
    seats = Seats(refused="all seats are taken; spectators are welcome")
    seats.viewer.was_opened = True
    waiting = arrival(seats, bots=0)
    waiting.look()
    waiting.look()
    assert seats.sat == 1
    assert capsys.readouterr().out == "you look on: all seats are taken; spectators are welcome\n"


def test_what_make_game_runs_is_a_command_line_that_the_host_takes() -> None:
    words = next(
        line.partition(" -m demos.rts_lockstep host ")[2].split()
        for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
        if " -m demos.rts_lockstep host " in line
    )
    assert parse(words).bots == parse(words).players - 1 == 3


# --- desyncs ----------------------------------------------------------------------------------------------------------


def desync(*paths: tuple[str, int, int]) -> rsm.Desync:
    """One that was healed, with these paths."""
    return rsm.Desync(
        index=9,
        root=b"",
        expected=b"",
        source="",
        reason="",
        good_index=8,
        verdict="observer",
        paths=tuple(DesyncPath(*path) for path in paths),
    )


def test_the_page_is_shown_the_animal_at_both_places() -> None:
    match = Match(3)
    x, y = match.game.deer.get("x", 17), match.game.deer.get("y", 17)
    found = desync(("match/0/turn", 1, 2), ("units/3/state", 0, 1), ("deer/17/fear", 1, 2), ("deer/17/x", x + 1, x))
    assert first_difference(found) == ("deer/17/x", x + 1, x)
    seen = seen_by_page(found, match.game)
    assert (seen.path, seen.unit, seen.x, seen.y) == ("deer/17/x", DEER_BASE + 17, x + 1, y)
    assert (seen.true_x, seen.true_y, seen.mine, seen.theirs) == (x, y, x + 1, x)
    assert first_line(found) == seen.line == ""
    nowhere = seen_by_page(desync(("votes/1", None, None)), match.game)  # type: ignore[arg-type]
    assert (nowhere.path, nowhere.unit) == ("votes/1", -1)


class Told:
    """What a desk publishes, in order."""

    def __init__(self) -> None:
        self.said: list[tuple[str, object]] = []
        self.port = 0

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *values, **_: self.said.append((name, values[0] if values else None))


def test_the_page_hears_of_a_desync_at_once_and_of_the_healing_when_a_root_agrees() -> None:
    """First with the roots alone, then with both places, and only the next good root says that it is healed."""
    match, told = Match(2), Told()
    match.turns(3)
    status = SimpleNamespace(roots_checked=3)
    player = SimpleNamespace(
        machine=match.game, number=0, measures=Measures(), observer=SimpleNamespace(status=status), order=told.order
    )
    desk = Desk(player, title="")  # type: ignore[arg-type]
    desk.viewer = told  # type: ignore[assignment]
    full = desync(("deer/3/x", 1, match.game.deer.get("x", 3)))

    def show(index: int, found: rsm.Desync | None = None, *, is_snapshot: bool = False) -> list[str]:
        told.said.clear()
        desk.show(Moment(rsm.Update(index, 0, (), b"", is_snapshot, found), 3, True))
        return [name for name, _ in told.said if name != "publish_status"]

    first = show(9, msgspec.structs.replace(full, verdict="open", paths=(), healed_index=0))
    assert first == ["publish_desync", "publish_turn"]
    seen, turn = (value for _, value in told.said[:2])
    assert isinstance(seen, view.Desync)
    assert (seen.path, seen.unit, seen.index) == ("", -1, 9)
    assert isinstance(turn, view.Turn)
    assert turn.agreed is False
    second = show(10, msgspec.structs.replace(full, healed_index=10), is_snapshot=True)
    assert second == ["publish_desync", "publish_turn"]
    seen = told.said[0][1]
    assert isinstance(seen, view.Desync)
    assert (seen.path, seen.x) == ("deer/3/x", 1)
    status.roots_checked += 1
    assert show(11) == ["publish_healed", "publish_turn"]
    assert told.said[0][1] == 10
    status.roots_checked += 1
    assert show(12) == ["publish_turn"]


def test_a_page_shows_a_match_that_waits() -> None:
    """What the page is told at first, and whenever it begins anew, goes with a turn: there may be no other for long."""
    match, told = Match(3, joined=1), Told()
    status = SimpleNamespace(roots_checked=0)
    player = SimpleNamespace(
        machine=match.game, number=0, measures=Measures(), observer=SimpleNamespace(status=status, index=4)
    )
    desk = Desk(player, title="")  # type: ignore[arg-type]
    desk.viewer = told  # type: ignore[assignment]
    with desk:
        assert [name for name, _ in told.said if name.startswith("publish")] == ["publish_status", "publish_turn"]
        told.said.clear()
        match.join("bob")
        desk.show(Moment(rsm.Update(9, 0, (), b"", False, None), 0, False))
        names = [name for name, _ in told.said if name != "publish_status"]
        assert names == ["publish_hello", "publish_turn"]
        turn = told.said[-1][1]
        assert isinstance(turn, view.Turn)
        assert turn.cut


def test_the_page_can_resign() -> None:
    match, told = Match(2), Told()
    player = SimpleNamespace(machine=match.game, number=0, order=told.order)
    desk = Desk(player, title="")  # type: ignore[arg-type]
    desk._answer(messages.ask('{"type":"resign"}'))
    assert told.said == [("order", Say(RESIGN))]


def test_the_planted_bug_moves_one_animal_and_can_be_pulled_out() -> None:
    sound = wildlife._fear
    planted.plant()
    try:
        assert wildlife._fear is not sound
    finally:
        planted.pull_out()
    assert wildlife._fear is sound
