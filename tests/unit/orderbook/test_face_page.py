"""The page in a real browser: it shows the exchange's book, and finds, names and mends a level that is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demos.orderbook.records import BUY, SELL
from tests.browser import Page, chromium
from tests.face_stage import FaceStage

NODES = [
    {
        "address": f"127.0.0.1:4{number}000",
        "node_id": number,
        "role": "leader" if number == 2 else "follower",
        "term": 3,
        "commit_index": 900,
        "applied_index": 900 - 100 * (number == 3),
        "snapshot_index": 0,
        "root_index": 896,
        "root": "8f21ab93c4d5e6f7",
        "log_bytes": 1,
        "standing": "well",
        "desync": "",
        "error": "",
    }
    for number in (1, 2, 3)
]
LADDER = """[...document.querySelectorAll('#%s .row')].filter(row => row.style.visibility === 'visible')
    .map(row => [row.dataset.price, row.dataset.quantity])"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def stage() -> Iterator[FaceStage]:
    with FaceStage(seed=1) as stage:
        stage.trade(4_000)
        yield stage


@pytest.fixture
def page(browser: Page, stage: FaceStage) -> Iterator[Page]:
    browser.open(stage.url)
    browser.until("window.exchange && window.exchange.copy && window.exchange.copy.book !== null")
    yield browser
    browser.driver.get("about:blank")


def ladder(page: Page, stage: FaceStage) -> tuple[list[Any], list[Any]]:
    """(what the page shows, what the query says) of both sides of the first market, best first."""
    shown, asked = [], []
    for name, side in (("asks", SELL), ("bids", BUY)):
        rows = page.run(LADDER % name)
        shown.append(rows[::-1] if name == "asks" else rows)
        depth = stage.call(lambda side=side: stage.machine.depth(1, side, 25))
        found = [[f"{price // 100}.{price % 100:02d}", str(quantity)] for price, quantity, _ in depth]
        asked.append(found[: len(shown[-1])])
    return shown, asked


def until_equal(page: Page, stage: FaceStage) -> None:
    """The page draws with the next frame: give it some."""
    deadline = time.monotonic() + 10.0
    while True:
        shown, asked = ladder(page, stage)
        if shown == asked and len(shown[0]) > 10:
            return
        assert time.monotonic() < deadline, (shown, asked)
        time.sleep(0.05)


def test_the_ladder_is_the_query_and_every_update_is_verified(page: Page, stage: FaceStage, tmp_path: Path) -> None:
    """Forty flushes of trading, in sight: equal levels, all checksums right, nothing in the console, a full picture."""
    stage.call(lambda: stage.servers.hub.tell_nodes(NODES))
    for _ in range(40):
        stage.trade(30)
    until_equal(page, stage)
    page.until("window.exchange.copy.updates >= 30")
    verified, updates = page.run("[window.exchange.copy.verified, window.exchange.copy.updates]")
    assert verified == updates
    assert page.run("document.querySelectorAll('#trade-rows .row').length") > 10
    assert page.run("[...document.querySelectorAll('.node .role')].map(one => one.textContent)") == [
        "FOLLOWER",
        "LEADER",
        "FOLLOWER",
    ]
    assert "roots agree" in page.run("document.getElementById('agreement').textContent")
    assert page.run("document.querySelectorAll('.node .lags').length") == 1
    picture = page.screenshot(tmp_path / "exchange.png")
    assert len(picture) > 60_000, "a blank page is a few thousand bytes"
    assert (
        page.run("""(() => { const canvas = document.getElementById('candles');
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(new Uint32Array(data.buffer)).size; })()""")
        > 10
    )
    assert page.errors() == []


def test_a_level_that_was_altered_is_red_named_and_mended(page: Page, stage: FaceStage) -> None:
    """One quantity of the page's copy is spoiled: the next update finds it, its row is red, a snapshot mends it."""
    stage.trade(60)
    page.until("window.exchange.copy.updates >= 1")
    price = page.run("window.exchange.copy.damage(false, 5)")
    verified, updates = page.run("[window.exchange.copy.verified, window.exchange.copy.updates]")
    assert verified == updates
    # An order away from the damaged level, so that the update does not happen to repair it.
    best = stage.call(lambda: stage.machine.depth(1, BUY, 1))[0][0]
    stage.run("birch", "place", 10**12, 1, BUY, 100, best)
    page.until("window.exchange.copy.incidents.length === 1 && window.exchange.copy.suspect === null")
    incident = page.run("window.exchange.copy.incidents[0]")
    assert incident["update"] == updates + 1
    assert incident["mine"] != incident["theirs"]
    assert [(level["isBid"], level["price"]) for level in incident["levels"]] == [(False, price)]
    page.until("document.querySelectorAll('.row.is-bad').length === 1")
    assert page.run("document.querySelector('.row.is-bad').dataset.price") == price
    # Its colour comes with a flash.
    page.until("getComputedStyle(document.querySelector('.row.is-bad')).backgroundColor === 'rgb(255, 45, 79)'")
    assert f"update {updates + 1:,}" in page.run("document.getElementById('check-text').textContent")
    until_equal(page, stage)
    for _ in range(5):
        stage.trade(40)
    page.until("document.querySelectorAll('.row.is-bad').length === 0")
    page.until("document.getElementById('check').dataset.state === 'right'")
    until_equal(page, stage)
    verified, updates = page.run("[window.exchange.copy.verified, window.exchange.copy.updates]")
    assert verified == updates - 1
    assert page.errors() == []


def ask_at(stage: FaceStage, place: int) -> int:
    """The price of the ask at this place, from 0."""
    return int(stage.call(lambda: stage.machine.depth(1, SELL, place + 1))[place][0])


def wrong_row(page: Page, price: str) -> dict[str, Any]:
    """The one incident, when it is over, whose only level has this price; its row is red and the update is named."""
    page.until("window.exchange.copy.incidents.length === 1 && window.exchange.copy.suspect === null")
    incident: dict[str, Any] = page.run("window.exchange.copy.incidents[0]")
    assert [(level["isBid"], level["price"]) for level in incident["levels"]] == [(False, price)]
    page.until("document.querySelectorAll('.row.is-bad').length === 1")
    assert page.run("document.querySelector('.row.is-bad').dataset.price") == price
    assert f"update {incident['update']:,}" in page.run("document.getElementById('check-text').textContent")
    return incident


def test_an_altered_level_is_named_though_it_is_traded_at_once(page: Page, stage: FaceStage) -> None:
    """The very next update sets that level: it does not mend it, and the snapshot still finds it."""
    stage.trade(60)
    page.until("window.exchange.copy.updates >= 1")
    price = page.run("window.exchange.copy.damage(false, 5)")
    updates = page.run("window.exchange.copy.updates")
    stage.run("birch", "place", 10**12, 1, SELL, 100, ask_at(stage, 5))
    incident = wrong_row(page, price)
    assert incident["update"] == updates + 1
    assert incident["levels"][0]["mine"] != incident["levels"][0]["theirs"] is not None
    until_equal(page, stage)
    assert page.errors() == []


def test_an_altered_level_that_is_gone_keeps_a_red_row_for_a_while(page: Page, stage: FaceStage) -> None:
    """It is bought away before the page has found it: the row says what the page held, then it is gone, too."""
    best = ask_at(stage, 0)
    stage.run("birch", "place", 10**12, 1, SELL, 100, best - 1)  # alone there
    page.until("window.exchange.copy.book.asks.levels[0].quantity === '100'")
    price = page.run("window.exchange.copy.damage(false, 0)")
    assert price == f"{(best - 1) // 100}.{(best - 1) % 100:02d}"
    stage.run("birch", "cancel", 10**12)
    incident = wrong_row(page, price)
    assert incident["levels"][0]["mine"] is not None
    assert incident["levels"][0]["theirs"] is None
    page.until("document.querySelectorAll('.row.is-bad').length === 0")
    until_equal(page, stage)
    assert page.errors() == []


def test_the_button_damages_a_level_that_stays(page: Page, stage: FaceStage) -> None:
    """One in the middle of those that the checksum covers: neither traded away nor pushed out by the next one."""
    for _ in range(10):
        page.run("document.getElementById('damage').click()")
        assert page.run(
            """((damaged) => damaged.side.levels.findIndex((one) => one.price === damaged.price))(
            window.exchange.copy.damaged)"""
        ) in (5, 6, 7)


def test_another_market_is_shown_when_it_is_chosen(page: Page, stage: FaceStage) -> None:
    """Its own book, checked as well; the one before is no longer subscribed to."""
    page.run("document.querySelector('[data-pair=\"FERN/USD\"]').click()")
    page.until("window.exchange.pair === 'FERN/USD' && window.exchange.copy.book !== null")
    stage.trade(600)
    page.until("window.exchange.copy.updates >= 1 && window.exchange.copy.verified === window.exchange.copy.updates")
    best = stage.call(lambda: stage.machine.depth(3, SELL, 1))[0][0]
    page.until(
        "window.exchange.copy.book.asks.levels[0].price === arguments[0]", f"{best // 10_000}.{best % 10_000:04d}"
    )
    books = stage.call(
        lambda: [key for one in stage.servers.hub.readers for key in one.subscriptions if key[0] == "book"]
    )
    assert books == [("book", "FERN/USD", 25)]
    assert page.errors() == []


def test_a_state_in_doubt_is_said_and_not_shown(page: Page, stage: FaceStage) -> None:
    """The exchange differs from its cluster: no levels, no trades, the reason; then a new book, verified again."""
    stage.trade(60)
    until_equal(page, stage)
    stage.call(lambda: stage.face.halt("index 7: the root is another one"))
    page.until("document.getElementById('check-note').textContent === 'index 7: the root is another one'")
    assert page.run("document.getElementById('connection').textContent") == "maintenance"
    page.until("document.querySelectorAll('#trade-rows .row').length === 0")
    assert page.run(LADDER % "asks") == page.run(LADDER % "bids") == []
    stage.skip(100)
    until_equal(page, stage)
    stage.trade(300)
    page.until("document.getElementById('check').dataset.state === 'right'")
    assert page.run("document.getElementById('connection').textContent") == "online"
    assert page.errors() == []
