"use strict";
/* Two images of a picture with a slider between them, or their differences. */

const state = { picture: 0, left: 0, right: 0, cut: 0.5, mode: "pictures", loupe: null };
const MODES = data.hasHigh
  ? { pictures: "Pictures", errors: "Errors", closer: "Who is closer" }
  : { pictures: "Pictures", difference: "Difference" };
const stage = find("stage");
const under = find("under");
const over = find("over");
let drawing = 0;

const currentPicture = () => data.pictures[state.picture];
const imageId = (view, picture = state.picture) => `${picture}-${view.key}`;

/** Return a color, from dark to bright, for an error between 0 and 1. */
function heat(value) {
  const stops = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];
  const place = Math.min(0.9999, Math.max(0, value)) * (stops.length - 1);
  const index = Math.floor(place);
  return stops[index].map((low, channel) => low + (place - index) * (stops[index + 1][channel] - low));
}

/** Return the pixels of an image at a size: red, green, blue, alpha. */
function pixelsOf(image, width, height) {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** Draw a view of the picture, at its full size; where the page has exact pixels, those. */
async function drawView(context, view, width, height) {
  const [image, exact] = await Promise.all([imageOf(imageId(view)), data.exact ? null : imageOf(`${state.picture}-c-${view.key}`)]);
  return () => {
    if (!image) return;
    context.imageSmoothingEnabled = view.key !== "lq";
    context.drawImage(image, 0, 0, width, height);
    const [x, y, w, h] = currentPicture().crop;
    if (exact && view.key !== "lq") context.drawImage(exact, x, y, w, h);
  };
}

/** Draw the error of a method, or of HR, which has none. */
async function drawErrors(context, view, width, height) {
  const map = view.method === null ? null : await imageOf(`${state.picture}-e${view.method}`);
  return () => {
    context.fillStyle = "rgb(0 0 4)";
    context.fillRect(0, 0, width, height);
    if (!map) return;
    const pixels = pixelsOf(map, map.width, map.height);
    for (let at = 0; at < pixels.data.length; at += 4) pixels.data.set(heat(pixels.data[at] / 255), at);
    drawPixels(context, pixels, width, height);
  };
}

/** Draw where one side is closer to HR than the other. */
async function drawCloser(context, views, width, height) {
  const maps = await Promise.all(views.map((view) => (view.method === null ? null : imageOf(`${state.picture}-e${view.method}`))));
  const size = maps.find(Boolean) || { width: 1, height: 1 };
  return () => {
    const [left, right] = maps.map((map) => (map ? pixelsOf(map, size.width, size.height).data : null));
    const made = new ImageData(size.width, size.height);
    for (let at = 0; at < made.data.length; at += 4) {
      const gain = ((left ? left[at] : 0) - (right ? right[at] : 0)) / 96; // positive: the right side is closer
      const strength = Math.min(1, Math.abs(gain));
      const color = gain > 0 ? [37, 99, 235] : [234, 120, 20];
      for (let channel = 0; channel < 3; channel += 1) made.data[at + channel] = 255 + strength * (color[channel] - 255);
      made.data[at + 3] = 255;
    }
    drawPixels(context, made, width, height);
  };
}

/** Draw by how much the two sides differ, where there is no HR. */
async function drawDifference(context, views, width, height) {
  const images = await Promise.all(views.map((view) => imageOf(imageId(view))));
  return () => {
    const [left, right] = images.map((image) => pixelsOf(image, width, height));
    for (let at = 0; at < left.data.length; at += 4) {
      const difference = [0, 1, 2].reduce((sum, channel) => sum + Math.abs(left.data[at + channel] - right.data[at + channel]), 0) / 3;
      left.data.set(heat((data.errorGain * difference) / 255), at);
    }
    drawPixels(context, left, width, height);
  };
}

function drawPixels(context, pixels, width, height) {
  const canvas = make("canvas", { width: pixels.width, height: pixels.height });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(canvas, 0, 0, width, height);
}

/** Draw both sides; what was asked for last wins. */
async function drawStage() {
  drawing += 1;
  const turn = drawing;
  const [width, height] = currentPicture().size;
  const sides = [views[state.left], views[state.right]];
  const contexts = [under, over].map((canvas) => canvas.getContext("2d"));
  const draw = { pictures: drawView, errors: drawErrors }[state.mode];
  const both = state.mode === "closer" ? drawCloser : drawDifference;
  const ready = await (draw
    ? Promise.all(sides.map((view, side) => draw(contexts[side], view, width, height)))
    : Promise.all(contexts.map((context) => both(context, sides, width, height))));
  if (turn !== drawing) return;
  for (const canvas of [under, over]) Object.assign(canvas, { width, height });
  ready.forEach((finish) => finish());
  document.documentElement.dataset.drawn = `${state.picture} ${state.mode} ${sides.map((view) => view.key).join(" ")}`;
}

/** Show what the state says, all but the images. */
function showStage() {
  const [width, height] = currentPicture().size;
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.style.maxWidth = `calc(min(72vh, 860px) * ${width / height})`;
  find("left").value = state.left;
  find("right").value = state.right;
  find("picture").value = state.picture;
  find("picture-name").textContent = currentPicture().name;
  find("picture-set").textContent = `${currentPicture().set}, ${width} × ${height}`;
  tag(find("left-tag"), views[state.left]);
  tag(find("right-tag"), views[state.right]);
  for (const button of find("modes").children) button.setAttribute("aria-pressed", String(button.value === state.mode));
  const single = state.mode === "closer" || state.mode === "difference";
  find("handle").hidden = single;
  showCut();
  showLegend();
}

function tag(element, view) {
  element.textContent = view.title;
  if (view.method !== null) element.append(" ", shown(currentPicture().scores[data.metrics[0].name][view.method], data.metrics[0].digits));
}

function showCut() {
  stage.style.setProperty("--cut", `${(100 * state.cut).toFixed(2)}%`);
  find("handle").setAttribute("aria-valuenow", String(Math.round(100 * state.cut)));
}

/** Explain the colors. */
function showLegend() {
  const legend = find("legend");
  legend.hidden = state.mode === "pictures";
  if (legend.hidden) return;
  const closer = state.mode === "closer";
  find("legend-low").textContent = closer ? `${views[state.left].title} closer` : "0";
  find("legend-high").textContent = closer ? `${views[state.right].title} closer` : `${Math.round(255 / data.errorGain)} of 255 levels`;
  const context = find("scale").getContext("2d");
  for (let x = 0; x < 256; x += 1) {
    const gain = x / 127.5 - 1;
    const color = gain > 0 ? [37, 99, 235] : [234, 120, 20];
    const rgb = closer ? color.map((value) => 255 + Math.abs(gain) * (value - 255)) : heat(x / 255);
    context.fillStyle = `rgb(${rgb.map(Math.round).join(" ")})`;
    context.fillRect(x, 0, 1, 1);
  }
}

/** Let the pointer move the slider by its handle, and the part to zoom into anywhere else. */
function followPointer(onPart) {
  let moving = null;
  const follow = (event) => {
    const box = stage.getBoundingClientRect();
    const x = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const y = Math.min(1, Math.max(0, (event.clientY - box.top) / box.height));
    if (moving === "slider") {
      state.cut = x;
      showCut();
    } else onPart(x * currentPicture().size[0], y * currentPicture().size[1]);
  };
  stage.addEventListener("pointerdown", (event) => {
    moving = find("handle").contains(event.target) ? "slider" : "part";
    stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => moving && follow(event));
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => (moving = null));
}
