// The segment scores over time: a picture to look at, point at and step through.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const MARGIN = { left: 44, right: 10, top: 12, bottom: 30 };
const SECONDS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200];

function draw(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function niceStep(span, count) {
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((x) => x * power).find((x) => x >= rough);
}

function ticks(low, high, step) {
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => (first + i) * step);
}

// Windows overlap a little; each moment has the mean of those that cover it.
function levels(windows) {
  const edges = [...new Set(windows.flatMap((x) => [x.start, x.end]))].sort((a, b) => a - b);
  let first = 0;
  return edges.slice(1).map((end, i) => {
    const middle = (edges[i] + end) / 2;
    while (windows[first].end <= middle) first++;
    let sum = 0;
    let count = 0;
    for (let k = first; k < windows.length && windows[k].start <= middle; k++, count++) {
      sum += windows[k].score;
    }
    return { start: edges[i], end, score: sum / count };
  });
}

function range(windows, isCalibrated) {
  const scores = windows.map((x) => x.score);
  if (isCalibrated) scores.push(0);
  const low = scores.reduce((a, b) => Math.min(a, b));
  const high = scores.reduce((a, b) => Math.max(a, b));
  const space = Math.max(0.25, 0.12 * (high - low));
  return [low - space, high + space];
}

/** The window whose middle is nearest to a moment. */
export function windowAt(windows, seconds) {
  const distance = (x) => Math.abs((x.start + x.end) / 2 - seconds);
  return windows.reduce((best, x, i) => (distance(x) < distance(windows[best]) ? i : best), 0);
}

/**
 * Draws a timeline.
 * @param {SVGSVGElement} svg it is emptied first.
 * @param {{start: number, end: number, score: number}[]} windows in seconds.
 * @param {number} mean the recording's score.
 * @param {boolean} isCalibrated 0 then has a meaning and gets a line.
 * @returns {{toSeconds: (x: number) => number, select: (index: number) => void,
 *   moveTo: (seconds: number) => void}} toSeconds: of a place in CSS pixels.
 */
export function drawTimeline(svg, windows, mean, isCalibrated) {
  svg.replaceChildren();
  const width = Math.max(240, svg.clientWidth);
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const duration = windows.at(-1).end;
  const [low, high] = range(windows, isCalibrated);
  const inner = width - MARGIN.left - MARGIN.right;
  const bottom = HEIGHT - MARGIN.bottom;
  const x = (seconds) => MARGIN.left + (seconds / duration) * inner;
  const y = (score) => MARGIN.top + ((high - score) / (high - low)) * (bottom - MARGIN.top);

  const mark = draw(svg, "rect", { class: "mark", y: MARGIN.top, height: bottom - MARGIN.top });
  for (const score of ticks(low, high, niceStep(high - low, 4))) {
    const text = Number(score.toPrecision(3)).toString().replace("-", "−");
    draw(svg, "line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(score), y2: y(score) });
    draw(svg, "text", { class: "tick end", x: MARGIN.left - 6, y: y(score) + 4 }, text);
  }
  const step = SECONDS.find((s) => duration / s <= inner / 60) ?? niceStep(duration, 6);
  for (const seconds of ticks(0, duration, step)) {
    draw(svg, "text", { class: "tick middle", x: x(seconds), y: bottom + 18 },
      `${Number(seconds.toFixed(1))} s`);
  }
  if (isCalibrated) {
    draw(svg, "line", { class: "zero", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(0), y2: y(0) });
  }
  draw(svg, "line", { class: "mean", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(mean), y2: y(mean) });
  const path = levels(windows).map((part, i) =>
    `${i ? "L" : "M"}${x(part.start)} ${y(part.score)}L${x(part.end)} ${y(part.score)}`);
  draw(svg, "path", { class: "scores", d: path.join("") });
  const head = draw(svg, "line", { class: "head", y1: MARGIN.top, y2: bottom, x1: -9, x2: -9 });

  return {
    toSeconds: (place) =>
      Math.max(0, Math.min(duration, ((place - MARGIN.left) / inner) * duration)),
    select: (index) => {
      const { start, end } = windows[index];
      mark.setAttribute("x", x(start));
      mark.setAttribute("width", Math.max(2, x(end) - x(start)));
    },
    moveTo: (seconds) => {
      head.setAttribute("x1", x(Math.min(seconds, duration)));
      head.setAttribute("x2", x(Math.min(seconds, duration)));
    },
  };
}
