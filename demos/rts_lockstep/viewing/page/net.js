// The connection to the local player's process: JSON in, JSON out, and one binary message after each turn.
//
// A turn's text and columns are handed on together. A lost connection is tried again once a second; the first message
// of a connection says everything that does not change, so nothing is kept over from the one before.

const AGAIN_MS = 1000;

export class Connection {
  // `handlers`: {hello, turn, ...} by message type, and `open(bool)`.
  constructor(handlers) {
    this.handlers = handlers;
    this.turn = null;
    this.#connect();
  }

  #connect() {
    this.socket = new WebSocket(`ws://${location.host}/ws`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.handlers.open(true);
    this.socket.onclose = () => {
      this.handlers.open(false);
      setTimeout(() => this.#connect(), AGAIN_MS);
    };
    this.socket.onmessage = (event) => this.#receive(event.data);
  }

  #receive(data) {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (message.type === "turn") this.turn = message;
      else this.handlers[message.type]?.(message);
    } else if (this.turn) {
      const turn = { ...this.turn, ...columns(data) };
      this.turn = null;
      this.handlers.turn(turn);
    }
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}

export const UNIT_FIELDS = 8; // id, kind, owner, x, y, hp, state, target
export const PROJECTILE_FIELDS = 5; // x, y, vx, vy, turns left

function columns(buffer) {
  const numbers = new Int32Array(buffer);
  const end = 1 + numbers[0] * UNIT_FIELDS;
  return { units: numbers.subarray(1, end), projectiles: numbers.subarray(end + 1) };
}
