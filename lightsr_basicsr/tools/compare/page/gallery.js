"use strict";
/* All pictures, each with the part that differs most, of every method. Images are set when a row comes near. */

const cards = new Map(); // by picture

/** Make a row for every picture. */
function makeGallery(onPick) {
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        watcher.unobserve(entry.target);
        for (const image of entry.target.querySelectorAll("img")) load(image);
      }
    },
    { rootMargin: "900px 0px" },
  );
  data.pictures.forEach((picture, index) => {
    const card = makeCard(picture, index, onPick);
    cards.set(picture, card);
    watcher.observe(card);
  });
  orderGallery(data.pictures);
}

async function load(image) {
  const address = await addressOf(image.dataset.id);
  if (address) image.src = address;
}

/** Put the rows in an order. */
function orderGallery(pictures) {
  find("gallery").replaceChildren(...pictures.map((picture) => cards.get(picture)));
}

function makeCard(picture, index, onPick) {
  const name = make("button", { type: "button" }, picture.name);
  name.addEventListener("click", () => onPick(index));
  const set = make("small", { class: "quiet" }, `  ${picture.set}, ${picture.size.join(" × ")}`);
  const strip = make("div", { class: "strip" }, wholeFigure(picture, index), ...partFigures(picture, index));
  strip.addEventListener("click", (event) => event.target.tagName === "IMG" && onPick(index));
  return make("article", { class: "card", id: `card-${index}` }, make("h3", {}, name, " ", set), strip);
}

const thumbnail = (id, shape) => make("img", { "data-id": id, alt: "", decoding: "async", style: `--shape: ${shape}` });

function wholeFigure(picture, index) {
  const [width, height] = picture.size;
  const [x, y, w, h] = picture.crop;
  const share = (value, all) => `${((100 * value) / all).toFixed(2)}%`;
  const box = make("i", { style: `left: ${share(x, width)}; top: ${share(y, height)}; width: ${share(w, width)}; height: ${share(h, height)}` });
  const image = make("span", {}, thumbnail(`${index}-t`, width / height), box);
  return make("figure", { class: "whole" }, image, make("figcaption", {}, make("b", {}, `${x}, ${y}`), make("br"), `${w} × ${h}`));
}

function partFigures(picture, index) {
  const [, , w, h] = picture.crop;
  const shownViews = [...views].sort((a, b) => (b.key === "gt") - (a.key === "gt")); // HR first, as in papers
  return shownViews.map((view) => {
    const numbers = view.method === null ? (view.key === "gt" ? [metricTitles()] : [" "]) : scoreParts(picture, view.method);
    const caption = make("figcaption", {}, make("b", {}, view.title), make("br"), ...numbers);
    return make("figure", { class: "part" }, thumbnail(`${index}-c-${view.key}`, w / h), caption);
  });
}
