// The view: what is shown and from where. It lives in the address, so that a link brings it back.
//
// row and col count pixels of the shown picture from 0 here, from 1 in the address.

const NUMBERS = ["row", "col", "head", "token", "target", "blend"];

export const state = {
  picture: null,
  nets: [],
  layers: {}, // net: number of its layer; the slider sets them all
  method: null,
  head: null, // null: the mean
  token: null, // null: the pixel asks
  target: null, // null: the class that each net predicts
  row: null,
  col: null,
  pinned: false,
  scale: "own",
  blend: 75,
  theme: "auto",
};

export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  state.picture = given.get("picture");
  state.nets = given.get("nets")?.split(",").filter(Boolean) ?? [];
  const layers = given.get("layers")?.split(".") ?? [];
  state.layers = Object.fromEntries(state.nets.map((net, i) => [net, Number.parseInt(layers[i], 10)]).filter(([, n]) => n >= 1).map(([net, n]) => [net, n - 1]));
  state.method = given.get("method");
  for (const name of NUMBERS) {
    const value = Number.parseInt(given.get(name), 10);
    state[name] = Number.isFinite(value) ? value : (name === "blend" ? 75 : null);
  }
  for (const name of ["row", "col"]) if (state[name] != null) state[name] -= 1;
  state.blend = Math.min(Math.max(state.blend, 0), 100);
  state.pinned = given.get("pin") === "1" || (state.row != null && state.col != null);
  state.scale = given.get("scale") === "common" ? "common" : "own";
  state.theme = ["light", "dark"].includes(given.get("theme")) ? given.get("theme") : "auto";
}

export function address() {
  const shown = new URLSearchParams();
  const put = (name, value, silent) => value != null && value !== silent && shown.set(name, value);
  put("picture", state.picture);
  put("nets", state.nets.join(","));
  put("layers", state.nets.map((net) => (state.layers[net] ?? -1) + 1).join("."));
  put("method", state.method, "attention");
  put("head", state.head);
  put("token", state.token);
  put("target", state.target);
  if (state.pinned) {
    put("row", state.row + 1);
    put("col", state.col + 1);
    put("pin", "1");
  }
  put("scale", state.scale, "own");
  put("blend", state.blend, 75);
  put("theme", state.theme, "auto");
  return `#${shown.toString().replaceAll("%2C", ",")}`;
}

let waiting = null;
export function remember() {
  clearTimeout(waiting);
  waiting = setTimeout(() => history.replaceState(null, "", address()), 120);
}
