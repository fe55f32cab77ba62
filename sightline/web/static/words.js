// Numbers as words.

export const smallNumber = (value) => (value === 0 || Math.abs(value) >= 0.1 ? value.toFixed(2) : value.toPrecision(2));

export function percent(share) {
  const value = 100 * share;
  if (value > 0 && value < 0.1) return "< 0.1%";
  return `${value < 10 ? value.toFixed(1) : Math.round(value)}%`;
}

export function bits(entropy, places) {
  const looks = 2 ** entropy;
  return `${looks < 10 ? looks.toFixed(1) : Math.round(looks)} of ${places}`;
}

export function pixels(distance, [rows, cols]) {
  if (!Number.isFinite(distance)) return "none";
  return `${distance.toFixed(distance < 10 ? 1 : 0)} px of ${Math.max(rows, cols)}`;
}
