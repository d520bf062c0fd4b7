"""The game's page in a real browser, against a player that makes its units up: drawing, pace, orders, panels."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from demos.rts_lockstep.viewing.view import Desync, Order, Pause, Resign, Result, Status, Vote, Votes
from tests.browser import HEIGHT, WIDTH, Page, chromium
from tests.unit.rts.drawn_pace import walked_at_most_their_speed
from tests.unit.rts.fake_player import DEER_BASE, SPEED, TOWN_CENTRE, VILLAGER, FakePlayer

pytestmark = pytest.mark.xdist_group("chromium")

MARKER_MS_MAX = 50
MIDDLE = (WIDTH // 2, HEIGHT // 2)
# Places of the window that no panel covers.
FIELD = [(520, 200), (900, 240), (600, 700), (980, 640), (450, 520)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def player() -> Iterator[FakePlayer]:
    with FakePlayer() as player:
        yield player


@pytest.fixture
def page(browser: Page, player: FakePlayer) -> Iterator[Page]:
    """The page of player 0, at his town centre, with the ground painted; it may not say anything to the console."""
    browser.open(player.viewer.url)
    browser.until("window.game && window.game.turn && window.game.painter.groundKey !== ''")
    yield browser
    assert browser.errors() == []


def select_some(page: Page) -> set[int]:
    """Draw a box around units near the town centre, and say who they are."""
    page.mouse(("down", 420, 260), ("move", 700, 400), ("up", 1000, 640))
    return {int(unit) for unit in page.until("window.game.selected.size && [...window.game.selected]")}


def test_turns_arrive_and_everybody_is_drawn(page: Page, player: FakePlayer, tmp_path: Path) -> None:
    """All 1,500 units are on the page, turn follows turn, and the picture has as many colours as a picture has."""
    first = page.run("window.game.turn.turn")
    page.until("window.game.turn.turn >= arguments[0]", first + 3)
    assert page.run("window.game.world.drawn.length") == 1500
    colours = page.run(
        "(() => { const data = new Uint32Array(game.painter.context.getImageData(0, 0, innerWidth, innerHeight)"
        ".data.buffer); return new Set(data).size; })()"
    )
    assert colours > 1000
    assert len(page.screenshot(tmp_path / "page.png")) > 300_000
    assert page.run("document.getElementById('clock').textContent").startswith("turn ")
    assert page.run("document.querySelectorAll('#players .player').length") == 4


def test_a_click_is_marked_at_once_and_known_when_its_turn_is(page: Page, player: FakePlayer) -> None:
    """An order's marker is drawn within 50 ms of the click; it closes when the log has the order, and then leaves."""
    units = select_some(page)
    assert all(player.owner[unit] == 0 for unit in units)
    clicks = [FIELD[number % len(FIELD)] for number in range(9)]
    for x, y in clicks:
        page.mouse(("click", x, y), button=2)
    orders = [ask for ask in player.asked(Order, len(clicks)) if isinstance(ask, Order)]
    assert all(order.order in ("move", "attack", "gather") and set(order.units) <= units for order in orders)
    first = orders[0].click
    assert [order.click for order in orders] == list(range(first, first + len(clicks)))
    latencies = page.run("window.game.debug.markers")
    assert len(latencies) == len(clicks)
    # Nine clicks, so that those which meet a pause of a busy machine do not decide.
    assert sorted(latencies)[len(clicks) // 3] <= MARKER_MS_MAX, latencies
    page.until("window.game.effects.markers.length === 0")


def test_a_marker_waits_for_its_order(page: Page, player: FakePlayer) -> None:
    """Until the log has the order the ring is open; a refused one turns grey and the reason is said."""
    player.viewer.acknowledge = lambda click, turn: None  # type: ignore[method-assign]
    select_some(page)
    page.mouse(("click", *FIELD[0]), button=2)
    (order,) = player.asked(Order)
    assert isinstance(order, Order)
    assert page.run("window.game.effects.markers[0].state") == "asked"
    player.viewer.refuse(order.click + 1, "of another page of this player, which has to say so")
    player.viewer.refuse(order.click, "You are out of the game.")
    page.until("document.getElementById('toasts').textContent === 'You are out of the game.'")
    page.until("window.game.effects.markers.length === 0")


def test_turns_that_nobody_shows_are_not_kept(page: Page, player: FakePlayer) -> None:
    """A tab that sleeps gets a turn five times a second and draws none; it wakes with the newest, and walks to none."""
    assert page.run(
        "(() => { const { playback } = window.game;"
        " const last = playback.queue.at(-1) ?? playback.turn;"
        " for (let i = 1; i <= 300; i += 1) playback.push({ ...last, turn: last.turn + i, cut: false }, 0);"
        " return [playback.queue.length, playback.queue[0].cut, playback.queue.at(-1).turn - last.turn]; })()"
    ) == [32, True, 300]


def test_no_unit_is_drawn_faster_than_it_walks(page: Page, player: FakePlayer) -> None:
    """Between any two frames every unit moves at most its speed times the time, though turns come late, all at once,
    and change their length; and nobody jumps."""
    page.run("void window.game.debug.record(60000, 7).then((frames) => { window.recorded = frames; })")
    for turn_ms, late in ((200, 0.0), (200, 0.5), (350, 0.0), (350, 0.4), (120, 0.0), (200, 0.9), (200, 0.0)):
        player.turn_ms = turn_ms
        player.late_seconds.append(late)
        page.until("window.game.turn.turn_ms === arguments[0]", turn_ms)
        time.sleep(0.4)
        if late == 0.9:
            for _ in range(3):  # what was held up comes all at once
                player.step()
    page.run("void (window.game.debug.recording.end = 0)")
    frames = page.until("window.recorded")
    assert len(frames) > 15
    assert frames[0]["cuts"] == frames[-1]["cuts"]
    assert {frame["turn_ms"] for frame in frames} > {350, 120}
    assert walked_at_most_their_speed(frames, SPEED) > 150 * 256
    assert page.run("window.game.debug.summary().standing_ms") > 300


def test_units_die_and_rows_are_used_again(page: Page, player: FakePlayer) -> None:
    """A dead unit leaves the field and the selection; another unit in its row appears where it is, without a walk."""
    unit = min(select_some(page))
    player.deaths.add(unit)
    page.until("!window.game.world.slots.has(arguments[0]) && !window.game.selected.has(arguments[0])", unit)
    with player.lock:
        player.owner[unit], player.kind[unit] = 1, VILLAGER
        player.place[unit] = player.goal[unit] = (10 * 256, 10 * 256)
        player.deaths.clear()
    x = page.until("window.game.world.x[window.game.world.slots.get(arguments[0])]", unit)
    assert x == 10 * 256


def test_the_wheel_zooms_around_the_pointer(page: Page) -> None:
    """What is under the pointer stays under it; zoom has ends."""
    x, y = FIELD[0]
    before = page.run(f"window.game.camera.world({x}, {y})")
    page.wheel(x, y, -240)
    page.until("window.game.camera.zoom > 1.2")
    assert page.run(f"window.game.camera.world({x}, {y})") == pytest.approx(before)
    for _ in range(8):
        page.wheel(x, y, 600)
    page.until("window.game.camera.zoom === 0.25")


def test_looking_around(page: Page) -> None:
    """Arrow keys, the middle button and the window's edge move the view."""
    start = page.run("[window.game.camera.x, window.game.camera.y]")
    page.mouse(("down", 700, 500), ("move", 650, 420), ("up", 650, 420), button=1)
    dragged = page.run("[window.game.camera.x, window.game.camera.y]")
    assert dragged != start
    page.mouse(("move", 2, 450))
    page.until("window.game.camera.ox > arguments[0]", page.run("window.game.camera.ox"))
    page.mouse(("move", 700, 500))
    before = page.run("window.game.camera.oy")
    page.run("void dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowDown', code: 'ArrowDown'}))")
    page.until("window.game.camera.oy < arguments[0] - 20", before)
    page.run("void dispatchEvent(new KeyboardEvent('keyup', {key: 'ArrowDown', code: 'ArrowDown'}))")


def test_minimap(page: Page, player: FakePlayer) -> None:
    """A click on the minimap goes there, a right click on it sends the selection there."""
    units = select_some(page)
    left, top = page.run("(({left, top}) => [left, top])(document.getElementById('minimap').getBoundingClientRect())")
    place = (int(left) + 136, int(top) + 34)
    page.mouse(("click", *place))
    there = page.until("window.game.camera.x < 9000 && [window.game.camera.x, window.game.camera.y]")
    assert there == pytest.approx([96 * 64, 96 * 64], abs=300)
    page.mouse(("click", *place), button=2)
    order = player.asked(Order)[0]
    assert isinstance(order, Order)
    assert order.order == "move"
    assert set(order.units) == units
    assert (order.x, order.y) == pytest.approx(there, abs=300)


def test_groups_and_double_click(page: Page) -> None:
    """Shift and a digit keep a selection, the digit brings it back; Escape lets go."""
    units = select_some(page)
    page.run("void dispatchEvent(new KeyboardEvent('keydown', {key: '!', code: 'Digit1', shiftKey: true}))")
    page.run("void dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', code: 'Escape'}))")
    assert page.run("window.game.selected.size") == 0
    page.keys("1")
    assert set(page.run("[...window.game.selected]")) == units


def test_orders_by_what_is_under_the_pointer(page: Page, player: FakePlayer) -> None:
    """Over an enemy a right click attacks, over wild deer and trees it gathers; S stops; the cursor says it first."""
    units = select_some(page)
    assert any(player.kind[unit] == VILLAGER for unit in units)
    player.running = False
    enemy = int(np.flatnonzero(player.owner == 1)[0])
    deer = DEER_BASE + 3
    page.until("window.game.playback.fraction === 1 && window.game.playback.queue.length === 0")
    for unit, order in ((enemy, "attack"), (deer, "gather")):
        place = page.run(
            "(() => { const w = game.world, s = w.slots.get(arguments[0]); game.camera.look(w.x[s], w.y[s]);"
            " return game.camera.screen(w.x[s], w.y[s]); })()",
            unit,
        )
        x, y = int(place[0]), int(place[1]) - 8
        page.mouse(("move", x + 1, y), ("move", x, y))
        assert page.run("document.getElementById('field').className") == f"cursor-{order}"
        page.mouse(("click", x, y), button=2)
        asked = player.asks[-1] if isinstance(player.asks[-1], Order) else player.asked(Order)[-1]
        assert isinstance(asked, Order)
        assert asked.order == order
        # Others may stand as near to the pointer; it is one of the same side.
        assert asked.target is not None
        assert asked.target >= DEER_BASE if order == "gather" else player.owner[asked.target] != 0
    page.keys("s")
    stop = player.asked(Order, 3)[2]
    assert isinstance(stop, Order)
    assert stop.order == "stop"


def test_training(page: Page, player: FakePlayer) -> None:
    """T selects the town centre, its buttons and keys train; what waits there is shown."""
    page.keys("t")
    page.until("document.querySelectorAll('.train').length === 4")
    assert page.run("document.querySelectorAll('.queued').length") == 2
    page.keys("w")
    page.run("void document.querySelectorAll('.train')[3].click()")
    orders = [ask for ask in player.asked(Order, 2) if isinstance(ask, Order)]
    assert [(order.order, order.kind, order.units) for order in orders] == [
        ("train", 1, (5000,)),
        ("train", 3, (5000,)),
    ]
    assert player.viewer.url
    assert page.run("game.world.kind[game.world.slots.get(5000)]") == TOWN_CENTRE


def test_pause_and_votes(page: Page, player: FakePlayer) -> None:
    """The button and P pause; whom the game waits for is said, and may be voted out."""
    page.keys("p")
    page.until("!document.getElementById('banner').hidden")
    assert page.run("document.getElementById('banner').textContent") == "Paused by Ann"
    page.until("document.getElementById('pause').textContent === 'Go on'")
    page.run("void document.getElementById('pause').click()")
    page.until("document.getElementById('banner').hidden")
    assert len(player.asked(Pause, 2)) == 2
    player.running = False
    player.viewer.publish_status(Status(paused=True, waiting=(2,), votes=(Votes(player=2, voters=(1,), needed=2),)))
    page.until("document.getElementById('banner').textContent.startsWith('Waiting for Cem')")
    assert page.run("document.getElementById('pause').textContent") == "Pause"
    assert "(1 of 2)" in page.run("document.querySelector('#banner button').textContent")
    page.run("void document.querySelector('#banner button').click()")
    assert player.asked(Vote) == [Vote(2)]
    player.viewer.publish_status(Status(note="Cem was dropped."))
    page.until("document.getElementById('banner').textContent === 'Cem was dropped.'")


def test_resigning_takes_two_clicks(page: Page, player: FakePlayer) -> None:
    """One asks, another one soon after does it."""
    page.run("void document.getElementById('resign').click()")
    assert page.run("document.getElementById('resign').textContent") == "Sure?"
    assert not [ask for ask in player.asks if isinstance(ask, Resign)]
    page.run("void document.getElementById('resign').click()")
    assert player.asked(Resign) == [Resign()]
    assert page.run("document.getElementById('resign').textContent") == "Resign"


def test_a_felled_tree_is_redrawn(page: Page, player: FakePlayer) -> None:
    """A tile that changes is told and drawn, also to a page that opens later."""
    tree = int(np.flatnonzero(player.tiles.reshape(-1) == 2)[0])
    player.tiles.reshape(-1)[tree] = 6
    page.until("window.game.terrain.names[window.game.terrain.tiles[arguments[0]]] === 'stumps'", tree)
    page.open(player.viewer.url)
    page.until("window.game && window.game.turn")
    assert page.run("window.game.terrain.names[window.game.terrain.tiles[arguments[0]]]", tree) == "stumps"


def test_roots_differ_in_red(page: Page, player: FakePlayer) -> None:
    """The strip is calm while roots agree and has a red cell for each turn in which they do not."""
    page.until("window.game.graphs.roots.size >= 3")
    assert page.run("document.getElementById('roots-title').dataset.differing") == "0"
    player.differs = True
    page.until("document.getElementById('roots-title').dataset.differing > 0")
    red = page.run(
        "(() => { const c = document.getElementById('roots'); const d = c.getContext('2d')"
        ".getImageData(c.width - 2, 1, 1, 1).data; return [...d.slice(0, 3)]; })()"
    )
    assert red == pytest.approx([255, 77, 79], abs=2)
    turn = page.run("Math.max(...window.game.graphs.roots.keys())")
    player.differs = False
    player.viewer.publish_root(turn, "ab" * 16, True)
    page.until("window.game.graphs.roots.get(arguments[0]).agreed === true", turn)


def test_the_desync_is_drawn_and_heals(page: Page, player: FakePlayer, tmp_path: Path) -> None:
    """The unit's field and line are named, both its places are drawn; healed, it walks home instead of jumping."""
    player.running = False
    page.until("window.game.playback.fraction === 1")
    x, y = page.run("[Math.round(game.camera.x) + 600, Math.round(game.camera.y) - 200]")
    true_x, true_y = x - 700, y + 500
    with player.lock:
        player.deer[17] = (x, y)
        player.cut = True
        player.show()
    # As soon as it is seen, with nothing known but the roots.
    nothing = dict.fromkeys(("mine", "theirs", "x", "y", "true_x", "true_y"), 0)
    player.viewer.publish_desync(Desync(index=812, turn=406, path="", unit=-1, line="", **nothing))
    page.until("document.getElementById('desync').textContent.includes('its root is not')")
    player.viewer.publish_desync(
        Desync(
            index=812,
            turn=406,
            path="deer/17/x",
            mine=x,
            theirs=true_x,
            unit=DEER_BASE + 17,
            x=x,
            y=y,
            true_x=true_x,
            true_y=true_y,
            line="world_deer.py:88",
        )
    )
    page.until("!document.getElementById('desync').hidden")
    page.until("document.getElementById('desync').textContent.includes('deer')")
    words = page.run("document.getElementById('desync').textContent")
    assert "deer/17/x" in words
    assert f"is {x} here, {true_x} everywhere else" in words
    assert "world_deer.py:88" in words
    time.sleep(0.3)
    # The colour of either place, counted around it; both in one look, since the browser warns of more.
    found = page.run(
        "(() => { const w = innerWidth, data = game.painter.context.getImageData(0, 0, w, innerHeight).data;"
        " return arguments[0].map(([x, y, colour]) => { let n = 0; const [sx, sy] = game.camera.screen(x, y);"
        " for (let dy = -60; dy < 60; dy += 1) for (let dx = -60; dx < 60; dx += 1) {"
        " const at = (Math.round(sy + dy) * w + Math.round(sx + dx)) * 4;"
        " n += colour.every((value, i) => Math.abs(value - data[at + i]) < 5); } return n; }); })()",
        [[x, y, [255, 77, 79]], [true_x, true_y, [143, 224, 196]]],
    )
    assert min(found) > 30
    page.screenshot(tmp_path / "desync.png")
    cuts = page.run("window.game.world.cuts")
    with player.lock:
        player.deer[17] = (true_x, true_y)
    player.running = True
    player.viewer.publish_healed(820, 1.3)
    page.until("document.getElementById('desync').textContent.startsWith('Healed after 1.3 s')")
    shown = "window.game.world.x[window.game.world.slots.get(100017)]"
    on_its_way = page.until(f"{shown} < arguments[0] - 20 && {shown}", x)
    assert on_its_way > true_x + 100
    page.until(f"{shown} < arguments[0]", true_x + 100)
    assert page.run("window.game.world.cuts") == cuts


def test_the_result(page: Page, player: FakePlayer) -> None:
    """The match ends on a page that names the winner and the final root."""
    player.result = Result(winner=0, turn=player.turn, index=900, root="0123456789abcdef" * 2)
    page.until("!document.getElementById('result').hidden")
    assert page.run("document.querySelector('#result h1').textContent") == "Victory"
    assert page.run("document.getElementById('final-root').textContent") == "0123456789abcdef" * 2
    page.run("void document.querySelector('#result button').click()")
    time.sleep(0.5)
    assert page.run("document.getElementById('result').hidden")
