// How long a move takes from the event to the last map drawn, measured on every move.

const MOST = 200;
const times = [];
let began = null;

export function moved(event) {
  began ??= event.timeStamp;
}

export function drawn(shown) {
  if (began == null) return;
  times.push(performance.now() - began);
  began = null;
  if (times.length > MOST) times.shift();
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share) => sorted[Math.min(Math.floor(share * sorted.length), sorted.length - 1)];
  shown.textContent = `Last move answered in ${times.at(-1).toFixed(0)} ms; of ${times.length}: median ${at(0.5).toFixed(0)} ms, 95% within ${at(0.95).toFixed(0)} ms.`;
  Object.assign(shown.dataset, { moves: times.length, median: at(0.5).toFixed(2), most: at(0.95).toFixed(2), last: times.at(-1).toFixed(2) });
}
