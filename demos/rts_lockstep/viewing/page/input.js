// Mouse and keys: looking around, selecting, and turning clicks into orders.
//
// An order's marker is drawn inside the handler of the click itself, before anything is sent: whatever the network
// does, the player sees at once that the click was heard.

const EDGE_PIXELS = 5;
const EDGE_SPEED = 0.9; // pixels per millisecond
const CLICK_PIXELS = 5;
const DOUBLE_MS = 350;
const ORDERED_MAX = 2000;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Input {
  constructor(game, canvas) {
    this.game = game;
    this.canvas = canvas;
    this.box = null;
    this.grip = null; // where a drag of the view began
    this.pointer = null;
    this.held = new Set();
    this.groups = new Map();
    this.lastGroup = { number: null, at: 0 };
    this.lastClick = { id: null, at: 0 };
    this.attackNext = false;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    addEventListener("pointermove", (event) => (this.pointer = [event.clientX, event.clientY]));
    document.addEventListener("pointerleave", () => (this.pointer = null));
    addEventListener("keydown", (event) => this.#key(event));
    addEventListener("keyup", (event) => this.held.delete(event.key));
    addEventListener("blur", () => this.held.clear());
  }

  // Called every frame: what is held down, and the pointer at the window's edge, move the view.
  frame(milliseconds) {
    let [x, y] = [0, 0];
    for (const key of this.held) {
      x += ARROWS[key]?.[0] ?? 0;
      y += ARROWS[key]?.[1] ?? 0;
    }
    if (this.pointer && document.hasFocus() && !this.box) {
      const [px, py] = this.pointer;
      if (px <= EDGE_PIXELS) x -= 1;
      if (px >= innerWidth - EDGE_PIXELS - 1) x += 1;
      if (py <= EDGE_PIXELS) y -= 1;
      if (py >= innerHeight - EDGE_PIXELS - 1) y += 1;
    }
    if (x || y) this.game.camera.pan(x * EDGE_SPEED * milliseconds, y * EDGE_SPEED * milliseconds);
  }

  #down(event) {
    const { game } = this;
    if (!game.world) return;
    if (event.button === 1 || (event.button === 0 && this.held.has(" "))) {
      this.canvas.setPointerCapture(event.pointerId);
      this.grip = [event.clientX, event.clientY];
      event.preventDefault();
    } else if (event.button === 2) {
      this.#orderAt(event);
    } else if (event.button === 0 && this.attackNext) {
      this.attackNext = false;
      this.#orderAt(event, "attack");
    } else if (event.button === 0) {
      this.canvas.setPointerCapture(event.pointerId);
      this.box = { x0: event.clientX, y0: event.clientY, x1: event.clientX, y1: event.clientY };
    }
  }

  #move(event) {
    if (this.grip) {
      this.game.camera.pan(this.grip[0] - event.clientX, this.grip[1] - event.clientY);
      this.grip = [event.clientX, event.clientY];
    } else if (this.box) {
      this.box.x1 = event.clientX;
      this.box.y1 = event.clientY;
    } else if (this.game.world) {
      this.canvas.className = this.#cursor(event.clientX, event.clientY);
    }
  }

  #up(event) {
    const { box } = this;
    this.box = this.grip = null;
    if (event.button !== 0 || !box || !this.game.world) return;
    const small = Math.abs(box.x1 - box.x0) < CLICK_PIXELS && Math.abs(box.y1 - box.y0) < CLICK_PIXELS;
    if (small) this.#pick(event);
    else this.#selectIn(box, event.shiftKey);
  }

  #wheel(event) {
    event.preventDefault();
    this.game.camera?.zoomAt(Math.exp(-event.deltaY * 0.0014), event.clientX, event.clientY);
  }

  // A click selects one unit; a second click on it soon after, all of its kind in view.
  #pick(event) {
    const { world, camera, selected, you } = this.game;
    const mine = (slot) => you === null || world.owner[slot] === you;
    const slot = world.at(camera, event.clientX, event.clientY, () => true);
    const id = slot < 0 ? null : world.id[slot];
    const again = id !== null && this.lastClick.id === id && event.timeStamp - this.lastClick.at < DOUBLE_MS;
    this.lastClick = { id, at: event.timeStamp };
    if (!event.shiftKey) selected.clear();
    if (id === null) return this.game.selectionChanged();
    if (again && mine(slot)) {
      for (const other of world.drawn) {
        const [sx, sy] = camera.screen(world.x[other], world.y[other]);
        const seen = sx >= 0 && sy >= 0 && sx <= camera.width && sy <= camera.height;
        if (seen && world.kind[other] === world.kind[slot] && world.owner[other] === world.owner[slot]) {
          selected.add(world.id[other]);
        }
      }
    } else if (event.shiftKey && selected.has(id)) selected.delete(id);
    else selected.add(id);
    return this.game.selectionChanged();
  }

  // Own units inside the box; those that walk before those that stand.
  #selectIn(box, add) {
    const { world, camera, selected, you } = this.game;
    if (!add) selected.clear();
    const [left, right] = [Math.min(box.x0, box.x1), Math.max(box.x0, box.x1)];
    const [top, bottom] = [Math.min(box.y0, box.y1), Math.max(box.y0, box.y1)];
    const inside = world.drawn.filter((slot) => {
      if (you !== null ? world.owner[slot] !== you : world.owner[slot] > 7) return false;
      const [sx, sy] = camera.screen(world.x[slot], world.y[slot]);
      return sx >= left && sx <= right && sy - 8 * camera.zoom <= bottom && sy >= top;
    });
    const walking = inside.filter((slot) => world.speed[world.kind[slot]] > 0);
    for (const slot of walking.length ? walking : inside) selected.add(world.id[slot]);
    this.game.selectionChanged();
  }

  // What an order at this place of the screen means: {order, target, x, y}, or null if there is nobody to order.
  #meaning(screenX, screenY, order = null) {
    const { world, camera, terrain, selected, you } = this.game;
    if (you === null || ![...selected].some((id) => this.#walks(id))) return null;
    const [x, y] = camera.world(screenX, screenY).map(Math.round);
    const slot = world.at(camera, screenX, screenY, (one) => world.owner[one] !== you);
    const farmers = [...selected].some((id) => world.kinds[world.kind[world.slots.get(id)]]?.gathers);
    const beast = slot >= 0 && world.owner[slot] > 7;
    const target = slot < 0 ? null : world.id[slot];
    if (order === "attack") return { order, target: beast ? null : target, x, y };
    if (slot >= 0 && beast && farmers) return { order: "gather", target, x, y };
    if (slot >= 0 && !beast) return { order: "attack", target, x, y };
    const plant = terrain.nameAt(x, y);
    if (farmers && (plant === "tree" || plant === "berries")) return { order: "gather", target: null, x, y };
    return { order: "move", target: null, x, y };
  }

  #walks(id) {
    const { world, you } = this.game;
    const slot = world.slots.get(id);
    return slot !== undefined && world.owner[slot] === you && world.speed[world.kind[slot]] > 0;
  }

  #cursor(x, y) {
    const meaning = this.#meaning(x, y, this.attackNext ? "attack" : null);
    return meaning ? `cursor-${meaning.order}` : "";
  }

  #orderAt(event, order = null) {
    const meaning = this.#meaning(event.clientX, event.clientY, order);
    if (meaning) this.give(meaning, event);
  }

  // Send an order for the selected units, and mark its place at once.
  give({ order, target = null, x, y }, event) {
    const units = [...this.game.selected].filter((id) => this.#walks(id)).slice(0, ORDERED_MAX);
    if (units.length) this.game.order({ order, units, x: Math.round(x), y: Math.round(y), target }, event);
  }

  #key(event) {
    const { game } = this;
    if (!game.world || event.target instanceof HTMLInputElement) return;
    const digit = /^Digit([1-9])$/.exec(event.code);
    if (digit) {
      event.preventDefault();
      this.#group(Number(digit[1]), event);
    } else if (event.key in ARROWS || event.key === " ") {
      event.preventDefault();
      this.held.add(event.key);
    } else if (!event.ctrlKey && !event.metaKey && !event.altKey) {
      this.#letter(event.key.toLowerCase(), event);
    }
  }

  #letter(key, event) {
    const { game } = this;
    if (key === "escape") {
      this.attackNext = false;
      game.selected.clear();
      game.selectionChanged();
    } else if (key === "a") this.attackNext = game.selected.size > 0;
    else if (key === "s") this.give({ order: "stop", x: game.camera.x, y: game.camera.y }, event);
    else if (key === "t" || key === "home") this.#town(event);
    else if (key === ".") this.#idle();
    else game.press(key, event);
  }

  // Shift or Ctrl and a digit keep the selection; the digit brings it back, and twice goes there.
  #group(number, event) {
    const { selected, world, camera } = this.game;
    if (event.shiftKey || event.ctrlKey) {
      this.groups.set(number, [...selected]);
      return this.game.selectionChanged();
    }
    const living = (this.groups.get(number) ?? []).filter((id) => world.slots.has(id));
    if (!living.length) return undefined;
    const again = this.lastGroup.number === number && event.timeStamp - this.lastGroup.at < DOUBLE_MS;
    this.lastGroup = { number, at: event.timeStamp };
    selected.clear();
    for (const id of living) selected.add(id);
    if (again) {
      const slots = living.map((id) => world.slots.get(id));
      const middle = (values) => slots.reduce((sum, slot) => sum + values[slot], 0) / slots.length;
      camera.look(middle(world.x), middle(world.y));
    }
    return this.game.selectionChanged();
  }

  #select(slot) {
    const { selected, world, camera } = this.game;
    if (slot === undefined) return;
    selected.clear();
    selected.add(world.id[slot]);
    camera.look(world.x[slot], world.y[slot]);
    this.game.selectionChanged();
  }

  #town() {
    const { world, you } = this.game;
    this.#select(world.drawn.find((slot) => world.owner[slot] === you && world.speed[world.kind[slot]] === 0));
  }

  #idle() {
    const { world, you, selected } = this.game;
    const idle = world.drawn.filter(
      (slot) => world.owner[slot] === you && world.state[slot] === 0 && world.kinds[world.kind[slot]].gathers,
    );
    idle.sort((one, other) => world.id[one] - world.id[other]);
    const after = Math.max(-1, ...[...selected]);
    this.#select(idle.find((slot) => world.id[slot] > after) ?? idle[0]);
  }
}
