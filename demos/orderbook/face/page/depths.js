// The cumulative depth of both sides around the middle of the book.

import { COLOURS, prepare, steps } from "./canvas.js";

const AXIS_PIXELS = 68;
const PRICE_PIXELS = 20;

function stairs(levels) {
  let total = 0;
  return levels.map((level) => {
    total += Number(level.quantity);
    return { price: Number(level.price), total };
  });
}

export function drawDepths(canvas, book, decimals) {
  const { context, width, height } = prepare(canvas);
  const [asks, bids] = [stairs(book.asks.levels), stairs(book.bids.levels)];
  if (asks.length === 0 || bids.length === 0) return;
  const right = width - AXIS_PIXELS;
  const bottom = height - PRICE_PIXELS;
  const middle = (asks[0].price + bids[0].price) / 2;
  const reach = Math.min(asks.at(-1).price - middle, middle - bids.at(-1).price) || middle * 0.001;
  const seen = [asks, bids].map((side) => side.filter((one) => Math.abs(one.price - middle) <= reach * 1.0001));
  const most = Math.max(...seen.map((side) => side.at(-1)?.total ?? 0)) || 1;
  const x = (price) => ((price - middle + reach) / (2 * reach)) * right;
  const y = (total) => bottom - (total / most) * (bottom - 12);
  for (const total of steps(0, most, 3).slice(1)) {
    context.fillStyle = COLOURS.grid;
    context.fillRect(0, Math.round(y(total)), right, 1);
    context.fillStyle = COLOURS.text;
    context.fillText(total.toLocaleString("en"), right + 8, Math.max(8, y(total)));
  }
  for (const [side, colour, edge] of [[seen[0], COLOURS.ask, right], [seen[1], COLOURS.bid, 0]]) {
    if (side.length === 0) continue;
    const path = new Path2D();
    path.moveTo(x(side[0].price), bottom);
    let before = bottom;
    for (const { price, total } of side) {
      path.lineTo(x(price), before);
      before = y(total);
      path.lineTo(x(price), before);
    }
    path.lineTo(edge, before);
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.stroke(path);
    path.lineTo(edge, bottom);
    const fill = context.createLinearGradient(0, 0, 0, bottom);
    fill.addColorStop(0, `${colour}50`);
    fill.addColorStop(1, `${colour}0c`);
    context.fillStyle = fill;
    context.fill(path);
  }
  context.fillStyle = COLOURS.text;
  context.textAlign = "center";
  for (const price of steps(middle - reach, middle + reach, right / 130)) {
    if (x(price) > 30 && x(price) < right - 30) context.fillText(price.toFixed(decimals), x(price), bottom + 11);
  }
  context.textAlign = "left";
}
