"""The page of those who do not play: a spectator's, a replay's with its scrubber, and one whose player went away."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from demos.rts_lockstep.viewing.view import Order, Seek, Speed
from demos.rts_lockstep.viewing.viewer import Viewer
from tests.browser import Page, chromium
from tests.documents import ROOT
from tests.unit.rts.fake_player import TURNS_RECORDED, FakePlayer

pytestmark = pytest.mark.xdist_group("chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


def test_a_spectator_sees_all_and_orders_nobody(browser: Page) -> None:
    """A spectator may select anybody's units; a right click is not an order, and there is nothing to pause."""
    with FakePlayer(you=None, units=400) as player:
        browser.open(player.viewer.url)
        browser.until("window.game && window.game.turn")
        assert browser.run("document.getElementById('resources').textContent") == "Spectator"
        assert browser.run("document.getElementById('pause').hidden")
        browser.mouse(("down", 330, 60), ("move", 700, 400), ("up", 1090, 690))
        assert browser.until("window.game.selected.size") > 20
        browser.mouse(("click", 700, 400), button=2)
        browser.until("window.game.turn.turn >= arguments[0]", browser.run("window.game.turn.turn") + 2)
        assert not [ask for ask in player.asks if isinstance(ask, Order)]
        assert browser.errors() == []


def test_who_is_out_is_told_so_and_has_nothing_to_pause(browser: Page) -> None:
    with FakePlayer(units=100) as player:
        browser.open(player.viewer.url)
        browser.until("window.game && window.game.turn")
        told, pause = browser.run(
            """(() => {
              const { turn, hud } = window.game;
              turn.players[0].alive = false;
              hud.draw();
              return [document.getElementById("resources").textContent, document.getElementById("pause").hidden];
            })()"""
        )
        assert told.endswith("Your town has fallen: you look on")
        assert pause
        assert browser.errors() == []


def test_the_scrubber(browser: Page) -> None:
    """A click on the scrubber asks for that turn, and the page stands there; speeds and Stop are asked for."""
    with FakePlayer(replay=True, units=400) as player:
        browser.open(player.viewer.url)
        browser.until("window.game && window.game.turn")
        assert browser.run("document.getElementById('resources').textContent") == "Replay"
        browser.run("void document.querySelectorAll('#speeds button')[3].click()")
        assert player.asked(Speed) == [Speed(4.0)]
        browser.until("document.querySelector('#speeds .on')?.textContent.startsWith('4')")
        browser.run("void document.getElementById('play').click()")
        browser.until("document.getElementById('play').textContent === 'Play'")
        assert player.asked(Speed, 2)[-1] == Speed(0.0)
        left, width, top = browser.run(
            "(({left, width, top}) => [left, width, top + 8])"
            "(document.getElementById('scrubber').getBoundingClientRect())"
        )
        browser.mouse(("click", int(left + width * 0.75), int(top)))
        wanted = player.asked(Seek)[-1]
        assert isinstance(wanted, Seek)
        assert wanted.turn == pytest.approx(TURNS_RECORDED * 0.75, abs=8)
        browser.until("window.game.turn.turn === arguments[0]", wanted.turn)
        assert browser.run("document.getElementById('replay-turn').textContent").startswith(f"turn {wanted.turn} of")
        # A seek is a cut: everybody stands where the turn has them, nobody walks there.
        assert browser.run(
            "(({drawn, x, y, toX, toY}) => drawn.every((slot) => x[slot] === toX[slot] && y[slot] === toY[slot]))"
            "(window.game.world)"
        )
        browser.run("void document.getElementById('play').click()")
        assert player.asked(Speed, 3)[-1] == Speed(4.0)
        assert browser.errors() == []


def test_the_result_leaves_the_scrubber_within_reach_and_goes_when_the_replay_is_turned_back(browser: Page) -> None:
    with FakePlayer(replay=True, units=100) as player:
        browser.open(player.viewer.url)
        browser.until("window.game && window.game.turn")
        top, hidden = browser.run(
            """(() => {
              const { turn, hud } = window.game;
              turn.result = { winner: 0, root: "ab", turn: 7, index: 9 };
              hud.draw();
              const { left, top } = document.getElementById("play").getBoundingClientRect();
              const found = document.elementFromPoint(left + 5, top + 5).id;
              turn.result = null;
              hud.draw();
              return [found, document.getElementById("result").hidden];
            })()"""
        )
        assert top == "play"
        assert hidden
        assert browser.errors() == []


def test_a_recorded_match_is_scrubbed_through(browser: Page) -> None:
    """The `replay` command and its page together: it plays, stands at the turn that was clicked, and goes back."""
    command = [sys.executable, "-m", "demos.rts_lockstep", "replay", str(ROOT / "tests/golden/lockstep/v1.log")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout)
            url = next(line.split()[-1] for line in lines if line.startswith("the page: "))
            browser.open(url)
            browser.errors()  # of the page before
            # Those who had not joined yet when the log began have their names, too.
            assert browser.until("window.game?.hello?.players.map((player) => player.name)") == ["Ann", "Bob"]
            last = browser.until("window.game?.turn?.replay?.last")
            browser.until("window.game.turn.turn >= 3")
            browser.run("void document.getElementById('play').click()")
            browser.until("document.getElementById('play').textContent === 'Play'")
            # The unit and where it stands are those of the log, whichever way one comes to the turn.
            places = []
            for part in (0.75, 0.25, 0.75):
                scrub = "(({left, width, top}) => [left, width, top + 8])"
                left, width, top = browser.run(f"{scrub}(document.getElementById('scrubber').getBoundingClientRect())")
                browser.mouse(("click", int(left + width * part), int(top)))
                turn = browser.until("Math.abs(game.turn.turn - arguments[0]) < 9 && game.turn.turn", int(last * part))
                browser.until("game.playback.fraction === 1")
                places.append((turn, browser.run("[...game.world.drawn.map((slot) => game.world.x[slot])]")))
            assert places[0] == places[2] != places[1]
            browser.run("void document.getElementById('play').click()")
            browser.until("game.turn.turn > arguments[0]", places[2][0])
            assert browser.errors() == []
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_the_page_says_when_its_player_is_gone_and_comes_back(browser: Page) -> None:
    """Without the player's process the page says so; when the process is back it goes on by itself."""
    with FakePlayer(units=100) as player:
        browser.open(player.viewer.url)
        browser.until("window.game && window.game.turn")
        hello, port = player.viewer._hello, player.viewer.port
    browser.until("!document.getElementById('lost').hidden")
    with Viewer(hello, lambda ask: None, port=port):
        browser.until("document.getElementById('lost').hidden")
    browser.errors()  # the failed attempts in between are in the console, as they should be
