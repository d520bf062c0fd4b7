// The panels around the field: what the player has, whom he plays with, and what holds the game.

import { $, make, show } from "./dom.js";
import { colourOf } from "./palette.js";

const RTT_GOOD = 120; // milliseconds
const RTT_FAIR = 300;
const TOAST_MS = 3500;
const SURE_MS = 3000; // who clicks twice within it is sure
const KEYS = [
  ["Left drag", "select units; double click: all of a kind in view"],
  ["Right click", "move, attack, gather: the pointer shows which"],
  ["A, then click", "attack whatever is on the way"],
  ["S", "stop"],
  ["Shift 1-9 / 1-9", "keep a group / call it; twice: go there"],
  ["T", "town centre; then Q W E R train"],
  [".", "next idle villager"],
  ["Arrows, edges, middle drag", "look around; wheel: zoom"],
  ["P / G / H", "pause / graphs / these keys"],
];

const icon = (name) => make(`i.icon.${name}`);
const amount = (name, value) => make("span.amount", { title: name }, icon(name), String(value));

export class Hud {
  constructor(game) {
    this.game = game;
    this.status = { paused: false, paused_by: null, waiting: [], votes: [], note: "" };
    $("pause").onclick = () => game.send({ type: "pause" });
    $("resign").onclick = () => this.#resign();
    $("charts").onclick = () => this.press("g");
    $("help").onclick = () => this.press("h");
    $("keys").append(
      make("h2", {}, "Keys"),
      make("dl", {}, ...KEYS.flatMap(([key, text]) => [make("dt", {}, key), make("dd", {}, text)])),
    );
  }

  begin(hello) {
    $("subtitle").textContent = hello.title;
    $("result").hidden = true;
    $("pause").hidden = $("resign").hidden = hello.replay || hello.you === null;
    document.title = hello.you === null ? "Lockstep" : `Lockstep - ${hello.players[hello.you]?.name}`;
    this.status = { paused: false, paused_by: null, waiting: [], votes: [], note: "" };
    this.draw();
  }

  press(key) {
    if (key === "g") $("graphs").hidden = !$("graphs").hidden;
    else if (key === "h") $("keys").hidden = !$("keys").hidden;
    else if (key === "p" && !$("pause").hidden) this.game.send({ type: "pause" });
    else return false;
    return true;
  }

  // The first click asks, the second one does it.
  #resign() {
    const button = $("resign");
    const ask = (text) => (button.textContent = text);
    clearTimeout(this.sure);
    if (button.textContent === "Resign") {
      ask("Sure?");
      this.sure = setTimeout(ask, SURE_MS, "Resign");
    } else {
      ask("Resign");
      this.game.send({ type: "resign" });
    }
  }

  toast(text, alarm = false) {
    const element = make(alarm ? "div.toast.alarm" : "div.toast", {}, text);
    $("toasts").append(element);
    setTimeout(() => element.remove(), TOAST_MS);
  }

  draw() {
    const { turn, hello } = this.game;
    if (!hello) return;
    this.#banner();
    if (!turn) return;
    this.#resources(turn, hello);
    this.#clock(turn);
    this.#players(turn, hello);
    // The button pauses a match that waits for somebody, too: then it is not "Go on".
    $("pause").textContent = this.status.paused && this.status.paused_by !== null ? "Go on" : "Pause";
    if (turn.result || turn.players[hello.you]?.alive === false) $("pause").hidden = $("resign").hidden = true;
    if (turn.result) this.#result(turn, hello);
    else {
      $("result").hidden = true; // a replay that was turned back
      this.resultShown = null;
    }
  }

  #resources(turn, hello) {
    const { you } = hello;
    const mine = you === null ? null : turn.players[you];
    const key = JSON.stringify([you, hello.replay, mine?.alive, mine?.food, mine?.wood, mine?.units, mine?.population_max]);
    show($("resources"), key, () => {
      if (!mine) return [make("span.tag", {}, hello.replay ? "Replay" : "Spectator")];
      const most = mine.population_max ? `${mine.units} / ${mine.population_max}` : mine.units;
      return [
        make("span.swatch", { style: { background: colourOf(hello, you) } }),
        make("b", {}, hello.players[you]?.name ?? ""),
        amount("food", mine.food),
        amount("wood", mine.wood),
        amount("people", most),
        mine.alive ? null : make("span.tag", {}, "Your town has fallen: you look on"),
      ].filter(Boolean);
    });
  }

  #clock(turn) {
    show($("clock"), `${turn.turn},${turn.turn_ms}`, () => [
      make("span.amount", { title: "turn" }, `turn ${turn.turn}`),
      make("span.amount", { title: "length of a turn: it follows the slowest player" }, `${turn.turn_ms} ms`),
      make("span.amount", { title: "index of the log's last entry" }, `entry ${turn.index}`),
    ]);
  }

  #players(turn, hello) {
    const lines = turn.players.map((line, number) => ({ ...line, number, name: hello.players[number]?.name ?? "?" }));
    const waits = this.status.waiting;
    show($("players"), JSON.stringify([lines, waits, hello.you]), () =>
      lines.map((line) => {
        const quality = !line.connected ? "gone" : line.rtt_ms <= RTT_GOOD ? "good" : line.rtt_ms <= RTT_FAIR ? "fair" : "bad";
        const classes = ["player", line.alive ? "" : "out", line.number === hello.you ? "you" : ""].filter(Boolean);
        const link = line.connected ? `${line.rtt_ms} ms` : "gone";
        return make(
          `div.${classes.join(".")}`,
          { title: `round trip ${line.rtt_ms} ms, slow frames ${line.frame_ms} ms` },
          make("span.swatch", { style: { background: colourOf(hello, line.number) } }),
          make("span.name", {}, line.name),
          make("span.count", {}, line.alive ? String(line.units) : "out"),
          make(`span.bars.${quality}`, {}, make("i"), make("i"), make("i")),
          make("span.rtt", {}, waits.includes(line.number) ? "waiting" : link),
        );
      }),
    );
  }

  // One line across the field: the newest reason for which nothing moves.
  #banner() {
    const { hello, turn } = this.game;
    const { status } = this;
    const name = (number) => hello.players[number]?.name ?? "?";
    const paused = status.paused || turn?.paused;
    const shownKey = JSON.stringify([status, paused, hello.you]);
    $("banner").hidden = !(paused || status.waiting.length || status.votes.length || status.note) || Boolean(turn?.result);
    show($("banner"), shownKey, () => {
      const lines = [];
      if (status.waiting.length) lines.push(make("p", {}, make("i.wait"), `Waiting for ${status.waiting.map(name).join(", ")}`));
      else if (paused) lines.push(make("p", {}, status.paused_by === null ? "Paused" : `Paused by ${name(status.paused_by)}`));
      if (status.note) lines.push(make("p.note", {}, status.note));
      for (const player of new Set([...status.waiting, ...status.votes.map((vote) => vote.player)])) {
        const vote = status.votes.find((one) => one.player === player);
        const count = vote ? ` (${vote.voters.length} of ${vote.needed})` : "";
        const voted = vote?.voters.includes(hello.you) || hello.you === null || hello.you === player;
        lines.push(
          make(
            "button",
            { disabled: voted, onclick: () => this.game.send({ type: "vote", player }) },
            `Go on without ${name(player)}${count}`,
          ),
        );
      }
      return lines;
    });
  }

  #result(turn, hello) {
    const { winner, root, turn: last } = turn.result;
    const won = winner !== null && winner === hello.you;
    const heading = winner === null ? "Nobody is left" : hello.you === null ? "The match is over" : won ? "Victory" : "Defeat";
    const element = $("result");
    show(element, JSON.stringify([turn.result, hello.you]), () => [
      make(
        won || hello.you === null ? "div.card.panel" : "div.card.panel.lost",
        {},
        make("h1", {}, heading),
        winner === null
          ? null
          : make(
              "p",
              {},
              make("span.swatch", { style: { background: colourOf(hello, winner) } }),
              `${hello.players[winner]?.name} holds the last town centre.`,
            ),
        make(
          "table",
          {},
          make("tr", {}, ...["", "player", "units", "food", "wood", "held until turn"].map((text) => make("th", {}, text))),
          ...turn.players.map((line, number) =>
            make(
              "tr",
              {},
              make("td", {}, make("span.swatch", { style: { background: colourOf(hello, number) } })),
              ...[hello.players[number]?.name, line.units, line.food, line.wood, line.alive ? "the end" : line.defeated_turn ?? "-"].map(
                (text) => make("td", {}, String(text)),
              ),
            ),
          ),
        ),
        make("p.final", {}, `${last} turns, log entry ${turn.result.index}. Final state root`),
        make("code", { id: "final-root" }, root),
        make("button", { onclick: () => (element.hidden = true) }, "Look at the field"),
      ),
    ]);
    if (this.resultShown !== root) element.hidden = false; // closed by hand, it stays closed
    this.resultShown = root;
  }
}
