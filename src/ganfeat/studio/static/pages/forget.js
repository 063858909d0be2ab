// Forget: boxes around an object, the maps of the generator that draw it, and the samples without these maps.

import { boxEditor, clip, outlines } from "../boxes.js";
import { readBoxes, writeBoxes } from "../boxfile.js";
import { announce, h, swap } from "../dom.js";
import { mountFit } from "../fitting.js";
import { sampleGrid } from "../grid.js";
import { Label, save } from "../pictures.js";
import { set, state } from "../state.js";
import { button, failure, icon, iconButton, number, plural } from "../widgets.js";

export const title = "Forget";
export const lead =
  "Draw boxes around an object in some samples. A regression finds the maps of the generator (the channels of a layer, each a small picture of where something is drawn) that are active inside the boxes; without these maps it should draw the scene without the object.";

export function mount(root, run) {
  const [height, width] = run.image_shape;
  const boxesOf = (reference) => state().boxes.filter((box) => box.z === reference);
  const sample = () => state().sample || `s${state().seed}.0`;
  let chosen = -1;

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

  const fitting = mountFit();

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
          h(
            "div",
            { class: "controls files" },
            button("Export boxes", exported, { "data-key": "export" }),
            h("div", { class: "field" }, h("label", { for: "boxes-file" }, "Import boxes"), importInput),
            button("Remove all boxes", () => ((chosen = -1), store([]))),
          ),
          importTrouble,
        ),
        fitting.element,
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
    fitting.update(now, before);
  };
  update(state(), null);
  return {
    update,
    leave() {
      fitting.leave();
      grid.leave();
    },
  };
}
