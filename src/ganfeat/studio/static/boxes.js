// One enlarged picture and the boxes on it, drawn, moved and resized with the mouse, in whole pixels of the picture.

import { h, svg } from "./dom.js";
import { imageOf } from "./pictures.js";

export const clip = (box, width, height) => {
  const own = { ...box };
  own.width = Math.min(width, Math.max(1, own.width));
  own.height = Math.min(height, Math.max(1, own.height));
  own.x = Math.min(width - own.width, Math.max(0, own.x));
  own.y = Math.min(height - own.height, Math.max(0, own.y));
  return own;
};

// A rectangle from one pixel to another, both inside.
const between = (from, to) => ({
  x: Math.min(from.x, to.x),
  y: Math.min(from.y, to.y),
  width: Math.abs(from.x - to.x) + 1,
  height: Math.abs(from.y - to.y) + 1,
});

export function outlines(boxes, width, height, className = "outlines") {
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, class: className, "aria-hidden": "true", preserveAspectRatio: "none" },
    boxes.map((box) => svg("rect", { x: box.x, y: box.y, width: box.width, height: box.height })),
  );
}

export function boxEditor({ width, height, onAdd, onChange, onChoose }) {
  const sheet = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "canvas", "aria-hidden": "true" });
  const holder = h("div", { class: "holder" });
  const element = h("div", { class: "editor" }, holder);
  let boxes = [];
  let chosen = -1;
  let action = null;
  let shown = "";

  const pixel = (event) => {
    const box = sheet.getBoundingClientRect();
    return {
      x: Math.min(width - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * width))),
      y: Math.min(height - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * height))),
    };
  };

  function draw() {
    const rects = boxes.flatMap((box, k) => {
      const { x, y, width: wide, height: tall } = action?.index === k ? action.box : box;
      const rect = svg("rect", {
        x,
        y,
        width: wide,
        height: tall,
        class: k === chosen ? "box chosen" : "box",
        "data-index": k,
      });
      const handle = svg("rect", {
        x: x + wide - 1,
        y: y + tall - 1,
        width: 1,
        height: 1,
        class: "handle",
        "data-index": k,
        "data-handle": "1",
      });
      return k === chosen ? [rect, handle] : [rect];
    });
    if (action?.index === -1) rects.push(svg("rect", { ...action.box, class: "box chosen" }));
    sheet.replaceChildren(...rects);
  }

  sheet.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    sheet.setPointerCapture(event.pointerId);
    const from = pixel(event);
    const index = event.target.dataset.index === undefined ? -1 : Number(event.target.dataset.index);
    if (index < 0) action = { kind: "draw", index, from, box: between(from, from), moved: false };
    else
      action = {
        kind: event.target.dataset.handle ? "resize" : "move",
        index,
        from,
        box: { ...boxes[index] },
        moved: false,
      };
    if (index >= 0 && index !== chosen) onChoose(index);
    draw();
  });
  sheet.addEventListener("pointermove", (event) => {
    if (!action) return;
    const to = pixel(event);
    if (to.x !== action.from.x || to.y !== action.from.y) action.moved = true;
    const old = boxes[action.index];
    if (action.kind === "draw") action.box = between(action.from, to);
    else if (action.kind === "resize")
      action.box = clip(
        { ...old, width: Math.max(1, to.x - old.x + 1), height: Math.max(1, to.y - old.y + 1) },
        width,
        height,
      );
    else action.box = clip({ ...old, x: old.x + to.x - action.from.x, y: old.y + to.y - action.from.y }, width, height);
    draw();
  });
  const end = (done) => {
    const last = action;
    action = null;
    if (done && last?.moved) {
      if (last.kind === "draw") onAdd(last.box);
      else onChange(last.index, last.box);
    }
    draw();
  };
  sheet.addEventListener("pointerup", () => end(true));
  sheet.addEventListener("pointercancel", () => end(false));

  return {
    element,
    show(reference, given, name, own, at) {
      if (shown !== `${given}|${reference}`) {
        shown = `${given}|${reference}`;
        holder.replaceChildren(imageOf(reference, given, name, "huge"), sheet);
      }
      boxes = own;
      chosen = at;
      draw();
    },
  };
}
