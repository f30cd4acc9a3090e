"use strict";
/* Wiring: controls and keys. */

function refresh() {
  showLegend();
  showControls();
  drawCharts();
  showPictures();
  showOptions();
  showLive();
}

function showControls() {
  find("smooth").value = state.smooth;
  find("smooth-text").textContent = Number(state.smooth).toFixed(2);
  find("clip").checked = state.clip;
  find("reset").hidden = !state.range;
  const press = (place, value) => { for (const button of find(place).children) button.setAttribute("aria-pressed", String(button.value === value)); };
  press("axis", state.axis);
  press("log", state.log === null ? "auto" : state.log ? "log" : "linear");
}

function makeControls() {
  segments("axis", AXES, (axis) => change({ axis, range: null }));
  segments("log", { auto: "auto", linear: "linear", log: "log" }, (value) => change({ log: value === "auto" ? null : value === "log" }));
  find("smooth").addEventListener("input", (event) => change({ smooth: Number(event.target.value) }));
  find("clip").addEventListener("change", (event) => change({ clip: event.target.checked }));
  find("reset").addEventListener("click", () => change({ range: null }));
}

function moreSmooth(by) {
  change({ smooth: Math.min(0.99, Math.max(0, Math.round((state.smooth + by) * 100) / 100)) });
}

const KEYS = {
  s: () => moreSmooth(0.1), S: () => moreSmooth(-0.1), a: () => change({ axis: state.axis === "time" ? "iteration" : "time", range: null }),
  l: () => change({ log: !state.log }), o: () => change({ clip: !state.clip }), r: () => change({ range: null }), t: changeTheme,
  n: () => stepPicture(1), p: () => stepPicture(-1), "[": () => stepMoment(-1), "]": () => stepMoment(1), "/": () => find("search").focus(),
};

function onKey(event) {
  if (isTyping(event) && !(event.target.type === "range" || event.target.type === "checkbox")) return;
  const digit = /^(Digit|Numpad)([1-9])$/.exec(event.code);
  const known = KEYS[event.key] || KEYS[event.key.toLowerCase()];
  if ((!digit && !known) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  if (digit) toggleRun(Number(digit[2]) - 1);
  else known();
}

function fillTexts() {
  const states = ["running", "interrupted", "finished"].map((name) => [name, data.runs.filter((run) => run.state === name).length]);
  find("subtitle").textContent = data.runs.length === 1 ? `${data.runs[0].model} · ${data.runs[0].state}` : states.filter(([, many]) => many).map(([name, many]) => `${many} ${name}`).join(" · ");
  find("footer").textContent = `Made by basicsr report (lightsr-basicsr ${data.version}) on ${data.date}. Metrics are those of the log; curves of more than 1,500 points are shown as means, with the range of the points they stand for.`;
}

function begin() {
  beginTheme();
  fillTexts();
  fillRuns();
  fillLegend();
  makeControls();
  makeCharts();
  fillBest();
  makePictures();
  makeOptions();
  fillAbout();
  makeLive();
  refresh();
  document.addEventListener("keydown", onKey);
  addEventListener("pagehide", keep);
  scrollTo(0, state.scroll);
}

begin();
