"use strict";
/* Tables that are sorted by a click on a title: the means, and the scores of every picture. */

/**
 * Fill a table.
 * @param {HTMLTableElement} table
 * @param {{title: string, unit?: string, group?: string, text?: boolean, higher?: boolean, value: Function, shown?: Function,
 *   mark?: Function}[]} columns
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
    titles.append(make("th", { scope: "col", class: column.text ? "text" : null }, button, unit));
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
    return make("td", { class: kind || null, title: column.name ? text : null }, text);
  });
  const element = make("tr", { class: options.onRow ? "link" : null, id: options.id ? options.id(row) : null }, ...cells);
  if (options.onRow) element.addEventListener("click", () => options.onRow(row));
  return element;
}

/** Fill the table of means: costs, and every metric of every set. */
function fillMeans() {
  const columns = [{ title: "Method", text: true, name: true, value: (method) => method.title }];
  data.costs.forEach((cost, index) => {
    columns.push({
      title: cost.title, unit: cost.unit, higher: false, value: (method) => number(method.costs[index]),
      shown: (method) => shown(method.costs[index], cost.digits),
    });
  });
  for (const set of data.sets) {
    const count = data.pictures.filter((picture) => picture.set === set.title).length;
    for (const metric of data.metrics) {
      const values = set.means[metric.name];
      const places = ranks(values, metric.digits, metric.higher);
      columns.push({
        title: metric.title, unit: metric.unit, higher: metric.higher, group: `${set.title} (${count})`,
        value: (method) => number(values[data.methods.indexOf(method)]),
        shown: (method) => shown(values[data.methods.indexOf(method)], metric.digits),
        mark: (method) => places[data.methods.indexOf(method)],
      });
    }
  }
  fillTable(find("means"), columns, data.methods);
}

/** Fill the table of the pictures with one metric. */
function fillScores(metric, onRow, onSort) {
  const columns = [{ title: "Picture", text: true, name: true, value: (picture) => picture.name }];
  if (data.sets.length > 1) columns.push({ title: "Set", text: true, value: (picture) => picture.set });
  data.methods.forEach((method, index) => {
    columns.push({
      title: method.title, higher: metric.higher, value: (picture) => number(picture.scores[metric.name][index]),
      shown: (picture) => shown(picture.scores[metric.name][index], metric.digits),
      mark: (picture) => ranks(picture.scores[metric.name], metric.digits, metric.higher)[index],
    });
  });
  if (data.methods.length > 1) {
    columns.push({ title: "Difference", value: (picture) => picture.spread, shown: (picture) => shown(picture.spread, 1) });
  }
  fillTable(find("scores"), columns, data.pictures, { onRow, onSort, id: (picture) => `row-${data.pictures.indexOf(picture)}` });
}
