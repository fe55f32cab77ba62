// The page's frame: it starts, draws when something changed, and keeps the address up to date.
//
// A move of the pointer asks nothing of the server: the maps of all positions of the chosen layers are here before.

import * as api from "./api.js";
import { netChooser, PictureChooser } from "./choosers.js";
import { drawRamp } from "./colour.js";
import { Controls } from "./controls.js";
import * as latency from "./latency.js";
import { isKept, mapsOf, tryAgain } from "./maps.js";
import { drawPicture, follow, load, meaning } from "./picture.js";
import { dataOf, download, fileName, pictureOf } from "./save.js";
import { read, remember, state } from "./state.js";
import { Tile } from "./tile.js";
import { View } from "./view.js";
import { percent, smallNumber } from "./words.js";

const get = (id) => document.getElementById(id);
const SILENCE_MS = 500; // after the last key, before the numbers are read out
const COARSE = [16, 16]; // steps of the arrow keys where no map is to be had

let view;
let controls;
let tiles = [];
let waiting = false;
let speaking = null;

function complain(error) {
  const ended = error?.status === 401;
  get("banner").textContent = error ? error.message : "";
  get("banner").hidden = !error;
  if (!ended) return;
  const again = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: "Load again" });
  again.addEventListener("click", () => location.reload());
  get("banner").append(" ", again);
}

// ------------------------------------------------------------------ drawing

function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    drawNow();
    latency.drawn(get("latency"));
  });
}

function drawNow() {
  if (!view.picture) return;
  for (const tile of tiles) tile.prepare(draw);
  const largest = Math.max(0, ...tiles.filter((tile) => tile.maps && tile.inside).map((tile) => tile.numbers.largest));
  const cell = finestCell();
  drawPicture(get("query").querySelector("canvas"), view.picture, view.box, cell, state);
  for (const tile of tiles) tile.draw(state.scale === "common" ? largest : 0);
  showWhere();
  showLegend(largest);
  if (tiles.every((tile) => tile.maps || tile.hint || tile.error)) settled();
}

// The cell under the place that asks, on the finest grid shown: top, left, height, width in shares of the picture.
function finestCell() {
  const [top, left, height, width, row, col, rows, cols] = finestGrid();
  return [top + (row * height) / rows, left + (col * width) / cols, height / rows, width / cols];
}

function finestGrid() {
  const seeing = tiles.filter((tile) => tile.maps?.by_position);
  const cellsOf = (tile) => (tile.maps.query_grid[0] * tile.maps.query_grid[1]) / ((tile.box[2] - tile.box[0]) * (tile.box[3] - tile.box[1]));
  const finest = seeing.toSorted((a, b) => cellsOf(b) - cellsOf(a))[0];
  const [top, left, bottom, right] = finest?.box ?? view.box;
  const [rows, cols] = finest?.maps.query_grid ?? COARSE;
  const [tall, wide] = finest?.maps.query_reach ?? [1, 1];
  const [height, width] = [(bottom - top) * tall, (right - left) * wide];
  const row = Math.floor((((state.row + 0.5) / view.picture.height - top) / height) * rows);
  const col = Math.floor((((state.col + 0.5) / view.picture.width - left) / width) * cols);
  const within = (value, size) => Math.min(Math.max(value, 0), size - 1);
  return [top, left, height, width, within(row, rows), within(col, cols), rows, cols];
}

function showWhere() {
  const { picture, method } = view;
  const { row, col, token, pinned } = state;
  const place = `Row ${row + 1}, column ${col + 1} of ${picture.height} × ${picture.width}`;
  const asks = token == null ? place : `The ${view.tokens[token] ?? "token"} asks`;
  get("where").textContent = method.by_position ? `${asks}${pinned ? ", pinned" : ""}` : "This method asks about a class, not a place";
  get("pin").setAttribute("aria-pressed", String(pinned));
  get("pin").textContent = pinned ? "Let go" : "Pin";
  document.body.classList.toggle("pinned", pinned);
  get("query").querySelector(".waiting").hidden = Boolean(picture.grey);
  if (picture.failed) complain(new Error("This picture can not be shown any more; choose another."));
}

function showLegend(largest) {
  const common = state.scale === "common" && largest > 0;
  const signed = tiles.some((tile) => tile.maps?.signed);
  get("signed").hidden = !signed;
  const shares = tiles.every((tile) => tile.maps?.shares ?? true);
  get("most").textContent = common ? `${shares ? percent(largest) : smallNumber(largest)}, the same for all` : `largest ${view.method.unit} of each map`;
  get("most-signed").textContent = common ? `+${smallNumber(largest)}` : "+largest";
  get("least").textContent = common ? `−${smallNumber(largest)}` : "−largest";
}

// All shown is here: say so, and fetch the other layers ahead of the slider.
function settled() {
  get("explorer").setAttribute("aria-busy", "false");
  ahead();
}

let ahead_of = "";
async function ahead() {
  const now = [state.picture, state.method, ...state.nets].join("\n");
  if (!view.method.layered || now === ahead_of) return;
  ahead_of = now;
  for (const tile of tiles)
    for (let layer = 0; layer < tile.net.layers.length; layer++) {
      if (now !== [state.picture, state.method, ...state.nets].join("\n")) return;
      const what = tile.what(layer);
      if (!tile.hint && !isKept(what)) await mapsOf(what).promise;
    }
}

// ------------------------------------------------------------------ changes

function changed() {
  if (view.picture) load(view.picture, draw);
  arrange();
  controls.show();
  remember();
  draw();
}

function arrange() {
  const before = new Map(tiles.map((tile) => [tile.net.name, tile]));
  if (before.size === state.nets.length && state.nets.every((name) => before.has(name))) return syncSelects();
  tiles = view.shownNets.map((net) => before.get(net.name) ?? newTile(net));
  get("tiles").replaceChildren(...tiles.map((tile) => tile.element));
  syncSelects();
}

function syncSelects() {
  for (const tile of tiles) {
    tile.select.value = state.layers[tile.net.name];
    tile.select.disabled = !view.method.layered || tile.net.layers.length < 2;
  }
}

function newTile(net) {
  const tile = new Tile(net, get("tile"), view);
  tile.select.addEventListener("change", () => {
    state.layers[net.name] = Number(tile.select.value);
    changed();
  });
  const toPicture = (down, across) => tile.pixelAt(Math.min(Math.max(down, 0), 0.9999), Math.min(Math.max(across, 0), 0.9999));
  follow(tile.find(".stage"), (event, ...at) => moveTo(event, ...toPicture(...at)), (event, ...at) => pinAt(event, ...toPicture(...at)));
  return tile;
}

function place(row, col) {
  state.row = Math.min(Math.max(row, 0), view.picture.height - 1);
  state.col = Math.min(Math.max(col, 0), view.picture.width - 1);
}

function moveTo(event, row, col) {
  if (state.pinned && event.pointerType === "mouse") return;
  latency.moved(event);
  place(row, col);
  draw();
}

// A click pins the place, another at the same place lets go.
function pinAt(event, row, col) {
  const [, , , , oldRow, oldCol] = finestGrid();
  const was = state.pinned;
  place(row, col);
  const [, , , , newRow, newCol] = finestGrid();
  state.pinned = !(was && oldRow === newRow && oldCol === newCol);
  get("query").focus({ preventScroll: true });
  changed();
}

function onKey(event) {
  const meant = meaning(event);
  if (!meant) return;
  event.preventDefault();
  latency.moved(event);
  if (meant.step) step(...meant.step);
  if (meant.pin) state.pinned = !state.pinned;
  if (meant.free) state.pinned = false;
  remember();
  draw();
  clearTimeout(speaking);
  speaking = setTimeout(speak, SILENCE_MS);
}

function step(down, across) {
  const [top, left, height, width, row, col, rows, cols] = finestGrid();
  const to = (value, size) => Math.min(Math.max(value, 0), size - 1);
  const middle = (start, side, index, count, pixels) => Math.floor((start + (side * (index + 0.5)) / count) * pixels);
  place(middle(top, height, to(row + down, rows), rows, view.picture.height), middle(left, width, to(col + across, cols), cols, view.picture.width));
}

function speak() {
  get("spoken").textContent = [get("where").textContent, ...tiles.map((tile) => tile.sentence())].join(". ");
}

// ------------------------------------------------------------------ start

function setTheme(theme) {
  state.theme = theme;
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const button of document.querySelectorAll(".theme button")) button.setAttribute("aria-pressed", String(button.dataset.theme === theme));
}

async function keep(button, work) {
  const words = button.textContent;
  button.disabled = true;
  try {
    button.textContent = (await work()) ?? "Saved";
    complain(null);
  } catch (error) {
    complain(error);
    button.textContent = "Failed";
  }
  button.disabled = false;
  setTimeout(() => (button.textContent = words), 1500);
}

function wireKeeping() {
  const wire = (id, work) => get(id).addEventListener("click", (event) => keep(event.currentTarget, work));
  wire("link", async () => {
    state.pinned = true;
    changed();
    await new Promise((resolve) => setTimeout(resolve, 200));
    await navigator.clipboard.writeText(location.href).catch(() => prompt("The link to this view:", location.href));
    return "Copied";
  });
  wire("save-picture", async () => download(await pictureOf(view, tiles), fileName(view, "png")));
  wire("save-numbers", async () => download(await dataOf(view, tiles, "json"), fileName(view, "json")));
  wire("save-maps", async () => download(await dataOf(view, tiles, "npz"), fileName(view, "npz")));
}

function wirePicture() {
  const query = get("query");
  const toPixel = (down, across) => [Math.floor(down * view.picture.height), Math.floor(across * view.picture.width)];
  follow(query.querySelector("canvas"), (event, ...at) => moveTo(event, ...toPixel(...at)), (event, ...at) => pinAt(event, ...toPixel(...at)));
  query.addEventListener("keydown", onKey);
  get("pin").addEventListener("click", () => {
    state.pinned = !state.pinned;
    changed();
  });
}

async function begin() {
  read();
  setTheme(state.theme);
  for (const button of document.querySelectorAll(".theme button"))
    button.addEventListener("click", () => {
      setTheme(button.dataset.theme);
      remember();
      draw();
    });
  view = new View(await api.start());
  view.complain = complain;
  view.tryAgain = () => {
    tryAgain();
    complain(null);
    draw();
  };
  for (const kind of ["weights", "signed"]) drawRamp(get(`ramp-${kind}`), view.ramps[kind]);
  controls = new Controls(view, changed);
  const showNets = netChooser(view, changed);
  const pictures = new PictureChooser(view, changed, complain);
  if (view.lost) complain(new Error(view.lost));
  wirePicture();
  wireKeeping();
  new ResizeObserver(draw).observe(get("explorer"));
  addEventListener("hashchange", () => {
    if (!location.hash.includes("=")) return remember(); // the link that skips to the picture: no view of its own
    read();
    view.settle();
    setTheme(state.theme);
    showNets();
    pictures.check();
    complain(view.lost ? new Error(view.lost) : null);
    changed();
  });
  changed();
}

begin().catch((error) => {
  complain(error);
  get("where").textContent = "Nothing to show.";
  get("explorer").setAttribute("aria-busy", "false");
});
