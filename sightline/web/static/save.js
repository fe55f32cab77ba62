// Keep what is shown: a picture of all tiles, their numbers, their maps.

import * as api from "./api.js";
import { canvasOf } from "./colour.js";
import { shape } from "./picture.js";

const SIDE = 300;
const GAP = 24;
const LINE = 19;

export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export const fileName = (view, suffix) => `sightline-${(view.picture.title || "picture").toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 40) || "picture"}.${suffix}`;

export function pictureOf(view, tiles) {
  const style = getComputedStyle(document.body);
  const shown = tiles.filter((tile) => tile.maps || tile.hint);
  const columns = Math.min(shown.length + 1, 4);
  const tall = Math.max(...shown.map((tile) => tile.find("canvas").height / tile.find("canvas").width), shape(view.picture)) * SIDE;
  const rows = Math.ceil((shown.length + 1) / columns);
  const canvas = canvasOf(GAP + columns * (SIDE + GAP), GAP + 2 * LINE + rows * (tall + 4 * LINE + GAP) + 40);
  const context = canvas.getContext("2d");
  context.fillStyle = style.backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  const write = (text, x, y, weight = 400) => {
    context.fillStyle = style.color;
    context.font = `${weight} 14px sans-serif`;
    context.fillText(text, x, y, SIDE);
  };
  context.font = "400 14px sans-serif";
  context.fillStyle = style.color;
  context.fillText(view.sentence(), GAP, GAP + 10);
  const place = (i) => [GAP + (i % columns) * (SIDE + GAP), GAP + 2 * LINE + Math.floor(i / columns) * (tall + 4 * LINE + GAP)];
  const put = (source, i, lines) => {
    const [x, y] = place(i);
    write(lines[0], x, y + 10, 600);
    context.drawImage(source, x, y + LINE, SIDE, (SIDE * source.height) / source.width);
    lines.slice(1).forEach((line, n) => write(line, x, y + tall + (n + 2.2) * LINE));
  };
  put(document.querySelector("#query canvas"), 0, ["The picture"]);
  shown.forEach((tile, i) => put(tile.find("canvas"), i + 1, [tile.net.label, ...linesOf(tile)]));
  drawLegend(context, view, canvas.height - 34);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function linesOf(tile) {
  if (!tile.maps) return [tile.hint];
  const [looks, distance, largest] = tile.texts();
  return [tile.layer && tile.view.method.layered ? tile.layer.title : tile.view.method.title, `looks at ${looks}, ${distance}, largest ${largest}`, tile.find(".answer").textContent];
}

function drawLegend(context, view, y) {
  context.drawImage(document.getElementById("ramp-weights"), GAP, y, 200, 10);
  context.fillText(`0 … ${document.getElementById("most").textContent}`, GAP + 210, y + 10);
  if (document.getElementById("signed").hidden) return;
  context.drawImage(document.getElementById("ramp-signed"), GAP + 480, y, 200, 10);
  context.fillText("−largest … +largest", GAP + 690, y + 10);
}

// Exact weights come from the server: what is drawn here is rounded to 8 bits.
export function dataOf(view, tiles, kind) {
  const looks = tiles
    .filter((tile) => tile.maps)
    .map((tile) => {
      const { net, method, layer, target } = tile.what();
      return { net, method, layer, target, head: kind === "json" ? tile.maps.groups[tile.group] : null, query: kind === "json" ? tile.query : null };
    });
  if (!looks.length) throw new Error("None of the nets shown has a map to save yet; choose a method that suits them, or other nets.");
  return api.data({ picture: view.picture.name, kind, looks });
}
