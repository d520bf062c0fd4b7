// What stands on the ground and belongs to nobody: trees, berry bushes, stumps. Drawn once, kept as small pictures.

import { noise } from "./palette.js";

const WIDTH = 60;
const HEIGHT = 74;
const FOOT = 62; // the row of the picture that stands on the tile's middle
const DETAIL = 2; // pictures have twice the pixels, for a near view
const VARIANTS = 4;
const pictures = new Map();

export const PLANTS = new Set(["tree", "berries", "stumps"]);

// Draw what stands on tile (x, y), if anything, with its foot at (sx, sy).
export function drawPlant(context, name, x, y, sx, sy, zoom) {
  if (!PLANTS.has(name)) return;
  const variant = Math.floor(noise(x, y, 3) * VARIANTS);
  const key = `${name}${variant}`;
  let picture = pictures.get(key);
  if (!picture) pictures.set(key, (picture = paint(name, variant)));
  const size = zoom * (0.9 + 0.25 * noise(x, y, 4));
  const left = sx + (noise(x, y, 5) - 0.5) * 14 * zoom - (WIDTH / 2) * size;
  const top = sy + (noise(x, y, 6) - 0.5) * 6 * zoom - FOOT * size;
  context.drawImage(picture, left, top, WIDTH * size, HEIGHT * size);
}

function paint(name, variant) {
  const picture = document.createElement("canvas");
  picture.width = WIDTH * DETAIL;
  picture.height = HEIGHT * DETAIL;
  const context = picture.getContext("2d");
  context.scale(DETAIL, DETAIL);
  context.translate(WIDTH / 2, FOOT);
  if (name === "tree") (variant < 2 ? conifer : oak)(context, variant);
  else if (name === "berries") bush(context, variant);
  else stump(context, variant);
  return picture;
}

function ball(context, x, y, rx, ry, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.ellipse(x, y, rx, ry, 0, 0, 7);
  context.fill();
}

function shadow(context, rx) {
  ball(context, 5, 1, rx, rx * 0.42, "rgba(18,26,10,.30)");
}

function conifer(context, variant) {
  shadow(context, 15);
  context.fillStyle = "#4d3a25";
  context.fillRect(-2, -8, 4, 9);
  const greens = variant ? ["#23472d", "#2d5836", "#3a6a41"] : ["#1f4229", "#2a5333", "#35643c"];
  for (let tier = 0; tier < 4; tier += 1) {
    const wide = 15 - tier * 3.2;
    const low = -5 - tier * 10;
    context.fillStyle = greens[Math.min(2, tier)];
    context.beginPath();
    context.moveTo(-wide, low);
    context.quadraticCurveTo(0, low + 5, wide, low);
    context.lineTo(0, low - 17);
    context.closePath();
    context.fill();
    context.fillStyle = "rgba(190,215,140,.13)";
    context.beginPath();
    context.moveTo(-wide, low);
    context.quadraticCurveTo(-wide / 2, low + 3.4, -2, low + 2.5);
    context.lineTo(0, low - 17);
    context.closePath();
    context.fill();
  }
}

function oak(context, variant) {
  shadow(context, 17);
  context.fillStyle = "#543f29";
  context.fillRect(-2.5, -16, 5, 17);
  const dark = variant === 2 ? "#35562b" : "#3f5c2a";
  const mid = variant === 2 ? "#466c37" : "#517034";
  const light = variant === 2 ? "#5a8244" : "#668641";
  ball(context, 0, -24, 16, 13, dark);
  ball(context, -7, -28, 10, 9, mid);
  ball(context, 7, -27, 10, 9, mid);
  ball(context, 0, -35, 11, 9, mid);
  ball(context, -5, -36, 6, 4.5, light);
  ball(context, -10, -30, 4.5, 3.5, light);
  ball(context, 5, -32, 4, 3, light);
}

function bush(context, variant) {
  ball(context, 3, 1, 14, 5.5, "rgba(18,26,10,.30)");
  ball(context, 0, -5, 13, 8, "#31582a");
  ball(context, -5, -8, 8, 6, "#44713a");
  ball(context, 5, -8, 7, 5.5, "#3d6834");
  for (let berry = 0; berry < 11; berry += 1) {
    const x = (noise(berry, variant, 7) - 0.5) * 22;
    const y = -4 - noise(berry, variant, 8) * 9;
    ball(context, x, y, 1.9, 1.9, "#b3263e");
    ball(context, x - 0.5, y - 0.6, 0.7, 0.7, "#f0a0a8");
  }
}

function stump(context, variant) {
  for (let at = 0; at < 2; at += 1) {
    const x = (noise(at, variant, 9) - 0.5) * 26;
    const y = (noise(at, variant, 11) - 0.5) * 10;
    ball(context, x + 1.5, y + 1, 5, 2.2, "rgba(18,26,10,.28)");
    context.fillStyle = "#5e452c";
    context.fillRect(x - 3.2, y - 4.5, 6.4, 5);
    ball(context, x, y + 0.5, 3.2, 1.4, "#5e452c");
    ball(context, x, y - 4.5, 3.2, 1.5, "#c9a878");
  }
}
