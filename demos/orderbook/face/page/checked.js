// A copy of a book that checks itself with every update, and asks for a new one when it is wrong.
//
// After a wrong checksum the copy is suspect: it goes on applying updates, unchecked, until the snapshot that was asked
// for is here. Messages come in order, so the two books stand at the same point of the feed, and where they differ is
// what was wrong.

import { Book } from "./book.js";

const INCIDENTS_KEPT = 20;

export class CheckedBook {
  // resubscribe() asks the exchange for a snapshot; changed(what) is called after every message.
  constructor(pair, { resubscribe, changed = () => {} }) {
    this.pair = pair;
    this.resubscribe = resubscribe;
    this.changed = changed;
    this.book = null;
    this.updates = 0; // since the first snapshot
    this.verified = 0; // checksums that were right
    this.checksum = null;
    this.suspect = null; // the incident that is open
    this.incidents = []; // newest first
    this.damaged = null; // {side, price, quantity}: a level that was spoiled and has not been mended
  }

  take(message) {
    if (message.isSnapshot) this.begin(message);
    else if (this.book !== null) this.apply(message);
  }

  // What is held is no longer of use: the next snapshot begins anew.
  forget() {
    this.book = null;
    this.suspect = this.damaged = null;
  }

  begin(message) {
    const fresh = new Book(message.depth);
    fresh.update(message.asks, message.bids);
    const incident = this.suspect;
    if (incident !== null) {
      incident.levels = this.book.differences(fresh);
      incident.milliseconds = performance.now() - incident.began;
      this.suspect = null;
    }
    this.damaged = null;
    this.book = fresh;
    this.checksum = fresh.checksum();
    this.changed(incident === null ? "snapshot" : "healed", incident);
  }

  apply(message) {
    this.book.update(message.asks, message.bids);
    this.damaged?.side.set(this.damaged.price, this.damaged.quantity);
    this.updates += 1;
    this.checksum = this.book.checksum();
    if (this.suspect === null && message.checksum !== null && message.checksum !== this.checksum) {
      this.suspect = {
        update: this.updates,
        mine: this.checksum,
        theirs: message.checksum,
        began: performance.now(),
        levels: [],
        milliseconds: null,
      };
      this.incidents.unshift(this.suspect);
      this.incidents.length = Math.min(this.incidents.length, INCIDENTS_KEPT);
      this.changed("wrong", this.suspect);
      this.resubscribe();
      return;
    }
    if (this.suspect === null) this.verified += 1;
    this.changed("update", message);
  }

  // Spoils the quantity of a level of this copy, as a memory cell that is stuck would: updates neither mend it nor take
  // the level away, only the snapshot does that is asked for when a checksum has found it.
  damage(isBid, place) {
    const side = isBid ? this.book.bids : this.book.asks;
    const level = side.levels[place];
    if (level === undefined) return null;
    const last = level.quantity.length - 1;
    level.quantity = level.quantity.slice(0, last) + String((Number(level.quantity[last]) + 7) % 10);
    if (/^[0.]*$/.test(level.quantity)) level.quantity = level.quantity.slice(0, last) + "3";
    this.damaged = { side, price: level.price, quantity: level.quantity };
    this.changed("damaged", level);
    return level.price;
  }
}
