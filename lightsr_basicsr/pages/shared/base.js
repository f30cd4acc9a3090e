"use strict";
/* The content of a page, its elements, and how numbers are shown. Names are only ever set as text, never as HTML. */

const data = JSON.parse(document.getElementById("data").textContent);

const find = (id) => document.getElementById(id);

/** Return a new element with attributes and children; a child that is no element becomes text. */
function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

const SVG = "http:" + "//www.w3.org/2000/svg"; // a name; nothing is loaded

/** Return a new element of a drawing. */
const svg = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return a score as a number; infinite ones are texts in JSON. */
const number = (value) => (value === null || value === undefined ? null : Number(value));

/** Return a number as it is printed. */
function shown(value, digits) {
  const known = number(value);
  if (known === null || Number.isNaN(known)) return "–";
  return Number.isFinite(known) ? known.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }) : "∞";
}

/** Return how many there are of something: 2 runs. */
const count = (many, word) => `${many} ${word}${many === 1 ? "" : "s"}`;

/** Fill a place with buttons of which one is pressed; see pressed. */
function segments(place, entries, onPick) {
  find(place).replaceChildren(
    ...Object.entries(entries).map(([value, title]) => {
      const button = make("button", { type: "button", value }, title);
      button.addEventListener("click", () => onPick(value));
      return button;
    }),
  );
}

function changeTheme() {
  const { dataset } = document.documentElement;
  dataset.theme = dataset.theme === "dark" ? "light" : "dark";
  try {
    localStorage.setItem("theme", dataset.theme);
  } catch {
    // browsers may refuse it to files
  }
}

/** Wire the button; the theme itself is set at the start of the page. */
function beginTheme() {
  find("theme").addEventListener("click", changeTheme);
}

/** Return whether a key is meant for a field, or for the browser. */
const isTyping = (event) => event.ctrlKey || event.altKey || event.metaKey || /^(SELECT|INPUT|TEXTAREA)$/.test(event.target.tagName);
