// Everything the page knows at once: the house (nets, pictures, colours), the state, and what follows from them.

import { ramp } from "./colour.js";
import { state } from "./state.js";

const TOKENS = ["class token", "distillation token"];

export class View {
  constructor(house) {
    this.state = state;
    this.house = house;
    this.nets = new Map(house.nets.map((net) => [net.name, net]));
    this.pictures = new Map(house.pictures.map((one) => [one.name, one]));
    this.methods = new Map(house.methods.map((one) => [one.name, one]));
    this.ramps = { weights: ramp(house.colours.weights), signed: ramp(house.colours.signed) };
    this.settle();
  }

  // Whatever the address asks for that is not here gives way to what is; the page says so.
  settle() {
    this.lost = "";
    const [fewest, most] = this.house.nets_at_once;
    const known = state.nets.filter((name) => this.nets.has(name)).slice(0, most);
    const gone = state.nets.filter((name) => !this.nets.has(name));
    if (gone.length) this.lost = `Not here: ${gone.join(", ")}.`;
    for (const name of known.length < fewest ? this.firstNets(most) : []) if (known.length < most && !known.includes(name)) known.push(name);
    state.nets = known;
    if (state.picture && !this.pictures.has(state.picture)) this.lost = `${this.lost} The picture of this link is not here; another one is shown.`.trim();
    if (!this.pictures.has(state.picture)) state.picture = this.pictures.keys().next().value ?? null;
    if (!this.methods.has(state.method)) state.method = this.methods.keys().next().value;
    this.settleLayers();
    if (state.picture) this.settlePlace();
  }

  settleLayers() {
    for (const net of state.nets) {
      const { layers, first } = this.nets.get(net);
      state.layers[net] = Math.max(Math.min(state.layers[net] ?? first, layers.length - 1), 0);
    }
  }

  settlePlace() {
    const { height, width } = this.picture;
    const inside = (value, size) => (value == null ? Math.floor(size / 2) : Math.min(Math.max(value, 0), size - 1));
    state.row = inside(state.row, height);
    state.col = inside(state.col, width);
  }

  // One of each family that attends, then the rest.
  firstNets(most) {
    const attending = this.house.nets.filter((net) => net.layers.length);
    const first = attending.filter((net, i) => attending.findIndex((one) => one.family === net.family) === i);
    const rest = this.house.nets.filter((net) => !first.includes(net));
    return [...first, ...rest].slice(0, Math.max(first.length, Math.min(most, 2))).slice(0, most).map((net) => net.name);
  }

  get picture() {
    return this.pictures.get(state.picture);
  }

  get method() {
    return this.methods.get(state.method);
  }

  get shownNets() {
    return state.nets.map((name) => this.nets.get(name));
  }

  get layerCount() {
    return Math.max(...this.shownNets.map((net) => net.layers.length), 1);
  }

  get layersShown() {
    return this.shownNets.map((net) => net.layers[state.layers[net.name]]).filter(Boolean);
  }

  get headCount() {
    return Math.max(...this.layersShown.map((layer) => layer.groups), 1);
  }

  get tokens() {
    const count = Math.max(...this.layersShown.map((layer) => layer.tokens), 0);
    return Array.from({ length: count }, (_, i) => TOKENS[i] ?? `token ${i + 1}`);
  }

  // The slider goes through the deepest net layer by layer; the others keep the same share of their depth.
  goToDepth(depth) {
    const deepest = Math.max(this.layerCount - 1, 1);
    for (const net of this.shownNets) state.layers[net.name] = Math.max(Math.round((depth / deepest) * (net.layers.length - 1)), 0);
  }

  get depth() {
    const deepest = this.shownNets.find((net) => net.layers.length === this.layerCount);
    return deepest ? state.layers[deepest.name] : 0;
  }

  // The number of the class that is asked about, in a net's own count; null: the one it predicts.
  targetOf(net) {
    const index = state.target == null ? -1 : net.classes.indexOf(state.target);
    return index < 0 ? null : index;
  }

  // What the chosen nets see together, in shares of the picture.
  get box() {
    const boxes = this.shownNets.map((net) => this.picture.boxes[net.name]);
    return [0, 1, 2, 3].map((i) => (i < 2 ? Math.min : Math.max)(...boxes.map((box) => box[i])));
  }

  sentence() {
    const { row, col, token, head } = state;
    const from = token == null ? `row ${row + 1}, column ${col + 1} of ${this.picture.height} × ${this.picture.width}` : `the ${this.tokens[token] ?? "token"}`;
    const which = this.method.heads ? (head == null ? ", mean over heads" : `, head ${head + 1}`) : "";
    return `${this.picture.title}: ${this.method.title}${this.method.by_position ? ` from ${from}` : ""}${which}`;
  }
}
