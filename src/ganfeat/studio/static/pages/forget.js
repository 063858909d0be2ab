// Forget: boxes around an object, the maps of the generator that draw it, and the samples without these maps.

import { ServerError, explain, get, newest, post } from "../api.js";
import { boxEditor, clip, outlines } from "../boxes.js";
import { readBoxes, writeBoxes } from "../boxfile.js";
import { announce, h, swap } from "../dom.js";
import { sampleGrid } from "../grid.js";
import { Label, image, label, save } from "../pictures.js";
import { set, state } from "../state.js";
import { busy, button, failure, icon, iconButton, note, number, percent, plural, select, slider } from "../widgets.js";

export const title = "Forget";
export const lead =
  "Draw boxes around an object in some samples. A regression finds the maps of the generator that are active inside the boxes; without these maps it should draw the scene without the object.";

const COMPARED = 16;

export function mount(root, run) {
  const [height, width] = run.image_shape;
  const boxesOf = (reference) => state().boxes.filter((box) => box.z === reference);
  const sample = () => state().sample || `s${state().seed}.0`;
  let chosen = -1;
  let fitted = null;
  let fittedFor = "";
  let layersFor = null;

  // A change of the boxes makes the fit one of other boxes.
  const store = (boxes, options) => set({ boxes, fit: false }, options);
  const indexIn = (k) => state().boxes.indexOf(boxesOf(sample())[k]);

  function addBox(box) {
    if (state().boxes.length >= 500) return;
    chosen = boxesOf(sample()).length;
    store([...state().boxes, { z: sample(), ...clip(box, width, height) }]);
    announce(`Box ${chosen + 1} added.`);
    list.querySelector(`[data-key="box-${chosen}"]`)?.focus({ preventScroll: true });
  }

  function changeBox(k, box, options) {
    const at = indexIn(k);
    store(
      state().boxes.map((own, i) => (i === at ? { z: own.z, ...clip(box, width, height) } : own)),
      options,
    );
  }

  function removeBox(k) {
    const at = indexIn(k);
    chosen = Math.min(k, boxesOf(sample()).length - 2);
    store(state().boxes.filter((_, i) => i !== at));
    announce("Box removed.");
    (list.querySelector(`[data-key="box-${chosen}"]`) ?? addButton).focus({ preventScroll: true });
  }

  // --- samples
  const seed = number({
    label: "Seed",
    min: 0,
    max: 4294967295,
    value: state().seed,
    key: "seed",
    onChange: (value) => set({ seed: value, sample: "" }),
  });
  const grid = sampleGrid({
    name: "Samples to draw on",
    hint: "Click to draw on it",
    size: "thumb",
    onChoose: (reference) => {
      chosen = -1;
      set({ sample: reference });
      if (editor.element.getBoundingClientRect().bottom > innerHeight)
        editor.element.scrollIntoView({ block: "nearest" });
    },
    marked: (reference) => reference === sample(),
    overlay: (reference) => outlines(boxesOf(reference), width, height),
  });
  const markGrid = () => {
    grid.mark();
    for (const item of grid.list.children)
      item.querySelector("svg")?.replaceWith(outlines(boxesOf(item.dataset.reference), width, height));
  };

  // --- the editor
  const editor = boxEditor({
    width,
    height,
    onAdd: addBox,
    onChange: changeBox,
    onChoose: (k) => ((chosen = k), drawEditor()),
  });
  const name = h("h3", { id: "editor-title" });
  const list = h("ul", { class: "box-list" });
  const addButton = button([icon("plus"), "Add a box"], () =>
    addBox({
      x: Math.floor(width / 4),
      y: Math.floor(height / 4),
      width: Math.ceil(width / 2),
      height: Math.ceil(height / 2),
    }),
  );
  const STEPS = {
    ArrowLeft: ["x", "width", -1],
    ArrowRight: ["x", "width", 1],
    ArrowUp: ["y", "height", -1],
    ArrowDown: ["y", "height", 1],
  };

  function onBoxKey(event, k) {
    const box = boxesOf(sample())[k];
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      removeBox(k);
      return;
    }
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    const [place, size, step] = STEPS[event.key];
    const what = event.shiftKey ? size : place;
    const limit = place === "x" ? width : height;
    const next = { ...box, [what]: box[what] + step };
    if (event.shiftKey && box[place] + next[what] > limit) return;
    changeBox(k, next, { replace: true });
    const now = boxesOf(sample())[k];
    announce(`x ${now.x}, y ${now.y}, ${now.width} by ${now.height}`);
  }

  function neighbour(by) {
    const all = grid.references();
    const at = all.indexOf(sample());
    const next = all[(at + by + all.length) % all.length];
    chosen = -1;
    if (next) set({ sample: next }, { replace: true });
  }

  function drawEditor() {
    const now = state();
    const own = boxesOf(sample());
    name.textContent = Label(sample());
    editor.show(sample(), now.given, `${Label(sample())}, enlarged`, own, chosen);
    swap(
      list,
      own.map((box, k) => {
        const words = `x ${box.x}, y ${box.y}, ${box.width} × ${box.height}`;
        return h(
          "li",
          {},
          button(`Box ${k + 1}: ${words}`, () => ((chosen = k), drawEditor()), {
            "data-key": `box-${k}`,
            "aria-pressed": String(k === chosen),
            "aria-describedby": "box-keys",
            onkeydown: (event) => onBoxKey(event, k),
            onfocus: () => {
              if (chosen === k) return;
              chosen = k;
              drawEditor();
            },
          }),
          iconButton("remove", `Remove box ${k + 1}`, () => removeBox(k)),
        );
      }),
    );
  }

  // --- boxes in and out
  const importInput = h("input", {
    type: "file",
    id: "boxes-file",
    accept: ".json,.csv",
    onchange: () => importInput.files[0] && read(importInput.files[0]),
  });
  const importTrouble = h("div", {});
  async function read(file) {
    importTrouble.replaceChildren();
    try {
      const { boxes, given } = readBoxes(await file.text(), file.name, run);
      chosen = -1;
      set({ boxes, fit: false, given: given ?? state().given, sample: boxes[0]?.z ?? state().sample });
      announce(`${plural(boxes.length, "box", "boxes")} read.`);
    } catch (error) {
      importTrouble.replaceChildren(failure(error.message));
    }
    importInput.value = "";
  }
  const exported = () =>
    save(
      new Blob([writeBoxes(state().boxes, state().given, run)], { type: "application/json" }),
      `${run.name}-boxes.json`,
    );

  // --- fit
  const layer = select({
    label: "Layer of the generator",
    choices: [],
    value: "",
    key: "layer",
    onChange: (value) => set({ layer: Number(value), fit: false }),
  });
  const fitButton = button("Fit", () => set({ fit: true, maps: null }), { class: "primary", "data-key": "fit" });
  const count = h("span", { class: "what" });
  const outcome = h("div", { class: "outcome", "aria-live": "polite" });
  const comparison = h("div", { class: "comparison" });
  const wanted = (now) => JSON.stringify([now.boxes, layerOf(now), now.given]);
  const layerOf = (now) => now.layer ?? layersFor?.default ?? -2;

  async function loadLayers() {
    try {
      layersFor = await get("/api/forget/layers", { given: state().given });
      if (!layersFor.layers.length) {
        layer.element.hidden = true;
        swap(outcome, note(layersFor.note || "This generator has no layers of maps that could be dropped."));
      }
      // Counted from the end, as in `ganfeat forget`: the last layer draws the picture and is not among these.
      const total = layersFor.layers.length + 1;
      layer.set(
        layerOf(state()),
        layersFor.layers.map((own) => {
          const value = own.index < 0 ? own.index : own.index - total;
          return [
            value,
            `${own.name}: ${own.maps} maps of ${own.height} × ${own.width}${value === layersFor.default ? " (as in the paper)" : ""}`,
          ];
        }),
      );
    } catch (error) {
      swap(outcome, failure(explain(error), loadLayers));
    }
  }

  async function fit(now) {
    const key = wanted(now);
    if (fittedFor === key && fitted) return;
    fittedFor = key;
    fitted = null;
    comparison.replaceChildren();
    fitButton.disabled = true;
    swap(outcome, busy("Fitting the regression…"));
    try {
      const answer = await post("/api/forget", { boxes: now.boxes, layer: layerOf(now), given: now.given });
      if (fittedFor !== key) return;
      fitted = answer;
      drawOutcome();
    } catch (error) {
      if (fittedFor !== key) return;
      fittedFor = "";
      swap(outcome, failure(explain(error)));
      if (state().fit) set({ fit: false }, { replace: true });
    }
    drawButton();
  }

  function drawOutcome() {
    const { accuracy, positive, layer: of, weights, notes } = fitted;
    const parts = [
      h("strong", {}, `${plural(positive, "map")} of ${of.maps}`),
      ` of ${of.name} ${positive === 1 ? "is" : "are"} more active inside the boxes than outside. `,
    ];
    if (accuracy?.held_out !== null && accuracy?.held_out !== undefined) {
      parts.push(
        "On positions of images that it has not seen, the regression tells inside from outside in ",
        h("strong", {}, percent(accuracy.held_out)),
        ` of the cases`,
      );
      if (accuracy.chance !== undefined)
        parts.push(`; always saying “outside” would reach ${percent(accuracy.chance)}`);
      if (accuracy.balanced !== undefined && accuracy.balanced !== null)
        parts.push(`. With inside and outside counted alike: ${percent(accuracy.balanced)}, where guessing gives 50 %`);
      parts.push(".");
    }
    const most = Math.max(positive, 0);
    if (!most) {
      swap(
        outcome,
        h("p", {}, parts),
        (notes ?? []).map((words) => note(words)),
        note("No map to drop. Draw more boxes, or choose another layer."),
      );
      return;
    }
    const at = Math.min(state().maps ?? most, most);
    const drop = slider({
      label: "Maps dropped",
      min: 0,
      max: most,
      step: 1,
      value: at,
      words: (value) => `${value} of ${most}`,
      onInput: (value) => set({ maps: value }, { replace: true }),
      key: "maps",
    });
    fitted.slider = drop;
    swap(
      outcome,
      h("p", {}, parts),
      (notes ?? []).map((words) => note(words)),
      drop.element,
      weights?.length
        ? note(
            `Largest weights: ${weights
              .slice(0, 6)
              .map((own) => `map ${own.map} (${own.weight.toFixed(2)})`)
              .join(", ")}.`,
          )
        : null,
    );
    compare(state());
  }

  // While the slider moves only the pictures are asked for; the probe measures them when it rests.
  const measured = h("div", { class: "measured", "aria-live": "polite" });
  let rest = 0;
  const compare = newest(
    async (now, measure = false) => {
      if (!fitted) return;
      clearTimeout(rest);
      const of = fitted;
      const maps = Math.min(now.maps ?? of.positive, of.positive);
      const boxed = [...new Set(now.boxes.map((box) => box.z))];
      const shown = [
        ...new Set([...boxed.slice(0, COMPARED / 2), ...[...Array(COMPARED).keys()].map((k) => `s${now.seed}.${k}`)]),
      ].slice(0, COMPARED);
      let answer;
      try {
        answer = await get("/api/forget/compare", { id: of.id, maps, z: shown, control: true, measure });
      } catch (error) {
        if (error instanceof ServerError && error.status === 404 && state().fit) {
          // The server was started anew: the boxes are in the address, so fit again.
          fittedFor = "";
          fit(state());
          return;
        }
        throw error;
      }
      if (fitted !== of) return;
      const panel = (heading, words, images, className) =>
        h(
          "figure",
          { class: className },
          h("h3", {}, heading),
          h(
            "div",
            { class: "sixteen" },
            images.map((source, k) => image(source, `${heading}: ${label(shown[k])}`, "thumb")),
          ),
          h("figcaption", {}, words),
        );
      swap(
        comparison,
        h(
          "div",
          { class: "three" },
          panel("Before", "As the generator draws them.", answer.before, "before"),
          panel("After", `Without ${plural(maps, "map")}.`, answer.after, "after"),
          answer.control
            ? panel(
                "Control",
                `Without ${plural(maps, "random map")}: what any such cut does.`,
                answer.control,
                "random",
              )
            : null,
        ),
        measured,
      );
      comparison.dataset.maps = maps;
      if (answer.presence) swap(measured, presence(answer.presence));
      else {
        swap(measured, note("Measuring how much of the object is left…"));
        rest = setTimeout(() => compare(state(), true), 250);
      }
    },
    (error) =>
      swap(
        comparison,
        failure(explain(error), () => compare(state())),
      ),
  );

  function presence({ before, after, control, auc }) {
    if (auc === null || auc === undefined || auc < 0.7)
      return note(
        `How much of the object is left cannot be told: a probe that looks at the pictures hardly finds it even before (area under the curve ${auc?.toFixed(2) ?? "unknown"}, guessing gives 0.50). Draw more boxes.`,
      );
    const row = (words, value) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, words),
        h("td", {}, h("meter", { min: 0, max: 1, value, "aria-label": `${words}: ${percent(value)}` })),
        h("td", {}, percent(value)),
      );
    return h(
      "table",
      { class: "presence" },
      h("caption", {}, "How surely a probe that sees only the pictures finds the object inside the boxes"),
      h("tbody", {}, row("before", before), row("after", after), control === null ? null : row("control", control)),
    );
  }

  function drawButton() {
    const now = state();
    const images = new Set(now.boxes.map((box) => box.z)).size;
    const stale = fitted && fittedFor !== wanted(now);
    count.textContent = now.boxes.length
      ? `${plural(now.boxes.length, "box", "boxes")} on ${plural(images, "sample")}${images < 2 ? "; boxes on several samples make the regression surer" : ""}${stale ? ". Changed since the last fit" : ""}`
      : "Draw a box first";
    fitButton.disabled = !now.boxes.length || layersFor?.layers.length === 0 || (now.fit && fittedFor === wanted(now));
    fitButton.textContent = stale ? "Fit again" : "Fit";
    outcome.classList.toggle("stale", Boolean(stale));
    comparison.classList.toggle("stale", Boolean(stale));
  }

  root.append(
    h(
      "div",
      { class: "split forget-split" },
      h(
        "section",
        { class: "panel", "aria-labelledby": "editor-title" },
        name,
        editor.element,
        h(
          "div",
          { class: "buttons" },
          addButton,
          iconButton("left", "Previous sample", () => neighbour(-1)),
          iconButton("right", "Next sample", () => neighbour(1)),
        ),
        list,
        h(
          "p",
          { class: "note", id: "box-keys" },
          "Drag on the picture to draw; drag a box to move it, its corner to resize. With a box’s button in focus: arrow keys move it, Shift and arrows resize it, Delete removes it.",
        ),
      ),
      h(
        "div",
        { class: "forget-work" },
        h(
          "section",
          { "aria-labelledby": "forget-samples" },
          h(
            "div",
            { class: "row between" },
            h("h2", { id: "forget-samples" }, "Samples"),
            h(
              "div",
              { class: "controls" },
              seed.element,
              button("Next seed", () => set({ seed: state().seed + 1, sample: "" })),
            ),
          ),
          grid.element,
        ),
        h(
          "section",
          { "aria-labelledby": "fit-title" },
          h("h2", { id: "fit-title" }, "Find and drop the maps"),
          h("div", { class: "controls" }, layer.element, fitButton, count),
          h(
            "div",
            { class: "controls" },
            button("Export boxes", exported, { "data-key": "export" }),
            h("div", { class: "field" }, h("label", { for: "boxes-file" }, "Import boxes"), importInput),
            button("Remove all boxes", () => ((chosen = -1), store([]))),
          ),
          importTrouble,
          outcome,
          comparison,
        ),
      ),
    ),
  );

  const update = (now, before) => {
    const changed = (...names) =>
      !before || names.some((own) => JSON.stringify(now[own]) !== JSON.stringify(before[own]));
    if (changed("sample", "seed") && before) chosen = Math.min(chosen, boxesOf(sample()).length - 1);
    if (changed("seed", "given")) {
      seed.set(now.seed);
      grid.load(now.seed, 48, now.given);
    }
    if (changed("boxes", "sample", "seed", "given")) {
      drawEditor();
      markGrid();
    }
    if (changed("given")) loadLayers().then(() => state().fit && fit(state()));
    else if (now.layer !== before.layer) layer.set(layerOf(now));
    drawButton();
    if (before && now.fit && changed("fit", "boxes", "layer", "given")) fit(now);
    else if (before && fitted && fittedFor === wanted(now) && changed("maps", "seed")) {
      fitted.slider?.set(Math.min(now.maps ?? fitted.positive, fitted.positive));
      compare(now);
    }
  };
  update(state(), null);
  return {
    update,
    leave() {
      clearTimeout(rest);
      grid.leave();
    },
  };
}
