// What all parts of the page share: its data, its state (kept in the address, so that a view can be linked to), its theme.

const root = document.documentElement;
const data = JSON.parse(document.getElementById("data").textContent);
root.classList.add("js");

const state = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
const linked = state.has("picture") || state.has("row") || state.has("col");

function stateNumber(name, most, fallback) {
  const value = Number.parseInt(state.get(name), 10);
  return value >= 1 && value <= most ? value : fallback;
}

function remember(changes) {
  for (const [name, value] of Object.entries(changes)) state.set(name, value);
  try {
    history.replaceState(null, "", `#${state}`);
  } catch {
    // A sandboxed frame has no history of its own; the view works all the same.
  }
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function setTheme(theme) {
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  else delete root.dataset.theme;
  for (const button of document.querySelectorAll(".theme button"))
    button.setAttribute("aria-pressed", String(button.dataset.theme === (root.dataset.theme ?? "auto")));
}

setTheme(state.get("theme"));
for (const button of document.querySelectorAll(".theme button"))
  button.addEventListener("click", () => {
    setTheme(button.dataset.theme);
    remember({ theme: button.dataset.theme });
  });

// Paper has no folds: open every <details> while printing.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
