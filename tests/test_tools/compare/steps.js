const log = [];
const wait = (test) => new Promise((done, fail) => {
  let turns = 0;
  // Time here is virtual and passes at once, but decoding an image takes real time: let some of it pass.
  const idle = () => { for (let at = 0, sum = 0; at < 3e6; at += 1) sum += at; };
  const look = () => (test() ? done() : turns++ > 900 ? fail(new Error(`waited in vain: ${test}`)) : (idle(), setTimeout(look, 20)));
  look();
});
const root = document.documentElement.dataset;
const press = (key, code = "", more = {}) => document.dispatchEvent(new KeyboardEvent("keydown", { key, code, bubbles: true, ...more }));
const drawn = (text) => wait(() => root.drawn === text && root.part);
const at = (canvas, x, y) => [...canvas.getContext("2d").getImageData(x, y, 1, 1).data].slice(0, 3);
(async () => {
  await drawn("0 pictures lq m2"); // of random networks, bicubic interpolation is the best
  log.push(["start", root.drawn, document.title, find("picture-name").textContent]);
  press("1", "Digit1", { shiftKey: true });
  press("5", "Digit5");
  await drawn("0 pictures lq gt");
  log.push(["sides", find("left-tag").textContent, find("right-tag").textContent, at(over, 10, 10), at(under, 10, 10)]);
  press("9", "Digit9"); // there are five
  press("ArrowRight"); press("ArrowRight"); press("ArrowLeft");
  log.push(["cut", find("handle").getAttribute("aria-valuenow")]);
  press("n");
  await drawn("1 pictures lq gt");
  log.push(["next", find("picture-name").textContent]);
  press("x");
  await drawn("1 pictures gt lq");
  press("2", "Digit2"); press("3", "Digit3", { shiftKey: true });
  press("d");
  await drawn("1 errors m1 m0");
  log.push(["errors", find("legend").hidden, at(under, 4, 4)]);
  press("d");
  await drawn("1 closer m1 m0");
  log.push(["closer", find("handle").hidden, find("legend-low").textContent]);
  press("d");
  press("h");
  const home = root.part;
  press("+");
  await wait(() => root.part !== home);
  log.push(["zoom", find("zoom").textContent, document.querySelectorAll("#crops canvas").length]);
  const box = stage.getBoundingClientRect();
  const point = (type, x, y) => stage.dispatchEvent(new PointerEvent(type, { pointerId: 1, clientX: box.left + x * box.width, clientY: box.top + y * box.height, bubbles: true }));
  stage.setPointerCapture = () => {};
  const before = root.part;
  point("pointerdown", 0.9, 0.9); point("pointerup", 0.9, 0.9);
  await wait(() => root.part !== before);
  log.push(["part", root.part]);
  const rows = () => [...document.querySelectorAll("#scores tbody tr")].map((row) => row.cells[3].textContent);
  document.querySelectorAll("#scores th button")[3].click();
  log.push(["sorted", rows(), document.querySelectorAll("#scores th")[3].getAttribute("aria-sort"), document.querySelector(".card").id]);
  document.querySelectorAll("#scores th button")[3].click();
  log.push(["again", rows(), document.querySelector(".card").id]);
  document.querySelectorAll("#metrics button")[1].click();
  log.push(["metric", rows()]);
  const spread = [...document.querySelectorAll("#scores th")].at(-1);
  log.push(["spread", spread.textContent, spread.title]);
  const link = document.querySelector("#failures a");
  log.push(["failures", link.textContent, link.getAttribute("href"), find("left-out").hidden, find("failed").rows.length]);
  const theme = root.theme;
  press("t");
  log.push(["theme", theme !== root.theme]);
  // Without a screen, rows do not come near; that every image is in the page can be seen all the same.
  log.push(["gallery", [...document.querySelectorAll(".card img")].filter((each) => find(each.dataset.id)).length]);
  log.push(["marks", document.querySelectorAll("#means td.first").length, document.title]);
})().catch((error) => log.push(["failed", String(error), root.drawn, root.part])).finally(() => {
  const place = document.createElement("pre");
  place.id = "log";
  place.textContent = JSON.stringify(log);
  document.body.replaceChildren(place);
});
