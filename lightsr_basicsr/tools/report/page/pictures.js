"use strict";
/* Validation pictures: one at a time, of every run that is shown, at the iteration of the slider. */

const names = [...new Set(data.pictures.map((picture) => picture.name))];
let drawing = 0;

const ofPicture = () => data.pictures.filter((picture) => picture.name === state.picture && isShown(picture.run));
const moments = () => [...new Set(ofPicture().map((picture) => picture.iteration))].sort((a, b) => a - b);

function makePictures() {
  find("pictures-section").hidden = !names.length;
  if (!names.length) return;
  cache.most = 64;
  find("picture").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  find("picture").addEventListener("change", (event) => change({ picture: event.target.value }));
  find("moment").addEventListener("input", (event) => change({ moment: moments()[Number(event.target.value)] ?? null }));
  find("previous").addEventListener("click", () => stepPicture(-1));
  find("next").addEventListener("click", () => stepPicture(1));
}

function stepPicture(by) {
  if (names.length) change({ picture: names[(names.indexOf(state.picture) + by + names.length) % names.length] });
}

function stepMoment(by) {
  const all = moments();
  if (!all.length) return;
  const now = state.moment === null ? all.length - 1 : nearest(all, state.moment);
  const next = Math.min(all.length - 1, Math.max(0, now + by));
  change({ moment: next === all.length - 1 ? null : all[next] }); // the newest one stays the newest one
}

/** Show the picture of each run at the iteration, or the last one before it. */
async function showPictures() {
  if (!names.length) return;
  if (!names.includes(state.picture)) state.picture = names[0];
  const all = moments();
  const index = state.moment === null ? all.length - 1 : nearest(all, state.moment);
  find("picture").value = state.picture;
  Object.assign(find("moment"), { max: Math.max(0, all.length - 1), value: index, disabled: all.length < 2 });
  find("moment-text").textContent = count0(all[index]);
  drawing += 1;
  const turn = drawing;
  const runs = [...new Set(ofPicture().map((picture) => picture.run))];
  const chosen = runs.map((run) => {
    const own = ofPicture().filter((picture) => picture.run === run).sort((a, b) => a.iteration - b.iteration);
    return own.filter((picture) => picture.iteration <= all[index]).pop() || own[0];
  });
  const images = await Promise.all(chosen.map((picture) => imageOf(picture.id)));
  if (turn !== drawing) return;
  find("gallery").replaceChildren(...chosen.map((picture, place) => figureOf(picture, images[place])).filter(Boolean));
  document.documentElement.dataset.pictures = chosen.map((picture) => `${picture.name} ${picture.run} ${picture.iteration}`).join(", ");
}

function figureOf(picture, image) {
  if (!image) return null;
  const element = make("img", { alt: `${picture.name} after ${picture.iteration} iterations`, src: image.src, class: state.large ? "large" : null });
  element.addEventListener("click", () => change({ large: !state.large }));
  const title = data.runs.length > 1 ? titleOf(picture.run) : null;
  return make("figure", {}, element, make("figcaption", {}, title, data.runs.length > 1 ? " · " : null, `iteration ${count0(picture.iteration)}`));
}
