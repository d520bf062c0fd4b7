// The depth ladder: asks above, bids below, both best at the middle; rows that were wrong are red for a while.

import { CHECKSUM_LEVELS } from "./book.js";

const ROW_PIXELS = 20;
const BAD_MILLISECONDS = 6000;

class Row {
  constructor(parent) {
    this.element = document.createElement("div");
    this.element.className = "row";
    this.bar = document.createElement("i");
    [this.price, this.quantity, this.total] = ["span", "span", "span"].map((name) => document.createElement(name));
    this.element.append(this.price, this.bar, this.quantity, this.total);
    this.element.insertBefore(this.price, this.bar);
    parent.append(this.element);
    this.shown = "";
  }
}

export class Ladder {
  constructor(asks, bids) {
    this.sides = [
      { parent: asks, isBid: false, rows: [], before: new Map() },
      { parent: bids, isBid: true, rows: [], before: new Map() },
    ];
    this.bad = new Map(); // side and price -> {level, until}
  }

  // Marks the levels of an incident.
  mark(incident) {
    const until = performance.now() + BAD_MILLISECONDS;
    for (const level of incident.levels) this.bad.set(`${level.isBid} ${level.price}`, { level, until, incident });
  }

  clear() {
    this.bad.clear();
    for (const side of this.sides) side.before.clear();
  }

  draw(book) {
    const now = performance.now();
    for (const [key, one] of this.bad) if (one.until < now) this.bad.delete(key);
    for (const side of this.sides) this.drawSide(side, this.withGone(side, (side.isBid ? book.bids : book.asks).levels));
  }

  // A level that is marked keeps its row though the book has it no more.
  withGone(side, levels) {
    const gone = [];
    for (const { level } of this.bad.values()) {
      if (level.isBid !== side.isBid || levels.some((one) => one.price === level.price)) continue;
      gone.push({ price: level.price, quantity: "0" });
    }
    return gone.length ? [...levels, ...gone].sort((a, b) => (side.isBid ? b.price - a.price : a.price - b.price)) : levels;
  }

  drawSide(side, levels) {
    const count = Math.max(CHECKSUM_LEVELS, Math.floor(side.parent.clientHeight / ROW_PIXELS));
    while (side.rows.length < count) side.rows.push(new Row(side.parent));
    while (side.rows.length > count) side.rows.pop().element.remove();
    const shown = levels.slice(0, count);
    const most = shown.reduce((sum, level) => sum + Number(level.quantity), 0) || 1;
    const after = new Map();
    let total = 0;
    for (let place = 0; place < count; place += 1) {
      // Asks grow upwards from the middle.
      const row = side.rows[side.isBid ? place : count - 1 - place];
      const level = shown[place];
      if (level === undefined) {
        row.element.style.visibility = "hidden";
        row.element.className = "row";
        continue;
      }
      total += Number(level.quantity);
      after.set(level.price, level.quantity);
      this.drawRow(side, row, level, place, total, most);
    }
    side.before = after;
  }

  drawRow(side, row, level, place, total, most) {
    const bad = this.bad.get(`${side.isBid} ${level.price}`);
    const isNew = side.before.size > 0 && side.before.get(level.price) !== level.quantity;
    row.element.style.visibility = "visible";
    row.element.dataset.price = level.price;
    row.element.dataset.quantity = level.quantity;
    row.price.textContent = level.price;
    row.total.textContent = total.toLocaleString("en");
    row.bar.style.setProperty("--part", String(total / most));
    row.element.classList.toggle("is-checked", place < CHECKSUM_LEVELS);
    row.element.classList.toggle("is-bad", bad !== undefined);
    if (bad === undefined) {
      row.quantity.textContent = Number(level.quantity).toLocaleString("en");
      row.element.title = place < CHECKSUM_LEVELS ? "one of the ten best, which the checksum covers" : "";
    } else {
      const wrong = document.createElement("s");
      wrong.textContent = bad.level.mine === null ? "none" : Number(bad.level.mine).toLocaleString("en");
      row.quantity.replaceChildren(wrong, Number(level.quantity).toLocaleString("en"));
      row.element.title = `wrong when update ${bad.incident.update} came`;
    }
    if (isNew) {
      row.element.classList.remove("is-new");
      void row.element.offsetWidth; // restarts the animation
      row.element.classList.add("is-new");
    }
  }
}
