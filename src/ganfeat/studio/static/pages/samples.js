// Samples: look around, pin what is of interest, bring an own image.

import { address, explain, post } from "../api.js";
import { announce, h, swap } from "../dom.js";
import { sampleGrid } from "../grid.js";
import { image, label, remember } from "../pictures.js";
import { add, togglePin } from "../points.js";
import { set, state } from "../state.js";
import { busy, button, failure, note, number, select } from "../widgets.js";

export const title = "Samples";
export const lead =
  "What the generator draws from random points z, the lists of numbers that it starts from. Click a picture, or press Enter on it, to pin it for the other pages.";

const LARGEST = 8 * 1024 * 1024;
const MOST = 4294967295;

export function mount(root, run) {
  const seed = number({
    label: "Seed",
    min: 0,
    max: MOST,
    value: state().seed,
    key: "seed",
    onChange: (value) => set({ seed: value }),
  });
  const count = select({
    label: "Show",
    choices: [16, 32, 64, 128, 256].map((n) => [n, `${n} samples`]),
    value: state().n,
    onChange: (value) => set({ n: Number(value) }),
    key: "n",
  });
  const grid = sampleGrid({
    name: "Samples",
    hint: "Click to pin",
    onChoose: togglePin,
    marked: (reference) => state().pins.includes(reference),
  });
  const step = (by) => set({ seed: Math.min(MOST, Math.max(0, state().seed + by)) });
  const result = h("div", { class: "inverted", "aria-live": "polite" });
  const file = h("input", {
    type: "file",
    id: "upload",
    accept: "image/png,image/jpeg,image/webp",
    onchange: () => file.files[0] && invert(file.files[0]),
  });

  async function invert(own) {
    if (!/^image\/(png|jpeg|webp)$/.test(own.type)) {
      swap(result, failure(`${own.name} is not a PNG, JPEG or WebP image. Choose one of these.`));
      return;
    }
    if (own.size > LARGEST) {
      swap(
        result,
        failure(
          `${own.name} has ${(own.size / 2 ** 20).toFixed(1)} MiB; at most 8 MiB are taken. Make it smaller first: the generator draws ${run.image_shape[1]}×${run.image_shape[0]} pixels.`,
        ),
      );
      return;
    }
    swap(result, busy(run.has_encoder ? "The encoder finds its z…" : "Searching its z… this takes some seconds."));
    const { given } = state();
    try {
      const found = await post(address("/api/invert", { given }), own, { type: own.type });
      remember([found.ref], [found.image], given);
      add("pins", [found.ref]);
      const by = found.by === "encoder" ? "by the encoder" : "by a search over z";
      const where = run.condition ? ` with ${run.condition.name} ${run.condition.values[given]}` : "";
      swap(
        result,
        h(
          "div",
          { class: "row" },
          h(
            "figure",
            {},
            image(found.given_image, "The image as the network sees it", "large"),
            h("figcaption", {}, "your image"),
          ),
          h(
            "figure",
            {},
            image(found.image, "What the generator makes of the point found", "large"),
            h("figcaption", {}, "what the generator draws there"),
          ),
        ),
        differences(found),
        note(`Found ${by}${where} and pinned as ${label(found.ref)}.`),
      );
      announce("The image is inverted and pinned.");
    } catch (error) {
      swap(result, failure(explain(error)));
    }
    file.value = "";
  }

  // The difference alone says little: of dark pictures any two are alike.
  function differences({ error, random, unrelated }) {
    const rows = [
      ["the picture that was found", error],
      ["the nearest random sample, where the search began", random],
      ["random samples, on average", unrelated],
    ].filter(([, size]) => size !== null && size !== undefined);
    return h(
      "table",
      { class: "differences" },
      h(
        "caption",
        {},
        "Difference from your image (root mean square over the pixels): 0 is the same picture, 1 black against white",
      ),
      h(
        "tbody",
        {},
        rows.map(([words, size]) => h("tr", {}, h("th", { scope: "row" }, words), h("td", {}, size.toFixed(3)))),
      ),
    );
  }

  const drop = h(
    "section",
    { class: "panel upload", "aria-labelledby": "own" },
    h("h2", { id: "own" }, "Bring an image"),
    note("The point z whose picture comes nearest to it is searched and pinned. The image stays on this machine."),
    h("div", { class: "field" }, h("label", { for: "upload" }, "PNG, JPEG or WebP"), file),
    result,
  );
  drop.addEventListener("dragover", (event) => event.dataTransfer.types.includes("Files") && event.preventDefault());
  drop.addEventListener("drop", (event) => {
    const own = event.dataTransfer.files[0];
    if (!own) return;
    event.preventDefault();
    invert(own);
  });

  root.append(
    h(
      "div",
      { class: "controls" },
      seed.element,
      h(
        "div",
        { class: "buttons" },
        button("Resample", () => set({ seed: Math.floor(Math.random() * 100000) }), { class: "primary" }),
        button("Previous seed", () => step(-1)),
        button("Next seed", () => step(1)),
      ),
      count.element,
    ),
    h("section", { "aria-label": "Grid of samples" }, grid.element),
    drop,
  );

  const update = (now, before) => {
    if (!before || now.seed !== before.seed || now.n !== before.n || now.given !== before.given) {
      seed.set(now.seed);
      count.set(now.n);
      grid.load(now.seed, now.n, now.given);
    } else if (now.pins !== before.pins) grid.mark();
  };
  update(state(), null);
  return { update, leave: grid.leave };
}
