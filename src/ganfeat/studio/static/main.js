// Which page is shown, and what all pages share: the header, the pinned points, the banner when the server is gone.

import { get, onConnection, explain } from "./api.js";
import { announce, h, swap } from "./dom.js";
import { forgetPictures } from "./pictures.js";
import { PAGES, hrefTo, onState, set, state } from "./state.js";
import { mountTray } from "./tray.js";
import { busy, failure, select } from "./widgets.js";

import * as samples from "./pages/samples.js";
import * as walk from "./pages/walk.js";
import * as arithmetic from "./pages/arithmetic.js";
import * as forget from "./pages/forget.js";
import * as features from "./pages/features.js";
import * as training from "./pages/training.js";

const pages = { samples, walk, arithmetic, forget, features, training };
const main = document.getElementById("main");
let run = null;
let shown = null;
let chooser = null;
let tray = null;

function header() {
  document.getElementById("run").textContent = run.name;
  document.getElementById("describe").textContent = run.describe;
  if (run.condition) {
    const { name, values } = run.condition;
    chooser = select({
      label: name[0].toUpperCase() + name.slice(1),
      choices: values.map((value, k) => [k, String(value)]),
      value: state().given,
      onChange: (value) => set({ given: Number(value) }),
      key: "given",
    });
    document.getElementById("condition").replaceChildren(chooser.element);
  }
}

// How far the pictures are enlarged: by whole pixels, to sizes that suit a person and the window.
function scales() {
  const [height, width] = run.image_shape;
  const root = document.documentElement.style;
  const nearest = (size) => Math.max(1, Math.round(size / Math.max(height, width)));
  const within = (size) => Math.max(1, Math.floor(size / width));
  const room = Math.min(innerWidth, document.documentElement.clientWidth) - 64;
  root.setProperty("--w", width);
  root.setProperty("--h", height);
  const sizes = {
    thumb: nearest(56),
    station: nearest(32),
    cell: nearest(64),
    nine: Math.min(nearest(96), within(room / 3)),
    large: nearest(128),
    huge: Math.min(nearest(352), within(room)),
  };
  for (const [name, times] of Object.entries(sizes)) root.setProperty(`--${name}`, times);
}

function navigation() {
  const list = document.getElementById("pages");
  swap(
    list,
    PAGES.map((page) =>
      h(
        "li",
        {},
        h(
          "a",
          {
            href: hrefTo({ page }),
            "aria-current": page === state().page ? "page" : null,
            "data-key": `page-${page}`,
            onclick: (event) => {
              if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
              event.preventDefault();
              set({ page });
            },
          },
          pages[page].title,
        ),
      ),
    ),
  );
}

// Moves the focus only when a person changed the page: on the first load it belongs to the browser.
function show(focus) {
  shown?.view.leave?.();
  const page = state().page;
  const { title, lead, mount } = pages[page];
  const heading = h("h1", { tabindex: "-1" }, title);
  const body = h("div", { class: `page ${page}` });
  main.replaceChildren(h("div", { class: "heading" }, heading, h("p", { class: "lead" }, lead)), body);
  document.title = `${title} · ${run.name} · ganfeat studio`;
  shown = { page, view: mount(body, run) };
  if (focus) {
    scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  }
}

// An address that was made for another run, or by hand, may name a generator or label that this run does not have.
function bound(now) {
  now.given = Math.min(now.given, (run.condition?.values.length ?? 1) - 1);
  chooser?.set(now.given);
}

function changed(now, before) {
  bound(now);
  navigation();
  tray.update(now, before);
  if (now.page !== shown.page) show(true);
  else shown.view.update?.(now, before);
}

async function start() {
  main.replaceChildren(busy("Loading the run…"));
  try {
    run = await get("/api/run");
  } catch (error) {
    main.replaceChildren(h("h1", {}, "ganfeat studio"), failure(explain(error), start));
    return;
  }
  header();
  scales();
  addEventListener("resize", scales);
  tray = mountTray(document.getElementById("tray"), run);
  bound(state());
  navigation();
  tray.update(state(), null);
  show(false);
  onState(changed);
}

// The address belongs to the state of the view, so the link to the page's content must leave it alone.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

// A file dropped beside the place for it would otherwise take the studio's place in the window.
for (const name of ["dragover", "drop"])
  addEventListener(name, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());

const banner = document.getElementById("banner");

// Perhaps another run is served at this address now, or the same one trained further: nothing drawn before is kept.
async function back() {
  if (run) {
    let now;
    try {
      now = await get("/api/run");
    } catch {
      return;
    }
    if (JSON.stringify(now) !== JSON.stringify(run)) {
      location.reload();
      return;
    }
    forgetPictures();
  }
  banner.replaceChildren();
  announce("The server is back.");
  if (!run) {
    start();
    return;
  }
  tray.update(state(), null);
  show(false);
}

onConnection((there) => {
  if (there) {
    back();
  } else {
    banner.replaceChildren(
      h(
        "p",
        {},
        h("strong", {}, "The studio’s server does not answer. "),
        "Was it stopped? Start ",
        h("code", {}, "ganfeat studio"),
        " again with the same run and port; this page goes on by itself. Nothing is lost: the view is in the address.",
      ),
    );
  }
});

start();
