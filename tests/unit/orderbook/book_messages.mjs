// Book messages on standard input, one JSON text a line; one line out for each update: the checksum that the page's own
// book has after it, and what the message says. The page's modules are taken as they are.
import { createInterface } from "node:readline";
import { Book, parse } from "../../../demos/orderbook/face/page/book.js";
import { crc32 } from "../../../demos/orderbook/face/page/crc32.js";

if (crc32("123456789") !== 0xcbf43926) throw new Error("this is not CRC-32");
const books = new Map();
const lines = [];
for await (const line of createInterface({ input: process.stdin })) {
  const message = parse(JSON.parse(line));
  if (message === null) continue;
  if (message.isSnapshot) books.set(message.pair, new Book(message.depth));
  const book = books.get(message.pair);
  book.update(message.asks, message.bids);
  if (!message.isSnapshot) lines.push(`${book.checksum()} ${message.checksum}`);
}
process.stdout.write(lines.join("\n"));
