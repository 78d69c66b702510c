"use strict";
/* Nothing here is needed to read the page. Tables marked "sortable" sort by a column's heading;
   what bears the same data-trial, a row or a line of a chart, lights up together. */
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const columns = [...table.tHead.rows[0].cells];
  const key = (row, i) => {
    const cell = row.cells[i], number = cell.querySelector("data");
    return number ? Number(number.value) : cell.querySelector(".none") ? null : cell.textContent.trim();
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  columns.forEach((heading, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") !== "descending";
      columns.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [key(row, i), row]);
      rows.sort(([a], [b]) =>
        a === null || b === null ? (a === null) - (b === null) : down ? compare(b, a) : compare(a, b));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
const light = (target, on) => {
  const trial = target.closest && target.closest("[data-trial]");
  if (!trial) return;
  const same = document.querySelectorAll(`[data-trial="${CSS.escape(trial.dataset.trial)}"]`);
  for (const one of same) one.classList.toggle("lit", on);
};
for (const [name, on] of [["mouseover", true], ["mouseout", false], ["focusin", true], ["focusout", false]])
  document.addEventListener(name, (event) => light(event.target, on));
