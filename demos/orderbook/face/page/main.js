// The page: one market at a time, everything that is shown of it, and how the cluster stands.

import { Book, parse } from "./book.js";
import { CandleChart } from "./candles.js";
import { CheckedBook } from "./checked.js";
import { drawDepths } from "./depths.js";
import { Feed } from "./feed.js";
import { Ladder } from "./ladder.js";
import { drawNodes } from "./nodes.js";

const DEPTH = 25;
const TRADES_SHOWN = 60;
const RATE_MILLISECONDS = 1500; // what a rate is measured over
const WRONG_MILLISECONDS = 6000;
const LIST_MILLISECONDS = 2500;

const byId = (id) => document.getElementById(id);
const ladder = new Ladder(byId("asks"), byId("bids"));
const chart = new CandleChart(byId("candles"));

// For tests and the console.
const exchange = { markets: [], pair: null, copy: null, trades: [], nodes: [], state: "connecting", trouble: "" };
window.exchange = exchange;

const lasts = new Map(); // pair -> last price, as text
const dirty = { book: true, trades: true, candles: true };
let facts = null;
let tradeCount = 0;
let wrongUntil = 0;
let candleSeconds = 5;

const bookSubscription = { name: "book", depth: DEPTH };
const candleSubscription = () => ({ name: "candle", seconds: candleSeconds });

const feed = new Feed(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`, {
  message: takeMessage,
  event: takeEvent,
  state(state) {
    exchange.state = state;
    byId("connection").dataset.state = state;
    byId("connection").textContent = state;
    document.body.dataset.state = state;
    if (state === "offline") exchange.copy?.forget();
  },
});
feed.subscribe({ name: "nodes" });

function takeEvent(event) {
  if (event.event === "systemStatus") takeStatus(event);
  if (event.channelName === "trade" && event.status === "subscribed" && event.pair === exchange.pair) {
    exchange.trades = []; // what comes next begins with the trades of the past
    tradeCount = 0;
  }
  if (event.event === "nodes") {
    exchange.nodes = event.nodes;
    drawNodes(byId("node-cards"), byId("agreement"), event.nodes);
    takeFacts(event.face);
  }
}

// In maintenance the exchange serves nothing, since its own state is in doubt; books come by themselves afterwards.
function takeStatus(event) {
  const isBack = exchange.trouble !== "";
  exchange.trouble = event.status === "online" ? "" : event.message ?? event.status;
  if (exchange.trouble) {
    feed.handlers.state("maintenance");
    exchange.trades = [];
    tradeCount = 0;
    chart.clear(candleSeconds);
    exchange.copy?.forget();
    const nothing = new Book(DEPTH);
    ladder.draw(nothing);
    drawDepths(byId("depths"), nothing, chart.decimals);
    byId("last-price").textContent = "–";
    byId("spread-text").textContent = byId("mid-text").textContent = "";
    note("wrong", "the exchange's own state is in doubt", exchange.trouble);
    dirty.trades = dirty.candles = true;
  } else if (isBack) {
    feed.handlers.state("online");
    wrongUntil = 0;
  }
}

function takeMessage(message) {
  const pair = message[message.length - 1];
  const channel = message[message.length - 2];
  const book = parse(message);
  if (book !== null) {
    if (pair === exchange.pair) exchange.copy.take(book);
  } else if (channel === "trade") {
    takeTrades(pair, message[1]);
  } else if (channel === `candle-${candleSeconds}` && pair === exchange.pair) {
    chart.take(message[1]);
    dirty.candles = true;
  }
}

function takeTrades(pair, rows) {
  const price = rows.at(-1)[0];
  move(byId(`market-${pair}`), lasts.get(pair), price);
  if (pair === exchange.pair) {
    move(byId("last-price"), lasts.get(pair), price);
    byId("last-price").textContent = price;
    tradeCount += rows.length;
    exchange.trades.unshift(...[...rows].reverse());
    exchange.trades.length = Math.min(exchange.trades.length, TRADES_SHOWN);
    dirty.trades = true;
  }
  lasts.set(pair, price);
  const shown = byId(`market-${pair}`)?.querySelector("span");
  if (shown) shown.textContent = price;
}

function move(element, before, after) {
  if (element && before !== undefined && before !== after) {
    element.dataset.move = Number(after) > Number(before) ? "up" : "down";
  }
}

function takeFacts(face) {
  const now = performance.now();
  facts ??= { now, event: face.event };
  if (now - facts.now >= RATE_MILLISECONDS) {
    const rate = (1000 * (face.event - facts.event)) / (now - facts.now);
    byId("rate").textContent = Math.round(rate).toLocaleString("en");
    facts = { now, event: face.event };
  }
  byId("log-index").textContent = face.index.toLocaleString("en");
  byId("sequence").textContent = face.sequence.toLocaleString("en");
  byId("orders").textContent = face.orders.toLocaleString("en");
}

// --- the market on show ----------------------------------------------------------------------------------------------

function show(pair) {
  if (exchange.pair !== null) {
    feed.unsubscribe(bookSubscription, exchange.pair);
    feed.unsubscribe(candleSubscription(), exchange.pair);
  }
  exchange.pair = pair;
  exchange.trades = [];
  tradeCount = 0;
  wrongUntil = 0;
  ladder.clear();
  chart.clear(candleSeconds);
  chart.decimals = exchange.markets.find((market) => market.pair === pair).decimals;
  exchange.copy = new CheckedBook(pair, {
    resubscribe: () => feed.subscribe(bookSubscription, pair),
    changed,
  });
  for (const button of byId("markets").children) button.classList.toggle("is-on", button.dataset.pair === pair);
  byId("chart-pair").textContent = pair;
  byId("book-depth").textContent = `${DEPTH} levels a side`;
  byId("last-price").textContent = lasts.get(pair) ?? "–";
  feed.subscribe(bookSubscription, pair);
  feed.subscribe(candleSubscription(), pair);
  feed.subscribe({ name: "trade" }, pair); // the trades so far, again
  dirty.book = dirty.trades = dirty.candles = true;
}

function changed(what, detail) {
  dirty.book = true;
  if (what === "wrong") {
    wrongUntil = performance.now() + WRONG_MILLISECONDS;
    note("wrong", `update ${detail.update.toLocaleString("en")}: ${detail.mine} is not ${detail.theirs}`,
      "checksum differs: resubscribing");
  } else if (what === "healed") {
    ladder.mark(detail);
    wrongUntil = performance.now() + WRONG_MILLISECONDS;
    const levels = detail.levels.map((level) => `${level.price}: ${level.mine ?? "none"} was ${level.theirs ?? "none"}`);
    note("wrong", `update ${detail.update.toLocaleString("en")}: ${detail.mine} is not ${detail.theirs}`,
      `${levels.slice(0, 2).join(", ") || "no level differs any more"} · new snapshot in ${Math.round(detail.milliseconds)} ms`);
  }
}

function note(state, text, small) {
  byId("check").dataset.state = state;
  byId("check-text").textContent = text;
  byId("check-note").textContent = small;
}

function drawBook() {
  const { copy } = exchange;
  if (copy === null || copy.book === null) return;
  ladder.draw(copy.book);
  const [ask, bid] = [copy.book.asks.levels[0], copy.book.bids.levels[0]];
  const decimals = chart.decimals;
  if (ask && bid) {
    const spread = Number(ask.price) - Number(bid.price);
    byId("spread-text").textContent = `spread ${spread.toFixed(decimals)}`;
    byId("mid-text").textContent = `mid ${((Number(ask.price) + Number(bid.price)) / 2).toFixed(decimals + 1)}`;
  }
  drawDepths(byId("depths"), copy.book, decimals);
  if (copy.suspect === null && performance.now() > wrongUntil) {
    const wrong = copy.incidents.length;
    note("right", `CRC32 ${copy.checksum}`,
      `${copy.verified.toLocaleString("en")} of ${copy.updates.toLocaleString("en")} updates verified`
        + (wrong ? ` · last wrong: update ${copy.incidents[0].update.toLocaleString("en")}` : ""));
  }
}

function drawTrades() {
  const rows = byId("trade-rows");
  const count = Math.min(exchange.trades.length, Math.ceil(rows.clientHeight / 20));
  while (rows.children.length < count) {
    const row = document.createElement("div");
    row.className = "row";
    row.append(...["span", "span", "span"].map((name) => document.createElement(name)));
    rows.append(row);
  }
  while (rows.children.length > count) rows.lastChild.remove();
  exchange.trades.slice(0, count).forEach(([price, quantity, time, side], place) => {
    const row = rows.children[place];
    row.dataset.side = side;
    row.children[0].textContent = price;
    row.children[1].textContent = Number(quantity).toLocaleString("en");
    row.children[2].textContent = new Date(Number(time) * 1000).toISOString().slice(11, 23);
  });
  byId("trade-count").textContent = tradeCount ? `${tradeCount.toLocaleString("en")} seen` : "";
}

function drawCandles() {
  chart.draw();
  const last = chart.last;
  byId("candle-text").textContent = last === undefined ? ""
    : ["open", "high", "low", "close"].map((name) => `${name[0].toUpperCase()} ${last[name].toFixed(chart.decimals)}`).join("  ")
      + `  V ${last.volume.toLocaleString("en")}`;
}

function frame() {
  if (dirty.book || ladder.bad.size || (wrongUntil && performance.now() > wrongUntil)) drawBook();
  if (wrongUntil && performance.now() > wrongUntil) wrongUntil = 0;
  if (dirty.trades) drawTrades();
  if (dirty.candles) drawCandles();
  dirty.book = dirty.trades = dirty.candles = false;
  requestAnimationFrame(frame);
}

window.addEventListener("resize", () => {
  dirty.book = dirty.trades = dirty.candles = true;
});

// A level of the best ten, since the checksum sees no others; but not of the first, which are traded away, nor of the
// last, which the next better price pushes out.
byId("damage").addEventListener("click", () => {
  if (exchange.copy?.book) exchange.copy.damage(Math.random() < 0.5, 5 + Math.floor(Math.random() * 3));
});

for (const button of document.querySelectorAll(".switch button")) {
  button.addEventListener("click", () => {
    if (exchange.pair === null) return;
    feed.unsubscribe(candleSubscription(), exchange.pair);
    candleSeconds = Number(button.dataset.seconds);
    for (const one of document.querySelectorAll(".switch button")) one.classList.toggle("is-on", one === button);
    chart.clear(candleSeconds);
    feed.subscribe(candleSubscription(), exchange.pair);
    dirty.candles = true;
  });
}

// --- which markets there are -----------------------------------------------------------------------------------------

async function listMarkets() {
  let markets = [];
  try {
    markets = await (await fetch("/markets")).json();
  } catch {
    // The exchange is away; it is asked again.
  }
  for (const market of markets.slice(exchange.markets.length)) {
    const button = document.createElement("button");
    button.type = "button";
    button.id = `market-${market.pair}`;
    button.dataset.pair = market.pair;
    button.append(market.symbol, document.createElement("span"));
    button.addEventListener("click", () => market.pair === exchange.pair || show(market.pair));
    byId("markets").append(button);
    exchange.markets.push(market);
    feed.subscribe({ name: "trade" }, market.pair);
  }
  if (exchange.pair === null && exchange.markets.length) show(exchange.markets[0].pair);
  setTimeout(listMarkets, exchange.markets.length ? LIST_MILLISECONDS : LIST_MILLISECONDS / 5);
}

listMarkets();
requestAnimationFrame(frame);
