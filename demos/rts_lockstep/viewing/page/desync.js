// When this copy of the world differs from the others': which unit, which field, by how much, and which line did it.
//
// Both positions are drawn: where this copy had the unit, and, as a ghost, where it is in truth. After the copy has been
// healed the words stay for a while; the unit walks home by itself (world.js).

import { $, make, show } from "./dom.js";
import { ALARM } from "./palette.js";

const HEALED_MS = 8000;

export class DesyncOverlay {
  constructor() {
    this.current = null;
    this.healed = null;
    this.until = 0;
  }

  begin() {
    this.current = this.healed = null;
    $("desync").hidden = true;
  }

  found(desync) {
    this.current = desync;
    this.healed = null;
    this.until = Infinity;
    this.#words();
  }

  heal({ index, seconds }, now) {
    if (!this.current) return;
    this.healed = { index, seconds };
    this.until = now + HEALED_MS;
    this.#words();
  }

  frame(now) {
    if (this.current && now > this.until) this.begin();
  }

  #words() {
    const { index, path, mine, theirs, line, turn } = this.current;
    $("desync").hidden = false;
    $("desync").classList.toggle("healed", this.healed !== null);
    if (!path) {
      show($("desync"), JSON.stringify([this.current, this.healed]), () => [
        make("h2", {}, this.healed ? `Healed after ${this.healed.seconds.toFixed(1)} s` : "This copy of the world differs"),
        make("p.line", {}, `log entry ${index}${turn ? `, turn ${turn}` : ""}: its root is not the others'`),
      ]);
      return;
    }
    show($("desync"), JSON.stringify([this.current, this.healed]), () => [
      make("h2", {}, this.healed ? `Healed after ${this.healed.seconds.toFixed(1)} s` : "This copy of the world differs"),
      make("p", {}, make("code.path", {}, path), ` ${this.healed ? "was" : "is"} ${mine} here, ${theirs} everywhere else`),
      make("p.line", {}, `log entry ${index}${turn ? `, turn ${turn}` : ""}${line ? ", written at " : ""}`, make("code", {}, line)),
      this.healed ? make("p.line", {}, `right again since log entry ${this.healed.index}; nobody else paused`) : null,
    ].filter(Boolean));
  }

  drawPlaces(context, { camera }, now) {
    if (!this.current || this.current.unit < 0) return; // nobody knows where, or it has no place
    const { x, y, true_x: trueX, true_y: trueY } = this.current;
    const [sx, sy] = camera.screen(x, y);
    const [tx, ty] = camera.screen(trueX, trueY);
    const size = Math.max(0.8, camera.zoom);
    context.lineWidth = 2;
    context.strokeStyle = ALARM;
    context.setLineDash([6, 5]);
    context.lineDashOffset = -now / 40;
    context.beginPath();
    context.moveTo(sx, sy);
    context.lineTo(tx, ty);
    context.stroke();
    context.setLineDash([]);
    for (const [px, py, colour, pulse] of [[sx, sy, ALARM, 0], [tx, ty, "#8fe0c4", (now / 900) % 1]]) {
      context.strokeStyle = colour;
      context.beginPath();
      context.ellipse(px, py, 16 * size, 8 * size, 0, 0, 7);
      context.stroke();
      context.globalAlpha = 1 - pulse;
      context.beginPath();
      context.ellipse(px, py, (16 + 20 * pulse) * size, (8 + 10 * pulse) * size, 0, 0, 7);
      context.stroke();
      context.globalAlpha = 1;
    }
  }

  drawLabels(context, { camera, sprites, world }) {
    if (!this.current || this.current.unit < 0) return;
    const { x, y, true_x: trueX, true_y: trueY, unit, path } = this.current;
    const slot = world.slots.get(unit);
    const [tx, ty] = camera.screen(trueX, trueY);
    if (slot !== undefined && !this.healed) {
      context.globalAlpha = 0.5;
      sprites.draw(context, world.kind[slot], world.owner[slot], world.facing[slot], 0, 0, tx, ty, camera.zoom);
      context.globalAlpha = 1;
    }
    const labels = [
      [x, y, this.healed ? `${path} was here` : `${path} here`, ALARM],
      [trueX, trueY, this.healed ? "where it belongs" : "everywhere else", "#8fe0c4"],
    ];
    context.font = "12px system-ui, 'DejaVu Sans', sans-serif";
    // Two places that are close would write over each other: one label goes above, the other below.
    labels.forEach(([px, py, text, colour], place) => {
      const [sx, sy] = camera.screen(px, py);
      const width = context.measureText(text).width + 12;
      const top = place ? sy + 16 * camera.zoom : sy - 34 * camera.zoom - 20;
      context.fillStyle = "rgba(14,16,18,.86)";
      context.fillRect(sx - width / 2, top, width, 19);
      context.fillStyle = colour;
      context.fillText(text, sx - width / 2 + 6, top + 13.5);
    });
  }
}
