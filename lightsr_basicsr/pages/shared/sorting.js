"use strict";
/* Tables that are sorted by a click on a title, best and second best marked. */

/** Return 1 for the best of the values, 2 for the second best, 0 for the rest; equal as printed is equal. */
function ranks(values, digits, higher) {
  const rounded = values.map((value) => (number(value) === null ? null : Number(number(value).toFixed(digits))));
  const steps = [...new Set(rounded.filter((value) => value !== null))].sort((a, b) => (higher ? b - a : a - b));
  return rounded.map((value) => (value === null || steps.length < 2 ? 0 : [1, 2][steps.indexOf(value)] || 0));
}

const PLACES = ["", "first", "second"];

/**
 * Fill a table.
 * @param {HTMLTableElement} table
 * @param {{title: string, unit?: string, hint?: string, group?: string, text?: boolean, higher?: boolean, value: Function, shown?: Function,
 *   mark?: Function, cell?: Function}[]} columns
 * @param {object[]} rows
 * @param {{onSort?: Function, onRow?: Function, id?: Function}} options
 */
function fillTable(table, columns, rows, options = {}) {
  const body = make("tbody");
  const titles = make("tr");
  let order = { column: -1, down: false };
  const sort = (index) => {
    const column = columns[index];
    const first = column.text ? false : column.higher !== false; // the best comes first
    order = order.column === index ? { column: index, down: !order.down } : { column: index, down: first };
    const sign = order.down ? -1 : 1;
    const sorted = [...rows].sort((a, b) => sign * compared(column.value(a), column.value(b), sign));
    draw(sorted);
    [...titles.children].forEach((cell, place) => {
      if (place === index) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    if (options.onSort) options.onSort(sorted);
  };
  const draw = (sorted) => body.replaceChildren(...sorted.map((row) => tableRow(columns, row, options)));
  columns.forEach((column, index) => {
    const button = make("button", { type: "button" }, column.title);
    button.addEventListener("click", () => sort(index));
    const unit = column.unit ? make("span", { class: "quiet" }, ` ${column.unit}`) : null;
    titles.append(make("th", { scope: "col", class: column.text ? "text" : null, title: column.hint }, button, unit));
  });
  draw(rows);
  table.replaceChildren(make("thead", {}, ...groupRow(columns), titles), body);
}

/** Compare two values; what is missing comes last, whichever way is sorted. */
function compared(a, b, sign) {
  if (typeof a === "string" || typeof b === "string") return String(a).localeCompare(String(b), undefined, { numeric: true });
  if (a === null || b === null) return a === b ? 0 : sign * (a === null ? 1 : -1);
  return a === b ? 0 : a < b ? -1 : 1;
}

function groupRow(columns) {
  if (!columns.some((column) => column.group)) return [];
  const row = make("tr", { class: "groups" });
  for (let start = 0; start < columns.length; ) {
    let end = start + 1;
    while (end < columns.length && columns[end].group === columns[start].group) end += 1;
    row.append(make("th", { colspan: end - start }, columns[start].group || ""));
    start = end;
  }
  return [row];
}

function tableRow(columns, row, options) {
  const cells = columns.map((column) => {
    const place = column.mark ? column.mark(row) : 0;
    const kind = [column.text ? "text" : "", column.name ? "name" : "", PLACES[place]].filter(Boolean).join(" ");
    const text = column.shown ? column.shown(row) : String(column.value(row));
    return make("td", { class: kind || null, title: column.name ? text : null }, column.cell ? column.cell(row) : text);
  });
  const element = make("tr", { class: options.onRow ? "link" : null, id: options.id ? options.id(row) : null }, ...cells);
  if (options.onRow) element.addEventListener("click", () => options.onRow(row));
  return element;
}
