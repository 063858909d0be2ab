// Small charts as SVG. Colours come from classes, so that one drawing serves light and dark.

import { h, svg } from "./dom.js";

export function ticks(low, high, about = 5) {
  const rough = (high - low) / about;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const all = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step)
    all.push(Number(value.toPrecision(12)));
  return all;
}

export function short(value) {
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 10000 || size < 0.001) return value.toExponential(1).replace(".0e", "e").replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}

// One bar a step of a walk. Sharp jumps have another colour and a mark above, so that colour is not all they have.
export function stepChart({ steps, jumps, words, onChoose, width = 640 }) {
  const height = 120;
  const [left, top, bottom] = [44, 18, 100];
  const most = Math.max(...steps, 1e-9);
  const each = (width - left) / steps.length;
  const chart = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    class: "chart steps",
    role: "img",
    "aria-label": words,
  });
  for (const value of ticks(0, most, 3)) {
    const y = bottom - (value / most) * (bottom - top);
    chart.append(
      svg("line", { class: "rule", x1: left, x2: width, y1: y, y2: y }),
      svg("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, short(value)),
    );
  }
  steps.forEach((size, k) => {
    const tall = Math.max(1, (size / most) * (bottom - top));
    const jump = jumps.includes(k);
    const bar = svg(
      "g",
      { class: jump ? "bar jump" : "bar" },
      svg("title", {}, `Frame ${k} to ${k + 1}: ${short(size)}${jump ? ", a sharp jump" : ""}`),
      svg("rect", { class: "hit", x: left + k * each, y: 0, width: each, height: bottom }),
      svg("rect", { x: left + k * each + 0.1 * each, y: bottom - tall, width: 0.8 * each, height: tall }),
      jump ? svg("path", { d: `M${left + (k + 0.5) * each} ${bottom - tall - 4}l-5 -8h10z` }) : null,
    );
    bar.addEventListener("click", () => onChoose(k));
    chart.append(bar);
  });
  chart.append(
    svg("text", { x: left, y: height - 4 }, "start"),
    svg("text", { x: width, y: height - 4, "text-anchor": "end" }, "end"),
  );
  return chart;
}

const GRID = { left: 52, right: 28, top: 12, bottom: 36 };

// Charts are drawn as wide as they are shown, so that their letters keep their size.
export const roomIn = (element, most) => Math.max(280, Math.min(most, element.clientWidth || most));

// lines: [{name, points: [[x, y], ...]}]. A pointer over it (or the arrow keys) reads the values at one x.
export function lineChart({ lines, xName, log, name, onRead, width = 720 }) {
  const { left, right, top, bottom } = GRID;
  const height = Math.max(220, Math.min(360, 0.42 * width));
  const usable = lines.map((line) => ({
    ...line,
    points: line.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y) && (!log || y > 0)),
  }));
  const all = usable.flatMap((line) => line.points);
  if (!all.length)
    return h("p", { class: "note" }, log ? "No positive values to draw on a log scale." : "No values to draw.");
  const scale = log ? Math.log10 : (value) => value;
  const xs = all.map(([x]) => x);
  const ys = all.map(([, y]) => scale(y));
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  if (y0 === y1) [y0, y1] = [y0 - 0.5, y1 + 0.5];
  const pad = (y1 - y0) * 0.05;
  [y0, y1] = [y0 - pad, y1 + pad];
  const toX = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (width - left - right);
  const toY = (y) => height - bottom - ((y - y0) / (y1 - y0)) * (height - top - bottom);

  const chart = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    class: "chart lines",
    role: "img",
    tabindex: "0",
    "aria-label": name,
  });
  let marks = ticks(y0, y1);
  if (log) {
    const powers = [];
    for (let power = Math.floor(y0); power <= Math.ceil(y1); power += 1)
      for (const factor of y1 - y0 < 2.5 ? [1, 2, 5] : [1]) powers.push(power + Math.log10(factor));
    marks = powers.filter((mark) => mark >= y0 && mark <= y1);
  }
  for (const mark of marks)
    chart.append(
      svg("line", { class: "rule", x1: left, x2: width - right, y1: toY(mark), y2: toY(mark) }),
      svg("text", { x: left - 8, y: toY(mark) + 4, "text-anchor": "end" }, short(log ? 10 ** mark : mark)),
    );
  for (const mark of ticks(x0, x1, width < 500 ? 3 : 6))
    chart.append(
      svg("text", { x: toX(mark), y: height - bottom + 18, "text-anchor": "middle" }, mark.toLocaleString("en")),
    );
  chart.append(
    svg("text", { class: "axis", x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" }, xName),
  );
  usable.forEach((line) => {
    const path = line.points
      .map(([x, y], k) => `${k ? "L" : "M"}${toX(x).toFixed(1)} ${toY(scale(y)).toFixed(1)}`)
      .join("");
    chart.append(
      svg("path", { class: `line series-${line.colour % 6} dash-${Math.floor(line.colour / 6) % 3}`, d: path }),
    );
  });
  const cursor = svg("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  chart.append(cursor);

  const places = [...new Set(xs)].sort((a, b) => a - b);
  let at = -1;
  const readAt = (k) => {
    at = Math.min(places.length - 1, Math.max(0, k));
    const x = places[at];
    cursor.setAttribute("x1", toX(x));
    cursor.setAttribute("x2", toX(x));
    cursor.setAttribute("visibility", "visible");
    onRead(
      x,
      usable.map((line) => [line.name, line.points.find(([own]) => own === x)?.[1]]),
    );
  };
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const x = x0 + ((((event.clientX - box.left) / box.width) * width - left) / (width - left - right)) * (x1 - x0);
    let best = 0;
    places.forEach((place, k) => {
      if (Math.abs(place - x) < Math.abs(places[best] - x)) best = k;
    });
    if (best !== at) readAt(best);
  });
  chart.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.round(places.length / 20));
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -page, PageUp: page };
    if (event.key in steps) readAt(at + steps[event.key]);
    else if (event.key === "Home") readAt(0);
    else if (event.key === "End") readAt(places.length - 1);
    else return;
    event.preventDefault();
  });
  return chart;
}
