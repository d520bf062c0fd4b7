// The cluster: who leads, who lags, and whether the state roots agree.

const ROLES = { leader: "LEADER", follower: "FOLLOWER", candidate: "CANDIDATE", down: "DOWN" };

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

// A root as eight coloured bars: equal roots look equal.
function fingerprint(root) {
  const made = element("span", "print");
  for (let place = 0; place < 8; place += 1) {
    const byte = parseInt(root.slice(place * 2, place * 2 + 2), 16);
    const bar = document.createElement("b");
    bar.style.background = `hsl(${Math.round((byte / 256) * 360)} 62% ${48 + (byte % 4) * 6}%)`;
    made.append(bar);
  }
  return made;
}

function number(value) {
  return value.toLocaleString("en");
}

// Whether two nodes that have a root of the same index have the same one: true, false, or null where none can be compared.
export function agreement(nodes) {
  let compared = 0;
  for (const one of nodes) {
    for (const other of nodes) {
      if (one === other || !one.root || one.root_index !== other.root_index) continue;
      if (one.root !== other.root) return false;
      compared += 1;
    }
  }
  return nodes.some((one) => one.desync) ? false : compared > 0 ? true : null;
}

export function drawNodes(parent, note, nodes) {
  const up = nodes.filter((node) => node.role !== "down");
  const newest = Math.max(0, ...up.map((node) => node.commit_index));
  const agree = agreement(up);
  note.textContent = nodes.length === 0 ? "not looked after from here" : agree === null ? `${up.length} of ${nodes.length} up`
    : agree ? `${up.length} of ${nodes.length} up · state roots agree` : "state roots differ";
  note.classList.toggle("root-differs", agree === false);
  parent.replaceChildren(...nodes.map((node) => card(node, newest)));
}

function card(node, newest) {
  const role = node.error ? "down" : node.role;
  const made = element("div", "node");
  made.dataset.role = role;
  const title = element("div", "title", node.node_id ? `Node ${node.node_id}` : "Node");
  const badge = element("span", "role", ROLES[role] ?? role.toUpperCase());
  title.append(badge, element("span", "address", node.address));
  made.append(title);
  const lag = newest - node.applied_index;
  const rows = role === "down"
    ? [["state", [node.error || "no answer"], ""]]
    : [
      ["applied", [`${number(node.applied_index)}${lag > 0 ? ` · ${number(lag)} behind` : ""}`], lag > 50 ? "lags" : ""],
      ["root", node.root ? [fingerprint(node.root), `${node.root.slice(0, 10)} @ ${number(node.root_index)}`] : ["–"], ""],
      ["term", [`${node.term}`, node.standing === "well" ? "" : ` · ${node.standing}`], ""],
    ];
  for (const [name, values, mark] of rows) {
    const value = element("div", `value ${mark}`);
    value.append(...values);
    made.append(element("label", "", name), value);
  }
  return made;
}
