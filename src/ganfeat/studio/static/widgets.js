// The few controls that the pages share. Every one of them has a label.

import { h, svg, unique } from "./dom.js";

export function slider({ label, min, max, step, value, words, onInput, onChange, key, hideValue }) {
  const id = unique("slider");
  const output = h("output", { for: id });
  const input = h("input", { id, type: "range", min, max, step, "data-key": key });
  const show = () => {
    const spoken = words ? words(Number(input.value)) : input.value;
    input.setAttribute("aria-valuetext", spoken);
    output.textContent = spoken;
  };
  input.value = value;
  show();
  input.addEventListener("input", () => {
    show();
    onInput?.(Number(input.value));
  });
  input.addEventListener("change", () => onChange?.(Number(input.value)));
  const element = h("div", { class: "slider" }, h("label", { for: id }, label), input, hideValue ? null : output);
  return {
    element,
    input,
    get value() {
      return Number(input.value);
    },
    set(next, limits = {}) {
      for (const [name, limit] of Object.entries(limits)) input.setAttribute(name, limit);
      if (String(next) !== input.value || Object.keys(limits).length) input.value = next;
      show();
    },
  };
}

export function number({ label, min, max, value, onChange, key }) {
  const id = unique("number");
  const input = h("input", { id, type: "number", min, max, step: 1, inputmode: "numeric", "data-key": key });
  input.value = value;
  input.addEventListener("change", () => {
    const next = Math.round(Number(input.value));
    if (input.value === "" || !Number.isFinite(next)) input.value = value;
    else {
      input.value = Math.min(max, Math.max(min, next));
      onChange(Number(input.value));
    }
  });
  return {
    element: h("div", { class: "field" }, h("label", { for: id }, label), input),
    input,
    set(next, limits = {}) {
      value = next;
      for (const [name, limit] of Object.entries(limits)) {
        input.setAttribute(name, limit);
        if (name === "max") max = limit;
      }
      input.value = next;
    },
  };
}

// choices: [[value, words], ...]
export function select({ label, choices, value, onChange, key }) {
  const id = unique("select");
  const input = h("select", { id, "data-key": key, onchange: () => onChange(input.value) });
  const fill = (next) => input.replaceChildren(...next.map(([own, words]) => h("option", { value: own }, words)));
  fill(choices);
  input.value = String(value);
  return {
    element: h("div", { class: "field" }, h("label", { for: id }, label), input),
    input,
    set(next, others) {
      if (others) fill(others);
      input.value = String(next);
    },
  };
}

export function toggle({ label, checked, onChange, key }) {
  const input = h("input", { type: "checkbox", checked, "data-key": key, onchange: () => onChange(input.checked) });
  return {
    element: h("label", { class: "check" }, input, h("span", {}, label)),
    input,
    set: (next) => (input.checked = next),
  };
}

// A few choices side by side, as radio buttons.
export function radios({ label, choices, value, onChange, key }) {
  const name = unique("radios");
  const inputs = choices.map(([own]) =>
    h("input", {
      type: "radio",
      name,
      value: own,
      checked: own === value,
      "data-key": `${key}-${own}`,
      onchange: () => onChange(own),
    }),
  );
  return {
    element: h(
      "fieldset",
      { class: "radios" },
      h("legend", {}, label),
      choices.map(([, words], k) => h("label", {}, inputs[k], h("span", {}, words))),
    ),
    inputs,
    set: (next) => inputs.forEach((input) => (input.checked = input.value === next)),
  };
}

export function button(words, onclick, properties = {}) {
  return h("button", { type: "button", onclick, ...properties }, words);
}

export function note(...words) {
  return h("p", { class: "note" }, ...words);
}

export function failure(words, again) {
  return h("div", { class: "failure", role: "alert" }, h("p", {}, words), again ? button("Try again", again) : null);
}

export function busy(words = "Loading…") {
  return h("p", { class: "busy" }, words);
}

export function progress(words, fraction) {
  const id = unique("progress");
  const bar = h("progress", { id, max: 1 });
  if (fraction !== undefined && fraction !== null) bar.value = fraction;
  return h("div", { class: "progress" }, h("label", { for: id }, words), bar);
}

const ICONS = {
  up: "M3 10l5-5 5 5",
  down: "M3 6l5 5 5-5",
  left: "M10 3L5 8l5 5",
  right: "M6 3l5 5-5 5",
  remove: "M4 4l8 8M12 4l-8 8",
  play: "M5 3l8 5-8 5z",
  pause: "M5 3v10M11 3v10",
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  pin: "M8 14V9M4.5 9h7L10 6.5V3h1M6 3h-1M6 3v3.5L4.5 9M6 3h4",
};

export function icon(name) {
  return svg("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

export function iconButton(name, words, onclick, properties = {}) {
  return h(
    "button",
    { type: "button", class: "small", "aria-label": words, title: words, onclick, ...properties },
    icon(name),
  );
}

export const plural = (n, noun, many = `${noun}s`) => `${n.toLocaleString("en")} ${n === 1 ? noun : many}`;
export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
