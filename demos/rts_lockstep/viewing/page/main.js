// The page of one player: connects the parts, and draws a frame whenever the browser wants one.

import { Camera } from "./camera.js";
import { Debug } from "./debug.js";
import { DesyncOverlay } from "./desync.js";
import { $ } from "./dom.js";
import { Painter } from "./draw.js";
import { Effects } from "./effects.js";
import { Graphs } from "./graphs.js";
import { Hud } from "./hud.js";
import { Input } from "./input.js";
import { Minimap } from "./minimap.js";
import { Connection } from "./net.js";
import { Panel } from "./panel.js";
import { ReplayBar } from "./replay.js";
import { Sprites } from "./sprites.js";
import { Terrain } from "./terrain.js";
import { Playback } from "./turns.js";
import { World } from "./world.js";

const MINIMAP_MS = 100;
const FRAME_MS_MAX = 10_000; // after a sleep this long the world's walk is over anyway

const game = {
  hello: null,
  you: null,
  turn: null, // the one that is shown
  selected: new Set(),
  // Numbers of its own for each page, since all pages of a player hear of all his clicks.
  firstClick: Math.floor(Math.random() * 2 ** 30),
  clicks: 0,
  connection: null,

  send(message) {
    game.connection.send(message);
  },

  // Ask for an order, and show at once that it was heard. `event` is the click or key that gave it.
  order(order, event) {
    game.clicks += 1;
    const click = game.firstClick + game.clicks;
    if (order.order !== "stop" && order.order !== "train") {
      const now = performance.now();
      const marker = game.effects.mark(click, order.order, order.x, order.y, now);
      game.effects.drawMarkers(game.painter.context, game.camera, now, [marker]);
      game.debug.marker(performance.now() - event.timeStamp);
    }
    game.send({ type: "order", click, ...order });
  },

  press(key, event) {
    return game.panel.press(key, event) || game.hud.press(key);
  },

  selectionChanged() {
    game.panel.draw();
  },
};

function resize() {
  game.painter.resize(innerWidth, innerHeight);
  game.camera?.resize(innerWidth, innerHeight);
}

function begin(hello) {
  const same = game.hello && game.hello.map.size === hello.map.size && game.hello.you === hello.you;
  const camera = game.camera;
  game.hello = hello;
  game.you = hello.you;
  game.turn = null;
  game.selected.clear();
  game.playback = new Playback();
  game.world = new World(hello);
  game.terrain = new Terrain(hello);
  game.sprites = new Sprites(hello);
  game.effects = new Effects();
  game.camera = same ? camera : new Camera(hello.map.size, hello.sub);
  game.placed = same;
  game.camera.resize(innerWidth, innerHeight);
  game.painter.groundKey = "";
  game.minimap.begin(hello);
  game.graphs.begin();
  game.desync.begin();
  game.hud.begin(hello);
  game.replay.begin(hello);
  game.panel.draw();
}

// The first view: one's own town centre, or the middle of the map.
function placeCamera() {
  const { world, you, camera } = game;
  game.placed = true;
  const home = world.drawn.find((slot) => world.owner[slot] === you && world.speed[world.kind[slot]] === 0);
  if (home !== undefined) camera.look(world.x[home], world.y[home]);
  else if (you === null) camera.zoomAt(0.5, camera.width / 2, camera.height / 2);
}

function shown(turn, now) {
  game.turn = turn;
  game.world.apply(turn, now);
  game.effects.began(turn.turn, game.world.deaths, now);
  for (const id of game.selected) if (!game.world.slots.has(id)) game.selected.delete(id);
  if (!game.placed) placeCamera();
}

let before = null;
let minimapAt = 0;

function frame(now) {
  requestAnimationFrame(frame);
  const gap = before === null ? 0 : Math.min(FRAME_MS_MAX, now - before);
  before = now;
  if (!game.hello) return;
  const began = performance.now();
  game.input.frame(gap);
  const lastDuration = game.playback.turn?.duration ?? 0;
  const turns = game.playback.advance(gap, began);
  for (const turn of turns) shown(turn, now);
  if (game.turn) {
    const duration = Math.max(lastDuration, game.playback.turn.duration);
    game.world.advance(gap, game.playback.fraction, duration);
  }
  game.effects.expire(began);
  game.desync.frame(began);
  game.painter.draw(game, began);
  if (turns.length) {
    game.hud.draw();
    game.panel.draw();
    game.graphs.draw();
    game.replay.update(game.turn);
  }
  if (now - minimapAt > MINIMAP_MS) {
    minimapAt = now;
    game.minimap.draw(game, now);
  }
  game.debug.frame(now, gap, performance.now() - began);
}

game.painter = new Painter($("field"));
game.hud = new Hud(game);
game.panel = new Panel(game);
game.graphs = new Graphs();
game.desync = new DesyncOverlay();
game.replay = new ReplayBar(game);
game.debug = new Debug(game);
game.input = new Input(game, $("field"));
game.minimap = new Minimap($("minimap"), {
  look: (x, y) => game.camera?.look(x, y),
  order: (x, y, event) => game.world && game.input.give({ order: "move", x, y }, event),
});
game.connection = new Connection({
  open: (open) => ($("lost").hidden = open),
  hello: begin,
  turn(turn) {
    const now = performance.now();
    game.playback.push(turn, now);
    game.graphs.add(turn, now);
  },
  tiles: ({ tiles }) => game.terrain.change(tiles),
  status(status) {
    game.hud.status = status;
    game.hud.draw();
  },
  root(root) {
    game.graphs.root(root);
    game.graphs.draw();
  },
  ack: ({ click, turn }) => game.effects.known(click, turn),
  refused({ click, reason }) {
    game.effects.refused(click, performance.now());
    if (click > game.firstClick && click <= game.firstClick + game.clicks) game.hud.toast(reason, true);
  },
  desync: (desync) => game.desync.found(desync),
  healed: (healed) => game.desync.heal(healed, performance.now()),
});
addEventListener("resize", resize);
resize();
requestAnimationFrame(frame);
window.game = game;
