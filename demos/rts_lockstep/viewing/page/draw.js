// One frame: the ground, then everything that stands on it from far to near, then what floats above.

import { GAIA, colourOf } from "./palette.js";
import { drawProjectiles } from "./effects.js";
import { drawPlant, PLANTS } from "./plants.js";
import { STEPS } from "./sprites.js";
import { NEAR_ZOOM } from "./terrain.js";

const HURT_MS = 350;
// Seen from afar, figures stay large enough to tell whose they are, and stand on a disc of their colour.
const FIGURE_ZOOM_MIN = 0.55;
const DISC_ZOOM = 0.5;
const STRIDE = 40; // sub-tile units of walking per step of a figure's legs
const [FIGHTING, GATHERING, CARRYING] = [2, 3, 4];

export class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.ground = document.createElement("canvas");
    this.groundKey = "";
    this.plants = [];
  }

  resize(width, height) {
    for (const canvas of [this.canvas, this.ground]) {
      canvas.width = width;
      canvas.height = height;
    }
    this.groundKey = "";
  }

  draw(game, now) {
    const { context } = this;
    const { camera, world, effects } = game;
    this.#ground(game);
    context.drawImage(this.ground, 0, 0);
    effects.drawFallen(context, camera, game.hello, now);
    this.#rings(game);
    this.#standing(game, now);
    game.desync.drawPlaces(context, game, now);
    drawProjectiles(context, camera, world.projectiles, game.playback.fraction);
    this.#health(game, now);
    game.desync.drawLabels(context, game, now);
    effects.drawMarkers(context, camera, now);
    this.#box(game.input);
  }

  // The picture of the ground in this view, made again only when the view or the ground has changed.
  #ground({ camera, terrain }) {
    const key = `${camera.key},${terrain.changed}`;
    if (key === this.groundKey) return;
    this.groundKey = key;
    const context = this.ground.getContext("2d", { alpha: false });
    context.fillStyle = "#14181a";
    context.fillRect(0, 0, camera.width, camera.height);
    if (!terrain.draw(context, camera)) this.groundKey = "";
    this.plants = camera.zoom < NEAR_ZOOM ? [] : visiblePlants(camera, terrain);
  }

  #rings({ camera, world, selected, hello, you }) {
    const { context } = this;
    context.lineWidth = 1.6;
    for (const id of selected) {
      const slot = world.slots.get(id);
      if (slot === undefined) continue;
      const [sx, sy] = camera.screen(world.x[slot], world.y[slot]);
      const radius = Math.max(7 * camera.zoom, world.kinds[world.kind[slot]].radius * camera.ax * 1.5);
      context.strokeStyle = you === null ? colourOf(hello, world.owner[slot]) : "#c8ff9a";
      context.beginPath();
      context.ellipse(sx, sy, radius, radius / 2, 0, 0, 7);
      context.stroke();
    }
  }

  // Units and plants, merged by how far away they stand.
  #standing({ camera, world, sprites, hello }, now) {
    const { context, plants } = this;
    const { drawn, depth } = world;
    const size = Math.max(FIGURE_ZOOM_MIN, camera.zoom);
    let plant = 0;
    for (const slot of drawn) {
      while (plant < plants.length && plants[plant].depth < depth[slot]) this.#plant(plants[plant++], camera);
      const x = world.x[slot];
      const y = world.y[slot];
      const sx = (x - y) * camera.ax + camera.ox;
      const sy = (x + y) * camera.ay + camera.oy;
      const edge = world.speed[world.kind[slot]] ? 40 * camera.zoom : 180 * camera.zoom;
      if (sx < -edge || sy < -edge || sx > camera.width + edge || sy > camera.height + edge) continue;
      const state = world.state[slot];
      const strikes = !world.moving[slot] && (state === FIGHTING || state === GATHERING);
      let step = 0;
      if (world.moving[slot]) step = Math.floor(world.walked[slot] / STRIDE) % STEPS;
      else if (strikes) step = Math.floor(now / 280 + world.id[slot] * 0.37) % 2;
      const deed = strikes ? 1 : state === CARRYING ? 2 : 0;
      if (world.hp[slot] === 0) context.globalAlpha = 0.55; // a carcass
      if (camera.zoom < DISC_ZOOM && world.owner[slot] < GAIA && edge < 60) {
        context.fillStyle = colourOf(hello, world.owner[slot]);
        context.beginPath();
        context.ellipse(sx, sy, 4.5, 2.4, 0, 0, 7);
        context.fill();
      }
      const zoom = world.speed[world.kind[slot]] ? size : camera.zoom * 1.15;
      sprites.draw(context, world.kind[slot], world.owner[slot], world.facing[slot], step, deed, sx, sy, zoom);
      context.globalAlpha = 1;
    }
    while (plant < plants.length) this.#plant(plants[plant++], camera);
  }

  #plant({ name, x, y, wx, wy }, camera) {
    const sx = (wx - wy) * camera.ax + camera.ox;
    const sy = (wx + wy) * camera.ay + camera.oy;
    drawPlant(this.context, name, x, y, sx, sy, camera.zoom);
  }

  #health({ camera, world, selected }, now) {
    const { context } = this;
    for (const slot of world.drawn) {
      const kind = world.kinds[world.kind[slot]];
      const hurt = world.hurt[slot] && now - world.hurt[slot] < HURT_MS;
      const full = world.hp[slot] >= kind.hp;
      if (world.hp[slot] <= 0 || (full && !selected.has(world.id[slot])) || (camera.zoom < 0.4 && kind.speed)) continue;
      const [sx, foot] = camera.screen(world.x[slot], world.y[slot]);
      if (sx < 0 || foot < 0 || sx > camera.width || foot > camera.height + 60) continue;
      const wide = (kind.speed ? 18 : 84) * Math.max(0.7, camera.zoom);
      const top = foot - (kind.speed ? 30 : 112) * camera.zoom;
      const part = Math.min(1, world.hp[slot] / kind.hp);
      context.fillStyle = "rgba(12,12,10,.8)";
      context.fillRect(sx - wide / 2 - 1, top - 1, wide + 2, 5);
      context.fillStyle = hurt ? "#fff3e0" : part > 0.6 ? "#7ddc62" : part > 0.3 ? "#f0c24a" : "#ef5a4c";
      context.fillRect(sx - wide / 2, top, wide * part, 3);
    }
  }

  #box({ box }) {
    if (!box) return;
    const { context } = this;
    const [x, y, width, height] = [
      Math.min(box.x0, box.x1) + 0.5,
      Math.min(box.y0, box.y1) + 0.5,
      Math.abs(box.x1 - box.x0),
      Math.abs(box.y1 - box.y0),
    ];
    context.fillStyle = "rgba(200,255,154,.10)";
    context.fillRect(x, y, width, height);
    context.strokeStyle = "rgba(200,255,154,.9)";
    context.lineWidth = 1;
    context.strokeRect(x, y, width, height);
  }
}

function visiblePlants(camera, terrain) {
  const { sub, size } = terrain;
  const corners = [[0, 0], [camera.width, 0], [0, camera.height + 70], [camera.width, camera.height + 70]];
  const places = corners.map(([x, y]) => camera.world(x, y));
  const bound = (values, pick) => Math.min(size - 1, Math.max(0, Math.floor(pick(...values) / sub) + (pick === Math.min ? -2 : 2)));
  const xs = places.map(([x]) => x);
  const ys = places.map(([, y]) => y);
  const found = [];
  for (let y = bound(ys, Math.min); y <= bound(ys, Math.max); y += 1) {
    for (let x = bound(xs, Math.min); x <= bound(xs, Math.max); x += 1) {
      const name = terrain.name(x, y);
      if (!PLANTS.has(name)) continue;
      const [wx, wy] = [(x + 0.5) * sub, (y + 0.5) * sub];
      const [sx, sy] = camera.screen(wx, wy);
      if (sx < -60 || sy < -20 || sx > camera.width + 60 || sy > camera.height + 90) continue;
      found.push({ name, x, y, wx, wy, depth: wx + wy });
    }
  }
  return found.sort((one, other) => one.depth - other.depth);
}
