// What is selected, and what it can do.

import { $, make, show } from "./dom.js";
import { GAIA } from "./palette.js";

const HOTKEYS = ["q", "w", "e", "r"];
const HINT = "Drag to select, right click to send: to berries, trees, deer, foes. H shows the keys.";
const STATES = ["idle", "walking", "fighting", "gathering", "carrying", "training"];

export class Panel {
  constructor(game) {
    this.game = game;
  }

  #selection() {
    const { world, selected } = this.game;
    return [...selected].map((id) => world.slots.get(id)).filter((slot) => slot !== undefined);
  }

  // The own building among the selection that trains, if any.
  #trainer() {
    const { world, you } = this.game;
    return this.#selection().find((slot) => world.owner[slot] === you && world.kinds[world.kind[slot]].trains.length);
  }

  press(key, event) {
    const place = HOTKEYS.indexOf(key);
    const slot = this.#trainer();
    const kind = slot === undefined ? undefined : this.game.world.kinds[this.game.world.kind[slot]].trains[place];
    if (kind === undefined) return false;
    this.#train(slot, kind, event);
    return true;
  }

  #train(slot, kind, event) {
    const { world } = this.game;
    this.game.order({ order: "train", units: [world.id[slot]], x: world.toX[slot], y: world.toY[slot], target: null, kind }, event);
  }

  draw() {
    const { world, hello, turn } = this.game;
    const slots = this.#selection();
    const counts = new Map();
    for (const slot of slots) {
      const key = `${world.kind[slot]},${world.owner[slot]}`;
      const one = counts.get(key) ?? { kind: world.kind[slot], owner: world.owner[slot], number: 0, hp: 0 };
      one.number += 1;
      one.hp += world.hp[slot];
      counts.set(key, one);
    }
    const trainer = this.#trainer();
    const line = turn?.players[this.game.you];
    const single = slots.length === 1 ? slots[0] : undefined;
    const doing = single === undefined ? "" : STATES[world.state[single]] ?? "";
    const groups = [...counts.values()];
    const key = JSON.stringify([groups, trainer, doing, trainer === undefined ? 0 : [line?.food, line?.wood, line?.queue]]);
    const mine = hello && this.game.you !== null && line?.alive;
    $("selection").hidden = slots.length === 0 && !mine;
    show($("selection"), key, () => slots.length === 0 ? [make("span.hint", {}, HINT)] : [
      make("div.groups", {}, ...groups.map((group) => this.#group(group, doing))),
      ...(trainer === undefined ? [] : this.#training(trainer, line)),
    ]);
  }

  #portrait(kind, owner) {
    const canvas = make("canvas");
    canvas.width = canvas.height = 48;
    const centre = this.game.world.speed[kind] === 0;
    this.game.sprites.draw(canvas.getContext("2d"), kind, owner, 1, 0, 0, 24, centre ? 36 : 43, centre ? 0.24 : 1.5);
    return canvas;
  }

  #group({ kind, owner, number, hp }, doing) {
    const { world, hello } = this.game;
    const full = world.kinds[kind].hp * number;
    const part = Math.max(0, Math.min(1, hp / full));
    const whose = owner >= GAIA ? "wild" : hello.players[owner]?.name ?? "";
    return make(
      "div.group",
      { title: `${world.kinds[kind].name}, ${whose}` },
      this.#portrait(kind, owner),
      make("b", {}, number > 1 ? `${number} \u00d7 ${world.kinds[kind].name}` : world.kinds[kind].name),
      make("span.health", {}, make("i", { style: { width: `${part * 100}%` } })),
      make("small", {}, number > 1 ? whose : `${hp} / ${world.kinds[kind].hp}${doing ? `, ${doing}` : ""}`),
    );
  }

  #training(slot, line) {
    const { world, you } = this.game;
    const kinds = world.kinds[world.kind[slot]].trains;
    const buttons = kinds.map((kind, place) => {
      const { name, food, wood } = world.kinds[kind];
      const poor = line && (line.food < food || line.wood < wood);
      return make(
        poor ? "button.train.poor" : "button.train",
        { title: `train: ${name} (${HOTKEYS[place]?.toUpperCase() ?? ""})`, onclick: (event) => this.#train(slot, kind, event) },
        this.#portrait(kind, you),
        make("span", {}, name),
        make("small", {}, ...(food ? [make("i.icon.food"), food] : []), ...(wood ? [make("i.icon.wood"), wood] : [])),
        make("kbd", {}, HOTKEYS[place]?.toUpperCase() ?? ""),
      );
    });
    const queue = (line?.queue ?? []).map((kind) => make("span.queued", { title: world.kinds[kind].name }, this.#portrait(kind, you)));
    return [make("div.trains", {}, ...buttons), make("div.queue", {}, ...queue)];
  }
}
