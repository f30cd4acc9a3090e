"use strict";
/* One chart: curves of all runs that are shown, stages as bands, values under the pointer or the keys. */

const MARGIN = { left: 56, right: 12, top: 18, bottom: 24 };
const HEIGHT = 250;
let clips = 0;

class Chart {
  constructor(content) {
    this.content = content;
    this.id = `clip${(clips += 1)}`;
    this.svg = svg("svg", { tabindex: 0, role: "img", "aria-label": `Curve of ${this.title}` });
    this.layer = svg("g");
    this.over = svg("g");
    this.svg.append(this.layer, this.over);
    this.tip = make("div", { class: "tip", role: "status", hidden: true });
    const better = content.kind === "metric" ? make("small", {}, content.higher ? " ↑ higher is better" : " ↓ lower is better") : null;
    this.scale = make("small", { hidden: true }, " logarithmic: curves of different sizes");
    this.element = make("article", { class: "chart" }, make("h3", {}, this.title, better, this.scale), this.svg, this.tip);
    this.listen();
  }

  get title() {
    const { set, name, kind } = this.content;
    if (kind === "metric") return `${name.toUpperCase()} on ${set}`;
    return kind === "lr" ? name.replace("lr", "learning rate") : name;
  }

  get isLog() {
    return this.content.kind === "lr" || (this.content.kind === "loss" && (state.log ?? this.isWide));
  }

  /** Whether the curves that are shown differ so much in size that a linear axis would flatten the small ones. */
  get isWide() {
    const shown = this.content.curves.filter((curve) => isShown(curve.run));
    if (shown.some((curve) => curve.y.some((value) => value !== null && value <= 0))) return false;
    const middles = shown.map((curve) => median(curve.y)).filter((value) => value !== null);
    return Math.max(...middles) > WIDE * Math.min(...middles);
  }

  /** Return the curves that are shown, with the places on the axis of each point. */
  curves() {
    const smooth = this.content.kind === "loss" ? state.smooth : 0;
    return this.content.curves
      .filter((curve) => isShown(curve.run))
      .map((curve) => ({ ...curve, places: state.axis === "time" ? curve.t.map((each) => each / UNIT.seconds) : curve.x, drawn: smoothed(curve.y, smooth), smooth }));
  }

  draw() {
    const width = this.svg.clientWidth || 460;
    const height = this.svg.clientHeight || HEIGHT;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.shown = this.curves();
    this.scale.hidden = !(this.content.kind === "loss" && state.log === null && this.isWide);
    const [first, last] = this.bounds();
    this.x = axis(first, last, MARGIN.left, width - MARGIN.right, false);
    const inside = (curve, values) => values.filter((_, index) => curve.places[index] >= first && curve.places[index] <= last);
    const values = this.shown.flatMap((curve) => inside(curve, curve.smooth && state.clip ? curve.drawn : curve.y));
    const [low, high] = extent(values, this.isLog, this.content.kind === "loss" && state.clip);
    this.y = axis(low, high, height - MARGIN.bottom, MARGIN.top, this.isLog);
    this.size = { width, height };
    const clip = svg("clipPath", { id: this.id }, svg("rect", { x: MARGIN.left, y: MARGIN.top - 6, width: Math.max(1, width - MARGIN.left), height: height - MARGIN.top - MARGIN.bottom + 8 }));
    const lines = svg("g", { "clip-path": `url(#${this.id})` }, ...this.shown.flatMap((curve) => this.lines(curve)));
    this.layer.replaceChildren(clip, ...this.stages(), ...this.axes(), lines);
    this.over.replaceChildren();
  }

  /** Return the range of the horizontal axis. */
  bounds() {
    if (state.range) return state.range;
    const all = this.shown.flatMap(({ places }) => [places[0], places[places.length - 1]]);
    if (!all.length) return [0, 1];
    const [low, high] = [Math.min(0, ...all), Math.max(...all)];
    return low === high ? [low, low + 1] : [low, high];
  }

  axes() {
    const { width, height } = this.size;
    const parts = [];
    const [low, high] = [this.y.low, this.y.high];
    for (const tick of this.isLog ? logTicks(low, high, 6) : linearTicks(low, high, 5)) {
      const y = this.y.at(tick).toFixed(1);
      parts.push(svg("line", { class: "grid-line", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }));
      parts.push(svg("text", { x: MARGIN.left - 6, y: Number(y) + 4, "text-anchor": "end" }, round(tick)));
    }
    for (const tick of linearTicks(this.x.low, this.x.high, Math.max(3, Math.floor(width / 95)))) {
      const x = this.x.at(tick).toFixed(1);
      const anchor = x > width - 26 ? "end" : "middle";
      parts.push(svg("text", { x, y: height - 7, "text-anchor": anchor }, state.axis === "time" ? `${round(tick)} ${UNIT.name}` : count0(tick)));
    }
    return parts;
  }

  /** Return bands with the names of stages; runs of the same stages share them. */
  stages() {
    const { height } = this.size;
    const bands = new Map();
    for (const curve of this.shown) {
      const { spans } = data.runs[curve.run];
      if (state.axis !== "iteration" || spans.length < 2) continue;
      spans.forEach((span, index) => bands.set(`${span.stage} ${span.last}`, { ...span, from: index ? spans[index - 1].last : 0, index }));
    }
    return [...bands.values()].flatMap((band) => {
      const left = Math.max(MARGIN.left, this.x.at(band.from));
      const right = Math.min(this.size.width - MARGIN.right, this.x.at(band.last));
      if (right <= left) return [];
      const box = { x: left, y: MARGIN.top - 6, width: right - left, height: height - MARGIN.top - MARGIN.bottom + 6 };
      const wide = right - left > 7 * band.stage.length;
      const spot = wide ? { x: left + 4, y: MARGIN.top - 8 } : { transform: `translate(${left + 3} ${MARGIN.top}) rotate(90)` };
      const name = right - left > 13 ? svg("text", { class: "stage-name", ...spot }, band.stage) : null;
      return [band.index % 2 ? null : svg("rect", { class: "stage", ...box }), name].filter(Boolean);
    });
  }

  /** Return what one curve looks like. */
  lines(curve) {
    const xs = curve.places.map(this.x.at);
    const at = (values) => values.map((value) => (value === null || (this.isLog && value <= 0) ? null : this.y.at(value)));
    const style = color(curve.run);
    const kind = isDashed(curve.run) ? " dashed" : "";
    const parts = [];
    if (curve.low) parts.push(svg("path", { class: "band", style, d: bandPath(xs, at(curve.low), at(curve.high)) }));
    else if (curve.smooth) parts.push(svg("path", { class: "line faint", style, d: linePath(xs, at(curve.y)) }));
    const ys = at(curve.drawn);
    parts.push(svg("path", { class: `line${kind}`, style, d: linePath(xs, ys) }));
    const few = ys.length <= (this.content.kind === "metric" ? 40 : 1);
    ys.forEach((y, index) => {
      const alone = y !== null && (ys[index - 1] ?? null) === null && (ys[index + 1] ?? null) === null;
      if (y !== null && (few || alone)) parts.push(svg("circle", { class: "dot", style, cx: xs[index].toFixed(1), cy: y.toFixed(1), r: 3 }));
    });
    const best = this.content.kind === "metric" ? this.best(curve) : -1;
    if (best >= 0) parts.push(svg("circle", { class: "best", style, cx: xs[best].toFixed(1), cy: ys[best].toFixed(1), r: 6.5 }));
    return parts;
  }

  best(curve) {
    const sign = this.content.higher ? 1 : -1;
    return curve.y.reduce((best, value, index) => (value !== null && (!curve.since || curve.x[index] > curve.since) && (best < 0 || sign * value > sign * curve.y[best]) ? index : best), -1);
  }

  /** Show the values at a place on the axis: the cursor in every chart, numbers in this one. */
  point(place) {
    for (const chart of charts) chart.cursor(place);
    const near = this.near(place);
    this.at = near.length ? place : null;
    this.tip.hidden = !near.length;
    if (!near.length) return;
    const spots = near.map(({ curve, index }) => (state.axis === "time" ? duration(curve.t[index]) : count0(curve.x[index])));
    const same = spots.every((spot) => spot === spots[0]);
    const rows = near.sort((a, b) => b.value - a.value).map(({ curve, index, value }) => {
      const name = [data.runs[curve.run].title, curve.stage].filter(Boolean).join(", ");
      const more = same ? "" : `@ ${state.axis === "time" ? duration(curve.t[index]) : count0(curve.x[index])}`;
      return make("div", {}, swatch(curve.run), make("span", {}, name), make("em", {}, more), make("b", {}, brief(value)));
    });
    const what = state.axis === "time" ? `after ${spots[0]}` : `iteration ${spots[0]}`;
    this.tip.replaceChildren(...(same ? [make("strong", {}, what)] : []), ...rows);
    const x = this.x.at(place);
    const width = this.tip.offsetWidth;
    const left = x + 18 + width > this.size.width ? x - width - 6 : x + 18;
    Object.assign(this.tip.style, { left: `${Math.max(4, left)}px`, top: `${MARGIN.top + 22}px` });
    document.documentElement.dataset.tip = this.tip.textContent;
  }

  /** Return the curves that have a point near a place, with that point. */
  near(place) {
    const reach = (this.x.high - this.x.low) * 0.03;
    const found = this.shown.map((curve) => ({ curve, index: nearest(curve.places, place) }));
    return found
      .map(({ curve, index }) => ({ curve, index, value: curve.drawn[index] }))
      .filter(({ curve, index, value }) => {
        const [first, last] = [curve.places[0], curve.places[curve.places.length - 1]];
        return value !== null && place >= first - reach && place <= last + reach && curve.places[index] >= this.x.low && curve.places[index] <= this.x.high;
      });
  }

  cursor(place) {
    if (!this.x || place === null) {
      this.over.replaceChildren();
      return;
    }
    const x = this.x.at(place).toFixed(1);
    const dots = this.near(place).map(({ curve, index, value }) => svg("circle", { class: "dot", style: color(curve.run), cx: this.x.at(curve.places[index]).toFixed(1), cy: this.y.at(value).toFixed(1), r: 4 }));
    this.over.replaceChildren(svg("line", { class: "cursor", x1: x, x2: x, y1: MARGIN.top, y2: this.size.height - MARGIN.bottom }), ...dots);
  }

  leave() {
    this.tip.hidden = true;
    this.at = null;
    for (const chart of charts) chart.cursor(null);
  }
}
