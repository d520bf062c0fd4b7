// The WebSocket: subscriptions that outlive connections, and messages handed to who asked for them.

const PAUSE_MILLISECONDS = 300;
const PAUSE_MILLISECONDS_MAX = 5000;

export class Feed {
  // handlers: message(array), event(object), state("connecting" | "online" | "offline")
  constructor(url, handlers) {
    this.url = url;
    this.handlers = handlers;
    this.wanted = new Map(); // JSON of a subscription -> request
    this.pause = PAUSE_MILLISECONDS;
    this.connect();
  }

  connect() {
    this.handlers.state("connecting");
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.onopen = () => {
      this.pause = PAUSE_MILLISECONDS;
      this.handlers.state("online");
      for (const request of this.wanted.values()) socket.send(JSON.stringify(request));
    };
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (Array.isArray(message)) this.handlers.message(message);
      else this.handlers.event(message);
    };
    socket.onclose = () => {
      this.handlers.state("offline");
      setTimeout(() => this.connect(), this.pause);
      this.pause = Math.min(this.pause * 2, PAUSE_MILLISECONDS_MAX);
    };
  }

  subscribe(subscription, pair) {
    this.ask("subscribe", subscription, pair, true);
  }

  unsubscribe(subscription, pair) {
    this.ask("unsubscribe", subscription, pair, false);
  }

  ask(event, subscription, pair, isWanted) {
    const request = { event, subscription, ...(pair === undefined ? {} : { pair: [pair] }) };
    const key = JSON.stringify([subscription, pair]);
    if (isWanted) this.wanted.set(key, request);
    else this.wanted.delete(key);
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(request));
  }
}
