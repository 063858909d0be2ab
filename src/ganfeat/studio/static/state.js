// The whole state of every page is in the address, so that a view can be shared and the back button works.

const list = {
  read: (text) => text.split(",").filter((item) => /^(s\d{1,10}\.\d{1,3}|v[A-Za-z0-9_-]{4,})$/.test(item)),
  write: (value) => value.join(","),
};
const words = { read: (text) => text.split(",").filter(Boolean), write: (value) => value.join(",") };
const text = { read: (value) => value, write: (value) => value };
const flag = { read: (value) => value === "1", write: (value) => (value ? "1" : "0") };
const whole = (low, high) => ({
  read: (value) => (/^-?\d+$/.test(value) ? Math.min(high, Math.max(low, Number(value))) : undefined),
  write: String,
});
const real = (low, high) => ({
  read: (value) =>
    value !== "" && Number.isFinite(Number(value)) ? Math.min(high, Math.max(low, Number(value))) : undefined,
  write: (value) => String(Number(value.toFixed(4))),
});
const one = (...choices) => ({
  read: (value) => (choices.includes(value) ? value : undefined),
  write: (value) => value,
});
const boxes = {
  read: (value) =>
    value.split(";").flatMap((item) => {
      const match = /^([sv][A-Za-z0-9_.-]+):(\d+),(\d+),(\d+),(\d+)$/.exec(item);
      return match ? [{ z: match[1], x: +match[2], y: +match[3], width: +match[4], height: +match[5] }] : [];
    }),
  write: (value) => value.map((box) => `${box.z}:${box.x},${box.y},${box.width},${box.height}`).join(";"),
};
const numbers = {
  read: (value) => value.split(",").map(Number).filter(Number.isFinite),
  write: (value) => value.map((number) => String(Number(number.toFixed(4)))).join(","),
};

const SEED = whole(0, 4294967295);

// name: [how it is written, what it is when absent]
const FIELDS = {
  seed: [SEED, 0],
  n: [whole(1, 256), 64],
  given: [whole(0, 9999), 0],
  pins: [list, []],
  tray: [one("", "open", "folded"), ""],
  walk: [list, []],
  t: [real(0, 64), 0],
  kind: [one("linear", "spherical"), "linear"],
  closed: [flag, false],
  frames: [whole(2, 32), 6],
  a: [list, []],
  b: [list, []],
  c: [list, []],
  basket: [one("a", "b", "c"), "a"],
  noise: [real(0, 2), 0.25],
  draw: [SEED, 0],
  boxes: [boxes, []],
  sample: [text, ""],
  layer: [whole(-64, 64), null],
  fit: [flag, false],
  maps: [whole(0, 100000), null],
  network: [text, ""],
  colour: [one("label", "cluster"), "label"],
  class: [text, ""],
  point: [whole(0, 1e9), null],
  view: [numbers, []],
  from: [text, ""],
  block: [whole(-1000, 1000), null],
  channel: [whole(0, 1e6), 0],
  curves: [words, []],
  log: [flag, false],
  sheet: [text, ""],
};

export const PAGES = ["samples", "walk", "arithmetic", "forget", "features", "training"];

export function read(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const state = { page: PAGES.includes(path) ? path : "samples" };
  const given = new URLSearchParams(query);
  for (const [name, [form, absent]] of Object.entries(FIELDS)) {
    const value = given.get(name);
    state[name] = (value === null ? undefined : form.read(value)) ?? absent;
  }
  return state;
}

export function write(state) {
  const parts = [];
  for (const [name, [form, absent]] of Object.entries(FIELDS)) {
    if (state[name] === null || state[name] === undefined) continue;
    const value = form.write(state[name]);
    if (absent !== null && value === form.write(absent)) continue;
    parts.push(`${name}=${encodeURIComponent(value).replace(/%(2C|3A|3B|2F)/g, decodeURIComponent)}`);
  }
  return `#/${state.page}${parts.length ? `?${parts.join("&")}` : ""}`;
}

let current = read(location.hash);
const listeners = new Set();
let timer = 0;
let stale = false;

export const state = () => current;

function tell(previous) {
  for (const listener of listeners) listener(current, previous);
}

function store() {
  clearTimeout(timer);
  timer = 0;
  if (stale) history.replaceState(null, "", write(current));
  stale = false;
}

// `replace` is for what changes all the time, a slider: no step back for each position, and the address follows
// a little later because browsers allow only so many changes in a while.
export function set(changes, { replace = false } = {}) {
  const next = { ...current, ...changes };
  if (write(next) === write(current)) return;
  const previous = current;
  if (replace) {
    current = next;
    stale = true;
    if (!timer) timer = setTimeout(store, 250);
  } else {
    if (stale) store();
    current = next;
    history.pushState(null, "", write(current));
  }
  tell(previous);
}

export const hrefTo = (changes) => write({ ...current, ...changes });

export function onState(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function follow() {
  clearTimeout(timer);
  timer = 0;
  stale = false;
  const previous = current;
  if (!/^#\//.test(location.hash) && location.hash !== "") return;
  current = read(location.hash);
  tell(previous);
}

addEventListener("popstate", follow);
addEventListener("pagehide", store);
