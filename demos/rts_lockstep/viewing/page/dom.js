// Small helpers for what is HTML and not canvas. Text from elsewhere always goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

// make("div.row", {title: "x", onclick: f}, child or text, ...)
export function make(what, properties = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag);
  element.className = classes.join(" ");
  for (const [name, value] of Object.entries(properties)) {
    if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Replace the children only if what they show has changed: a panel that is rebuilt under the pointer loses clicks.
const shown = new WeakMap();
export function show(element, key, build) {
  if (shown.get(element) === key) return;
  shown.set(element, key);
  element.replaceChildren(...build());
}

export function clock(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
