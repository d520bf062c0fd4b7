// The town centre: the building that a player must not lose. Its footprint is 2.5 x 2.5 tiles around (0, 0).

import { shade } from "./palette.js";

const HALF = 1.25;
const at = (x, y, z = 0) => [(x - y) * 32, (x + y) * 16 - z];

function face(context, fill, ...corners) {
  context.fillStyle = fill;
  context.strokeStyle = "rgba(28,20,12,.55)";
  context.lineWidth = 1;
  context.beginPath();
  corners.forEach(([x, y], place) => (place ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.closePath();
  context.fill();
  context.stroke();
}

// A box with two visible walls and a pyramid on it.
function house(context, x, y, half, low, high, roof, wall, tiles) {
  const [a, b, c, d] = [[-1, 1], [1, 1], [1, -1], [-1, -1]].map(([dx, dy]) => [x + dx * half, y + dy * half]);
  face(context, shade(wall, 0.12), at(...a, low), at(...b, low), at(...b, high), at(...a, high));
  face(context, shade(wall, -0.22), at(...b, low), at(...c, low), at(...c, high), at(...b, high));
  const over = 1.14;
  const [ra, rb, rc, rd] = [a, b, c, d].map(([px, py]) => [x + (px - x) * over, y + (py - y) * over]);
  const top = at(x, y, roof);
  face(context, shade(tiles, -0.1), at(...rc, high - 2), at(...rd, high - 2), top);
  face(context, shade(tiles, -0.05), at(...rd, high - 2), at(...ra, high - 2), top);
  face(context, shade(tiles, 0.16), at(...ra, high - 3), at(...rb, high - 3), top);
  face(context, shade(tiles, -0.2), at(...rb, high - 3), at(...rc, high - 3), top);
  context.strokeStyle = "rgba(20,12,6,.20)";
  for (let row = 1; row < 5; row += 1) {
    const part = row / 5;
    const mix = (corner) => at(...corner, high - 3).map((value, axis) => value * (1 - part) + top[axis] * part);
    context.beginPath();
    context.moveTo(...mix(ra));
    context.lineTo(...mix(rb));
    context.lineTo(...mix(rc));
    context.stroke();
  }
}

function flag(context, [x, y], colour) {
  context.strokeStyle = "#3d2f20";
  context.lineWidth = 1.6;
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x, y - 24);
  context.stroke();
  context.fillStyle = colour;
  context.strokeStyle = "rgba(20,14,8,.7)";
  context.lineWidth = 0.8;
  context.beginPath();
  context.moveTo(x, y - 24);
  context.quadraticCurveTo(x + 7, y - 27, x + 16, y - 22);
  context.lineTo(x + 15, y - 13);
  context.quadraticCurveTo(x + 7, y - 17, x, y - 14);
  context.closePath();
  context.fill();
  context.stroke();
}

export function drawCentre(context, colour) {
  context.fillStyle = "rgba(12,16,8,.24)";
  context.beginPath();
  context.ellipse(8, 3, 84, 41, 0, 0, 7);
  context.fill();
  const stone = "#b9ac93";
  face(context, "#8f8672", at(-HALF, HALF), at(HALF, HALF), at(HALF, -HALF), at(-HALF, -HALF));
  face(context, "#9d947f", at(-HALF, HALF, 3), at(HALF, HALF, 3), at(HALF, -HALF, 3), at(-HALF, -HALF, 3));
  house(context, -0.62, -0.62, 0.5, 3, 44, 78, stone, "#8c5a3a");
  house(context, -0.5, 0.52, 0.52, 3, 32, 58, stone, roofOf(colour));
  house(context, 0.52, -0.5, 0.52, 3, 32, 58, stone, roofOf(colour));
  house(context, 0.48, 0.48, 0.5, 3, 26, 50, "#c7ba9f", "#8c5a3a");
  // A gate in the nearest house, and windows.
  face(context, "#3c2b1d", at(0.3, 0.98, 3), at(0.66, 0.98, 3), at(0.66, 0.98, 18), at(0.48, 0.98, 22), at(0.3, 0.98, 18));
  const [low, high] = [14, 24];
  for (const [x, y] of [[-0.66, 1.04], [-0.34, 1.04]]) {
    face(context, "#3c3226", at(x, y, low), at(x + 0.14, y, low), at(x + 0.14, y, high), at(x, y, high));
  }
  for (const [x, y] of [[1.04, -0.34], [1.04, -0.66]]) {
    face(context, "#2c241b", at(x, y, low), at(x, y - 0.14, low), at(x, y - 0.14, high), at(x, y, high));
  }
  flag(context, at(-0.62, -0.62, 78), colour);
  flag(context, at(0.48, 0.48, 50), colour);
}

// The player's colour as roof tiles: `shade` answers in rgb(), and walls want hex to shade again.
function roofOf(colour) {
  const parts = [1, 3, 5].map((place) => Math.round(parseInt(colour.slice(place, place + 2), 16) * 0.78 + 22));
  return `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}
