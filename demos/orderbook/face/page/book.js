// A book of price levels as Kraken's v1 `book` channel publishes it: snapshot, updates, checksum.
//
// Prices and quantities stay the strings that were on the wire, since their digits are what the checksum is made of. All
// prices of a pair have the same number of decimals, so digits without the dot order as the prices do: by length, then
// as text. Nothing here knows the page: the module runs under node as well.

import { crc32 } from "./crc32.js";

export const CHECKSUM_LEVELS = 10;

// "0.05005" is "5005": without its dot and leading zeros.
export function digits(number) {
  return number.replace(".", "").replace(/^0+/, "");
}

function compare(left, right) {
  if (left.length !== right.length) return left.length - right.length;
  return left < right ? -1 : left > right ? 1 : 0;
}

// One side: levels {price, quantity, key}, best first.
export class Side {
  constructor(isBid) {
    this.isBid = isBid;
    this.levels = [];
  }

  place(key) {
    let low = 0;
    let high = this.levels.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const order = compare(this.levels[middle].key, key);
      if (this.isBid ? order > 0 : order < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Sets the quantity of a level; zero removes it.
  set(price, quantity) {
    const key = digits(price);
    const place = this.place(key);
    const isThere = place < this.levels.length && this.levels[place].key === key;
    if (digits(quantity) === "") {
      if (isThere) this.levels.splice(place, 1);
    } else if (isThere) {
      this.levels[place].quantity = quantity;
    } else {
      this.levels.splice(place, 0, { price, quantity, key });
    }
  }
}

export class Book {
  constructor(depth) {
    this.depth = depth;
    this.asks = new Side(false);
    this.bids = new Side(true);
  }

  // Applies all levels of a message, [price, quantity, ...] each, and then cuts the sides to the depth.
  update(asks, bids) {
    for (const [price, quantity] of asks) this.asks.set(price, quantity);
    for (const [price, quantity] of bids) this.bids.set(price, quantity);
    for (const side of [this.asks, this.bids]) {
      if (side.levels.length > this.depth) side.levels.length = this.depth;
    }
  }

  // CRC-32 over the ten best asks, then the ten best bids: price digits and quantity digits of each.
  checksum() {
    let text = "";
    for (const side of [this.asks, this.bids]) {
      const count = Math.min(CHECKSUM_LEVELS, side.levels.length);
      for (let place = 0; place < count; place += 1) {
        const level = side.levels[place];
        text += level.key + digits(level.quantity);
      }
    }
    return crc32(text);
  }

  // Where another book of the same pair differs: {isBid, price, mine, theirs}, null where a side has no such level.
  differences(other) {
    const found = [];
    for (const [mine, theirs] of [[this.asks, other.asks], [this.bids, other.bids]]) {
      const left = new Map(mine.levels.map((level) => [level.key, level]));
      const right = new Map(theirs.levels.map((level) => [level.key, level]));
      for (const key of new Set([...left.keys(), ...right.keys()])) {
        const [one, two] = [left.get(key), right.get(key)];
        if (one?.quantity !== two?.quantity) {
          const price = (one ?? two).price;
          found.push({ isBid: mine.isBid, price, mine: one?.quantity ?? null, theirs: two?.quantity ?? null });
        }
      }
    }
    return found;
  }
}

// The parts of a book message [channel, {..}, {..}?, "book-10", pair], or null if it is another one.
export function parse(message) {
  if (!Array.isArray(message) || message.length < 4) return null;
  const channel = message[message.length - 2];
  if (typeof channel !== "string" || !channel.startsWith("book-")) return null;
  const parts = Object.assign({}, ...message.slice(1, -2));
  return {
    pair: message[message.length - 1],
    depth: Number(channel.slice("book-".length)),
    isSnapshot: "as" in parts || "bs" in parts,
    asks: parts.as ?? parts.a ?? [],
    bids: parts.bs ?? parts.b ?? [],
    checksum: parts.c === undefined ? null : Number(parts.c),
  };
}
