// The scrubber of a replay: where it stands, how fast it goes, and a way to any other turn.

import { $, clock, make } from "./dom.js";

const SPEEDS = [0.5, 1, 2, 4, 8];

export class ReplayBar {
  constructor(game) {
    this.game = game;
    this.speed = 1; // what Play goes back to
    this.held = false; // the thumb is under the player's finger: turns do not move it
    this.turnMs = 200;
    const scrubber = $("scrubber");
    scrubber.addEventListener("input", () => {
      this.held = true;
      this.#label(Number(scrubber.value));
      game.send({ type: "seek", turn: Number(scrubber.value) });
    });
    scrubber.addEventListener("change", () => (this.held = false));
    $("play").onclick = () => game.send({ type: "speed", x: this.playing ? 0 : this.speed });
    this.buttons = SPEEDS.map((x) =>
      make("button", { textContent: `${x}\u00d7`, onclick: () => game.send({ type: "speed", x }) }),
    );
    $("speeds").append(...this.buttons);
  }

  begin(hello) {
    $("replay").hidden = !hello.replay;
    document.body.classList.toggle("replaying", hello.replay);
  }

  update(turn) {
    if (!turn.replay) return;
    const { first, last, playing, speed } = turn.replay;
    this.playing = playing && speed > 0;
    if (this.playing) this.speed = speed;
    this.turnMs = turn.turn_ms;
    $("play").textContent = this.playing ? "Stop" : "Play";
    const scrubber = $("scrubber");
    scrubber.min = first;
    scrubber.max = last;
    this.last = last;
    if (!this.held) {
      scrubber.value = turn.turn;
      this.#label(turn.turn);
    }
    SPEEDS.forEach((x, place) => this.buttons[place].classList.toggle("on", this.playing && x === speed));
  }

  #label(turn) {
    $("replay-turn").textContent = `turn ${turn} of ${this.last ?? "?"} (${clock(turn * this.turnMs)})`;
  }
}
