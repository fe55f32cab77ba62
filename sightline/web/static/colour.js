// Colour tables of 256 steps between anchors, and pictures without their colours to lay maps over.

export function ramp(anchors) {
  const stops = anchors.map((hex) => [0, 2, 4].map((i) => Number.parseInt(hex.slice(i, i + 2), 16)));
  const table = new Uint32Array(256);
  const bytes = new Uint8ClampedArray(table.buffer);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (stops.length - 1);
    const below = Math.min(Math.floor(at), stops.length - 2);
    for (let c = 0; c < 3; c++) bytes[4 * i + c] = stops[below][c] + (at - below) * (stops[below + 1][c] - stops[below][c]);
    bytes[4 * i + 3] = 255;
  }
  return table;
}

export function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

export function drawRamp(canvas, table) {
  const context = canvas.getContext("2d");
  context.putImageData(new ImageData(new Uint8ClampedArray(table.slice().buffer), 256, 1), 0, 0);
}

export function greyed(image) {
  const canvas = canvasOf(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const bytes = pixels.data;
  for (let i = 0; i < bytes.length; i += 4) {
    const grey = 0.2126 * bytes[i] + 0.7152 * bytes[i + 1] + 0.0722 * bytes[i + 2];
    bytes[i] = bytes[i + 1] = bytes[i + 2] = grey;
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// A frame that stays inside of the canvas: white between black, to be seen on any colour.
export function outline(context, [left, top, width, height], thickness) {
  const edge = thickness;
  const [x, y] = [Math.max(left, edge), Math.max(top, edge)];
  const right = Math.min(left + width, context.canvas.width - edge);
  const bottom = Math.min(top + height, context.canvas.height - edge);
  for (const [colour, line] of [["#000", 2 * thickness], ["#fff", thickness]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(x, y, Math.max(right - x, 1), Math.max(bottom - y, 1));
  }
}
