"use strict";
/* All charts: made once, drawn again when the state or the width changes; pointer and keys in them. */

let charts = [];

Chart.prototype.spot = function spot(event) {
  const box = this.svg.getBoundingClientRect();
  const x = Math.min(this.size.width - MARGIN.right, Math.max(MARGIN.left, event.clientX - box.left));
  return this.x.back(x);
};

Chart.prototype.listen = function listen() {
  let from = null;
  this.svg.addEventListener("pointermove", (event) => {
    const place = this.spot(event);
    this.point(place);
    if (from === null) return;
    const [left, right] = [from, place].sort((a, b) => a - b).map(this.x.at);
    this.over.append(svg("rect", { class: "range", x: left, y: MARGIN.top, width: right - left, height: this.size.height - MARGIN.top - MARGIN.bottom }));
  });
  this.svg.addEventListener("pointerdown", (event) => {
    if (event.button === 0 && event.pointerType !== "touch") from = this.spot(event);
  });
  this.svg.addEventListener("pointerup", (event) => {
    const range = from === null ? null : [from, this.spot(event)].sort((a, b) => a - b);
    from = null;
    if (range && this.x.at(range[1]) - this.x.at(range[0]) > 8) change({ range });
  });
  this.svg.addEventListener("pointerleave", () => {
    from = null;
    this.leave();
  });
  this.svg.addEventListener("dblclick", () => change({ range: null }));
  this.svg.addEventListener("blur", () => this.leave());
  this.svg.addEventListener("keydown", (event) => this.onKey(event));
};

/** Move to the next point of the longest curve, or change the range around it. */
Chart.prototype.onKey = function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const longest = this.shown.reduce((best, curve) => (curve.places.length > best.length ? curve.places : best), []);
  const places = longest.filter((each) => each >= this.x.low && each <= this.x.high);
  if (!places.length) return;
  const now = this.at === null || this.at === undefined ? -1 : nearest(places, this.at);
  const step = event.shiftKey ? Math.max(1, Math.round(places.length / 20)) : 1;
  const next = { ArrowRight: now + step, ArrowLeft: now < 0 ? places.length - 1 : now - step, Home: 0, End: places.length - 1 }[event.key];
  if (next !== undefined) this.point(places[Math.min(places.length - 1, Math.max(0, next))]);
  else if (event.key === "Escape") this.leave();
  else if (event.key === "+" || event.key === "=") this.zoom(0.5);
  else if (event.key === "-") this.zoom(2);
  else return;
  event.preventDefault();
  event.stopPropagation();
};

/** Change the range by a factor around the cursor. */
Chart.prototype.zoom = function zoom(factor) {
  const { low, high } = this.x;
  const middle = this.at ?? (low + high) / 2;
  const range = [middle - (middle - low) * factor, middle + (high - middle) * factor];
  state.range = null;
  const [first, last] = this.bounds();
  const inside = [Math.max(first, range[0]), Math.min(last, range[1])];
  change({ range: inside[0] <= first && inside[1] >= last ? null : inside });
};

function makeCharts() {
  charts = data.charts.map((content) => new Chart(content));
  const parts = Object.entries(KINDS).flatMap(([kind, title]) => {
    const own = charts.filter((chart) => chart.content.kind === kind || (kind === "lr" && chart.content.kind === "time"));
    if (!own.length) return [];
    return [make("h2", {}, title), make("div", { class: "grid" }, ...own.map((chart) => chart.element))];
  });
  find("charts").replaceChildren(...(parts.length ? parts : [make("p", { class: "note" }, "No iteration is logged yet.")]));
  const watcher = new ResizeObserver(() => drawCharts());
  watcher.observe(find("charts"));
}

function drawCharts() {
  for (const chart of charts) chart.draw();
  document.documentElement.dataset.drawn = `${charts.length} ${document.querySelectorAll(".chart .line:not(.faint)").length}`;
}
