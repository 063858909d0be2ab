// Files of boxes, as `ganfeat forget --boxes` reads and writes them: JSON or CSV.

import { clip } from "./boxes.js";

const EXAMPLE = '{"boxes": [{"z": "s0.3", "x": 4, "y": 6, "width": 10, "height": 12}]}';
const POINT = /^(s\d{1,10}\.\d{1,3}|v[A-Za-z0-9_-]{4,})$/;

function fromCsv(text) {
  const [heading, ...rows] = text.split(/\r?\n/).filter((row) => row.trim());
  const names = heading.split(",").map((name) => name.trim());
  return rows.map((row) => Object.fromEntries(row.split(",").map((cell, k) => [names[k], cell.trim()])));
}

// Returns {boxes, given}; given is an index into the run's condition, or undefined where the file does not say.
export function readBoxes(text, fileName, run) {
  let content;
  if (/\.csv$/i.test(fileName)) content = { boxes: fromCsv(text) };
  else
    try {
      content = JSON.parse(text);
    } catch {
      throw new Error(`${fileName} is no JSON: write ${EXAMPLE}, or a .csv file.`);
    }
  const found = Array.isArray(content) ? content : content?.boxes;
  if (!Array.isArray(found)) throw new Error(`${fileName} has no "boxes": write ${EXAMPLE}.`);
  const [height, width] = run.image_shape;
  const boxes = found.map((entry, k) => {
    const z = entry?.z || (entry?.seed !== undefined ? `s${entry.seed}.${entry.index}` : "");
    const [x, y, wide, tall] = ["x", "y", "width", "height"].map((side) =>
      entry?.[side] === "" ? NaN : Number(entry?.[side]),
    );
    if (!POINT.test(z)) throw new Error(`${fileName}, box ${k + 1}: "z" must name a sample, for example "s0.3".`);
    if (![x, y, wide, tall].every(Number.isFinite) || wide <= 0 || tall <= 0)
      throw new Error(`${fileName}, box ${k + 1} needs the numbers x, y, width and height, the last two above 0.`);
    if (x >= width || y >= height || x + wide <= 0 || y + tall <= 0)
      throw new Error(`${fileName}, box ${k + 1} lies outside the picture of ${width} × ${height} pixels.`);
    // Whole pixels here: a pixel belongs to the box where any part of it does.
    const [left, top] = [Math.max(0, Math.floor(x)), Math.max(0, Math.floor(y))];
    const [right, bottom] = [Math.min(width, Math.ceil(x + wide)), Math.min(height, Math.ceil(y + tall))];
    return { z, ...clip({ x: left, y: top, width: right - left, height: bottom - top }, width, height) };
  });
  let given;
  if (run.condition && content.given !== undefined && content.given !== null) {
    given = run.condition.values.findIndex((value) => String(value) === String(content.given));
    if (given < 0) throw new Error(`${fileName}: ${run.condition.name} ${content.given} is none of this run’s.`);
  }
  return { boxes, given };
}

export function writeBoxes(boxes, given, run) {
  const told = run.condition ? `"given": ${JSON.stringify(run.condition.values[given])},\n ` : "";
  return `{${told}"boxes": [\n${boxes.map((box) => `  ${JSON.stringify(box)}`).join(",\n")}\n]}\n`;
}
