// Walk: through the chosen points, with the picture of the place where one stands.

import { address, explain, getPicture, newest } from "../api.js";
import { calm, h, swap } from "../dom.js";
import { accept, carry } from "../drag.js";
import { Label, image, imageOf, label } from "../pictures.js";
import { LIMITS, add, move, remove } from "../points.js";
import { set, state } from "../state.js";
import { mountStrip } from "../strip.js";
import { button, failure, icon, iconButton, note, radios, select, slider, toggle } from "../widgets.js";

export const title = "Walk";
export const lead =
  "From point to point in z. Smooth changes speak for a generator that has understood; sharp jumps for one that remembers pictures.";

const legsOf = (now) => Math.max(0, now.walk.length - (now.closed ? 0 : 1));
const path = (now) => ({ points: now.walk, kind: now.kind, closed: now.closed, given: now.given });

export function mount(root, run) {
  let playing = 0;
  let reference = null;
  let url = "";
  let built = false;

  // --- the picture of the place t
  const picture = image("", "Picture at the place of the slider", "huge");
  carry(picture, () => (reference ? [reference] : []));
  const where = h("figcaption", { class: "where" });
  const trouble = h("div", {});
  const show = newest(
    async (now) => {
      const answer = await getPicture("/api/walk", { ...path(now), t: now.t });
      const next = URL.createObjectURL(answer.blob);
      picture.src = next;
      await picture.decode().catch(() => {});
      if (url) URL.revokeObjectURL(url);
      url = next;
      reference = answer.reference;
      picture.dataset.t = now.t;
      pin.disabled = !reference;
      trouble.replaceChildren();
    },
    (error) => {
      stop();
      swap(
        trouble,
        failure(explain(error), () => update(state(), null)),
      );
    },
  );

  const words = (t) => {
    const now = state();
    const legs = legsOf(now);
    if (!legs) return "no path yet";
    const leg = Math.min(Math.floor(t), legs - 1);
    const share = Math.round(100 * (t - leg));
    const to = ((leg + 1) % now.walk.length) + 1;
    if (share === 0) return `at point ${leg + 1} of ${now.walk.length}`;
    if (share === 100) return `at point ${to} of ${now.walk.length}`;
    return `${share} % of the way from point ${leg + 1} to ${to}`;
  };

  const go = (t, options = { replace: true }) => set({ t }, options);
  const along = slider({
    label: "Place on the path",
    min: 0,
    max: 1,
    step: 0.01,
    value: 0,
    words,
    hideValue: true,
    onInput: (t) => {
      stop();
      go(t);
    },
    key: "t",
  });
  const stations = h("div", { class: "stations", role: "group", "aria-label": "Points on the path" });
  const pin = button([icon("pin"), "Pin this picture"], () => reference && add("pins", [reference]), {
    disabled: true,
  });
  const play = button("", () => (playing ? stop() : start()), { class: "primary", "data-key": "play" });

  function drawPlay() {
    swap(play, icon(playing ? "pause" : "play"), playing ? "Pause" : "Play");
  }

  function stop() {
    if (!playing) return;
    cancelAnimationFrame(playing);
    playing = 0;
    drawPlay();
  }

  // One point to the next takes two seconds; with reduced motion it goes in steps, one a second.
  function start() {
    let before = null;
    const quiet = calm();
    if (state().t >= legsOf(state()) - 1e-6) go(0);
    const frame = (time) => {
      before ??= time;
      const legs = legsOf(state());
      if (!legs) {
        stop();
        return;
      }
      if (!quiet || time - before >= 1000) {
        const next = state().t + (quiet ? 0.25 : (time - before) / 2000);
        before = time;
        go(next >= legs ? (state().closed ? next - legs : legs) : next);
        if (next >= legs && !state().closed) {
          stop();
          return;
        }
      }
      playing = requestAnimationFrame(frame);
    };
    playing = requestAnimationFrame(frame);
    drawPlay();
  }

  // --- the points in their order
  const list = h("ol", { class: "points" });
  let lifted = null;

  function drawPoints(now) {
    swap(
      list,
      now.walk.map((own, k) => {
        const item = h(
          "li",
          {},
          h("span", { class: "count" }, String(k + 1)),
          imageOf(own, now.given, `Point ${k + 1}: ${label(own)}`, "thumb"),
          h("span", { class: "name" }, Label(own)),
          h(
            "span",
            { class: "buttons" },
            iconButton("up", `Move point ${k + 1} earlier`, () => move("walk", k, k - 1), {
              disabled: k === 0,
              "data-key": `up-${k}`,
            }),
            iconButton("down", `Move point ${k + 1} later`, () => move("walk", k, k + 1), {
              disabled: k === now.walk.length - 1,
              "data-key": `down-${k}`,
            }),
            iconButton("remove", `Remove point ${k + 1}`, () => remove("walk", k), { "data-key": `remove-${k}` }),
          ),
        );
        carry(item, () => [own]);
        item.addEventListener("dragstart", () => (lifted = k));
        item.addEventListener("dragend", () => (lifted = null));
        accept(item, (references, event) => {
          const box = item.getBoundingClientRect();
          const after = event.clientY > box.top + box.height / 2 ? 1 : 0;
          if (lifted === null) add("walk", references, k + after);
          else {
            const to = k + after - (lifted < k + after ? 1 : 0);
            move("walk", lifted, to);
          }
        });
        return item;
      }),
    );
    swap(
      stations,
      legsOf(now)
        ? [...now.walk.keys(), ...(now.closed ? [now.walk.length] : [])].map((k) => {
            const own = now.walk[k % now.walk.length];
            const item = button(imageOf(own, now.given, "", "station"), () => (stop(), go(k, {})), {
              "aria-label": `Go to point ${(k % now.walk.length) + 1}`,
              "data-key": `station-${k}`,
            });
            item.style.setProperty("--at", k / legsOf(now));
            return item;
          })
        : [],
    );
  }

  const strip = mountStrip(run, { words, path, go: (t) => (stop(), go(t, {})) });

  // --- the whole page
  const kind = radios({
    label: "Path",
    choices: [
      ["linear", "linear"],
      ["spherical", "spherical"],
    ],
    value: state().kind,
    key: "kind",
    onChange: (value) => set({ kind: value }),
  });
  const closed = toggle({
    label: "closed (back to the first point)",
    checked: state().closed,
    key: "closed",
    onChange: (value) => set({ closed: value, t: 0 }),
  });
  const frames = select({
    label: "Frames in the strip",
    choices: [],
    value: "",
    key: "frames",
    onChange: (value) => set({ frames: Number(value) }),
  });
  const gif = h("a", { class: "button", download: "walk.gif" }, "Download as GIF");

  const random = (n) => set({ walk: [...Array(n).keys()].map((k) => `s${state().seed}.${k}`), t: 0 });
  const empty = h("div", { class: "empty-state" });
  const stage = h(
    "div",
    { class: "stage" },
    h("figure", {}, picture, where),
    h("div", { class: "along" }, along.element, stations),
    h("div", { class: "under" }, h("div", { class: "buttons" }, play, pin, gif), trouble),
    h(
      "section",
      { class: "panel", "aria-labelledby": "walk-points" },
      h("h2", { id: "walk-points" }, "Points in order"),
      list,
      note(
        "Drag to reorder, or use the arrows. Drop pinned pictures here to add them. A linear path is straight; a spherical one keeps the length of z, which a straight one shortens on its way.",
      ),
      h(
        "div",
        { class: "controls" },
        kind.element,
        closed.element,
        button("Clear the walk", () => set({ walk: [], t: 0 })),
      ),
    ),
  );
  const below = h(
    "section",
    { "aria-labelledby": "walk-strip" },
    h("div", { class: "row between" }, h("h2", { id: "walk-strip" }, "Along the path"), frames.element),
    strip.element,
  );
  accept(root, (references) => add("walk", references));
  drawPlay();

  function drawEmpty(now) {
    const { pins } = now;
    swap(
      empty,
      h("h2", {}, now.walk.length ? "One more point is needed" : "No path yet"),
      h(
        "p",
        {},
        now.walk.length
          ? `The walk has one point, ${label(now.walk[0])}. Add another from the pinned pictures below.`
          : "A walk goes through two or more points. Choose pictures among the pinned ones below and press Walk there, or start here:",
      ),
      h(
        "div",
        { class: "buttons" },
        pins.length >= 2
          ? button(
              `Walk through the ${Math.min(pins.length, LIMITS.walk)} pinned`,
              () => set({ walk: pins.slice(0, LIMITS.walk), t: 0 }),
              { class: "primary" },
            )
          : null,
        button("Walk through 5 random points", () => random(5), { class: pins.length >= 2 ? "" : "primary" }),
      ),
    );
  }

  const update = (now, before) => {
    const changed = (...names) => !before || names.some((name) => String(now[name]) !== String(before[name]));
    const legs = legsOf(now);
    if (legs < 1 || now.walk.length < 2) {
      stop();
      built = false;
      root.replaceChildren(empty);
      drawEmpty(now);
      return;
    }
    const t = Math.min(now.t, legs);
    const fresh = !built;
    if (fresh) root.replaceChildren(stage, below);
    built = true;
    along.set(t, { max: legs });
    where.textContent = words(t);
    if (fresh || changed("walk", "closed", "given")) drawPoints(now);
    if (fresh || changed("walk", "closed", "given", "kind", "frames")) {
      kind.set(now.kind);
      closed.set(now.closed);
      frames.set(
        now.frames,
        [...new Set([4, 6, 8, 10, 16, now.frames])].sort((a, b) => a - b).map((n) => [n, `${n} a leg`]),
      );
      gif.href = address("/api/walk.gif", {
        ...path(now),
        frames: 10,
        scale: Math.max(1, Math.round(128 / run.image_shape[1])),
      });
      strip.draw(now);
    }
    if (fresh || changed("t", "walk", "closed", "given", "kind")) show({ ...now, t });
  };
  update(state(), null);
  return {
    update,
    leave() {
      stop();
      strip.leave();
      if (url) URL.revokeObjectURL(url);
    },
  };
}
