"use strict";
/* The content of the page, its images, and how numbers are shown. Names are only ever set as text, never as HTML. */

const data = JSON.parse(document.getElementById("data").textContent);

const find = (id) => document.getElementById(id);

/** Return a new element with attributes and children; a child that is no element becomes text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The images of every picture, in the order of their keys: LR, the methods, HR. */
const views = [
  { key: "lq", title: "LR", method: null },
  ...data.methods.map((method, index) => ({ key: `m${index}`, title: method.title, method: index })),
  ...(data.hasHigh ? [{ key: "gt", title: "HR", method: null }] : []),
];

/** Resolve with the text of an image; the end of a large page may still be on its way. */
function textOf(id) {
  return new Promise((resolve) => {
    const look = () => {
      const element = find(id);
      const whole = document.readyState !== "loading" || (element && element.nextElementSibling);
      if (whole) resolve(element ? element.textContent : null);
      else setTimeout(look, 40);
    };
    look();
  });
}

/** Resolve with the address of an image, null if the page does not hold it. */
async function addressOf(id) {
  const text = await textOf(id);
  return text === null ? null : `data:image/webp;base64,${text}`;
}

const decoded = new Map();
const KEPT = 6 * views.length; // images: whole ones, exact parts and errors of two pictures

/** Resolve with a decoded image, null if the page does not hold it; the last ones are kept. */
function imageOf(id) {
  const known = decoded.get(id) || decode(id);
  decoded.delete(id); // so that it becomes the youngest
  decoded.set(id, known);
  for (const oldest of decoded.keys()) {
    if (decoded.size <= KEPT) break;
    decoded.delete(oldest);
  }
  return known;
}

async function decode(id) {
  const address = await addressOf(id);
  if (address === null) return null;
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

/** Return a score as a number; infinite ones are texts in JSON. */
const number = (value) => (value === null || value === undefined ? null : Number(value));

/** Return a number as it is printed. */
function shown(value, digits) {
  const known = number(value);
  if (known === null || Number.isNaN(known)) return "–";
  return Number.isFinite(known) ? known.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }) : "∞";
}

/** Return 1 for the best of the values, 2 for the second best, 0 for the rest; equal as printed is equal. */
function ranks(values, digits, higher) {
  const rounded = values.map((value) => (number(value) === null ? null : Number(number(value).toFixed(digits))));
  const steps = [...new Set(rounded.filter((value) => value !== null))].sort((a, b) => (higher ? b - a : a - b));
  return rounded.map((value) => (value === null || steps.length < 2 ? 0 : [1, 2][steps.indexOf(value)] || 0));
}

const PLACES = ["", "first", "second"];

/** Return the scores of a method for a picture as elements: 28.42 / 0.8104. */
function scoreParts(picture, method) {
  const parts = [];
  for (const metric of data.metrics) {
    const values = picture.scores[metric.name];
    const place = ranks(values, metric.digits, metric.higher)[method];
    if (parts.length) parts.push(" / ");
    parts.push(make("span", { class: PLACES[place] || null }, shown(values[method], metric.digits)));
  }
  return parts;
}

/** Return the title of the metrics: PSNR / SSIM. */
const metricTitles = () => data.metrics.map((metric) => metric.title).join(" / ");
