"use strict";
/* Numbers to places: axes, their ticks, smoothing, and the lines of curves. */

/** Return a number without what floats add to it: 3e-4, not 3.0000000000000003e-4. */
const exact = (value) => Number(value.toPrecision(12));

/** Return round numbers between two: steps of 1, 2 or 5. */
function linearTicks(low, high, most) {
  const raw = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw * 0.999);
  const ticks = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) ticks.push(exact(index * step));
  return ticks;
}

/** Return powers of ten between two, and where these are few, numbers between them. */
function logTicks(low, high, most) {
  const powers = (factors) => {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      const own = factors.map((factor) => exact(factor * 10 ** power));
      ticks.push(...own.filter((tick) => tick >= low * 0.9999 && tick <= high * 1.0001));
    }
    return ticks;
  };
  const tens = powers([1]);
  if (tens.length > most) return tens.filter((_, index) => index % Math.ceil(tens.length / most) === 0);
  const more = [[1, 2, 5], [1, 3], [1]].map(powers).find((each) => each.length <= most + 1) || tens;
  return more.length >= 2 ? more : linearTicks(low, high, 4);
}

/** Return an axis from values to places. */
function axis(low, high, from, to, isLog) {
  const bend = isLog ? Math.log10 : (value) => value;
  const [first, last] = [bend(low), bend(high)];
  const scale = (to - from) / (last - first || 1);
  const at = (value) => from + (bend(value) - first) * scale;
  const back = (spot) => (isLog ? 10 ** (first + (spot - from) / scale) : first + (spot - from) / scale);
  return { at, back, low, high };
}

/** Return the moving average of values, as if the first had been there before; gaps stay. */
function smoothed(values, weight) {
  if (!weight) return values;
  let sum = 0;
  let norm = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    norm = weight * norm + (1 - weight);
    return sum / norm;
  });
}

/** Return the value below which a share of the sorted values lies. */
const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(share * (sorted.length - 1))))];

/** Return the median of values, null without any. */
function median(values) {
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  return sorted.length ? quantile(sorted, 0.5) : null;
}

/** Return the lowest and the highest value to show, with some room. */
function extent(values, isLog, clip) {
  const sorted = values.filter((value) => value !== null && (!isLog || value > 0)).sort((a, b) => a - b);
  if (!sorted.length) return isLog ? [0.1, 1] : [0, 1];
  const many = clip && sorted.length > 30;
  let low = many ? quantile(sorted, 0.01) : sorted[0];
  let high = many ? quantile(sorted, 0.98) : sorted[sorted.length - 1];
  if (isLog) {
    const room = (high / low) ** 0.06;
    return low === high ? [low / 1.5, high * 1.5] : [low / room, high * room];
  }
  const room = (high - low) * 0.07 || Math.abs(high) * 0.05 || 1;
  low -= room;
  high += room;
  return [low < 0 && sorted[0] >= 0 ? 0 : low, high];
}

/** Return a line through points as a path; null is a gap. */
function linePath(xs, ys) {
  let path = "";
  let pen = false;
  ys.forEach((y, index) => {
    if (y === null || !Number.isFinite(y)) pen = false;
    else {
      path += `${pen ? "L" : "M"}${xs[index].toFixed(1)} ${y.toFixed(1)}`;
      pen = true;
    }
  });
  return path;
}

/** Return the area between two lines as a path. */
function bandPath(xs, lows, highs) {
  let path = "";
  let start = 0;
  const close = (end) => {
    if (end - start < 2) return;
    const points = (list, order) => order.map((index) => `${xs[index].toFixed(1)} ${list[index].toFixed(1)}`).join("L");
    const forth = Array.from({ length: end - start }, (_, index) => start + index);
    path += `M${points(highs, forth)}L${points(lows, [...forth].reverse())}Z`;
  };
  lows.forEach((low, index) => {
    if (low === null || highs[index] === null) {
      close(index);
      start = index + 1;
    }
  });
  close(lows.length);
  return path;
}

/** Return the index of the number in a rising list that is nearest to one. */
function nearest(list, value) {
  let [low, high] = [0, list.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low > 0 && value - list[low - 1] < list[low] - value ? low - 1 : low;
}
