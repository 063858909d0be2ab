// What can be done with points on every page: pin them, put them into the walk or into a basket.

import { announce } from "./dom.js";
import { label } from "./pictures.js";
import { set, state } from "./state.js";
import { plural } from "./widgets.js";

export const LIMITS = { pins: 64, walk: 32, a: 16, b: 16, c: 16 };
const PLACES = { pins: "the pinned pictures", walk: "the walk", a: "basket A", b: "basket B", c: "basket C" };

const say = (words) => announce(words, { shown: true });
const named = (references) => (references.length === 1 ? label(references[0]) : plural(references.length, "picture"));

// The walk may pass a point twice; elsewhere a point stands once.
export function add(place, references, at = null) {
  const before = state()[place];
  const fresh =
    place === "walk" ? references : [...new Set(references)].filter((reference) => !before.includes(reference));
  const room = LIMITS[place] - before.length;
  if (!fresh.length) {
    say(`Already in ${PLACES[place]}: ${named(references)}.`);
    return;
  }
  if (room <= 0) {
    say(`No room in ${PLACES[place]}: it holds ${LIMITS[place]}.`);
    return;
  }
  const next = [...before];
  next.splice(at ?? before.length, 0, ...fresh.slice(0, room));
  set({ [place]: next });
  say(`Added to ${PLACES[place]}: ${named(fresh.slice(0, room))}. Now ${next.length}.`);
}

export function remove(place, index) {
  const gone = state()[place][index];
  set({ [place]: state()[place].filter((_, k) => k !== index) });
  announce(`Removed from ${PLACES[place]}: ${label(gone)}.`);
}

export function move(place, from, to) {
  const next = [...state()[place]];
  if (to < 0 || to >= next.length || from === to) return;
  next.splice(to, 0, ...next.splice(from, 1));
  set({ [place]: next });
  announce(`${label(next[to])}: now number ${to + 1} of ${next.length}.`);
}

export function togglePin(reference) {
  const at = state().pins.indexOf(reference);
  if (at < 0) add("pins", [reference]);
  else remove("pins", at);
}
