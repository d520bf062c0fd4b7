// Four curves and a strip: how long turns take, how long orders take, what travels, what the machine works; and whether
// all copies of the world are the same (a calm cell for each turn, a red one where they differ).

import { $ } from "./dom.js";
import { ALARM, FAINT, INK } from "./palette.js";

const TURNS = 150;
const WIDTH = 284;
const PLOT = 50;
const GAP = 8;
const MODEM_BITS = 28800; // the line that the game of 1997 had to fit through
const RATE_MS = 3000; // bytes are counted over this long,
const RATE_MS_MIN = 800; // and not over less than this
const ROOTS_HEIGHT = 22;

const PLOTS = [
  { name: "turn", unit: "ms", colour: "#e8c872", of: (one) => one.turn_ms, line: (one) => one.nominal },
  { name: "order to effect", unit: "ms", colour: "#86b6ff", of: (one) => one.latency_ms },
  { name: "up + down", unit: "bit/s", colour: "#8fd6a4", of: (one) => one.bits, line: () => MODEM_BITS },
  { name: "world step", unit: "ms", colour: "#e69bc0", of: (one) => one.step_ms },
];

export class Graphs {
  constructor() {
    this.points = [];
    this.roots = new Map(); // turn -> {root, agreed}
    this.plots = this.#canvas("plots", PLOTS.length * (PLOT + GAP));
    this.strip = this.#canvas("roots", ROOTS_HEIGHT);
  }

  #canvas(id, height) {
    const canvas = $(id);
    canvas.width = WIDTH * devicePixelRatio;
    canvas.height = height * devicePixelRatio;
    canvas.style.width = `${WIDTH}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.scale(devicePixelRatio, devicePixelRatio);
    return context;
  }

  begin() {
    this.points = [];
    this.roots.clear();
  }

  // A turn has come (not: is shown).
  add(turn, now) {
    const total = turn.stats.bytes_in + turn.stats.bytes_out;
    const since = this.points.find((one) => now - one.now <= RATE_MS) ?? { now, total };
    const bits = now - since.now > RATE_MS_MIN ? ((total - since.total) * 8000) / (now - since.now) : 0;
    const { turn_ms, latency_ms, step_ms } = turn.stats;
    this.points.push({ now, total, bits, turn_ms, latency_ms, step_ms, nominal: turn.turn_ms });
    if (this.points.length > TURNS) this.points.shift();
    if (turn.root) {
      const differs = turn.roots.some(([, root]) => root !== turn.root);
      this.root({ turn: turn.turn, root: turn.root, agreed: differs ? false : turn.agreed });
    }
  }

  root({ turn, root, agreed }) {
    this.roots.set(turn, { root, agreed });
    if (this.roots.size > TURNS) this.roots.delete(Math.min(...this.roots.keys()));
  }

  draw() {
    if ($("graphs").hidden) return;
    this.plots.clearRect(0, 0, WIDTH, 1000);
    PLOTS.forEach((plot, place) => this.#plot(plot, place * (PLOT + GAP)));
    this.#strip();
  }

  #plot({ name, unit, colour, of, line }, top) {
    const context = this.plots;
    const values = this.points.map(of);
    const last = this.points.at(-1);
    const level = last && line ? line(last) : 0;
    const most = Math.max(1, level, ...values) * 1.15;
    const y = (value) => top + PLOT - (value / most) * (PLOT - 14);
    const x = (place) => WIDTH - ((values.length - 1 - place) * WIDTH) / (TURNS - 1);
    context.fillStyle = "rgba(255,255,255,.035)";
    context.fillRect(0, top, WIDTH, PLOT);
    if (level) {
      context.strokeStyle = "rgba(255,255,255,.28)";
      context.setLineDash([3, 4]);
      context.beginPath();
      context.moveTo(0, Math.round(y(level)) + 0.5);
      context.lineTo(WIDTH, Math.round(y(level)) + 0.5);
      context.stroke();
      context.setLineDash([]);
    }
    if (values.length > 1) {
      context.beginPath();
      values.forEach((value, place) => context.lineTo(x(place), y(value)));
      context.strokeStyle = colour;
      context.lineWidth = 1.5;
      context.stroke();
      context.lineTo(WIDTH, top + PLOT);
      context.lineTo(x(0), top + PLOT);
      context.globalAlpha = 0.13;
      context.fillStyle = colour;
      context.fill();
      context.globalAlpha = 1;
    }
    context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
    context.fillStyle = FAINT;
    context.fillText(name, 5, top + 12);
    const value = values.length ? `${Math.round(values.at(-1)).toLocaleString("en")} ${unit}` : "";
    context.fillStyle = INK;
    context.fillText(value, WIDTH - 5 - context.measureText(value).width, top + 12);
  }

  #strip() {
    const context = this.strip;
    context.clearRect(0, 0, WIDTH, ROOTS_HEIGHT);
    const cells = [...this.roots].sort(([one], [other]) => one - other);
    const wide = WIDTH / TURNS;
    cells.forEach(([, { root, agreed }], place) => {
      const x = WIDTH - (cells.length - place) * wide;
      const tint = parseInt(root.slice(0, 2), 16) || 0;
      if (agreed === false) context.fillStyle = ALARM;
      else context.fillStyle = `hsl(${160 + tint / 12} ${agreed === null ? 6 : 38}% ${42 + tint / 14}%)`;
      context.fillRect(x, agreed === false ? 0 : 4, wide + 0.3, agreed === false ? ROOTS_HEIGHT : ROOTS_HEIGHT - 8);
    });
    const newest = cells.at(-1)?.[1];
    $("root").textContent = newest ? newest.root.slice(0, 16) : "";
    $("root").className = newest?.agreed === false ? "differs" : "";
    $("roots-title").dataset.differing = String(cells.filter(([, { agreed }]) => agreed === false).length);
  }
}
