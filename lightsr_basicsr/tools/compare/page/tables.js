"use strict";
/* The tables: the means, and the scores of every picture. */

const SPREAD =
  "How much the methods differ in the part that is enlarged at first, whichever is better: the standard deviation over the " +
  "methods of the brightness (luma Y, in levels of 255) at a pixel, as a mean over the part. 0: they are the same there. " +
  "Bicubic interpolation does not count beside several networks.";

/** Fill the table of means: costs, and every metric of every set. */
function fillMeans() {
  const columns = [{ title: "Method", text: true, name: true, value: (method) => method.title }];
  data.costs.forEach((cost, index) => {
    columns.push({
      title: cost.title, unit: cost.unit, higher: false, value: (method) => number(method.costs[index]),
      shown: (method) => shown(method.costs[index], cost.digits),
    });
  });
  for (const set of data.sets) {
    const count = data.pictures.filter((picture) => picture.set === set.title).length;
    for (const metric of data.metrics) {
      const values = set.means[metric.name];
      const places = ranks(values, metric.digits, metric.higher);
      columns.push({
        title: metric.title, unit: metric.unit, higher: metric.higher, group: `${set.title} (${count})`,
        value: (method) => number(values[data.methods.indexOf(method)]),
        shown: (method) => shown(values[data.methods.indexOf(method)], metric.digits),
        mark: (method) => places[data.methods.indexOf(method)],
      });
    }
  }
  fillTable(find("means"), columns, data.methods);
}

/** Fill the table of the pictures with one metric. */
function fillScores(metric, onRow, onSort) {
  const columns = [{ title: "Picture", text: true, name: true, value: (picture) => picture.name }];
  if (data.sets.length > 1) columns.push({ title: "Set", text: true, value: (picture) => picture.set });
  data.methods.forEach((method, index) => {
    columns.push({
      title: method.title, higher: metric.higher, value: (picture) => number(picture.scores[metric.name][index]),
      shown: (picture) => shown(picture.scores[metric.name][index], metric.digits),
      mark: (picture) => ranks(picture.scores[metric.name], metric.digits, metric.higher)[index],
    });
  });
  if (data.methods.length > 1) {
    columns.push({
      title: "Methods differ by", unit: "of 255 levels", hint: SPREAD, value: (picture) => picture.spread,
      shown: (picture) => shown(picture.spread, 1),
    });
  }
  fillTable(find("scores"), columns, data.pictures, { onRow, onSort, id: (picture) => `row-${data.pictures.indexOf(picture)}` });
}
