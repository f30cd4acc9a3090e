"use strict";
/* Wiring: controls, keys, light and dark. */

function refresh() {
  showStage();
  captionCrops();
  drawStage();
  showLoupe();
}

/** Go to a picture, and there to the part where the methods differ most. */
function goTo(index) {
  state.picture = (index + data.pictures.length) % data.pictures.length;
  state.loupe = homePart();
  markRow();
  refresh();
}

function markRow() {
  document.querySelectorAll("tr.here").forEach((row) => row.classList.remove("here"));
  find(`row-${state.picture}`).classList.add("here");
}

function look(index) {
  goTo(index);
  find("viewer").scrollIntoView({ behavior: "smooth", block: "start" });
}

function pick(index, left) {
  if (index >= views.length) return;
  state[left ? "left" : "right"] = index;
  refresh();
}

function swap() {
  [state.left, state.right] = [state.right, state.left];
  refresh();
}

function setMode(mode) {
  state.mode = mode;
  refresh();
}

function moveCut(by) {
  state.cut = Math.min(1, Math.max(0, state.cut + by));
  showCut();
}

function nextMode() {
  const names = Object.keys(MODES);
  setMode(names[(names.indexOf(state.mode) + 1) % names.length]);
}

const KEYS = {
  ArrowLeft: () => moveCut(-0.02), ArrowRight: () => moveCut(0.02), n: () => goTo(state.picture + 1), p: () => goTo(state.picture - 1),
  x: swap, d: nextMode, "+": () => zoomLoupe(1), "=": () => zoomLoupe(1), "-": () => zoomLoupe(-1), h: goHome, t: changeTheme,
};
// Where these scroll the page otherwise: only while the picture has the focus.
const STAGE_KEYS = { ArrowUp: KEYS.p, ArrowDown: KEYS.n, " ": swap };

function goHome() {
  state.loupe = homePart();
  showLoupe();
}

function onKey(event) {
  if (isTyping(event)) return;
  const digit = /^(Digit|Numpad)([1-9])$/.exec(event.code);
  const known = (stage.contains(document.activeElement) && STAGE_KEYS[event.key]) || KEYS[event.key] || KEYS[event.key.toLowerCase()];
  if (!digit && !known) return;
  event.preventDefault();
  if (digit) pick(Number(digit[2]) - 1, event.shiftKey);
  else known();
}

function showMetric(name) {
  const metric = data.metrics.find((each) => each.name === name);
  for (const button of find("metrics").children) button.setAttribute("aria-pressed", String(button.value === name));
  fillScores(metric, (picture) => look(data.pictures.indexOf(picture)), sorted);
  markRow();
}

function sorted(pictures) {
  orderGallery(pictures);
  markRow();
}

function fillTexts() {
  find("subtitle").textContent = [count(data.methods.length, "method"), count(data.pictures.length, "picture"), data.sets.map((set) => set.title).join(", ")].join(" · ");
  const known = data.costs.map((each) => each.title).filter((title) => title !== "Params");
  const costs = known.length ? `${known.join(" and ")} for an output of 1280 × 720` : "";
  find("protocol").textContent = [data.protocol, costs, data.machine, "best bold, second best underlined"].filter(Boolean).join(" · ");
  find("footer").textContent = [`Made by basicsr compare (lightsr-basicsr ${data.version}) on ${data.date}`, data.note].filter(Boolean).join(" · ");
  const rows = data.failed.map((each) => make("tr", {}, make("td", {}, each.name), make("td", {}, each.reason)));
  find("left-out").hidden = find("failures").hidden = !rows.length;
  find("failures").firstChild.textContent = `${count(rows.length, "picture")} ${rows.length === 1 ? "is" : "are"} left out: see why`;
  find("failed").replaceChildren(make("tbody", {}, ...rows));
}

function fillChoices() {
  find("picture").replaceChildren(...data.pictures.map((picture, index) => make("option", { value: index }, picture.name)));
  for (const side of ["left", "right"]) {
    find(side).replaceChildren(...views.map((view, index) => make("option", { value: index }, view.title)));
    find(side).addEventListener("change", (event) => pick(Number(event.target.value), side === "left"));
  }
  find("picture").addEventListener("change", (event) => goTo(Number(event.target.value)));
  segments("modes", MODES, setMode);
  segments("metrics", Object.fromEntries(data.metrics.map((metric) => [metric.name, metric.title])), showMetric);
}

/** Return the index of the view of a method: the best of the first metric, or bicubic interpolation. */
function startingSides() {
  const means = data.sets[0].means[data.metrics[0].name];
  const best = Math.max(0, ranks(means, 9, data.metrics[0].higher).indexOf(1));
  const bicubic = data.methods.findIndex((method) => method.title === "bicubic");
  return { left: bicubic >= 0 && bicubic !== best ? bicubic + 1 : 0, right: best + 1 };
}

function begin() {
  beginTheme();
  Object.assign(state, startingSides());
  fillTexts();
  fillChoices();
  fillMeans();
  makeCrops(pick);
  makeGallery(look);
  showMetric(data.metrics[0].name);
  followPointer((x, y) => moveLoupe(x, y));
  const clicks = { previous: KEYS.p, next: KEYS.n, swap, "zoom-in": KEYS["+"], "zoom-out": KEYS["-"], home: goHome };
  for (const [id, action] of Object.entries(clicks)) find(id).addEventListener("click", action);
  document.addEventListener("keydown", onKey);
  goTo(0);
}

begin();
