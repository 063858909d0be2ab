// A grid of samples of one seed: what a click means is the page's business.

import { get, explain } from "./api.js";
import { h, rove, swap } from "./dom.js";
import { carry } from "./drag.js";
import { Label, image, remember } from "./pictures.js";
import { busy, failure } from "./widgets.js";

export function sampleGrid({ name, hint, onChoose, onKey, marked, size = "cell", overlay }) {
  const list = h("div", { class: "grid", role: "group", "aria-label": name });
  const element = h("div", { class: "samples-box" }, list);
  const keys = rove(list, "button", onKey);
  let shown = "";
  let references = [];
  let abort = null;

  // What `marked` says of a picture, true or a few letters, is shown in its corner.
  function mark() {
    if (!marked) return;
    for (const item of list.children) {
      const is = marked(item.dataset.reference);
      item.setAttribute("aria-pressed", String(Boolean(is)));
      item.dataset.mark = typeof is === "string" ? is : "";
      const own = Label(item.dataset.reference);
      item.setAttribute("aria-label", item.dataset.mark ? `${own}, in ${item.dataset.mark}` : own);
    }
  }

  async function load(seed, n, given) {
    const wanted = `${seed}|${n}|${given}`;
    if (wanted === shown) {
      mark();
      return;
    }
    shown = wanted;
    abort?.abort();
    abort = new AbortController();
    list.classList.add("stale");
    if (!list.children.length) element.replaceChildren(busy("Drawing samples…"));
    try {
      const answer = await get("/api/samples", { seed, n, given }, { signal: abort.signal });
      references = answer.refs;
      remember(answer.refs, answer.images, given);
      swap(
        list,
        answer.refs.map((reference, k) => {
          const item = h(
            "button",
            {
              type: "button",
              tabindex: "-1",
              "data-reference": reference,
              "data-key": `sample-${k}`,
              title: hint ?? null,
              onclick: (event) => onChoose(reference, item, event),
            },
            image(answer.images[k], Label(reference), size),
            overlay?.(reference),
          );
          carry(item, () => [reference]);
          return item;
        }),
      );
      keys.refresh();
      mark();
      list.classList.remove("stale");
      if (!element.contains(list)) element.replaceChildren(list);
    } catch (error) {
      if (error.name === "AbortError") return;
      shown = "";
      element.replaceChildren(failure(explain(error), () => load(seed, n, given)));
    }
  }

  return { element, list, load, mark, references: () => references, leave: () => abort?.abort() };
}
