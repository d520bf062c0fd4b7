// Colours and names that several modules share.

export const GAIA = 8;
export const PLAYERS = ["#4f8ff7", "#e5484d", "#46b35a", "#e8b931", "#2fc4c9", "#a56bf0", "#f08a34", "#ee7fb3"];
export const ALARM = "#ff4d4f";
export const INK = "#e9e4d4";
export const FAINT = "#8d8b80";

export function colourOf(hello, owner) {
  return hello.players[owner]?.colour || PLAYERS[owner] || "#b9a27c";
}

// `amount` -1 (black) to 1 (white) mixed into "#rrggbb".
export function shade(colour, amount) {
  const end = amount < 0 ? 0 : 255;
  const part = Math.abs(amount);
  const mixed = [1, 3, 5].map((at) => {
    const value = parseInt(colour.slice(at, at + 2), 16);
    return Math.round(value + (end - value) * part);
  });
  return `rgb(${mixed.join(",")})`;
}

// A number in [0, 1) that is always the same for the same place: the ground's and the trees' variety.
export function noise(x, y, salt = 0) {
  let value = Math.imul(x, 374761393) ^ Math.imul(y, 668265263) ^ Math.imul(salt + 1, 2246822519);
  value = Math.imul(value ^ (value >>> 13), 1274126177);
  return ((value ^ (value >>> 16)) >>> 0) / 4294967296;
}

// The same, without steps from place to place: for what changes slowly over the land.
export function smooth(x, y) {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const ease = (part) => part * part * (3 - 2 * part);
  const [fx, fy] = [ease(x - left), ease(y - top)];
  const above = noise(left, top) * (1 - fx) + noise(left + 1, top) * fx;
  const below = noise(left, top + 1) * (1 - fx) + noise(left + 1, top + 1) * fx;
  return above * (1 - fy) + below * fy;
}
