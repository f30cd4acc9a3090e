"use strict";
/* Images of the page: text blocks at its end, decoded when they are needed. */

const decoded = new Map();
const cache = { most: 24 }; // decoded images that are kept

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

/** Resolve with a decoded image, null if the page does not hold it; the last ones are kept. */
function imageOf(id) {
  const known = decoded.get(id) || decode(id);
  decoded.delete(id); // so that it becomes the youngest
  decoded.set(id, known);
  for (const oldest of decoded.keys()) {
    if (decoded.size <= cache.most) break;
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
