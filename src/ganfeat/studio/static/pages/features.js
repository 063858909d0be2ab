// Features: a map of the data, and what single channels of a network look for.

import { mountChannels } from "../channels.js";
import { address, explain, wait } from "../api.js";
import { announce, h, rove, swap } from "../dom.js";
import { featureMap, look } from "../map.js";
import { image } from "../pictures.js";
import { set, state } from "../state.js";
import { busy, button, failure, note, plural, progress, select } from "../widgets.js";

export const title = "Features";
export const lead = "Where the network puts the pictures of the data, and what its channels look for.";

export function mount(root, run) {
  const mapSection = h("section", { "aria-labelledby": "map-title" });
  const channelSection = h("section", { "aria-labelledby": "channel-title" });
  root.append(mapSection, channelSection);
  const channels = mountChannels(channelSection);
  const title = h("h2", { id: "map-title" }, "Map of the data");
  const near = h("div", { class: "near", "aria-live": "polite" });
  let abort = new AbortController();
  let map = null;
  let found = null;
  let legend = null;
  let nearFor = "";
  let colour = null;

  const networkOf = (now) => (run.networks.includes(now.network) ? now.network : (run.network ?? run.networks[0]));
  const byLabel = (now) => Boolean(found.labels) && now.colour === "label";
  const nameOf = (value) => (value < 0 ? "unknown" : String(found.classes?.[value] ?? value));
  const classesOf = () =>
    found.classes
      ? found.classes.map((_, k) => k)
      : [...new Set(found.labels)].filter((value) => value >= 0).sort((a, b) => a - b);
  const groupOf = (k) =>
    byLabel(state())
      ? found.labels[k] < 0
        ? classesOf().length
        : classesOf().indexOf(found.labels[k])
      : found.clusters[k];
  const imageIndex = (k) => found.indices?.[k] ?? k;
  const describe = (k) =>
    (found.labels ? `${nameOf(found.labels[k])} · ` : "") +
    `picture ${imageIndex(k)} · cluster ${found.clusters[k] + 1}`;

  function withoutData() {
    swap(
      mapSection,
      title,
      h(
        "div",
        { class: "empty-state" },
        h(
          "p",
          {},
          "The map needs pictures, and the studio was started without any. Stop it and start it again with the data:",
        ),
        h("pre", {}, h("code", {}, `ganfeat studio ${run.name} --data DATA`)),
        h(
          "p",
          { class: "note" },
          "DATA is what the run was trained on, or the like of it: a bundled name such as mnist5k, a folder of pictures, a .parquet or an .npz file. Below, the channels are shown on generated samples meanwhile.",
        ),
      ),
    );
  }

  async function load(now) {
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    map?.leave();
    map = null;
    const network = networkOf(now);
    const bar = h("div", { class: "progress-box" }, busy("Asking for the map…"));
    swap(mapSection, title, bar);
    try {
      found = await wait(
        "/api/features",
        { network },
        { signal, progress: (job) => swap(bar, progress(`${job.doing}…`, job.progress)) },
      );
      build(state());
    } catch (error) {
      if (error.name !== "AbortError")
        swap(
          mapSection,
          title,
          failure(explain(error), () => load(state())),
        );
    }
  }

  function build(now) {
    legend = h("ul", { class: "legend", "aria-label": "Legend: press one to see it alone" });
    rove(legend, "button");
    map = featureMap({
      name: `Map of ${plural(found.points.length, "picture")} by the features of the ${found.network}`,
      points: found.points,
      sprite: found.sprite,
      groupOf,
      describe,
      onChoose: (k) => {
        set({ point: imageIndex(k) });
        announce(`${describe(k)}: its nearest neighbours follow the map.`);
      },
      onView: (view) => set({ view: view[2] === 1 ? [] : view }, { replace: true }),
      onPoint: (k, spoken) => spoken && k >= 0 && announce(describe(k)),
    });
    colour = found.labels
      ? select({
          label: "Colour by",
          choices: [
            ["label", "label"],
            ["cluster", `cluster (${found.n_clusters})`],
          ],
          value: now.colour,
          key: "colour",
          onChange: (value) => set({ colour: value, class: "" }),
        })
      : null;
    const network =
      run.networks.length > 1
        ? select({
            label: "Features of",
            choices: run.networks.map((own) => [own, own]),
            value: networkOf(now),
            key: "network",
            onChange: (value) => set({ network: value, point: null, view: [] }),
          })
        : null;
    swap(
      mapSection,
      title,
      h(
        "div",
        { class: "controls" },
        network?.element,
        colour?.element,
        h(
          "div",
          { class: "buttons" },
          button("Zoom in", () => map.zoom(1.5)),
          button("Zoom out", () => map.zoom(1 / 1.5)),
          button("Whole map", () => map.reset()),
        ),
      ),
      h(
        "div",
        { class: "map-split" },
        h(
          "div",
          {},
          map.element,
          legend,
          h(
            "p",
            { class: "note", id: "map-keys" },
            "Point at a mark to see its picture, click it for its nearest neighbours. Wheel or + and − zoom, dragging moves. With the map in focus the arrow keys go to the nearest mark and Enter shows its neighbours.",
          ),
          found.note ? note(found.note) : null,
        ),
        near,
      ),
    );
    nearFor = "";
    draw(now);
  }

  function drawLegend(now) {
    const count = new Map();
    found.points.forEach((_, k) => count.set(groupOf(k), (count.get(groupOf(k)) ?? 0) + 1));
    const groups = byLabel(now)
      ? [...classesOf(), -1].map((value, k) => [k, nameOf(value)])
      : [...Array(found.n_clusters).keys()].map((k) => [k, `cluster ${k + 1}`]);
    swap(
      legend,
      groups
        .filter(([group]) => count.has(group))
        .map(([group, words]) => {
          const { colour: own, shape } = look(group);
          return h(
            "li",
            {},
            h(
              "button",
              {
                type: "button",
                class: "key",
                "aria-pressed": String(now.class === String(group)),
                "data-key": `class-${group}`,
                onclick: () => set({ class: state().class === String(group) ? "" : String(group) }),
              },
              h("span", { class: `mark class-${own} shape-${shape}`, "aria-hidden": "true" }),
              `${words} (${count.get(group)})`,
            ),
          );
        }),
    );
  }

  const at = (now) => (now.point === null ? -1 : found.indices ? found.indices.indexOf(now.point) : now.point);

  function draw(now) {
    colour?.set(now.colour);
    drawLegend(now);
    map.regroup();
    map.set({ choose: at(now), lit: /^\d+$/.test(now.class) ? Number(now.class) : null, seen: now.view });
    drawNear(now);
  }

  // As many of the neighbours would have its label if they were any pictures of the map.
  function chance({ label, neighbours }) {
    const count = found.labels?.filter((own) => nameOf(own) === label).length ?? 0;
    if (!count) return "";
    return `, by chance ${((neighbours.length * count) / found.labels.length).toFixed(1)} would`;
  }

  async function drawNear(now) {
    const wanted = `${networkOf(now)}|${now.point}`;
    if (wanted === nearFor) return;
    nearFor = wanted;
    if (now.point === null) {
      swap(near, h("h3", {}, "Nearest neighbours"), note("Choose a mark on the map."));
      return;
    }
    if (!near.children.length) swap(near, busy());
    try {
      const answer = await wait(
        "/api/neighbours",
        { network: networkOf(now), i: now.point, k: 8 },
        { signal: abort.signal },
      );
      if (wanted !== nearFor) return;
      const same = answer.neighbours.filter((own) => own.label === answer.label).length;
      const words = (own) => own.label ?? `picture ${own.i}`;
      const list = h(
        "div",
        { class: "neighbour-grid", role: "group", "aria-label": "Nearest neighbours" },
        answer.neighbours.map((own, k) =>
          h(
            "figure",
            { class: answer.label !== null && own.label !== answer.label ? "other" : "" },
            button(image(own.image, "", "cell"), () => set({ point: own.i }), {
              class: "bare",
              "aria-label": `Neighbour ${k + 1}: ${words(own)}, distance ${own.distance.toFixed(2)}. Go there`,
              "data-key": `near-${k}`,
              "data-i": own.i,
            }),
            h("figcaption", {}, words(own), h("small", {}, own.distance.toFixed(2))),
          ),
        ),
      );
      rove(list, "button").refresh();
      swap(
        near,
        h("h3", {}, "Nearest neighbours"),
        h(
          "figure",
          { class: "query" },
          image(
            address("/api/data/image.png", { i: answer.i }),
            `Picture ${answer.i}${answer.label === null ? "" : `: ${answer.label}`}`,
            "large",
          ),
          h("figcaption", {}, answer.label === null ? `picture ${answer.i}` : `${answer.label} · picture ${answer.i}`),
        ),
        list,
        note(
          answer.label === null ? "" : `${same} of ${answer.neighbours.length} have its label${chance(answer)}. `,
          `Below each its ${answer.measure} in feature space, 0 for the same direction`,
          answer.usual === null ? "" : `; half of all pictures are farther than ${answer.usual.toFixed(2)}`,
          ". A click goes there.",
        ),
      );
    } catch (error) {
      if (error.name === "AbortError") return;
      nearFor = "";
      swap(
        near,
        h("h3", {}, "Nearest neighbours"),
        failure(explain(error), () => drawNear(state())),
      );
    }
  }

  if (run.data) load(state());
  else withoutData();

  return {
    update(now, before) {
      if (run.data && networkOf(now) !== networkOf(before)) load(now);
      else if (map && ["colour", "class", "point", "view"].some((name) => String(now[name]) !== String(before[name])))
        draw(now);
      channels.update(now, before);
    },
    leave() {
      abort.abort();
      map?.leave();
      channels.leave();
    },
  };
}
