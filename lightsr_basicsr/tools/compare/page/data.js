"use strict";
/* What the page shows, and how scores are shown. */

/** The images of every picture, in the order of their keys: LR, the methods, HR. */
const views = [
  { key: "lq", title: "LR", method: null },
  ...data.methods.map((method, index) => ({ key: `m${index}`, title: method.title, method: index })),
  ...(data.hasHigh ? [{ key: "gt", title: "HR", method: null }] : []),
];
cache.most = 6 * views.length; // whole images, exact parts and errors of two pictures

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
