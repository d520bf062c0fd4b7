// The candle chart: prices above, volume below, the last price as a line across.

import { COLOURS, prepare, steps } from "./canvas.js";

const SLOT_PIXELS = 11;
const AXIS_PIXELS = 68;
const TIME_PIXELS = 22;
const VOLUME_PART = 0.17;
const CANDLES_KEPT = 400;

export class CandleChart {
  constructor(canvas) {
    this.canvas = canvas;
    this.decimals = 2;
    this.clear(5);
  }

  clear(seconds) {
    this.seconds = seconds;
    this.candles = new Map();
  }

  // Rows of a candle message: [begin, end, open, high, low, close, average, volume, count].
  take(rows) {
    for (const row of rows) {
      const [begin, , open, high, low, close, , volume] = row.map(Number);
      this.candles.set(begin, { begin, open, high, low, close, volume });
    }
    while (this.candles.size > CANDLES_KEPT) this.candles.delete(this.candles.keys().next().value);
  }

  get last() {
    return [...this.candles.values()].at(-1);
  }

  draw() {
    const { context, width, height } = prepare(this.canvas);
    const right = width - AXIS_PIXELS;
    const bottom = height - TIME_PIXELS;
    const newest = this.last;
    if (newest === undefined || right < 50 || bottom < 50) return;
    const slots = Math.floor((right - 12) / SLOT_PIXELS);
    const oldest = newest.begin - (slots - 1) * this.seconds;
    const seen = [...this.candles.values()].filter((candle) => candle.begin >= oldest);
    const low = Math.min(...seen.map((candle) => candle.low));
    const high = Math.max(...seen.map((candle) => candle.high));
    const room = (high - low || high * 0.001) * 0.08;
    const top = 10;
    const pricesBottom = bottom - (bottom - top) * VOLUME_PART - 8;
    const y = (price) => pricesBottom - ((price - low + room) / (high - low + 2 * room)) * (pricesBottom - top);
    const x = (begin) => 6 + ((begin - oldest) / this.seconds) * SLOT_PIXELS + SLOT_PIXELS / 2;

    context.lineWidth = 1;
    for (const price of steps(low - room, high + room, Math.max(3, (pricesBottom - top) / 56))) {
      this.line(context, 0, right, y(price), COLOURS.grid);
      if (Math.abs(y(price) - y(newest.close)) < 16) continue; // the last price stands there
      context.fillStyle = COLOURS.text;
      context.fillText(price.toFixed(this.decimals), right + 8, y(price));
    }
    this.drawTimes(context, oldest, slots, x, right, bottom);
    const most = Math.max(...seen.map((candle) => candle.volume)) || 1;
    const body = SLOT_PIXELS - 3;
    for (const candle of seen) {
      const colour = candle.close >= candle.open ? COLOURS.bid : COLOURS.ask;
      const middle = Math.round(x(candle.begin));
      const size = (candle.volume / most) * (bottom - pricesBottom - 12);
      context.fillStyle = `${colour}55`;
      context.fillRect(middle - body / 2, bottom - size, body, size);
      context.fillStyle = colour;
      context.fillRect(middle - 0.5, y(candle.high), 1, Math.max(1, y(candle.low) - y(candle.high)));
      const [upper, lower] = [y(Math.max(candle.open, candle.close)), y(Math.min(candle.open, candle.close))];
      context.fillRect(middle - body / 2, upper, body, Math.max(1.5, lower - upper));
    }
    this.drawLast(context, newest, y(newest.close), right);
  }

  drawTimes(context, oldest, slots, x, right, bottom) {
    const every = [1, 2, 3, 6, 12, 24, 60].map((one) => one * this.seconds)
      .find((one) => (one / this.seconds) * SLOT_PIXELS >= 90) ?? 60 * this.seconds;
    context.fillStyle = COLOURS.text;
    context.textAlign = "center";
    for (let time = Math.ceil(oldest / every) * every; time < oldest + slots * this.seconds; time += every) {
      const at = x(time);
      if (at < 34 || at > right - 30) continue;
      context.fillText(new Date(time * 1000).toISOString().slice(11, this.seconds < 60 ? 19 : 16), at, bottom + 12);
      context.fillStyle = COLOURS.grid;
      context.fillRect(Math.round(at), 0, 1, bottom);
      context.fillStyle = COLOURS.text;
    }
    context.textAlign = "left";
    this.line(context, 0, right, bottom, "#222c42");
  }

  drawLast(context, candle, at, right) {
    const colour = candle.close >= candle.open ? COLOURS.bid : COLOURS.ask;
    context.setLineDash([3, 4]);
    this.line(context, 0, right, at, `${colour}aa`);
    context.setLineDash([]);
    context.fillStyle = colour;
    context.beginPath();
    context.roundRect(right + 2, at - 10, AXIS_PIXELS - 6, 20, 4);
    context.fill();
    context.fillStyle = "#07110e";
    context.fillText(candle.close.toFixed(this.decimals), right + 8, at + 0.5);
  }

  line(context, from, to, at, colour) {
    context.strokeStyle = colour;
    context.beginPath();
    context.moveTo(from, Math.round(at) + 0.5);
    context.lineTo(to, Math.round(at) + 0.5);
    context.stroke();
  }
}
