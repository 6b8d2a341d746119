"use strict";
document.documentElement.classList.add("scripted");
const table = document.getElementById("predictions");
const body = table.tBodies[0];
const rows = Array.from(body.rows);
const search = document.getElementById("search");
const wrong = document.getElementById("wrong");
const shown = document.getElementById("shown");

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = (wrong.checked && !row.dataset.wrong) || !words.every(word => text.includes(word));
    count += row.hidden ? 0 : 1;
  }
  shown.textContent = count + " of " + rows.length;
}

function sort(header) {
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  const column = header.cellIndex;
  const isNumber = header.dataset.sort === "number";
  const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const compare = (a, b) => isNumber ? key(a) - key(b) : key(a).localeCompare(key(b));
  rows.sort((a, b) => ascending ? compare(a, b) : compare(b, a));
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  // One by one: as many arguments as a large report has rows overflow the stack.
  for (const row of rows) body.append(row);
}

search.addEventListener("input", filter);
wrong.addEventListener("change", filter);
for (const header of table.tHead.rows[0].cells) {
  header.tabIndex = 0;
  header.addEventListener("click", () => sort(header));
  header.addEventListener("keydown", event => { if (event.key === "Enter") sort(header); });
}
filter();
