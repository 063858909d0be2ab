// Arithmetic: mean of A − mean of B + mean of C, and what the generator draws around it.

import { explain, get, newest } from "../api.js";
import { announce, h, rove, swap } from "../dom.js";
import { accept, carry } from "../drag.js";
import { sampleGrid } from "../grid.js";
import { Label, download, image, imageOf, label, remember } from "../pictures.js";
import { add, remove } from "../points.js";
import { set, state } from "../state.js";
import { button, failure, iconButton, note, number, radios, slider } from "../widgets.js";

export const title = "Arithmetic";
export const lead =
  "Means of a few exemplars, added and subtracted in z: with A showing a property, B the same without it and C something else, A − B + C should carry the property over to C.";

const SIGNS = { a: ["A", "start from"], b: ["B", "take away"], c: ["C", "add"] };

export function mount(root, run) {
  const baskets = {};
  for (const [name, [letter, verb]] of Object.entries(SIGNS)) {
    const list = h("ul", { class: "exemplars" });
    const mean = h("div", { class: "mean" });
    const element = h(
      "section",
      { class: `panel basket basket-${name}`, "aria-labelledby": `basket-${name}` },
      h(
        "h2",
        { id: `basket-${name}` },
        `${name === "b" ? "− " : name === "c" ? "+ " : ""}${letter}`,
        h("small", {}, verb),
      ),
      h("div", { class: "basket-body" }, list, mean),
    );
    accept(element, (references) => add(name, references));
    rove(list, "button", (event, item) => {
      if (event.key !== "Delete" && event.key !== "Backspace") return false;
      remove(name, Number(item.dataset.index));
      return true;
    });
    baskets[name] = { element, list, mean };
  }

  const target = radios({
    label: "A click below adds to",
    choices: [
      ["a", "A"],
      ["b", "B"],
      ["c", "C"],
    ],
    value: state().basket,
    key: "basket",
    onChange: (value) => set({ basket: value }, { replace: true }),
  });
  const seed = number({
    label: "Seed",
    min: 0,
    max: 4294967295,
    value: state().seed,
    key: "seed",
    onChange: (value) => set({ seed: value }),
  });
  const grid = sampleGrid({
    name: "Samples to choose from",
    hint: "Click to add; A, B, C add to that basket; P pins",
    size: "thumb",
    onChoose: (reference) => toggle(state().basket, reference),
    onKey: (event, item) => {
      const key = event.key.toLowerCase();
      if ("abc".includes(key) && key.length === 1) toggle(key, item.dataset.reference);
      else if (key === "p") add("pins", [item.dataset.reference]);
      else return false;
      return true;
    },
    marked: (reference) =>
      ["a", "b", "c"]
        .filter((name) => state()[name].includes(reference))
        .join(" ")
        .toUpperCase(),
  });

  function toggle(name, reference) {
    const at = state()[name].indexOf(reference);
    if (at < 0) add(name, [reference]);
    else remove(name, at);
  }

  const noise = slider({
    label: "Noise of the neighbours",
    min: 0,
    max: 1,
    step: 0.05,
    value: state().noise,
    words: (value) => `±${value.toFixed(2)}`,
    onInput: (value) => set({ noise: value }, { replace: true }),
    key: "noise",
  });
  const redraw = button("Other neighbours", () => set({ draw: state().draw + 1 }));
  const result = h("div", { class: "result" });

  function cell(point, words, middle) {
    const pinned = state().pins.includes(point.ref);
    const item = button(image(point.image, "", "cell"), () => add("pins", [point.ref]), {
      class: `bare${middle ? " middle" : ""}`,
      "aria-label": `${words}: pin it`,
      title: `${words}: click to pin`,
      "aria-pressed": String(pinned),
      "data-reference": point.ref,
      "data-key": words,
    });
    carry(item, () => [point.ref]);
    return item;
  }

  const compute = newest(
    async (now) => {
      const { a, b, c, noise: size, draw, given } = now;
      const answer = await get("/api/arithmetic", {
        a,
        b: b.length ? b : null,
        c: c.length ? c : null,
        noise: size,
        seed: draw,
        given,
      });
      if (!state().a.length) return;
      remember(
        [answer.result.ref, ...answer.neighbours.map((own) => own.ref)],
        [answer.result.image, ...answer.neighbours.map((own) => own.image)],
        given,
      );
      for (const name of ["a", "b", "c"]) {
        const { mean } = baskets[name];
        swap(
          mean,
          answer.means[name]
            ? h(
                "figure",
                {},
                image(answer.means[name], `Drawn from the mean of basket ${name.toUpperCase()}`, "cell"),
                h("figcaption", {}, "mean"),
              )
            : [],
        );
      }
      const around = answer.neighbours.map((own, k) => cell(own, `Neighbour ${k + 1}`));
      around.splice(4, 0, cell(answer.result, "Result", true));
      const square = h(
        "div",
        { class: "nine", role: "group", "aria-label": "The result in the middle of eight neighbours" },
        around,
      );
      rove(square, "button").refresh();
      const formula = ["A", b.length ? "− B" : "", c.length ? "+ C" : ""].filter(Boolean).join(" ");
      swap(
        result,
        h(
          "figure",
          {},
          square,
          h(
            "figcaption",
            {},
            `${formula} in z, in the middle of eight neighbours (uniform noise ±${size.toFixed(2)}). Click one to pin it.`,
          ),
        ),
        h(
          "figure",
          { class: "control" },
          image(answer.pixel, `${formula} of the pixels`, "large"),
          h(
            "figcaption",
            {},
            `Control: ${formula} of the pictures’ pixels. If z carries the meaning, this looks worse: ghosts instead of a picture.`,
          ),
        ),
        h(
          "div",
          { class: "buttons" },
          button("Pin the result", () => add("pins", [answer.result.ref]), { "data-key": "pin-result" }),
          h(
            "a",
            { class: "button", href: download.png(answer.result.ref, given, 8), download: "", "data-key": "png" },
            "PNG",
          ),
          h(
            "a",
            { class: "button", href: download.json([answer.result.ref]), download: "", "data-key": "json" },
            "z JSON",
          ),
        ),
      );
      result.dataset.done = `${formula}|${size}|${draw}`;
      announce(`${formula} drawn.`);
    },
    (error) =>
      swap(
        result,
        failure(explain(error), () => compute(state())),
      ),
  );

  function drawBasket(name, now) {
    const { list, mean } = baskets[name];
    const [letter] = SIGNS[name];
    swap(
      list,
      now[name].length
        ? now[name].map((reference, k) => {
            const item = h(
              "li",
              {},
              imageOf(reference, now.given, `Basket ${letter}: ${label(reference)}`, "thumb"),
              iconButton("remove", `Remove ${label(reference)} from basket ${letter}`, () => remove(name, k), {
                "data-key": `${name}-${k}`,
                "data-index": k,
                title: Label(reference),
              }),
            );
            return item;
          })
        : h("li", { class: "note" }, name === "a" ? "Empty. Three exemplars are a good start." : "Empty: left out."),
    );
    if (!now[name].length) mean.replaceChildren();
  }

  root.append(
    h("div", { class: "baskets" }, baskets.a.element, baskets.b.element, baskets.c.element),
    h(
      "div",
      { class: "bench" },
      h(
        "section",
        { "aria-labelledby": "choose-title" },
        h("h2", { id: "choose-title" }, "Choose exemplars"),
        h(
          "div",
          { class: "controls" },
          target.element,
          seed.element,
          button("Next seed", () => set({ seed: state().seed + 1 })),
          button("Empty all baskets", () => set({ a: [], b: [], c: [] })),
        ),
        note(
          "Click, or drag into a basket, or press A, B or C on a picture. The buttons A, B, C beside the pinned pictures do the same.",
        ),
        grid.element,
      ),
      h(
        "section",
        { "aria-labelledby": "result-title" },
        h("h2", { id: "result-title" }, "Result"),
        h("div", { class: "controls" }, noise.element, redraw),
        result,
      ),
    ),
  );

  const update = (now, before) => {
    const changed = (...names) => !before || names.some((name) => String(now[name]) !== String(before[name]));
    for (const name of ["a", "b", "c"]) if (changed(name, "given")) drawBasket(name, now);
    target.set(now.basket);
    seed.set(now.seed);
    noise.set(now.noise);
    if (changed("seed", "given", "n")) grid.load(now.seed, Math.max(32, Math.min(now.n, 128)), now.given);
    else if (changed("a", "b", "c")) grid.mark();
    redraw.disabled = !now.a.length;
    if (!now.a.length) {
      if (changed("a")) swap(result, note("Put one or more pictures into A; the result appears here."));
      return;
    }
    if (changed("a", "b", "c", "noise", "draw", "given")) compute(now);
    else if (now.pins !== before.pins)
      for (const item of result.querySelectorAll("[data-reference]"))
        item.setAttribute("aria-pressed", String(now.pins.includes(item.dataset.reference)));
  };
  update(state(), null);
  return { update, leave: grid.leave };
}
