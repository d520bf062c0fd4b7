// What the page measures about itself; tests read it as `window.game.debug`.

const FRAMES = 600;
const REPORT_MS = 1000;
const FIRST_FRAMES = 120; // of a page that has just opened: they paint the ground, and say nothing about the match

export class Debug {
  constructor(game) {
    this.game = game;
    this.frames = 0;
    this.gaps = []; // milliseconds between frames
    this.work = []; // milliseconds that a frame took here
    this.markers = []; // milliseconds from a click's event to its marker being drawn
    this.recording = null;
    this.reportAt = 0;
  }

  marker(milliseconds) {
    this.markers.push(milliseconds);
    if (this.markers.length > FRAMES) this.markers.shift();
  }

  frame(now, gap, work) {
    this.frames += 1;
    this.gaps.push(gap);
    this.work.push(work);
    if (this.gaps.length > FRAMES) {
      this.gaps.shift();
      this.work.shift();
    }
    if (this.recording) this.#record(now);
    if (this.frames > FIRST_FRAMES && now > this.reportAt) {
      this.reportAt = now + REPORT_MS;
      const last = this.work.slice(-60).sort((one, other) => one - other);
      const slow = Math.round(last[Math.floor(last.length * 0.9)]);
      this.game.send({ type: "frame", frame_ms: Math.min(10000, slow) });
    }
  }

  // The place at which each unit is drawn: [[id, kind, owner, x, y], ...].
  positions() {
    const { world } = this.game;
    return world.drawn.map((slot) => [world.id[slot], world.kind[slot], world.owner[slot], world.x[slot], world.y[slot]]);
  }

  // Keep every frame's drawn positions for so long: [{now, turn, turn_ms, cuts, units}, ...]. `every`: only of units
  // whose id is divisible by it.
  record(milliseconds, every = 1) {
    return new Promise((resolve) => {
      this.recording = { end: performance.now() + milliseconds, every, frames: [], resolve };
    });
  }

  #record(now) {
    const { world, playback } = this.game;
    const { frames, end, every, resolve } = this.recording;
    frames.push({
      now,
      turn: playback.turn?.turn ?? null,
      turn_ms: playback.turn?.turn_ms ?? null,
      cuts: world.cuts,
      units: this.positions().filter(([id]) => id % every === 0),
    });
    if (now < end) return;
    this.recording = null;
    resolve(frames);
  }

  summary() {
    const sorted = (values) => [...values].sort((one, other) => one - other);
    const part = (values, share) => sorted(values)[Math.floor((values.length - 1) * share)] ?? null;
    return {
      frames: this.frames,
      gap_ms: { median: part(this.gaps, 0.5), p95: part(this.gaps, 0.95) },
      work_ms: { median: part(this.work, 0.5), p95: part(this.work, 0.95) },
      marker_ms: { worst: this.markers.length ? Math.max(...this.markers) : null, count: this.markers.length },
      standing_ms: this.game.playback.standing,
    };
  }
}
