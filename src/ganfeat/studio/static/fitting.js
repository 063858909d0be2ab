// The maps of the generator that draw what is in the boxes, and the samples without them.

import { ServerError, explain, get, newest, post } from "./api.js";
import { h, swap } from "./dom.js";
import { image, label } from "./pictures.js";
import { set, state } from "./state.js";
import { busy, button, failure, note, percent, plural, select, slider } from "./widgets.js";

const COMPARED = 16;
// Area under the curve below which the probe is no judge.
const WEAK = 0.7;

export function mountFit() {
  let fitted = null;
  let fittedFor = "";
  let layersFor = null;

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
      ` of ${of.name} ${positive === 1 ? "has" : "have"} a positive weight: where they are active, the regression says “inside a box”. `,
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
            `Largest weights of the regression, of which 0 says nothing: ${weights
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
      const draws = answer.presence?.draws ?? 1;
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
                `Without ${plural(maps, "random map")}: what any such cut does${draws > 1 ? ` (one of ${draws} draws)` : ""}.`,
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

  function presence({ before, after, control, elsewhere, after_ci: sure, control_range: range, draws, auc }) {
    if (auc === null || auc === undefined || auc < WEAK)
      return note(
        `How much of the object is left cannot be told: a probe that looks at the pictures hardly finds it even before (area under the curve ${auc?.toFixed(2) ?? "unknown"}, guessing gives 0.50). Draw more boxes.`,
      );
    const row = (words, value, more = "") =>
      value === null || value === undefined
        ? null
        : h(
            "tr",
            {},
            h("th", { scope: "row" }, words),
            h("td", {}, h("meter", { min: 0, max: 1, value, "aria-label": `${words}: ${percent(value)}` })),
            h("td", {}, percent(value), more ? h("small", {}, more) : null),
          );
    const spread = range && draws > 1 ? ` ${percent(range[0])} to ${percent(range[1])} in ${draws} draws` : "";
    const beyond = after < range?.[0];
    const verdict =
      range && draws > 1 && state().maps !== 0
        ? note(
            beyond
              ? `Lower than with any of ${draws} draws of random maps: these maps draw more of the object than others do.`
              : `Not lower than with each of ${draws} draws of random maps: that these maps draw the object cannot be told.`,
          )
        : null;
    const table = h(
      "table",
      { class: "presence" },
      h(
        "caption",
        {},
        "How surely a probe that sees only the pictures finds the object. Forgetting works where “after” falls from “before” towards “outside the boxes”, and the control does not.",
      ),
      h(
        "tbody",
        {},
        row("before", before),
        row("after", after, sure ? ` ${percent(sure[0])} to ${percent(sure[1])}, 95 % interval over the samples` : ""),
        row("control: random maps", control, spread),
        row("outside the boxes, before", elsewhere),
      ),
    );
    return [table, verdict];
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

  const element = h(
    "section",
    { "aria-labelledby": "fit-title" },
    h("h2", { id: "fit-title" }, "Find and drop the maps"),
    h("div", { class: "controls" }, layer.element, fitButton, count),
    outcome,
    comparison,
  );

  return {
    element,
    update(now, before) {
      const changed = (...names) => names.some((own) => JSON.stringify(now[own]) !== JSON.stringify(before[own]));
      drawButton();
      if (!before || changed("given")) {
        loadLayers().then(() => {
          drawButton();
          if (state().fit) fit(state());
        });
        return;
      }
      if (changed("layer")) layer.set(layerOf(now));
      if (now.fit && changed("fit", "boxes", "layer")) fit(now);
      else if (fitted && fittedFor === wanted(now) && changed("maps", "seed")) {
        fitted.slider?.set(Math.min(now.maps ?? fitted.positive, fitted.positive));
        compare(now);
      }
    },
    leave: () => clearTimeout(rest),
  };
}
