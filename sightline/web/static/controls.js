// The controls beside the picture; each changes the state and calls `changed`.

import { state } from "./state.js";

const PLAY_MS = 900;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const get = (id) => document.getElementById(id);

function fill(select, options, value) {
  const same = select.options.length === options.length && options.every(([text, key], i) => select.options[i].text === text && select.options[i].value === key);
  if (!same) select.replaceChildren(...options.map(([text, key]) => new Option(text, key)));
  select.value = options.some(([, key]) => key === value) ? value : options[0]?.[1];
}

const numberOf = (text) => (text === "" ? null : Number(text));

export class Controls {
  constructor(view, changed) {
    this.view = view;
    this.changed = changed;
    this.playing = null;
    fill(get("method"), [...view.methods.values()].map((one) => [one.title, one.name]), state.method);
    this.on("method", "change", (value) => (state.method = value));
    this.on("from", "change", (value) => (state.token = numberOf(value)));
    this.on("target", "change", (value) => (state.target = value || null));
    this.on("head", "change", (value) => (state.head = numberOf(value)));
    this.on("scale", "change", (value) => (state.scale = value));
    this.on("blend", "input", (value) => (state.blend = Number(value)));
    this.on("depth", "input", (value) => view.goToDepth(Number(value)));
    get("play").addEventListener("click", () => this.play());
  }

  on(id, kind, change) {
    get(id).addEventListener(kind, (event) => {
      if (id === "depth") this.stop();
      change(event.target.value);
      this.changed();
    });
  }

  // Show what the state says.
  show() {
    const { view } = this;
    const { method } = view;
    get("method").value = state.method;
    const heads = view.headCount;
    fill(get("head"), [["mean", ""], ...(heads > 1 ? Array.from({ length: heads }, (_, i) => [`${i + 1} of ${heads}`, String(i)]) : [])], state.head == null ? "" : String(state.head));
    get("head").disabled = !method.heads;
    fill(get("from"), [["the pixel under the pointer", ""], ...view.tokens.map((name, i) => [`the ${name}`, String(i)])], state.token == null ? "" : String(state.token));
    this.toggle("for-from", method.by_position && view.tokens.length > 0);
    const classes = method.target ? [...new Set(view.shownNets.flatMap((net) => net.classes))] : [];
    fill(get("target"), [["predicted by each net", ""], ...classes.map((name) => [name, name])], state.target ?? "");
    this.toggle("for-target", Boolean(method.target));
    const depth = get("depth");
    Object.assign(depth, { max: view.layerCount - 1, value: view.depth, disabled: !method.layered || view.layerCount < 2 });
    depth.setAttribute("aria-valuetext", `layer ${view.depth + 1} of ${view.layerCount}`);
    get("scale").value = state.scale;
    get("blend").value = state.blend;
    get("play").disabled = depth.disabled;
    get("play").textContent = this.playing ? "Stop" : still.matches ? "Next" : "Play";
    get("play").setAttribute("aria-pressed", String(Boolean(this.playing)));
    get("play").setAttribute("aria-label", this.playing ? "Stop playing the layers" : still.matches ? "Next layer" : "Play the layers");
    get("about").textContent = method.about;
  }

  toggle(kind, visible) {
    for (const one of document.querySelectorAll(`.${kind}`)) one.hidden = !visible;
  }

  play() {
    if (this.playing) return this.stop();
    if (this.view.depth >= this.view.layerCount - 1) this.view.goToDepth(0);
    else this.step();
    if (!still.matches) this.playing = setInterval(() => (this.view.depth < this.view.layerCount - 1 ? this.step() : this.stop()), PLAY_MS);
    this.changed();
  }

  step() {
    this.view.goToDepth(this.view.depth + 1);
    this.changed();
  }

  stop() {
    clearInterval(this.playing);
    this.playing = null;
    this.show();
  }
}
