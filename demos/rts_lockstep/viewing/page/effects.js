// What is drawn besides the units: order markers, the fallen, arrows. All of it is the page's own and short-lived.

import { colourOf } from "./palette.js";
import { PROJECTILE_FIELDS } from "./net.js";
import { drawFallen } from "./sprites.js";

const FALLEN_MS = 2200;
const FALLEN_MAX = 300;
const MARKER_MS_MAX = 6000;
const MARKER_LEAVES_MS = 450;
const MARKERS_MAX = 40;
const COLOURS = { move: "#8ff08a", attack: "#ff6a5e", gather: "#ffd35c", refused: "#9a9a9a" };

export class Effects {
  constructor() {
    this.markers = [];
    this.fallen = [];
  }

  // A click's marker: "asked" until the log has the order, then "known" until the turn that executes it, then gone.
  mark(click, order, x, y, now) {
    const marker = { click, order, x, y, since: now, state: "asked", turn: null, leaves: null };
    this.markers.push(marker);
    if (this.markers.length > MARKERS_MAX) this.markers.shift();
    return marker;
  }

  known(click, turn) {
    const marker = this.markers.find((one) => one.click === click);
    if (marker) Object.assign(marker, { state: "known", turn });
  }

  refused(click, now) {
    const marker = this.markers.find((one) => one.click === click);
    if (marker) Object.assign(marker, { state: "refused", leaves: now + MARKER_LEAVES_MS });
  }

  // A turn has begun on the screen: markers of orders that it executed leave.
  began(turn, deaths, now) {
    for (const marker of this.markers) {
      if (marker.turn !== null && marker.turn <= turn && marker.leaves === null) {
        marker.state = "done";
        marker.leaves = now + MARKER_LEAVES_MS;
      }
    }
    for (const death of deaths) this.fallen.push({ ...death, since: now });
    deaths.length = 0;
    if (this.fallen.length > FALLEN_MAX) this.fallen.splice(0, this.fallen.length - FALLEN_MAX);
  }

  expire(now) {
    this.markers = this.markers.filter((one) => now < (one.leaves ?? one.since + MARKER_MS_MAX));
    this.fallen = this.fallen.filter((one) => now - one.since < FALLEN_MS);
  }

  drawFallen(context, camera, hello, now) {
    for (const one of this.fallen) {
      const [sx, sy] = camera.screen(one.x, one.y);
      const size = hello.kinds[one.kind].speed ? 1 : 6;
      drawFallen(context, colourOf(hello, one.owner), sx, sy, camera.zoom * size, (now - one.since) / FALLEN_MS);
    }
  }

  drawMarkers(context, camera, now, only = this.markers) {
    for (const marker of only) {
      const [sx, sy] = camera.screen(marker.x, marker.y);
      const age = now - marker.since;
      const leaving = marker.leaves === null ? 1 : Math.max(0, (marker.leaves - now) / MARKER_LEAVES_MS);
      const size = Math.max(0.7, camera.zoom) * (1 + 0.7 * Math.max(0, 1 - age / 220));
      context.globalAlpha = leaving;
      context.strokeStyle = COLOURS[marker.state === "refused" ? "refused" : marker.order] ?? COLOURS.move;
      context.lineWidth = 2;
      // Open arcs turn while the order is on its way; the ring closes once its turn is known.
      const open = marker.state === "asked";
      const spin = (age / 500) % (2 * Math.PI);
      for (let part = 0; part < (open ? 3 : 1); part += 1) {
        const start = open ? spin + (part * 2 * Math.PI) / 3 : 0;
        context.beginPath();
        context.ellipse(sx, sy, 15 * size, 7.5 * size, 0, start, start + (open ? 1.4 : 2 * Math.PI));
        context.stroke();
      }
      context.beginPath();
      if (marker.order === "attack") {
        context.moveTo(sx - 5 * size, sy - 2.5 * size);
        context.lineTo(sx + 5 * size, sy + 2.5 * size);
        context.moveTo(sx + 5 * size, sy - 2.5 * size);
        context.lineTo(sx - 5 * size, sy + 2.5 * size);
      } else {
        context.ellipse(sx, sy, 3 * size, 1.5 * size, 0, 0, 7);
      }
      context.stroke();
      context.globalAlpha = 1;
    }
  }
}

// Arrows, where they are at `fraction` of the turn that has just brought them to their position.
export function drawProjectiles(context, camera, projectiles, fraction) {
  context.lineCap = "round";
  for (let at = 0; at < projectiles.length; at += PROJECTILE_FIELDS) {
    const vx = projectiles[at + 2];
    const vy = projectiles[at + 3];
    const back = 1 - fraction;
    const [sx, sy] = camera.screen(projectiles[at] - vx * back, projectiles[at + 1] - vy * back);
    const dx = (vx - vy) * camera.ax;
    const dy = (vx + vy) * camera.ay;
    const length = Math.hypot(dx, dy) || 1;
    const [ux, uy] = [(dx / length) * 6 * camera.zoom, (dy / length) * 6 * camera.zoom];
    const height = 15 * camera.zoom;
    context.lineWidth = Math.max(1, 1.3 * camera.zoom);
    context.strokeStyle = "rgba(10,12,6,.35)";
    context.beginPath();
    context.moveTo(sx - ux, sy - uy);
    context.lineTo(sx + ux, sy + uy);
    context.stroke();
    context.strokeStyle = "#f4ead0";
    context.beginPath();
    context.moveTo(sx - ux, sy - uy - height);
    context.lineTo(sx + ux, sy + uy - height);
    context.stroke();
  }
}
