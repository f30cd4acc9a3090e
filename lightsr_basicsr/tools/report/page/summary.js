"use strict";
/* The tables of runs and of checkpoints, the legend, and what is known of each run. */

const stateOf = (run) => make("span", { class: `state ${run.state}` }, run.state);
const isRunning = (run) => run.state === "running";
const titleOf = (index) => make("span", { class: "titled" }, swatch(index), data.runs[index].title);

function fillRuns() {
  const index = (run) => data.runs.indexOf(run);
  const columns = [
    { title: "Run", text: true, name: true, value: (run) => run.title, cell: (run) => titleOf(index(run)) },
    { title: "State", text: true, value: (run) => run.state, cell: stateOf },
    { title: "Network", text: true, value: (run) => run.network },
    { title: "Parameters", higher: false, value: (run) => parametersOf(run), shown: (run) => count0(parametersOf(run)) },
    { title: "Iteration", value: (run) => run.last, shown: (run) => (run.total ? `${count0(run.last)} of ${count0(run.total)}` : count0(run.last)) },
    { title: "Trained for", higher: false, value: (run) => run.seconds, shown: (run) => duration(run.seconds) },
    ...(data.runs.some(isRunning) ? [{ title: "Left", higher: false, value: (run) => run.left, shown: (run) => (isRunning(run) ? duration(run.left) : "–") }] : []),
    { title: "Starts", value: (run) => run.logs.length },
    ...bestColumns(),
  ];
  fillTable(find("runs"), columns, data.runs);
  const notes = [
    ...data.notes.map((text) => make("li", {}, text)),
    ...data.runs.flatMap((run) => run.notes.map((text) => make("li", {}, data.runs.length > 1 ? make("b", {}, `${run.title}: `) : null, text))),
  ];
  find("notes").replaceChildren(...notes);
}

function parametersOf(run) {
  const known = run.networks.find(([name]) => name === run.network) || run.networks[run.networks.length - 1];
  return known ? Number(known[1].replaceAll(",", "")) : null;
}

/** Return at most six pairs of a set and a metric, of each run as many as of the others, in the order of the charts. */
function shownPairs() {
  const pair = (best) => JSON.stringify([best.set, best.metric]);
  const byRun = data.runs.map((_, index) => [...new Set(data.best.filter((best) => best.run === index).map(pair))]);
  const turns = Array.from({ length: Math.max(0, ...byRun.map((own) => own.length)) }, (_, turn) => byRun.map((own) => own[turn]));
  const chosen = [...new Set(turns.flat().filter(Boolean))].slice(0, 6);
  return [...new Set(data.best.map(pair))].filter((each) => chosen.includes(each));
}

/** Return columns with the best values in the last stage of each run. */
function bestColumns() {
  const lastStage = (run) => (run.spans.length ? run.spans[run.spans.length - 1].stage : "");
  return shownPairs().map((key) => {
    const [set, metric] = JSON.parse(key);
    const of = (run) => data.best.find((best) => data.runs[best.run] === run && best.set === set && best.metric === metric && best.stage === lastStage(run));
    const values = data.runs.map((run) => (of(run) ? of(run).value : null));
    const higher = data.best.find((best) => best.set === set && best.metric === metric).higher;
    const places = ranks(values, 4, higher);
    return { title: metric.toUpperCase(), group: set, higher, value: (run) => values[data.runs.indexOf(run)], shown: (run) => shown(values[data.runs.indexOf(run)], 4), mark: (run) => places[data.runs.indexOf(run)] };
  });
}

function fillLegend() {
  const buttons = data.runs.map((run, index) => {
    const button = make("button", { type: "button", title: `${run.title}: show or hide${index < 9 ? ` (${index + 1})` : ""}` }, swatch(index), make("span", {}, run.title));
    button.addEventListener("click", () => toggleRun(index));
    return button;
  });
  find("legend").replaceChildren(...buttons);
}

function showLegend() {
  [...find("legend").children].forEach((button, index) => button.setAttribute("aria-pressed", String(isShown(index))));
}

function copyButton(text) {
  const button = make("button", { type: "button", title: text }, "copy path");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      prompt("The path:", text);
    }
  });
  return button;
}

function fileCell(best) {
  const found = best.files.length ? best.files : null;
  if (found) return filePart(found[0], "");
  const kept = best.kept ? filePart(best.kept.files[0], `not kept; best that is: ${shown(best.kept.value, 4)} at ${count0(best.kept.iteration)}: `) : null;
  return kept || make("span", { class: "quiet" }, "none of a validated iteration is kept");
}

const filePart = (path, before) => make("span", {}, before, make("code", {}, path.split(/[\\/]/).pop()), copyButton(path));

function fillBest() {
  find("best-section").hidden = !data.best.length;
  const staged = data.best.some((best) => best.stage);
  const columns = [
    ...(data.runs.length > 1 ? [{ title: "Run", text: true, name: true, value: (best) => data.runs[best.run].title, cell: (best) => titleOf(best.run) }] : []),
    ...(staged ? [{ title: "Stage", text: true, value: (best) => best.stage }] : []),
    { title: "Set", text: true, value: (best) => best.set },
    { title: "Metric", text: true, value: (best) => best.metric.toUpperCase() },
    { title: "Best", value: (best) => best.value, shown: (best) => shown(best.value, 4) },
    { title: "Iteration", value: (best) => best.iteration, shown: (best) => count0(best.iteration) },
    { title: "Checkpoint", text: true, value: (best) => best.files[0] || "", cell: fileCell },
  ];
  fillTable(find("best"), columns, data.best);
}

const facts = (rows) => make("table", {}, make("tbody", {}, ...rows.filter(([, value]) => value !== null && value !== "").map(([name, value]) => make("tr", {}, make("td", { class: "quiet" }, name), make("td", {}, value)))));

function aboutRun(run) {
  const folder = make("span", {}, make("code", {}, run.folder), copyButton(run.folder));
  const starts = run.logs.map((log) => [log.file, `${log.began} to ${log.ended}, ${log.start === null ? "did not begin to train" : `iterations ${count0(log.start)} to ${count0(log.last)} in ${duration(log.seconds)}`}${log.finished ? ", to its end" : ""}`]);
  const warned = run.warnings.map((each) => [`${each.level.toLowerCase()}${each.times > 1 ? ` × ${count0(each.times)}` : ""}, after ${count0(each.iteration)}`, each.text]);
  const parts = [
    ["Environment", [["folder", folder], ["model", run.model], ["devices", run.devices], ...run.versions]],
    ["Networks", run.networks.map(([name, parameters]) => [name, `${parameters} parameters`])],
    ["Data", run.data],
    [count(run.logs.length, "start"), starts],
    ["Warnings in the log", warned],
  ].filter(([, rows]) => rows.length);
  const element = make("details", { open: state.open.includes(run.title) }, make("summary", {}, run.title, " ", stateOf(run)), ...parts.flatMap(([title, rows]) => [make("h3", {}, title), facts(rows)]));
  element.addEventListener("toggle", () => {
    state.open = element.open ? [...new Set([...state.open, run.title])] : state.open.filter((title) => title !== run.title);
    keep();
  });
  return element;
}

function fillAbout() {
  find("about").replaceChildren(...data.runs.map(aboutRun));
}
