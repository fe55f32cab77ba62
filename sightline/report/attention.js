// Where each net looks. One picture and one query pixel hold for all nets; each net draws its own map over the same picture.
// The query lives on the finest grid of all layers; a coarser layer answers with the query that covers its centre.

const looking = document.querySelector(".looking");

function ramp(colours) {
  const stops = colours.map((hex) => [0, 2, 4].map((i) => Number.parseInt(hex.slice(i, i + 2), 16)));
  const table = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (stops.length - 1);
    const below = Math.min(Math.floor(at), stops.length - 2);
    for (let c = 0; c < 3; c++) table[4 * i + c] = stops[below][c] + (at - below) * (stops[below + 1][c] - stops[below][c]);
    table[4 * i + 3] = 255;
  }
  return table;
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

function look() {
  const { grid, nets, described, colours } = data.attention;
  const [rows, cols] = grid;
  const ramps = { weights: ramp(colours.weights), signed: ramp(colours.signed) };
  const choices = [...looking.querySelectorAll("input[name=picture]")];
  const query = document.getElementById("query");
  const blend = document.getElementById("blend");
  const tiles = [...looking.querySelectorAll(".tile")];
  const pictures = new Map(); // test position: {image, grey}
  const unpacked = new Map(); // layer: {cells, numbers}
  let row = stateNumber("row", rows, Math.ceil(rows / 2)) - 1;
  let col = stateNumber("col", cols, Math.ceil(cols / 2)) - 1;
  let held = linked;
  let waiting = false;

  choices[stateNumber("picture", choices.length, 1) - 1].checked = true;
  const chosen = () => Number(choices.find((choice) => choice.checked).value);

  function greyed(image) {
    const canvas = canvasOf(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < pixels.data.length; i += 4) {
      const [red, green, blue] = pixels.data.subarray(i, i + 3);
      pixels.data.fill(0.2126 * red + 0.7152 * green + 0.0722 * blue, i, i + 3);
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  function pictureOf(index) {
    if (!pictures.has(index)) {
      pictures.set(index, null);
      const image = new Image();
      image.addEventListener("load", () => {
        pictures.set(index, { image, grey: greyed(image) });
        draw();
      });
      image.src = document.querySelector(`#picture-${index} image`).getAttribute("href");
    }
    return pictures.get(index);
  }

  function mapsOf(layer) {
    if (!unpacked.has(layer)) {
      unpacked.set(layer, null);
      Promise.all([unpack(layer.cells), unpack(layer.numbers)]).then(([cells, numbers]) => {
        unpacked.set(layer, { cells: new Uint8Array(cells), numbers: new Float32Array(numbers) });
        draw();
      });
    }
    return unpacked.get(layer);
  }

  function heatOf(layer, cells, which) {
    const [height, width] = layer.keys;
    const canvas = canvasOf(width, height);
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    const table = ramps[layer.signed ? "signed" : "weights"];
    for (let i = 0; i < height * width; i++) {
      const value = cells[which * height * width + i];
      pixels.data.set(table.subarray(4 * value, 4 * value + 4), 4 * i);
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  function outline(context, box, scale) {
    for (const [colour, line] of [["#000", 4 * scale], ["#fff", 2 * scale]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(...box);
    }
  }

  function smallNumber(value) {
    return value >= 0.1 || value === 0 ? value.toFixed(2) : value.toPrecision(2);
  }

  function drawTile(tile) {
    const net = nets[tile.dataset.net];
    const index = chosen();
    const layer = net.layers[tile.querySelector("select")?.value ?? 0];
    const number = net.pictures.indexOf(index);
    const seen = pictureOf(index);
    const maps = layer && number >= 0 ? mapsOf(layer) : null;
    const [queryRows, queryCols] = layer ? layer.queries : grid;
    const at = [Math.floor(((row + 0.5) * queryRows) / rows), Math.floor(((col + 0.5) * queryCols) / cols)];
    const which = (number * queryRows + at[0]) * queryCols + at[1];
    drawStage(tile, seen, layer, maps, which, [at[0] / queryRows, at[1] / queryCols, 1 / queryRows, 1 / queryCols]);
    describe(tile, net, layer, maps, number, which, described[index].label);
  }

  function drawStage(tile, seen, layer, maps, which, [top, left, tall, wide]) {
    if (!seen) return;
    const canvas = tile.querySelector("canvas");
    const scale = devicePixelRatio || 1;
    const width = Math.round(tile.querySelector(".stage").clientWidth * scale);
    const height = Math.round((width * seen.image.naturalHeight) / seen.image.naturalWidth);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = seen.image.naturalWidth >= 64;
    context.globalAlpha = 1;
    context.drawImage(maps ? seen.grey : seen.image, 0, 0, width, height);
    if (maps) {
      context.imageSmoothingEnabled = false;
      context.globalAlpha = blend.value / 100;
      context.drawImage(heatOf(layer, maps.cells, which), 0, 0, width, height);
    }
    context.globalAlpha = 1;
    outline(context, [left * width, top * height, wide * width, tall * height], scale);
  }

  function describe(tile, net, layer, maps, number, which, truth) {
    const answer = tile.querySelector(".answer");
    const right = net.predicted[number] === truth;
    answer.textContent = number < 0 ? "picture not recorded" : `says ${net.predicted[number]} ${right ? "✓" : "✗"}`;
    answer.classList.toggle("wrong", number >= 0 && !right);
    const list = tile.querySelector(".numbers");
    list.hidden = !maps;
    if (!maps) return;
    const [largest, spread, near] = maps.numbers.subarray(3 * which, 3 * which + 3);
    const cells = layer.keys[0] * layer.keys[1];
    const texts = [smallNumber(largest), `${spread < 10 ? spread.toFixed(1) : Math.round(spread)} of ${cells}`, `${Math.round(100 * near)}%`];
    list.querySelectorAll("dd").forEach((cell, i) => (cell.textContent = texts[i]));
  }

  function drawQuery() {
    const index = chosen();
    const [, , width, height] = document.getElementById(`picture-${index}`).getAttribute("viewBox").split(" ");
    const svg = query.querySelector("svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const use = svg.querySelector("use");
    use.setAttribute("href", `#picture-${index}`);
    const box = { x: (col * width) / cols, y: (row * height) / rows, width: width / cols, height: height / rows };
    for (const [name, value] of Object.entries({ width, height })) use.setAttribute(name, value);
    for (const mark of svg.querySelectorAll("rect"))
      for (const [name, value] of Object.entries(box)) mark.setAttribute(name, value);
    query.classList.toggle("held", held);
    document.getElementById("query-shown").textContent =
      `Row ${row + 1}, column ${col + 1} of ${rows} × ${cols}${held ? ", held" : ""}. The truth: ${described[index].label}.`;
  }

  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      drawQuery();
      tiles.forEach(drawTile);
    });
  }

  function choose(newRow, newCol) {
    row = clamp(newRow, 0, rows - 1);
    col = clamp(newCol, 0, cols - 1);
    draw();
  }

  function keep() {
    const picture = choices.findIndex((choice) => choice.checked) + 1;
    remember({ picture, row: row + 1, col: col + 1 });
  }

  function pointAt(element) {
    const under = (event) => {
      const box = element.getBoundingClientRect();
      const down = (event.clientY - box.top) / box.height;
      const across = (event.clientX - box.left) / box.width;
      return [clamp(Math.floor(down * rows), 0, rows - 1), clamp(Math.floor(across * cols), 0, cols - 1)];
    };
    element.addEventListener("pointermove", (event) => {
      const mouse = event.pointerType === "mouse";
      if (mouse ? !held : event.buttons) choose(...under(event));
    });
    element.addEventListener("click", (event) => {
      const [newRow, newCol] = under(event);
      held = !(held && newRow === row && newCol === col) && event.pointerType !== "touch";
      choose(newRow, newCol);
      keep();
    });
  }

  query.addEventListener("keydown", (event) => {
    if (event.key === "Escape") held = false;
    else if (event.key in STEPS) choose(row + STEPS[event.key][0], col + STEPS[event.key][1]);
    else return;
    event.preventDefault();
    draw();
    keep();
  });
  for (const element of [query.querySelector("svg"), ...tiles.map((tile) => tile.querySelector(".stage"))]) pointAt(element);
  for (const element of [...choices, ...looking.querySelectorAll("select")])
    element.addEventListener("change", () => {
      draw();
      keep();
    });
  blend.addEventListener("input", draw);
  new ResizeObserver(draw).observe(looking);
  draw();
  if (linked) document.getElementById("attention").scrollIntoView({ behavior: "instant" });
}

if (looking && "DecompressionStream" in window) look();
else if (looking) looking.textContent = "This browser is too old for the maps: it can not unpack them (DecompressionStream).";
