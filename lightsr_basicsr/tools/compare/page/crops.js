"use strict";
/* The same part of every image, enlarged: it moves with the rectangle on the stage. */

const STEPS = [16, 24, 32, 48, 64, 96, 128, 192, 256]; // sides of the part, in pixels of HR
let panels = [];

/** Make a panel for every view. */
function makeCrops(onPick) {
  panels = views.map((view, index) => {
    const canvas = make("canvas", { width: 1, height: 1 });
    const caption = make("figcaption");
    const figure = make("figure", { title: "click: show on the right; with Shift on the left" }, canvas, caption);
    figure.addEventListener("click", (event) => onPick(index, event.shiftKey));
    return { view, figure, canvas, caption };
  });
  find("crops").replaceChildren(...panels.map((panel) => panel.figure));
}

/** Write titles and scores under the panels. */
function captionCrops() {
  panels.forEach(({ view, figure, caption }, index) => {
    figure.classList.toggle("on-left", index === state.left);
    figure.classList.toggle("on-right", index === state.right);
    const key = index < 9 ? make("kbd", {}, String(index + 1)) : null;
    const numbers = view.method === null ? (view.key === "gt" ? [metricTitles()] : [`×${data.scale}, pixels enlarged`]) : scoreParts(currentPicture(), view.method);
    caption.replaceChildren(...[key, make("b", {}, view.title), make("br"), ...numbers].filter(Boolean));
  });
}

/** Return the part within the picture. */
function inside(part) {
  const [width, height] = currentPicture().size;
  const w = Math.min(part.w, width);
  const h = Math.min(part.h, height);
  return { w, h, x: Math.round(Math.min(Math.max(0, part.x), width - w)), y: Math.round(Math.min(Math.max(0, part.y), height - h)) };
}

/** Return the part that the tables and sheets were made of. */
function homePart() {
  const [x, y, w, h] = currentPicture().crop;
  return { x, y, w, h };
}

/** Move the part, keeping its size, to where its middle is x, y. */
function moveLoupe(x, y) {
  const { w, h } = state.loupe;
  state.loupe = inside({ w, h, x: x - w / 2, y: y - h / 2 });
  showLoupe();
}

/** Make the part a step smaller or larger around its middle. */
function zoomLoupe(steps) {
  const { x, y, w, h } = state.loupe;
  const sides = steps < 0 ? STEPS.filter((side) => side > Math.max(w, h)) : STEPS.filter((side) => side < Math.max(w, h)).reverse();
  if (!sides.length) return;
  state.loupe = inside({ w: sides[0], h: sides[0], x: x + (w - sides[0]) / 2, y: y + (h - sides[0]) / 2 });
  showLoupe();
}

/** Show the rectangle, and draw the part of every image. */
async function showLoupe() {
  const part = state.loupe;
  const [width, height] = currentPicture().size;
  const share = (value, all) => `${((100 * value) / all).toFixed(3)}%`;
  Object.assign(find("loupe").style, {
    left: share(part.x, width), top: share(part.y, height), width: share(part.w, width), height: share(part.h, height),
  });
  find("zoom").textContent = `${part.w} × ${part.h}`;
  await Promise.all(panels.map((panel) => drawPart(panel, part, state.picture)));
  if (part === state.loupe) document.documentElement.dataset.part = `${state.picture} ${part.x} ${part.y} ${part.w} ${part.h}`;
}

async function drawPart({ view, canvas }, part, picture) {
  const exactId = `${picture}-c-${view.key}`;
  const [image, exact] = await Promise.all([imageOf(imageId(view, picture)), data.exact ? null : imageOf(exactId)]);
  if (part !== state.loupe || picture !== state.picture || !image) return; // overtaken by a later part
  const [width, height] = currentPicture().size;
  Object.assign(canvas, { width: part.w, height: part.h });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = view.key !== "lq";
  context.drawImage(image, -part.x, -part.y, width, height);
  if (exact) {
    const [x, y, w, h] = currentPicture().crop;
    const unit = view.key === "lq" ? data.scale : 1; // the pixels of LR that the part was made of
    const left = Math.floor(x / unit) * unit;
    const top = Math.floor(y / unit) * unit;
    context.drawImage(exact, left - part.x, top - part.y, unit === 1 ? w : exact.width * unit, unit === 1 ? h : exact.height * unit);
  }
}
