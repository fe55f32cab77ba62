// Learning curves: the pointer or the slider chooses an epoch for all figures, the table beside them shows its values;
// a net's name in that table hides and shows its lines.

const charts = [...document.querySelectorAll("svg.curves")];
const slider = document.getElementById("epoch");

function reachOf(chart) {
  return [Number(chart.dataset.first), Number(chart.dataset.last)];
}

function showEpoch(epoch) {
  slider.value = String(epoch);
  document.getElementById("epoch-shown").textContent = `At epoch ${epoch}`;
  for (const chart of charts) {
    const [first, last] = reachOf(chart);
    const { epochs } = data.curves[chart.dataset.chart];
    const share = epochs > 1 ? (Math.min(epoch, epochs) - 1) / (epochs - 1) : 0.5;
    const guide = chart.querySelector(".guide");
    for (const end of ["x1", "x2"]) guide.setAttribute(end, first + share * (last - first));
  }
  for (const row of document.querySelectorAll("#learning .values tbody tr"))
    data.curves.forEach(({ digits, values }, number) => {
      const value = values[row.dataset.model]?.[epoch - 1];
      row.cells[number + 1].textContent = value == null ? "–" : value.toFixed(digits);
    });
}

function eachLine(model, act) {
  for (const line of document.querySelectorAll(`.curves .line[data-model="${model}"]`)) act(line);
}

function light(model) {
  for (const chart of charts) chart.classList.toggle("dimmed", model !== null);
  for (const line of document.querySelectorAll(".curves .line")) line.classList.toggle("lit", line.dataset.model === model);
}

if (slider) {
  slider.addEventListener("input", () => showEpoch(Number(slider.value)));
  for (const chart of charts) {
    const { epochs } = data.curves[chart.dataset.chart];
    const follow = (event) => {
      const [first, last] = reachOf(chart);
      const box = chart.getBoundingClientRect();
      const place = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
      const share = (place - first) / Math.max(last - first, 1);
      showEpoch(clamp(Math.round(1 + share * (epochs - 1)), 1, epochs));
    };
    chart.addEventListener("pointermove", follow);
    chart.addEventListener("pointerdown", follow);
  }
  for (const row of document.querySelectorAll("#learning .values tbody tr")) {
    const heading = row.cells[0];
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      row.classList.toggle("off", !shown);
      eachLine(row.dataset.model, (line) => line.classList.toggle("off", !shown));
    });
    for (const name of ["pointerenter", "focusin"]) row.addEventListener(name, () => light(row.dataset.model));
    for (const name of ["pointerleave", "focusout"]) row.addEventListener(name, () => light(null));
  }
}
