// The units as they are drawn. Each has a place where the turn wants it (between the last two turns' positions) and a
// place where it is drawn, which follows the first and never moves faster than its kind can.
//
// So a late turn makes units stand, a skipped one lets them walk after it, a healed desync lets the deer walk home, and
// none of them jump. Only these appear where they are: new units, a row that has become another unit, and everything
// after a cut. Arrays by slot instead of objects: a frame touches 1,500 of them.

import { UNIT_FIELDS } from "./net.js";

const SLOTS = 8192;
const ARRAYS = ["id", "kind", "owner", "hp", "state", "target", "fromX", "fromY", "toX", "toY", "x", "y", "seen"];
const FLOATS = ["walked", "turned", "hurt", "depth"];
// A unit this many turns' walk away from its place has not walked there: it is drawn where it is.
const BEHIND_TURNS_MAX = 30;

export class World {
  constructor(hello) {
    this.kinds = hello.kinds;
    this.sub = hello.sub;
    this.speed = hello.kinds.map((kind) => kind.speed);
    for (const name of ARRAYS) this[name] = new Float64Array(SLOTS);
    for (const name of FLOATS) this[name] = new Float32Array(SLOTS);
    this.facing = new Uint8Array(SLOTS); // eighths of a turn, on the screen: 0 right, 2 down
    this.moving = new Uint8Array(SLOTS);
    this.slots = new Map(); // id -> slot
    this.free = Array.from({ length: SLOTS }, (_, slot) => SLOTS - 1 - slot);
    this.drawn = []; // living slots, far to near
    this.projectiles = new Int32Array(0);
    this.deaths = []; // what died since the last look: {kind, owner, x, y, facing}
    this.stamp = 0;
    this.cuts = 0; // units that were placed, not moved, though they were there before
  }

  // Take over a turn's units. What is not among them has died.
  apply(turn, now) {
    const { units } = turn;
    this.stamp += 1;
    for (let at = 0; at < units.length; at += UNIT_FIELDS) {
      const id = units[at];
      let slot = this.slots.get(id);
      const kind = units[at + 1];
      const x = units[at + 3];
      const y = units[at + 4];
      const isNew = slot === undefined;
      if (isNew) {
        slot = this.free.pop();
        if (slot === undefined) continue;
        this.slots.set(id, slot);
        this.drawn.push(slot);
        this.id[slot] = id;
        this.facing[slot] = 2 + (id % 3);
        this.walked[slot] = id % 7;
        this.hurt[slot] = 0;
      }
      const place = isNew || turn.cut || kind !== this.kind[slot] || units[at + 2] !== this.owner[slot];
      if (!isNew && units[at + 5] < this.hp[slot]) this.hurt[slot] = now;
      this.kind[slot] = kind;
      this.owner[slot] = units[at + 2];
      this.hp[slot] = units[at + 5];
      this.state[slot] = units[at + 6];
      this.target[slot] = units[at + 7];
      this.fromX[slot] = place ? x : this.toX[slot];
      this.fromY[slot] = place ? y : this.toY[slot];
      this.toX[slot] = x;
      this.toY[slot] = y;
      if (place || this.#tooFar(slot)) this.#place(slot, isNew);
      this.seen[slot] = this.stamp;
    }
    let kept = 0;
    for (const slot of this.drawn) {
      if (this.seen[slot] === this.stamp) this.drawn[kept++] = slot;
      else this.#bury(slot, turn.cut);
    }
    this.drawn.length = kept;
    this.projectiles = turn.projectiles;
  }

  #tooFar(slot) {
    const limit = (this.speed[this.kind[slot]] || 1) * BEHIND_TURNS_MAX;
    return Math.hypot(this.toX[slot] - this.x[slot], this.toY[slot] - this.y[slot]) > limit;
  }

  #place(slot, isNew) {
    this.x[slot] = this.fromX[slot] = this.toX[slot];
    this.y[slot] = this.fromY[slot] = this.toY[slot];
    if (!isNew) this.cuts += 1;
  }

  #bury(slot, silently) {
    this.slots.delete(this.id[slot]);
    this.free.push(slot);
    if (silently) return;
    this.deaths.push({
      kind: this.kind[slot],
      owner: this.owner[slot],
      x: this.x[slot],
      y: this.y[slot],
      facing: this.facing[slot],
    });
  }

  // Let everything walk for `milliseconds` towards its place at `fraction` of a turn that takes `duration`.
  advance(milliseconds, fraction, duration) {
    const share = milliseconds / duration;
    for (const slot of this.drawn) {
      let dx = this.fromX[slot] + (this.toX[slot] - this.fromX[slot]) * fraction - this.x[slot];
      let dy = this.fromY[slot] + (this.toY[slot] - this.fromY[slot]) * fraction - this.y[slot];
      const way = Math.hypot(dx, dy);
      this.moving[slot] = way > 0.01 ? 1 : 0;
      if (this.moving[slot]) {
        const most = this.speed[this.kind[slot]] * share;
        if (way > most) {
          dx *= most / way;
          dy *= most / way;
        }
        this.x[slot] += dx;
        this.y[slot] += dy;
        this.walked[slot] += Math.min(way, most);
        this.#turn(slot, dx - dy, (dx + dy) / 2, milliseconds);
      } else if (this.state[slot] >= 2) {
        const other = this.slots.get(this.target[slot]);
        if (other !== undefined) {
          const ex = this.x[other] - this.x[slot];
          const ey = this.y[other] - this.y[slot];
          this.#turn(slot, ex - ey, (ex + ey) / 2, milliseconds);
        }
      }
      this.depth[slot] = this.x[slot] + this.y[slot];
    }
    this.#sort();
  }

  // Face the screen's direction (sx, sy), not more often than eight times a second, so that jostling does not flicker.
  #turn(slot, sx, sy, milliseconds) {
    this.turned[slot] += milliseconds;
    if (this.turned[slot] < 125) return;
    this.facing[slot] = (Math.round((Math.atan2(sy, sx) * 4) / Math.PI) + 8) % 8;
    this.turned[slot] = 0;
  }

  // Far to near. The order hardly changes from frame to frame, which makes insertion the fastest sort.
  #sort() {
    const { drawn, depth } = this;
    for (let at = 1; at < drawn.length; at += 1) {
      const slot = drawn[at];
      const key = depth[slot];
      let gap = at;
      while (gap > 0 && depth[drawn[gap - 1]] > key) {
        drawn[gap] = drawn[gap - 1];
        gap -= 1;
      }
      drawn[gap] = slot;
    }
  }

  // The living unit at a position on the screen, nearest first; `accept(slot)` chooses among them. -1: none.
  at(camera, screenX, screenY, accept) {
    let best = -1;
    let nearest = Infinity;
    for (const slot of this.drawn) {
      if (!accept(slot)) continue;
      const radius = this.kinds[this.kind[slot]].radius;
      const wide = Math.max(9, radius * camera.ax * 1.5);
      const high = Math.max(12, this.speed[this.kind[slot]] ? wide * 1.4 : wide * 1.1);
      const dx = ((this.x[slot] - this.y[slot]) * camera.ax + camera.ox - screenX) / wide;
      const dy = ((this.x[slot] + this.y[slot]) * camera.ay + camera.oy - high * 0.6 - screenY) / high;
      const away = dx * dx + dy * dy;
      if (away < 1 && away < nearest) {
        nearest = away;
        best = slot;
      }
    }
    return best;
  }
}
