// Units as small pictures: one per kind, owner, direction, step and deed, drawn when first seen and kept.
//
// A figure is drawn around its foot at (0, 0) in pixels of zoom 1, facing an eighth of a turn on the screen (0 right,
// 2 towards the viewer). Pictures exist in two sizes, so that neither a near nor a far view has to scale by much.

import { drawCentre } from "./centre.js";
import { colourOf, shade } from "./palette.js";

const SIZE = 64; // pixels of a picture at zoom 1
const FOOT = 44;
const SCALES = [1, 2];
const PICTURES_MAX = 6000;
const SKIN = "#e3b48c";
export const STEPS = 4;

export class Sprites {
  constructor(hello) {
    this.hello = hello;
    this.centre = hello.kinds.map((kind) => kind.speed === 0);
    this.pictures = new Map();
  }

  // Draw a unit with its foot at (sx, sy). `step` 0..3 of its walk; `deed`: 0 walks or stands, 1 strikes, 2 carries.
  draw(context, kind, owner, facing, step, deed, sx, sy, zoom) {
    const big = zoom > 1.1 ? 1 : 0;
    if (this.centre[kind]) facing = step = deed = 0;
    const key = (((((kind * 16 + owner) * 8 + facing) * STEPS + step) * 3 + deed) << 1) | big;
    let picture = this.pictures.get(key);
    if (!picture) {
      if (this.pictures.size > PICTURES_MAX) this.pictures.clear();
      picture = this.#paint(kind, owner, facing, step, deed, SCALES[big]);
      this.pictures.set(key, picture);
    }
    const ratio = zoom / SCALES[big];
    const foot = this.centre[kind] ? 176 : FOOT;
    const half = picture.width / SCALES[big] / 2;
    context.drawImage(picture, sx - half * zoom, sy - foot * zoom, picture.width * ratio, picture.height * ratio);
  }

  #paint(kind, owner, facing, step, deed, scale) {
    const picture = document.createElement("canvas");
    const centre = this.centre[kind];
    picture.width = (centre ? 256 : SIZE) * scale;
    picture.height = (centre ? 256 : SIZE) * scale;
    const context = picture.getContext("2d");
    context.scale(scale, scale);
    context.translate(centre ? 128 : SIZE / 2, centre ? 176 : FOOT);
    context.lineCap = context.lineJoin = "round";
    const colour = colourOf(this.hello, owner);
    const angle = (facing * Math.PI) / 4;
    const figure = { colour, cos: Math.cos(angle), sin: Math.sin(angle), step, deed };
    const name = this.hello.kinds[kind]?.name ?? "";
    if (centre) drawCentre(context, colour);
    else if (name === "cavalry") cavalry(context, figure);
    else if (name === "deer") deer(context, figure);
    else person(context, figure, name, 0);
    return picture;
  }
}

function ellipse(context, x, y, rx, ry, fill, tilt = 0) {
  context.fillStyle = fill;
  context.beginPath();
  context.ellipse(x, y, rx, ry, tilt, 0, 7);
  context.fill();
}

function line(context, colour, width, ...points) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  points.forEach(([x, y], at) => (at ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

// Swing of the legs: -1..1, opposite for the two.
const swing = (step) => [0, 1, 0, -1][step];

function person(context, figure, name, lift) {
  const { colour, cos, sin, step, deed } = figure;
  const swung = swing(step) * 3;
  if (!lift) {
    ellipse(context, 2, 0.5, 8, 3.4, "rgba(12,16,8,.34)");
    line(context, "#3a2d22", 2.6, [-1.8 + cos, -7], [-1.8 + swung * cos, -0.5 + swung * sin * 0.4]);
    line(context, "#3a2d22", 2.6, [1.8 + cos, -7], [1.8 - swung * cos, -0.5 - swung * sin * 0.4]);
  }
  const bob = lift - (step % 2 ? 0.7 : 0);
  context.save();
  context.translate(0, bob);
  const away = sin < -0.3; // the back is seen: what is held in front is drawn first
  if (away) held(context, figure, name);
  // A tunic with light from the left.
  const cloth = context.createLinearGradient(-5, 0, 5, 0);
  cloth.addColorStop(0, shade(colour, 0.25));
  cloth.addColorStop(1, shade(colour, -0.3));
  context.fillStyle = cloth;
  context.strokeStyle = "rgba(20,16,10,.75)";
  context.lineWidth = 0.9;
  context.beginPath();
  context.moveTo(-3.6, -15);
  context.quadraticCurveTo(0, -17, 3.6, -15);
  context.lineTo(5, -5.6);
  context.quadraticCurveTo(0, -3.8, -5, -5.6);
  context.closePath();
  context.fill();
  context.stroke();
  line(context, "#4a3623", 1.3, [-4.3, -9], [4.3, -9]);
  ellipse(context, cos * 0.8, -18.4, 3.3, 3.5, SKIN);
  hat(context, name, cos, away);
  if (!away) held(context, figure, name);
  if (deed === 2) {
    ellipse(context, -cos * 4.5, -13, 3.6, 4.2, "#a8834f");
    line(context, "#6d5330", 0.8, [-cos * 4.5 - 2, -15.5], [-cos * 4.5 + 2, -15.5]);
  }
  context.restore();
}

function hat(context, name, cos, away) {
  if (name === "villager") {
    ellipse(context, cos * 0.8, -20.2, 5.2, 1.9, "#d8b766");
    ellipse(context, cos * 0.8, -21.4, 2.8, 2, "#e4c67a");
  } else if (name === "archer") {
    context.fillStyle = "#4d5b33";
    context.beginPath();
    context.moveTo(-3.6 + cos, -18);
    context.quadraticCurveTo(cos - 1, -24.5, 3.8 + cos, -18.6);
    context.closePath();
    context.fill();
    if (away) ellipse(context, cos * 0.8, -18.4, 3.3, 3.3, "#4d5b33");
  } else {
    context.fillStyle = "#aab2ba";
    context.beginPath();
    context.arc(cos * 0.8, -18.8, 3.6, Math.PI, 2 * Math.PI);
    context.lineTo(cos * 0.8 + 3.6, away ? -16.5 : -18);
    context.lineTo(cos * 0.8 - 3.6, away ? -16.5 : -18);
    context.fill();
    line(context, "#e8edf1", 0.9, [cos * 0.8 - 2, -20.6], [cos * 0.8, -22]);
  }
}

function held(context, { colour, cos, sin, deed, step }, name) {
  const forward = 6.2 * cos;
  const down = 3 * sin;
  const strike = deed === 1 && step % 2 ? 1 : 0;
  if (name === "villager") {
    const tip = strike ? [forward * 1.9, -8 + down] : [forward * 1.2 + 1, -19 + down];
    line(context, "#7a5a34", 1.5, [forward * 0.7, -9 + down], tip);
    line(context, "#c6ccd1", 2.4, [tip[0] - 1.6, tip[1] + 0.6], [tip[0] + 2, tip[1] - 0.6]);
  } else if (name === "archer") {
    const x = forward * 1.05;
    context.strokeStyle = "#6b4a26";
    context.lineWidth = 1.5;
    context.beginPath();
    context.ellipse(x, -11 + down * 0.6, 2 + Math.abs(cos) * 2.4, 7.2, 0, cos < 0 ? 1.5 : -1.6, cos < 0 ? 4.8 : 1.7);
    context.stroke();
    if (deed === 1) line(context, "#efe6cf", 0.9, [x - cos * 4, -11 + down * 0.6], [x + cos * 5, -11.5 + down]);
    line(context, "#5d4426", 2.6, [-cos * 3 - 1.4, -15], [-cos * 3 + 1, -9]);
  } else {
    const tip = strike ? [forward * 2.2, -11 + down * 2] : [forward * 1.1, -22 + down];
    line(context, "#d9dee3", 1.7, [forward * 0.75, -9.5 + down], tip);
    line(context, "#6b4a26", 1.6, [forward * 0.75 - 1.4, -9.8 + down], [forward * 0.75 + 1.4, -9.2 + down]);
    // The shield hangs on the other arm.
    const sx = -sin * 4.4 + cos * 1.5;
    ellipse(context, sx, -10.5 + down * 0.4, 3.1, 4.3, "rgba(20,16,10,.8)");
    ellipse(context, sx, -10.5 + down * 0.4, 2.5, 3.7, shade(colour, -0.12));
    ellipse(context, sx, -10.5 + down * 0.4, 0.9, 1.2, "#d8c27a");
  }
}

function legs(context, { cos, sin, step }, length, colour, wide) {
  const swung = swing(step) * 3;
  for (const [along, side, phase] of [[-1, -1, 1], [-1, 1, -1], [1, -1, -1], [1, 1, 1]]) {
    const x = along * cos * wide - side * sin * 2;
    const y = along * sin * wide * 0.5 + side * cos * 1;
    line(context, colour, 2, [x, y - length], [x + phase * swung * cos, y + phase * swung * sin * 0.4]);
  }
}

function horse(context, figure, coat, size) {
  const { cos, sin } = figure;
  const wide = 7 * size;
  ellipse(context, 2, 1, 12 * size, 5 * size, "rgba(12,16,8,.34)");
  legs(context, figure, 8 * size, shade(coat, -0.4), wide);
  const body = context.createLinearGradient(0, -15 * size, 0, -5 * size);
  body.addColorStop(0, shade(coat, 0.18));
  body.addColorStop(1, shade(coat, -0.28));
  const long = (5 + 5 * Math.abs(cos)) * size;
  ellipse(context, 0, -10 * size, long, 5 * size, body, Math.sign(cos) * sin * 0.25);
  const neck = [cos * wide, -11 * size + sin * wide * 0.4];
  const head = [cos * wide * 1.55, -19 * size + sin * wide * 0.55];
  line(context, shade(coat, 0.02), 4.4 * size, neck, head);
  ellipse(context, head[0] + cos * 2, head[1] + 0.8, (2.3 + 1.6 * Math.abs(cos)) * size, 2.3 * size, shade(coat, 0.1));
  return head;
}

function cavalry(context, figure) {
  const { colour, cos, sin } = figure;
  const coat = "#7a5234";
  const head = horse(context, figure, coat, 1.12);
  line(context, "#33231a", 1.6, [head[0] - cos * 1.6, head[1] - 2], [cos * 6, -14 + sin * 2]);
  line(context, "#33231a", 2.2, [-cos * 10, -12 - sin * 3], [-cos * 13, -5 - sin * 4]);
  ellipse(context, -cos, -12.4, 5, 3.6, shade(colour, -0.15));
  context.save();
  context.scale(0.88, 0.88);
  person(context, figure, "cavalry", -9);
  context.restore();
}

function deer(context, figure) {
  const { cos } = figure;
  const head = horse(context, figure, "#b0814f", 0.72);
  for (const side of [-1, 1]) {
    const root = [head[0] + side * 0.9, head[1] - 1.5];
    const tip = [root[0] + side * 3.4 - cos, root[1] - 6];
    line(context, "#6a4c2c", 1, root, tip);
    line(context, "#6a4c2c", 0.9, [(root[0] + tip[0]) / 2, (root[1] + tip[1]) / 2], [tip[0] - side * 2.6, tip[1] + 0.4]);
  }
  ellipse(context, -cos * 7.4, -7.6, 1.6, 1.9, "#f2e9d8");
}

// What is left of a unit that died, `age` 0..1: it sinks and fades.
export function drawFallen(context, colour, sx, sy, zoom, age) {
  context.globalAlpha = 1 - age;
  ellipse(context, sx, sy, 9 * zoom, 3.6 * zoom, "rgba(70,20,16,.55)");
  ellipse(context, sx, sy - 2 * zoom, 7 * zoom, 2.6 * zoom, shade(colour, -0.25));
  ellipse(context, sx + 7 * zoom, sy - 2 * zoom, 2.6 * zoom, 2.3 * zoom, SKIN);
  context.globalAlpha = 1;
}
