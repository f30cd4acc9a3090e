"use strict";
/* What the reader has chosen. It is kept for the tab, so that a page that loads itself again looks as before. */

const KINDS = { metric: "Validation", loss: "Losses", other: "Other logged values", lr: "Learning rate and pace" };
const AXES = { iteration: "iterations", time: "time" };
const longest = Math.max(0, ...data.runs.map((run) => run.seconds));
const UNIT = [{ name: "h", seconds: 3600 }, { name: "min", seconds: 60 }, { name: "s", seconds: 1 }].find(({ seconds }) => longest >= 2 * seconds) || { name: "s", seconds: 1 };
const WIDE = 20; // times by which curves differ in size when their chart gets a logarithmic axis by itself
const place = `report ${location.pathname}`;

const state = {
  hidden: [], // titles of runs
  smooth: data.charts.some((chart) => chart.kind === "loss" && chart.curves.some((curve) => curve.points > 60)) ? 0.6 : 0,
  axis: "iteration", log: null, clip: true, range: null, picture: "", moment: null, only: data.runs.length > 1, search: "",
  paused: false, open: [], scroll: 0, ...kept(),
};

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(place)) || {};
  } catch {
    return {}; // browsers may refuse it to files
  }
}

/** Keep the state for the next time the page is loaded in this tab. */
function keep() {
  state.scroll = scrollY;
  try {
    sessionStorage.setItem(place, JSON.stringify(state));
  } catch {
    // as above
  }
}

/** Change the state and show it. */
function change(values) {
  Object.assign(state, values);
  keep();
  refresh();
}

const isShown = (run) => !state.hidden.includes(data.runs[run].title);
const color = (run) => `--c: var(--c${run % 8})`;
const isDashed = (run) => Math.floor(run / 8) % 2 === 1;

/** Return a piece of the line of a run. */
const swatch = (run) => make("i", { class: `swatch${isDashed(run) ? " dashed" : ""}`, style: color(run) });

function toggleRun(run) {
  if (run >= data.runs.length) return;
  const { title } = data.runs[run];
  change({ hidden: state.hidden.includes(title) ? state.hidden.filter((each) => each !== title) : [...state.hidden, title] });
}

/** Return a number of iterations: 12,000. */
const count0 = (value) => (value === null || value === undefined ? "–" : Number(value).toLocaleString("en-US"));

/** Return seconds as they are said: 1 h 05 min. */
function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.round(seconds);
  const pad = (value) => String(value).padStart(2, "0");
  if (whole < 100) return `${whole} s`;
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days) return `${days} d ${pad(hours)} h`;
  return hours ? `${hours} h ${pad(minutes)} min` : `${minutes} min ${pad(whole % 60)} s`;
}

/** Return a round number of an axis. */
function round(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? exact(value).toExponential().replace("e+", "e") : String(exact(value));
}

/** Return a value with about five digits. */
function brief(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(3).replace("e+", "e");
  return String(Number(value.toPrecision(6)));
}
