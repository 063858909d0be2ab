// A map of the data's features on a canvas: zoom, pan, and a point under the pointer or the arrow keys.

import { h } from "./dom.js";

const SHAPES = 4;
const NEAR = 14;

// Circles, squares, triangles and diamonds: past ten colours they begin again with another shape.
function mark(context, x, y, r, shape) {
  context.beginPath();
  if (shape === 0) context.arc(x, y, r, 0, 2 * Math.PI);
  else if (shape === 1) context.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
  else if (shape === 2) {
    context.moveTo(x, y - 1.2 * r);
    context.lineTo(x + 1.1 * r, y + 0.8 * r);
    context.lineTo(x - 1.1 * r, y + 0.8 * r);
    context.closePath();
  } else {
    context.moveTo(x, y - 1.3 * r);
    context.lineTo(x + 1.3 * r, y);
    context.lineTo(x, y + 1.3 * r);
    context.lineTo(x - 1.3 * r, y);
    context.closePath();
  }
}

export const look = (group) => ({ colour: group % 10, shape: Math.floor(group / 10) % SHAPES });

export function featureMap({ name, points, sprite, groupOf, describe, onChoose, onView, onPoint }) {
  const canvas = h("canvas", {
    tabindex: "0",
    role: "application",
    "aria-label": name,
    class: "map-canvas",
    "aria-describedby": "map-keys",
  });
  const context = canvas.getContext("2d");
  const tip = h("div", { class: "tip", hidden: true }, h("div", { class: "tip-image pixels" }), h("span", {}));
  const element = h("div", { class: "map-box" }, canvas, tip);
  const groups = points.map((_, k) => groupOf(k));
  let highlight = null;
  let chosen = -1;
  let current = -1;
  let view = { x: 0.5, y: 0.5, zoom: 1 };
  let width = 0;
  let height = 0;
  let frame = 0;
  let dragging = null;

  const side = () => Math.min(width, height) * 0.94 * view.zoom;
  const place = ([x, y]) => [width / 2 + (x - view.x) * side(), height / 2 + (view.y - y) * side()];

  function paint() {
    frame = 0;
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(document.documentElement);
    const colours = [...Array(10).keys()].map((k) => style.getPropertyValue(`--class-${k}`));
    const ink = style.getPropertyValue("--ink");
    const paper = style.getPropertyValue("--paper");
    const radius = Math.min(7, 2.6 + 0.9 * Math.log2(view.zoom + 1));
    for (const front of [false, true])
      points.forEach((point, k) => {
        const lit = highlight === null || groups[k] === highlight;
        if (lit !== front) return;
        const [x, y] = place(point);
        if (x < -9 || y < -9 || x > width + 9 || y > height + 9) return;
        const { colour, shape } = look(groups[k]);
        context.globalAlpha = lit ? 0.9 : 0.12;
        context.fillStyle = colours[colour];
        mark(context, x, y, radius, shape);
        context.fill();
      });
    context.globalAlpha = 1;
    for (const [k, wide] of [
      [chosen, 3],
      [current, 2],
    ]) {
      if (k < 0) continue;
      const [x, y] = place(points[k]);
      context.lineWidth = wide + 2;
      context.strokeStyle = paper;
      context.beginPath();
      context.arc(x, y, radius + 4, 0, 2 * Math.PI);
      context.stroke();
      context.lineWidth = wide;
      context.strokeStyle = ink;
      context.stroke();
    }
  }
  const draw = () => (frame ||= requestAnimationFrame(paint));

  function nearest(x, y) {
    let best = -1;
    let least = NEAR * NEAR;
    points.forEach((point, k) => {
      if (highlight !== null && groups[k] !== highlight) return;
      const [px, py] = place(point);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [best, least] = [k, distance];
    });
    return best;
  }

  // The thumbnail is cut out of the one picture that holds all.
  function showTip() {
    tip.hidden = current < 0;
    if (current < 0) return;
    const [x, y] = place(points[current]);
    const [tall, wide] = [sprite.size].flat().length > 1 ? sprite.size : [sprite.size, sprite.size];
    const times = Math.max(1, Math.round(96 / wide));
    const own = tip.firstElementChild;
    const rows = Math.ceil(points.length / sprite.columns);
    own.style.setProperty("width", `${wide * times}px`);
    own.style.setProperty("height", `${tall * times}px`);
    own.style.setProperty("background-image", `url("${sprite.url}")`);
    own.style.setProperty("background-size", `${sprite.columns * wide * times}px ${rows * tall * times}px`);
    own.style.setProperty(
      "background-position",
      `-${(current % sprite.columns) * wide * times}px -${Math.floor(current / sprite.columns) * tall * times}px`,
    );
    tip.lastElementChild.textContent = describe(current);
    tip.dataset.point = current;
    const left = x + 14 + wide * times + 16 > width ? x - 14 - wide * times - 16 : x + 14;
    const top = Math.min(height - tall * times - 36, Math.max(0, y - (tall * times) / 2));
    tip.style.setProperty("transform", `translate(${Math.max(0, left)}px, ${Math.max(0, top)}px)`);
  }

  function point(k, spoken) {
    if (k === current) return;
    current = k;
    canvas.classList.toggle("on-point", k >= 0);
    showTip();
    draw();
    onPoint?.(k, spoken);
  }

  function lookAt(next, tell = true) {
    view = {
      x: Math.min(1.2, Math.max(-0.2, next.x)),
      y: Math.min(1.2, Math.max(-0.2, next.y)),
      zoom: Math.min(64, Math.max(1, next.zoom)),
    };
    if (view.zoom === 1) view = { x: 0.5, y: 0.5, zoom: 1 };
    canvas.style.setProperty("touch-action", view.zoom > 1 ? "none" : "auto");
    showTip();
    draw();
    if (tell) onView([view.x, view.y, view.zoom]);
  }

  // Zooms so that what is under (x, y) stays there.
  function zoom(factor, x = width / 2, y = height / 2) {
    const before = side();
    const next = Math.min(64, Math.max(1, view.zoom * factor));
    const after = (before / view.zoom) * next;
    lookAt({
      x: view.x + (x - width / 2) * (1 / before - 1 / after),
      y: view.y - (y - height / 2) * (1 / before - 1 / after),
      zoom: next,
    });
  }

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    dragging = { from: at(event), view: { ...view }, moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (!dragging) {
      point(nearest(x, y));
      return;
    }
    const [dx, dy] = [x - dragging.from[0], y - dragging.from[1]];
    if (Math.hypot(dx, dy) > 4) dragging.moved = true;
    if (dragging.moved && view.zoom > 1) {
      canvas.classList.add("panning");
      lookAt({ x: dragging.view.x - dx / side(), y: dragging.view.y + dy / side(), zoom: view.zoom }, false);
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    const last = dragging;
    dragging = null;
    canvas.classList.remove("panning");
    if (last?.moved) {
      onView([view.x, view.y, view.zoom]);
      return;
    }
    const k = nearest(...at(event));
    point(k);
    if (k >= 0) onChoose(k);
  });
  canvas.addEventListener("pointercancel", () => (dragging = null));
  canvas.addEventListener("pointerleave", () => !dragging && document.activeElement !== canvas && point(-1));
  canvas.addEventListener(
    "wheel",
    (event) => {
      // At the whole map, turning the wheel down scrolls the page as everywhere else.
      if (view.zoom === 1 && event.deltaY > 0) return;
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), ...at(event));
    },
    { passive: false },
  );
  canvas.addEventListener("dblclick", (event) => zoom(2, ...at(event)));

  // The nearest point in the direction of the key, within 45 degrees of it, as far as there is one.
  function step(dx, dy) {
    const lit = (k) => highlight === null || groups[k] === highlight;
    if (current < 0) {
      let best = chosen >= 0 ? chosen : -1;
      let least = Infinity;
      if (best < 0)
        points.forEach((own, k) => {
          const [x, y] = place(own);
          const distance = (x - width / 2) ** 2 + (y - height / 2) ** 2;
          if (lit(k) && distance < least) [best, least] = [k, distance];
        });
      point(best, true);
      return;
    }
    const [x0, y0] = place(points[current]);
    let best = -1;
    let least = Infinity;
    points.forEach((own, k) => {
      if (k === current || !lit(k)) return;
      const [x, y] = place(own);
      const along = (x - x0) * dx + (y - y0) * dy;
      const beside = Math.abs((x - x0) * dy) + Math.abs((y - y0) * dx);
      if (along <= 0.01 || beside > along) return;
      const distance = along * along + 2 * beside * beside;
      if (distance < least) [best, least] = [k, distance];
    });
    if (best < 0) return;
    point(best, true);
    const [x, y] = place(points[best]);
    if (x < 0 || y < 0 || x > width || y > height) lookAt({ x: points[best][0], y: points[best][1], zoom: view.zoom });
  }
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in steps) step(...steps[event.key]);
    else if (event.key === "+" || event.key === "=") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "0") lookAt({ x: 0.5, y: 0.5, zoom: 1 });
    else if ((event.key === "Enter" || event.key === " ") && current >= 0) onChoose(current);
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => point(-1));

  const size = new ResizeObserver(() => {
    const box = element.getBoundingClientRect();
    width = box.width;
    height = box.height;
    paint();
  });
  size.observe(element);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", draw);

  return {
    element,
    zoom,
    reset: () => lookAt({ x: 0.5, y: 0.5, zoom: 1 }),
    regroup() {
      points.forEach((_, k) => (groups[k] = groupOf(k)));
      draw();
    },
    set({ choose, lit, seen }) {
      chosen = choose;
      highlight = lit;
      const [x, y, times] = seen.length === 3 ? seen : [0.5, 0.5, 1];
      if (!dragging) lookAt({ x, y, zoom: times }, false);
    },
    // Where a point is in the window.
    where(k) {
      const [x, y] = place(points[k]);
      const box = canvas.getBoundingClientRect();
      return [box.left + x, box.top + y];
    },
    leave() {
      size.disconnect();
      dark.removeEventListener("change", draw);
      cancelAnimationFrame(frame);
    },
  };
}
