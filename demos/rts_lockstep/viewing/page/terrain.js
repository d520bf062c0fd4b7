// The ground: drawn once in square pieces of 8 x 8 tiles, kept as pictures, and copied to the screen.
//
// Layers from the lowest (water) to the highest (hills) are drawn one over the other as rounded blobs a little larger
// than their tiles, so that borders look grown, not cut. What stands on the ground (trees, berries, stumps) is drawn
// into the pieces when the view is far, and among the units (draw.js) when it is near. When a tile changes its pieces
// are drawn again. Pieces are made a few milliseconds' worth a frame; until then a coarse picture of the whole map shows.

import { TILE_HEIGHT, TILE_WIDTH } from "./camera.js";
import { noise, smooth } from "./palette.js";
import { drawPlant } from "./plants.js";

const PIECE = 8;
const MARGIN = 40; // pixels at scale 1 around a piece, for what stands up from the ground
const SCALES = [0.5, 1, 2];
export const NEAR_ZOOM = 0.55; // from here on plants are drawn among the units
const PIECES_MAX = 400;
const PAINT_MS = 6; // for new pieces in one frame
const COARSE = 16; // pixels per tile of the whole map's picture

// Order, radius in tiles, colours by noise.
const LAYERS = [
  { names: ["water"], radius: 0.95, colours: ["#2b5f86", "#2a5c82", "#2d638a"] },
  { names: ["shallow"], radius: 0.98, colours: ["#4f92a6", "#4b8da2", "#5397aa"] },
  { names: ["sand"], radius: 0.98, colours: ["#cdb682", "#c9b17c", "#d1bb89"] },
  { names: ["grass", "berries"], radius: 1.0, colours: ["#6a8a41", "#6e8e44", "#719046", "#769349", "#7d9650"] },
  { names: ["stumps"], radius: 0.92, colours: ["#7d8149", "#797c46"] },
  { names: ["tree"], radius: 1.0, colours: ["#516c37", "#55713a", "#5a763e"] },
  { names: ["hill"], radius: 0.98, colours: ["#94925a", "#8f8c55", "#9a9861"] },
];
const SHORE = "#b9ab77";

export class Terrain {
  constructor(hello) {
    this.size = hello.map.size;
    this.sub = hello.sub;
    this.names = hello.map.names;
    this.tiles = Uint8Array.from(atob(hello.map.tiles), (letter) => letter.charCodeAt(0));
    this.pieces = new Map();
    this.across = Math.ceil(this.size / PIECE);
    this.changed = 0; // counts changes, for whoever keeps a picture of the map
    this.coarse = this.#coarse();
  }

  name(x, y) {
    if (x < 0 || y < 0 || x >= this.size || y >= this.size) return "";
    return this.names[this.tiles[y * this.size + x]] ?? "grass";
  }

  nameAt(x, y) {
    return this.name(Math.floor(x / this.sub), Math.floor(y / this.sub));
  }

  change(pairs) {
    for (const [number, code] of pairs) {
      this.tiles[number] = code;
      const px = Math.floor((number % this.size) / PIECE);
      const py = Math.floor(number / this.size / PIECE);
      for (const key of this.pieces.keys()) {
        const [x, y] = key.split(",").map(Number);
        if (Math.abs(x - px) <= 1 && Math.abs(y - py) <= 1) this.pieces.delete(key);
      }
    }
    this.changed += 1;
  }

  // Draw the view; false if some of it is still the coarse picture and should be drawn again.
  draw(context, camera) {
    const scale = SCALES.find((value) => value >= camera.zoom * 0.8) ?? 2;
    const far = camera.zoom < NEAR_ZOOM;
    const ratio = camera.zoom / scale;
    const side = PIECE * this.sub;
    const end = performance.now() + PAINT_MS;
    const missing = [];
    const ready = [];
    for (let sum = 0; sum <= 2 * (this.across - 1); sum += 1) {
      for (let px = Math.max(0, sum - this.across + 1); px <= Math.min(sum, this.across - 1); px += 1) {
        const py = sum - px;
        const [left, top] = camera.screen(px * side, (py + 1) * side);
        const [middle, up] = camera.screen(px * side, py * side);
        const width = 2 * (middle - left);
        const edge = MARGIN * camera.zoom;
        if (left > camera.width + edge || left + width < -edge) continue;
        if (up > camera.height + edge || up + 2 * (top - up) < -edge) continue;
        const picture = this.#piece(px, py, scale, far, end);
        if (picture) ready.push([picture, left - edge, up - edge]);
        else missing.push([px, py]);
      }
    }
    if (missing.length) this.#drawCoarse(context, camera);
    for (const [picture, x, y] of ready) context.drawImage(picture, x, y, picture.width * ratio, picture.height * ratio);
    return missing.length === 0;
  }

  #drawCoarse(context, camera) {
    const [left] = camera.screen(0, this.size * this.sub);
    const [, top] = camera.screen(0, 0);
    const wide = this.size * TILE_WIDTH * camera.zoom;
    context.drawImage(this.coarse, left, top, wide, wide / 2);
  }

  #coarse() {
    const picture = document.createElement("canvas");
    picture.width = this.size * COARSE;
    picture.height = picture.width / 2;
    const context = picture.getContext("2d");
    for (let y = 0; y < this.size; y += 1) {
      for (let x = 0; x < this.size; x += 1) {
        const layer = LAYERS.find(({ names }) => names.includes(this.name(x, y)));
        context.fillStyle = layer?.colours[1] ?? LAYERS[3].colours[1];
        const left = ((x - y + this.size - 1) * COARSE) / 2;
        context.fillRect(left, ((x + y) * COARSE) / 4, COARSE, COARSE / 2);
      }
    }
    return picture;
  }

  // A piece's picture; null if it has yet to be made and this frame has no time left for it.
  #piece(px, py, scale, far, end) {
    const key = `${px},${py},${scale},${far}`;
    let picture = this.pieces.get(key);
    if (!picture) {
      if (performance.now() > end) return null;
      if (this.pieces.size >= PIECES_MAX) this.pieces.clear();
      picture = this.#paint(px, py, scale, far);
      this.pieces.set(key, picture);
    }
    return picture;
  }

  #paint(px, py, scale, far) {
    const picture = document.createElement("canvas");
    picture.width = Math.ceil((PIECE * TILE_WIDTH + 2 * MARGIN) * scale);
    picture.height = Math.ceil((PIECE * TILE_HEIGHT + 2 * MARGIN) * scale);
    const context = picture.getContext("2d");
    context.scale(scale, scale);
    context.translate(MARGIN + (PIECE * TILE_WIDTH) / 2, MARGIN);
    const first = [px * PIECE, py * PIECE];
    const place = (x, y) => [
      ((x - first[0] - (y - first[1])) * TILE_WIDTH) / 2,
      ((x - first[0] + (y - first[1])) * TILE_HEIGHT) / 2,
    ];
    context.save();
    this.#clip(context, scale);
    const around = [];
    for (let y = first[1] - 1; y <= first[1] + PIECE; y += 1) {
      for (let x = first[0] - 1; x <= first[0] + PIECE; x += 1) {
        const name = this.name(Math.min(this.size - 1, Math.max(0, x)), Math.min(this.size - 1, Math.max(0, y)));
        around.push({ x, y, name, order: LAYERS.findIndex(({ names }) => names.includes(name)) });
      }
    }
    context.fillStyle = LAYERS[0].colours[0];
    context.fillRect(-PIECE * TILE_WIDTH, -MARGIN, 2 * PIECE * TILE_WIDTH, PIECE * TILE_HEIGHT * 2);
    for (const [order, layer] of LAYERS.entries()) {
      const here = around.filter((tile) => tile.order >= order);
      if (order === 2 && here.length < around.length) this.#blobs(context, here, place, 1.2, [SHORE]);
      this.#blobs(context, here.filter(({ name }) => layer.names.includes(name)), place, layer.radius, layer.colours);
    }
    for (const tile of around) this.#details(context, tile, place);
    context.restore();
    if (far) {
      for (const { x, y, name } of around) {
        const inside = x >= first[0] && y >= first[1] && x < first[0] + PIECE && y < first[1] + PIECE;
        if (inside) drawPlant(context, name, x, y, ...place(x + 0.5, y + 0.5), 1);
      }
    }
    return picture;
  }

  // The piece's own diamond, half a pixel wider, so that no seam shows between pieces.
  #clip(context, scale) {
    const more = 0.75 / scale;
    const width = (PIECE * TILE_WIDTH) / 2 + 2 * more;
    const height = PIECE * TILE_HEIGHT;
    context.beginPath();
    context.moveTo(0, -more);
    context.lineTo(width, height / 2);
    context.lineTo(0, height + more);
    context.lineTo(-width, height / 2);
    context.closePath();
    context.clip();
  }

  #blobs(context, tiles, place, radius, colours) {
    for (const { x, y } of tiles) {
      const [sx, sy] = place(x + 0.5, y + 0.5);
      const size = radius * (0.72 + 0.1 * noise(x, y, 1));
      const tint = 0.75 * smooth(x / 7, y / 7) + 0.25 * noise(x, y, 2);
      context.fillStyle = colours[Math.min(colours.length - 1, Math.floor(tint * colours.length))];
      context.beginPath();
      context.ellipse(sx, sy, size * TILE_WIDTH * 0.72, size * TILE_HEIGHT * 0.72, 0, 0, 7);
      context.fill();
    }
  }

  #details(context, { x, y, name }, place) {
    for (let mark = 0; mark < 4; mark += 1) {
      const [sx, sy] = place(x + noise(x, y, 10 + mark), y + noise(x, y, 20 + mark));
      const kind = noise(x, y, 30 + mark);
      if (name === "water" || name === "shallow") {
        if (kind > 0.45) continue;
        context.strokeStyle = name === "water" ? "rgba(150,200,225,.20)" : "rgba(220,240,245,.30)";
        context.lineWidth = 1;
        context.beginPath();
        context.ellipse(sx, sy, 5 + 4 * kind, 1.6, 0, 3.4, 6);
        context.stroke();
      } else if (name === "hill") {
        context.fillStyle = kind > 0.5 ? "rgba(70,62,38,.25)" : "rgba(240,232,190,.22)";
        context.beginPath();
        context.ellipse(sx, sy, 3 + 7 * kind, 1.2 + 2 * kind, 0, 0, 7);
        context.fill();
      } else {
        context.strokeStyle = kind > 0.5 ? "rgba(40,60,20,.30)" : "rgba(190,205,120,.25)";
        context.lineWidth = 0.9;
        context.beginPath();
        context.moveTo(sx - 1.5, sy);
        context.lineTo(sx - 2.2, sy - 2.4);
        context.moveTo(sx, sy);
        context.lineTo(sx + 0.3, sy - 3);
        context.moveTo(sx + 1.5, sy);
        context.lineTo(sx + 2.6, sy - 2.2);
        context.stroke();
      }
    }
  }
}
