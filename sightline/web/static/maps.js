// The maps of a layer: unpacked from what the server sends (see pack.py), kept within a bound, fetched before they are needed.

import * as api from "./api.js";

const MOST_BYTES = 96 * 2 ** 20;
const kept = new Map(); // key: {state: "waiting" | "here" | "failed", maps, error, bytes}; the oldest first

export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const maps = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const [groups, queries, entries] = maps.shape;
  let at = 4 + length;
  maps.numbers = new Float32Array(buffer, at, groups * queries * 4);
  at += maps.numbers.byteLength;
  maps.targets = maps.sparse ? new Int32Array(buffer, at, queries * entries) : null;
  at += maps.targets?.byteLength ?? 0;
  maps.cells = new Uint8Array(buffer, at, groups * queries * entries);
  return maps;
}

const keyOf = (what) => [what.picture, what.net, what.method, what.layer, what.target, what.head].join("\n");

function tidy() {
  let total = 0;
  for (const one of kept.values()) total += one.bytes ?? 0;
  for (const [key, one] of kept) {
    if (total <= MOST_BYTES) return;
    if (one.state === "waiting") continue;
    kept.delete(key);
    total -= one.bytes ?? 0;
  }
}

// What is known of these maps now; asked for when nothing is, `done` is called when that has changed.
export function mapsOf(what, done) {
  const key = keyOf(what);
  const known = kept.get(key);
  if (known) {
    kept.delete(key);
    kept.set(key, known);
    if (known.state === "waiting" && done) known.promise.then(done);
    return known;
  }
  const fresh = { state: "waiting" };
  kept.set(key, fresh);
  fresh.promise = api.maps(what).then(
    (buffer) => Object.assign(fresh, { state: "here", maps: unpack(buffer), bytes: buffer.byteLength }),
    (error) => Object.assign(fresh, { state: "failed", error }),
  );
  fresh.promise.then(tidy);
  if (done) fresh.promise.then(done);
  return fresh;
}

export function tryAgain() {
  for (const [key, one] of kept) if (one.state === "failed") kept.delete(key);
}

export const isKept = (what) => kept.get(keyOf(what))?.state === "here";

// The map of one query of one group over the grid of keys, 0..255 a cell.
const cells = new Map();
export function mapAt(maps, group, query) {
  const [, queries, entries] = maps.shape;
  const start = (group * queries + query) * entries;
  const values = maps.cells.subarray(start, start + entries);
  if (!maps.targets) return values;
  const [rows, cols] = maps.key_grid;
  const size = rows * cols;
  if (!cells.has(size)) cells.set(size, new Uint8Array(size));
  const spread = cells.get(size).fill(maps.signed ? 128 : 0);
  for (let i = 0; i < entries; i++) {
    const key = maps.targets[query * entries + i];
    if (key >= 0) spread[key] = maps.signed ? spread[key] + values[i] - 128 : Math.min(spread[key] + values[i], 255);
  }
  return spread;
}

export function numbersAt(maps, group, query) {
  const start = 4 * (group * maps.shape[1] + query);
  const [largest, entropy, distance, onTokens] = maps.numbers.subarray(start, start + 4);
  return { largest, entropy, distance, onTokens };
}

// The query that covers a place given in shares of what the net sees; a token by its number comes first.
export function queryAt(maps, down, across, token) {
  if (!maps.by_position) return 0;
  if (token != null && token < maps.tokens) return token;
  const [rows, cols] = maps.query_grid;
  const [tall, wide] = maps.query_reach;
  const row = Math.min(Math.max(Math.floor((down / tall) * rows), 0), rows - 1);
  const col = Math.min(Math.max(Math.floor((across / wide) * cols), 0), cols - 1);
  return maps.tokens + row * cols + col;
}
