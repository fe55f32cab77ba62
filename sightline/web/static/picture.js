// The picture and the place that asks: pointer, keys, the outline of its cell.

import { greyed, outline } from "./colour.js";
import { pictureAddress } from "./api.js";

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const FAR = 4;
const EDGES = { Home: [0, -1], End: [0, 1], PageUp: [-1, 0], PageDown: [1, 0] };

const MOST_STRETCHED = 8;

// Height over width of a part of the picture as it came (what is shown of a long one is rounded to whole pixels). The longest are drawn
// shorter than they are, so that there is something to point at.
export function shape(picture, [top, left, bottom, right] = [0, 0, 1, 1]) {
  const [rows, cols] = picture.sides;
  const long = ((bottom - top) * rows) / ((right - left) * cols);
  return Math.min(Math.max(long, 1 / MOST_STRETCHED), MOST_STRETCHED);
}

export function load(picture, done) {
  if (picture.image) return;
  const image = (picture.image = new Image());
  image.decoding = "async";
  image.addEventListener("load", () => {
    picture.grey = greyed(image);
    done();
  });
  image.addEventListener("error", () => {
    picture.image = null;
    picture.failed = true;
    done();
  });
  image.src = pictureAddress(picture.name);
}

export function drawPicture(canvas, picture, box, cell, state) {
  canvas.parentElement.style.setProperty("--aspect", 1 / shape(picture));
  const scale = devicePixelRatio || 1;
  const width = Math.max(Math.round(canvas.parentElement.clientWidth * scale), 1);
  const height = Math.max(Math.round(width * shape(picture)), 1);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  if (!picture.grey) return;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = picture.width >= 64;
  context.drawImage(picture.image, 0, 0, width, height);
  dimOutside(context, box, width, height);
  if (state.token == null) outline(context, [cell[1] * width, cell[0] * height, cell[3] * width, cell[2] * height], 2 * scale);
}

function dimOutside(context, [top, left, bottom, right], width, height) {
  context.fillStyle = "rgb(0 0 0 / 55%)";
  context.beginPath();
  context.rect(0, 0, width, height);
  context.rect(left * width, top * height, (right - left) * width, (bottom - top) * height);
  context.fill("evenodd");
}

// Pointer: `choose(event, down, across)` with places in shares, `pin(event, down, across)` for a click.
export function follow(element, choose, pin) {
  const under = (event) => {
    const box = element.getBoundingClientRect();
    return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
  };
  element.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" || event.buttons) choose(event, ...under(event));
  });
  element.addEventListener("pointerdown", (event) => event.pointerType !== "mouse" && choose(event, ...under(event)));
  element.addEventListener("click", (event) => pin(event, ...under(event)));
}

// Keys: how many cells down and across, or what else is meant; null for other keys.
export function meaning(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  if (event.key in STEPS) return { step: STEPS[event.key].map((one) => one * (event.shiftKey ? FAR : 1)) };
  if (event.key in EDGES) return { step: EDGES[event.key].map((one) => one * 1e6) };
  if (event.key === "Enter" || event.key === " ") return { pin: true };
  return event.key === "Escape" ? { free: true } : null;
}
