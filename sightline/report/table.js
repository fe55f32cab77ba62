// Headings of the results become buttons that sort; cells without a value stay last in either direction.

for (const table of document.querySelectorAll("table.results")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const order = (row, column) => row.cells[column].dataset.order;

  const sort = (column, direction) => {
    const sign = direction === "ascending" ? 1 : -1;
    const numeric = headings[column].classList.contains("number");
    const compare = (a, b) => (numeric ? a - b : a.localeCompare(b));
    const rows = [...body.rows].sort((a, b) => {
      const [left, right] = [order(a, column), order(b, column)];
      if (left === "" || right === "") return (left === "") - (right === "");
      return sign * compare(left, right);
    });
    body.append(...rows);
    for (const heading of headings) heading.removeAttribute("aria-sort");
    headings[column].setAttribute("aria-sort", direction);
  };

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const turned = now === "ascending" ? "descending" : "ascending";
      sort(column, now ? turned : heading.dataset.first);
    });
  });
}
