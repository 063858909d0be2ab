// The pinned points, at the foot of every page: choose some (or none, which means all) and use them.

import { h, rove, swap } from "./dom.js";
import { carry, accept } from "./drag.js";
import { Label, download, imageOf, saveSheet } from "./pictures.js";
import { add, remove } from "./points.js";
import { set, state } from "./state.js";
import { button, icon } from "./widgets.js";

const PLACES = [
  ["walk", "Walk", "Add to the walk (W)"],
  ["a", "A", "Add to basket A (A)"],
  ["b", "B", "Add to basket B (B)"],
  ["c", "C", "Add to basket C (C)"],
];

export function mountTray(root, run) {
  const chosen = new Set();
  const list = h("ul", { class: "pins" });
  const bar = h("div", { class: "bar" });
  const title = h("h2", { id: "tray-title" }, "Pinned");
  // On a small screen the tray is folded until it is wanted.
  const folded = () => (state().tray || (innerWidth < 545 ? "folded" : "open")) === "folded";
  const fold = button(
    [icon("down"), h("span", {}, "")],
    () => set({ tray: folded() ? "open" : "folded" }, { replace: true }),
    { class: "fold", "data-key": "fold", "aria-controls": "tray" },
  );
  const scale = Math.max(1, Math.round(256 / run.image_shape[1]));

  const meant = () => {
    const { pins } = state();
    const some = pins.filter((reference) => chosen.has(reference));
    return some.length ? some : pins;
  };

  const drop = (references) => {
    references.forEach((reference) => chosen.delete(reference));
    set({ pins: state().pins.filter((reference) => !references.includes(reference)) });
  };

  const keys = rove(list, "button", (event, item) => {
    const reference = item.dataset.reference;
    const place = { w: "walk", a: "a", b: "b", c: "c" }[event.key.toLowerCase()];
    if (place) add(place, [reference]);
    else if (event.key === "Delete" || event.key === "Backspace") {
      const at = state().pins.indexOf(reference);
      chosen.delete(reference);
      const next = state().pins[at + 1] ?? state().pins[at - 1];
      remove("pins", at);
      list.querySelector(`[data-reference="${next}"]`)?.focus();
    } else return false;
    return true;
  });

  function drawBar() {
    const { pins, given } = state();
    const references = meant();
    const one = references.length === 1;
    const what = chosen.size ? `${chosen.size} chosen` : one ? "The one pinned" : `All ${pins.length}`;
    const link = (words, href, name) =>
      h("a", { class: "button", href, download: "", "aria-label": name, "data-key": words }, words);
    swap(
      bar,
      h("span", { class: "what" }, `${what}:`),
      PLACES.map(([place, words, name]) =>
        button(
          [words, state()[place].length ? h("span", { class: "amount" }, String(state()[place].length)) : ""],
          () => add(place, meant()),
          {
            "aria-label": `${name.replace(/ \(.\)/, "")}${state()[place].length ? `, which has ${state()[place].length}` : ""}`,
            title: name,
            "data-key": place,
          },
        ),
      ),
      h("span", { class: "gap" }),
      one
        ? link("PNG", download.png(references[0], given, Math.min(16, scale)), "Download the picture as PNG")
        : button("PNG", () => saveSheet(references, given, Math.min(8, scale), `${run.name}-pinned.png`), {
            "aria-label": "Download the pictures as one PNG",
            "data-key": "PNG",
          }),
      link("z JSON", download.json(references), "Download z as JSON"),
      link("z npy", download.npy(references), "Download z as npy"),
      h("span", { class: "gap" }),
      button("Unpin", () => drop(references), { "data-key": "unpin", "aria-label": `Unpin: ${what}` }),
    );
  }

  function draw() {
    const { pins, given } = state();
    for (const reference of chosen) if (!pins.includes(reference)) chosen.delete(reference);
    root.classList.toggle("empty", !pins.length);
    root.classList.toggle("folded", folded());
    fold.setAttribute("aria-expanded", String(!folded()));
    fold.lastElementChild.textContent = folded() ? "Show" : "Fold";
    fold.setAttribute("aria-label", folded() ? "Show the pinned pictures" : "Fold the pinned pictures");
    title.textContent = pins.length ? `Pinned (${pins.length})` : "Pinned";
    if (!pins.length) {
      root.replaceChildren(
        title,
        h(
          "p",
          { class: "note" },
          "Nothing yet. Click a picture under Samples to pin it, or drag one here; it then stays at hand on every page.",
        ),
      );
      return;
    }
    swap(
      list,
      pins.map((reference) => {
        const item = h(
          "button",
          {
            type: "button",
            "aria-pressed": String(chosen.has(reference)),
            "data-reference": reference,
            "data-key": reference,
            title: `${Label(reference)}: click to choose; W, A, B, C add it, Delete unpins`,
            onclick: () => {
              if (!chosen.delete(reference)) chosen.add(reference);
              item.setAttribute("aria-pressed", String(chosen.has(reference)));
              drawBar();
            },
          },
          imageOf(reference, given, `Pinned: ${Label(reference)}`, "thumb"),
        );
        carry(item, () => (chosen.has(reference) ? meant() : [reference]));
        return h("li", {}, item);
      }),
    );
    keys.refresh();
    drawBar();
    if (!root.contains(list)) root.replaceChildren(h("div", { class: "tray-head" }, title, fold, bar), list);
  }

  accept(root, (references) => add("pins", references));

  return {
    update(now, before) {
      if (!before || now.pins !== before.pins || now.given !== before.given || now.tray !== before.tray) draw();
      else if (now.pins.length && PLACES.some(([place]) => now[place] !== before[place])) drawBar();
    },
  };
}
