// The whole map in a corner, in the same projection as the field: ground, units, fights, what the view shows.
// A left click or drag goes there; a right click sends the selection there.

import { colourOf, GAIA } from "./palette.js";

const WIDTH = 272;
const HEIGHT = 136;
const GROUND = {
  water: "#2b5f86", shallow: "#4f92a6", sand: "#c9b17c", grass: "#5f7c3e", tree: "#33512c",
  berries: "#8c3a4a", hill: "#8f8c55", stumps: "#767a46",
};

export class Minimap {
  constructor(canvas, actions) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    canvas.width = WIDTH;
    canvas.height = HEIGHT;
    this.ground = document.createElement("canvas");
    this.ground.width = WIDTH;
    this.ground.height = HEIGHT;
    this.groundOf = null;
    const world = (event) => {
      const bounds = canvas.getBoundingClientRect();
      return this.world(event.clientX - bounds.left, event.clientY - bounds.top);
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button === 2) actions.order(...world(event), event);
      else {
        canvas.setPointerCapture(event.pointerId);
        actions.look(...world(event));
      }
    });
    canvas.addEventListener("pointermove", (event) => event.buttons & 1 && actions.look(...world(event)));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  begin(hello) {
    this.end = hello.map.size * hello.sub;
    this.groundOf = null;
  }

  place(x, y) {
    return [((x - y) / this.end + 1) * (WIDTH / 2), ((x + y) / this.end) * (HEIGHT / 2)];
  }

  world(px, py) {
    const difference = (px / (WIDTH / 2) - 1) * this.end;
    const sum = (py / (HEIGHT / 2)) * this.end;
    return [(sum + difference) / 2, (sum - difference) / 2];
  }

  #ground(terrain) {
    const key = `${terrain.changed}`;
    if (this.groundOf === key) return;
    this.groundOf = key;
    const context = this.ground.getContext("2d");
    context.clearRect(0, 0, WIDTH, HEIGHT);
    const step = WIDTH / 2 / terrain.size;
    for (let y = 0; y < terrain.size; y += 1) {
      for (let x = 0; x < terrain.size; x += 1) {
        context.fillStyle = GROUND[terrain.name(x, y)] ?? GROUND.grass;
        const [px, py] = this.place(x * terrain.sub, y * terrain.sub);
        context.fillRect(px - step, py - 0.5, step * 2, step * 1.4);
      }
    }
  }

  draw({ terrain, world, camera, hello, desync }, now) {
    const { context } = this;
    this.#ground(terrain);
    context.clearRect(0, 0, WIDTH, HEIGHT);
    context.drawImage(this.ground, 0, 0);
    for (const slot of world.drawn) {
      const [px, py] = this.place(world.x[slot], world.y[slot]);
      context.fillStyle = world.owner[slot] === GAIA ? "#d9c8a0" : colourOf(hello, world.owner[slot]);
      if (world.owner[slot] === GAIA) context.fillRect(px - 0.5, py - 0.5, 1, 1);
      else context.fillRect(px - 1, py - 1, 2, 2);
    }
    for (const slot of world.drawn) {
      if (world.speed[world.kind[slot]]) continue;
      const [px, py] = this.place(world.x[slot], world.y[slot]);
      context.fillStyle = "#0c0e10";
      context.fillRect(px - 5, py - 5, 10, 10);
      context.fillStyle = colourOf(hello, world.owner[slot]);
      context.fillRect(px - 3.5, py - 3.5, 7, 7);
    }
    if (desync.current) {
      const [px, py] = this.place(desync.current.true_x, desync.current.true_y);
      context.strokeStyle = "#ff4d4f";
      context.lineWidth = 2;
      context.beginPath();
      context.arc(px, py, 4 + ((now / 60) % 10), 0, 7);
      context.stroke();
    }
    const corners = [[0, 0], [camera.width, 0], [camera.width, camera.height], [0, camera.height]];
    context.strokeStyle = "rgba(255,255,255,.9)";
    context.lineWidth = 1;
    context.beginPath();
    for (const corner of corners) context.lineTo(...this.place(...camera.world(...corner)));
    context.closePath();
    context.stroke();
  }
}
