// Elements without a framework. Styles are set through classes or the CSSOM: the page's policy forbids style attributes.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, own] of Object.entries(value)) element.style.setProperty(key, own);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

// Replaces the children, and gives the focus back to the control that had it (by data-key).
export function swap(parent, ...children) {
  const active = document.activeElement;
  const key = parent.contains(active) ? active.dataset?.key : undefined;
  parent.replaceChildren(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  if (key !== undefined) parent.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
  return parent;
}

let spoken = 0;
let timer = 0;

// Tells a screen reader. The same words twice are still an event, hence the blank that comes and goes.
// What happens out of sight is also shown for a moment.
export function announce(text, { shown = false } = {}) {
  spoken += 1;
  document.getElementById("status").textContent = spoken % 2 ? text : `${text} `;
  if (!shown) return;
  const toast = document.getElementById("toast");
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => (toast.hidden = true), 3000);
}

let last = 0;

export function unique(prefix) {
  last += 1;
  return `${prefix}-${last}`;
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// Arrow keys move the focus among the children that match; one of them alone is in the tab order.
export function rove(container, selector, onKey) {
  const items = () => [...container.querySelectorAll(selector)];
  const choose = (item) => {
    for (const other of items()) other.tabIndex = other === item ? 0 : -1;
  };
  const columns = (all) => {
    const top = all[0]?.getBoundingClientRect().top;
    const next = all.findIndex((item) => Math.abs(item.getBoundingClientRect().top - top) > 2);
    return next < 0 ? all.length : next;
  };
  container.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (item) choose(item);
  });
  container.addEventListener("keydown", (event) => {
    const item = event.target.closest(selector);
    if (!item || event.target !== item || event.altKey || event.ctrlKey || event.metaKey) return;
    if (onKey?.(event, item)) {
      event.preventDefault();
      return;
    }
    const all = items();
    const at = all.indexOf(item);
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(all), ArrowDown: columns(all) };
    let to = event.key in steps ? at + steps[event.key] : undefined;
    if (event.key === "Home") to = 0;
    if (event.key === "End") to = all.length - 1;
    if (to === undefined) return;
    event.preventDefault();
    all[to]?.focus();
  });
  return {
    refresh() {
      const all = items();
      if (!all.some((item) => item.tabIndex === 0 && item.hasAttribute("tabindex"))) choose(all[0]);
    },
  };
}
