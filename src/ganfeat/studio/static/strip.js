// Frames along a walk: how much each step changes, and what of the data is nearest.

import { explain, get } from "./api.js";
import { roomIn, short, stepChart } from "./chart.js";
import { h, rove, swap } from "./dom.js";
import { image, remember } from "./pictures.js";
import { state } from "./state.js";
import { busy, button, failure, note, plural } from "./widgets.js";

export function mountStrip(run, { words, path, go }) {
  let abort = null;
  const element = h("div", { class: "strip-box", "aria-live": "off" });
  async function draw(now) {
    abort?.abort();
    abort = new AbortController();
    const own = abort;
    element.classList.add("stale");
    if (!element.children.length) element.replaceChildren(busy("Drawing the strip…"));
    try {
      const answer = await get("/api/walk/strip", { ...path(now), frames: now.frames }, { signal: own.signal });
      remember(answer.refs, answer.images, now.given);
      const {
        pixel_steps: steps,
        jumps,
        ratio,
        sharp,
      } = answer.smoothness ?? { pixel_steps: answer.images.slice(1).map(() => 0), jumps: [], ratio: null };
      const largest = `the largest step is ${short(ratio ?? 0)} times the median one; more than ${sharp} times counts as a jump.`;
      const verdict =
        ratio === null
          ? "The picture does not change along this path."
          : `${jumps.length ? `${plural(jumps.length, "sharp jump")} marked` : "No sharp jump"}: ${largest}`;
      const real = answer.memorisation?.learned_from ? "training image" : "real image";
      const cells = answer.images.map((source, k) =>
        h(
          "div",
          { class: "frame" },
          button(image(source, "", "cell"), () => go(answer.t[k]), {
            "aria-label": `Frame ${k + 1} of ${answer.images.length}: go to ${words(answer.t[k])}`,
            "data-key": `frame-${k}`,
            class: "bare",
          }),
          answer.neighbours
            ? image(answer.neighbours[k], `Nearest ${real} to frame ${k + 1}`, "cell below")
            : null,
        ),
      );
      const frames = h("div", { class: "strip", role: "group", "aria-label": "Frames along the path" }, cells);
      rove(frames, "button").refresh();
      swap(
        element,
        frames,
        note(
          answer.neighbours
            ? `Above the frames, below each the nearest ${real}.`
            : run.data
              ? ""
              : "Start the studio with --data to see the nearest picture of the data below each frame.",
        ),
        h(
          "figure",
          {},
          h("h3", {}, "How much each step changes"),
          stepChart({
            width: roomIn(element, 640),
            steps: steps.map((size) => size ?? 0),
            jumps,
            words: `Change of the picture in ${plural(steps.length, "step")}. ${verdict}`,
            onChoose: (k) => go((answer.t[k] + answer.t[k + 1]) / 2),
          }),
          h(
            "figcaption",
            {},
            verdict,
            " Bars: how much the picture changes from one frame to the next, for each unit of way in z (Euclidean distance over all pixels, each from 0 to 1). A click on a bar goes there.",
          ),
        ),
        answer.memorisation ? note(memory(answer.memorisation)) : null,
      );
      element.classList.remove("stale");
    } catch (error) {
      if (error.name !== "AbortError") {
        element.classList.remove("stale");
        element.replaceChildren(failure(explain(error), () => draw(state())));
      }
    }
  }

  const memory = (found) =>
    typeof found === "string" ? found : (found.words ?? `Memorisation score: ${short(found.score)}.`);

  return { element, draw, leave: () => abort?.abort() };
}
