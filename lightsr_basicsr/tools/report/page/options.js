"use strict";
/* The options of the runs, side by side. */

function makeOptions() {
  find("options-section").hidden = !data.options.length;
  find("only-label").hidden = data.runs.length < 2;
  find("search").value = state.search;
  find("search").addEventListener("input", (event) => change({ search: event.target.value }));
  find("only").addEventListener("change", (event) => change({ only: event.target.checked }));
}

function showOptions() {
  const only = state.only && data.runs.length > 1;
  find("only").checked = state.only;
  const wanted = state.search.trim().toLowerCase();
  const fits = (option) => !wanted || [option.name, ...option.values].some((text) => text !== null && text.toLowerCase().includes(wanted));
  const rows = data.options.filter((option) => (option.differs || !only) && fits(option));
  const columns = data.runs.map((run, index) => ({ run, index })).filter(({ index }) => isShown(index));
  const head = make("tr", {}, make("th", { scope: "col" }, "Key"), ...columns.map(({ run }) => make("th", { scope: "col" }, run.title)));
  const body = rows.map((option) => {
    const cells = columns.map(({ index }) => make("td", { title: option.values[index] }, option.values[index] ?? "–"));
    return make("tr", { class: option.differs ? "differs" : null }, make("td", { title: option.name }, option.name), ...cells);
  });
  find("options").replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
  const all = data.options.length;
  find("options-count").textContent = `${rows.length} of ${count(all, "option")}${data.runs.length > 1 ? `, ${data.options.filter((option) => option.differs).length} differ` : ""}`;
}
