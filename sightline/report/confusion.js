// The cell of a confusion matrix under the pointer or the arrow keys, in words.

for (const element of document.querySelectorAll(".matrix")) {
  const counts = data.confusions[element.dataset.matrix];
  const svg = element.querySelector("svg");
  const cursor = svg.querySelector(".cursor");
  const output = element.parentElement.querySelector(".cell output");
  const name = (label) => data.classes[label] ?? `class ${label}`;
  let cell = null;

  const show = (row, col) => {
    cell = [clamp(row, 0, counts.length - 1), clamp(col, 0, counts.length - 1)];
    const [truth, answer] = cell;
    const all = counts[truth].reduce((sum, count) => sum + count, 0);
    cursor.setAttribute("x", answer);
    cursor.setAttribute("y", truth);
    cursor.setAttribute("visibility", "visible");
    const count = counts[truth][answer];
    output.textContent = `${name(truth)} → ${name(answer)}: ${count} of ${all} (${all ? ((100 * count) / all).toFixed(1) : 0}%)`;
  };
  const leave = () => {
    cell = null;
    cursor.setAttribute("visibility", "hidden");
    output.textContent = "";
  };
  const follow = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const inside = at.x >= 0 && at.y >= 0 && at.x < counts.length && at.y < counts.length;
    if (inside) show(Math.floor(at.y), Math.floor(at.x));
  };

  element.tabIndex = 0;
  element.setAttribute("role", "application");
  element.setAttribute("aria-label", `${element.getAttribute("aria-label")}. Arrow keys move over its cells.`);
  element.addEventListener("pointermove", follow);
  element.addEventListener("pointerdown", follow);
  element.addEventListener("pointerleave", leave);
  element.addEventListener("focus", () => cell ?? show(0, 0));
  element.addEventListener("blur", leave);
  element.addEventListener("keydown", (event) => {
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    show(cell[0] + STEPS[event.key][0], cell[1] + STEPS[event.key][1]);
  });
}
