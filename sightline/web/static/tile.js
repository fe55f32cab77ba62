// One net: its map over the part of the picture it sees, its answer, its numbers.

import * as api from "./api.js";
import { canvasOf, outline } from "./colour.js";
import { mapAt, mapsOf, numbersAt, queryAt } from "./maps.js";
import { shape } from "./picture.js";
import { bits, percent, pixels, smallNumber } from "./words.js";

const SHOWN_CLASSES = 3;
const answers = new Map(); // picture and net: {classes} or {error}

export class Tile {
  constructor(net, template, view) {
    this.net = net;
    this.view = view;
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.dataset.net = net.name;
    this.find = (selector) => this.element.querySelector(selector);
    this.find(".name").textContent = net.label;
    this.find(".swatch path").setAttribute("d", net.marker);
    this.element.style.setProperty("--family", `light-dark(${net.light}, ${net.dark})`);
    const origin = this.find(".origin");
    origin.textContent = net.trained ? net.origin : "untrained: its maps and answers mean nothing";
    origin.title = net.origin;
    origin.classList.toggle("wrong", !net.trained);
    this.select = this.find("select");
    this.select.setAttribute("aria-label", `Layer of ${net.label}`);
    net.layers.forEach((layer, i) => this.select.add(new Option(`${i + 1}. ${layer.title}`, i)));
    this.select.disabled = net.layers.length < 2;
    this.select.classList.toggle("none", !net.layers.length);
    this.heat = canvasOf(1, 1);
  }

  get layer() {
    return this.net.layers[this.view.state.layers[this.net.name]];
  }

  // What has to be known to draw, asked for where it is not.
  prepare(done) {
    const { state, picture, method } = this.view;
    this.maps = this.error = null;
    this.hint = this.objection(method);
    this.box = picture.boxes[this.net.name];
    this.askClasses(done);
    if (this.hint) return;
    const found = this.look(done);
    if (found.state === "failed") this.error = found.error;
    if (found.state !== "here") return;
    this.maps = found.maps;
    this.group = Math.max(this.maps.groups.indexOf(state.head == null ? "mean" : String(state.head)), 0);
    [this.down, this.across] = this.place();
    this.query = queryAt(this.maps, this.down, this.across, state.token);
    this.inside = !this.maps.by_position || this.asksToken || (this.down >= 0 && this.down < 1 && this.across >= 0 && this.across < 1);
    this.numbers = numbersAt(this.maps, this.group, this.query);
  }

  objection(method) {
    if (!method.not_for.includes(this.net.name)) return "";
    const others = [...this.view.methods.values()].filter((one) => !one.not_for.includes(this.net.name)).map((one) => one.title);
    return `A convolution has no attention map.${others.length ? ` Methods for it: ${others.join(", ")}.` : ""}`;
  }

  get asksToken() {
    return this.view.state.token != null && this.view.state.token < this.maps.tokens;
  }

  look(done) {
    const what = this.what();
    const found = mapsOf(what, done);
    const head = String(this.view.state.head);
    if (found.state !== "here" || found.maps.complete || !found.maps.all_groups.includes(head)) return found;
    return mapsOf({ ...what, head }, done); // too many for one answer
  }

  what(layer = this.view.state.layers[this.net.name]) {
    const { picture, method } = this.view;
    const target = method.target ? this.view.targetOf(this.net) : null;
    return { picture: picture.name, net: this.net.name, layer: method.layered ? layer : 0, method: method.name, target };
  }

  // The place that asks, in shares of what this net sees; outside of 0..1 it does not see it.
  place() {
    const { state, picture } = this.view;
    const [top, left, bottom, right] = this.box;
    return [((state.row + 0.5) / picture.height - top) / (bottom - top), ((state.col + 0.5) / picture.width - left) / (right - left)];
  }

  // The pixel of the picture under a place of this tile, in shares.
  pixelAt(down, across) {
    const { picture } = this.view;
    const [top, left, bottom, right] = this.box;
    return [Math.floor((top + down * (bottom - top)) * picture.height), Math.floor((left + across * (right - left)) * picture.width)];
  }

  draw(common) {
    this.drawStage(common);
    this.drawVeil();
    this.describe();
  }

  drawStage(common) {
    const { picture, state } = this.view;
    const canvas = this.find("canvas");
    const [top, left, bottom, right] = this.box;
    const part = [left * picture.width, top * picture.height, (right - left) * picture.width, (bottom - top) * picture.height];
    const scale = devicePixelRatio || 1;
    const width = Math.max(Math.round(this.find(".stage").clientWidth * scale), 1);
    const height = Math.max(Math.round(width * shape(picture, this.box)), 1);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    if (!picture.grey) return;
    const context = canvas.getContext("2d");
    context.globalAlpha = 1;
    context.imageSmoothingEnabled = part[2] >= 64;
    const seen = this.maps && this.inside;
    context.drawImage(seen ? picture.grey : picture.image, ...part, 0, 0, width, height);
    if (!seen) return;
    context.imageSmoothingEnabled = false;
    context.globalAlpha = state.blend / 100;
    const [tall, wide] = this.maps.key_reach;
    context.drawImage(this.heatOf(common), 0, 0, width * wide, height * tall);
    context.globalAlpha = 1;
    if (this.maps.by_position && !this.asksToken) outline(context, this.cell(width, height), 2 * scale);
  }

  heatOf(common) {
    const [rows, cols] = this.maps.key_grid;
    if (this.heat.width !== cols || this.heat.height !== rows) {
      Object.assign(this.heat, { width: cols, height: rows });
      this.pixels = this.heat.getContext("2d").createImageData(cols, rows);
    }
    const colours = this.view.ramps[this.maps.signed ? "signed" : "weights"];
    const values = mapAt(this.maps, this.group, this.query);
    const factor = common ? this.numbers.largest / common : 1;
    const zero = this.maps.signed ? 128 : 0;
    const words = new Uint32Array(this.pixels.data.buffer);
    for (let i = 0; i < words.length; i++) words[i] = colours[Math.round(zero + (values[i] - zero) * factor)];
    this.heat.getContext("2d").putImageData(this.pixels, 0, 0);
    return this.heat;
  }

  cell(width, height) {
    const [rows, cols] = this.maps.query_grid;
    const [tall, wide] = this.maps.query_reach;
    const flat = this.query - this.maps.tokens;
    const [high, broad] = [(height * tall) / rows, (width * wide) / cols];
    return [(flat % cols) * broad, Math.floor(flat / cols) * high, broad, high];
  }

  drawVeil() {
    const veil = this.find(".veil");
    const outside = this.maps && !this.inside;
    const words = this.hint || this.error?.message || (outside ? "Outside of what this net sees." : this.maps ? "" : "Looking …");
    this.element.setAttribute("aria-busy", String(!this.maps && !this.hint && !this.error));
    veil.hidden = !words;
    if (veil.dataset.words === words) return;
    veil.dataset.words = words;
    veil.replaceChildren(words);
    veil.classList.toggle("wrong", Boolean(this.error));
    if (!this.error) return;
    const again = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: "Try again" });
    again.addEventListener("click", (event) => {
      event.stopPropagation();
      delete veil.dataset.words;
      this.view.tryAgain();
    });
    veil.append(again);
    if (this.error.status === 401) this.view.complain(this.error);
  }

  askClasses(done) {
    const key = `${this.view.picture.name}\n${this.net.name}`;
    this.classes = answers.get(key);
    if (this.classes) return;
    answers.set(key, (this.classes = {}));
    api.predictions(this.view.picture.name, this.net.name).then(
      (classes) => answers.set(key, { classes }) && done(),
      (error) => (error.status ? answers.set(key, { error }) : answers.delete(key)) && done(),
    );
  }

  describe() {
    this.describeClasses();
    const list = this.find(".numbers");
    list.hidden = !(this.maps && this.inside);
    const extra = this.find(".extra");
    extra.textContent = "";
    if (list.hidden) return;
    const cells = list.querySelectorAll("dd");
    this.texts().forEach((text, i) => {
      if (cells[i].textContent !== text) cells[i].textContent = text;
    });
    extra.textContent = this.remarks().join(" · ");
  }

  describeClasses() {
    const { classes, error } = this.classes ?? {};
    const answer = this.find(".answer");
    const best = classes?.[0];
    answer.textContent = error ? error.message : best ? `says ${best.class}` : "…";
    if (this.drawnClasses === classes) return;
    this.drawnClasses = classes;
    const items = (classes ?? []).slice(0, SHOWN_CLASSES).map((one) => {
      const item = document.createElement("li");
      const [name, share, bar] = ["span", "span", "i"].map((kind) => item.appendChild(document.createElement(kind)));
      name.textContent = one.class;
      share.textContent = percent(one.probability);
      bar.style.setProperty("--share", one.probability);
      return item;
    });
    this.find(".classes").replaceChildren(...items);
  }

  texts() {
    const { entropy, distance, largest } = this.numbers;
    const [rows, cols] = this.maps.key_grid;
    return [bits(entropy, rows * cols + this.maps.on_tokens), pixels(distance, this.net.input), this.maps.shares ? percent(largest) : smallNumber(largest)];
  }

  remarks() {
    const said = [];
    const { state } = this.view;
    if (this.maps.on_tokens) said.push(`${percent(this.numbers.onTokens)} on the ${this.maps.on_tokens > 1 ? "tokens" : "class token"}`);
    const heads = this.maps.all_groups.length - 1;
    if (state.head != null && this.maps.groups[this.group] !== String(state.head))
      said.push(heads > 0 ? `${heads} heads, their mean is shown` : "one head");
    const grid = this.maps.query_grid;
    const [rows, cols] = this.layer?.grid ?? grid;
    if (this.maps.by_position && grid[0] < rows) said.push(`${grid[0]} × ${grid[1]} of ${rows} × ${cols} positions`);
    return said;
  }

  // For ears.
  sentence() {
    if (!this.maps) return `${this.net.label}: ${this.hint || "no map yet"}`;
    if (!this.inside) return `${this.net.label}: outside of what it sees`;
    const [looks, distance, largest] = this.texts();
    return `${this.net.label}: looks at ${looks}, distance ${distance}, largest ${largest}`;
  }
}
