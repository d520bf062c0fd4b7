// CRC-32 as IEEE 802.3 has it, over the characters of an ASCII string: what Kraken's book checksum is.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit += 1) rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1;
  return rest;
});

export function crc32(text) {
  let rest = 0xffffffff;
  for (let place = 0; place < text.length; place += 1) {
    rest = TABLE[(rest ^ text.charCodeAt(place)) & 0xff] ^ (rest >>> 8);
  }
  return (rest ^ 0xffffffff) >>> 0;
}
