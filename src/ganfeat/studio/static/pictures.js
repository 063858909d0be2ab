// Pictures of points z: asked for together, kept, and drawn enlarged by whole pixels.

import { get, address } from "./api.js";
import { h } from "./dom.js";

const KEPT = 3000;
const kept = new Map();
let queue = [];

const name = (reference, given) => `${given}|${reference}`;

function keep(key, value) {
  kept.delete(key);
  kept.set(key, value);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
}

export const forgetPictures = () => kept.clear();

export function remember(references, images, given) {
  references.forEach((reference, k) => keep(name(reference, given), Promise.resolve(images[k])));
}

async function ask(batch, given) {
  try {
    const { images } = await get("/api/images", { z: batch.map((item) => item.reference), given });
    batch.forEach((item, k) => item.resolve(images[k]));
  } catch (error) {
    // One bad reference in a shared address must not take the others with it.
    if (batch.length > 1) await Promise.all(batch.map((item) => ask([item], given)));
    else batch[0].reject(error);
  }
}

function flush() {
  const all = queue;
  queue = [];
  const groups = new Map();
  for (const item of all) {
    const group = groups.get(item.given) ?? [[]];
    const batch = group.at(-1);
    const length = batch.reduce((sum, other) => sum + other.reference.length, 0);
    if (batch.length >= 48 || length + item.reference.length > 20000) group.push([item]);
    else batch.push(item);
    groups.set(item.given, group);
  }
  for (const [given, group] of groups) for (const batch of group) ask(batch, given);
}

export function picture(reference, given) {
  const key = name(reference, given);
  const known = kept.get(key);
  if (known) return known;
  const promise = new Promise((resolve, reject) => {
    if (!queue.length) queueMicrotask(flush);
    queue.push({ reference, given, resolve, reject });
  });
  promise.catch(() => kept.delete(key));
  keep(key, promise);
  return promise;
}

const BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";

// An <img> that fills in when its picture is there. `size` is a class that sets how far it is enlarged.
export function image(source, alt, size = "") {
  return h("img", { src: source || BLANK, alt, class: `pixels ${size}`, draggable: "false" });
}

export function imageOf(reference, given, alt, size = "") {
  const element = image("", alt, `${size} waiting`);
  picture(reference, given).then(
    (source) => {
      element.src = source;
      element.classList.remove("waiting");
    },
    () => {
      element.classList.replace("waiting", "broken");
      element.alt = `${alt}: cannot be drawn`;
    },
  );
  return element;
}

// What a point is called.
export function label(reference) {
  const match = /^s(\d+)\.(\d+)$/.exec(reference);
  if (match) return `sample ${match[2]} of seed ${match[1]}`;
  let sum = 0;
  for (const letter of reference) sum = (sum * 31 + letter.charCodeAt(0)) % 46656;
  return `point ${sum.toString(36).padStart(3, "0")}`;
}

const upper = (words) => words[0].toUpperCase() + words.slice(1);
export const Label = (reference) => upper(label(reference));

export const download = {
  png: (reference, given, scale) => address("/api/image.png", { z: reference, given, scale }),
  json: (references) => address("/api/latents.json", { z: references }),
  npy: (references) => address("/api/latents.npy", { z: references }),
};

// Several pictures on one sheet, enlarged: drawn here, since the server gives them one at a time.
export async function saveSheet(references, given, scale, file) {
  const sources = await Promise.all(references.map((reference) => picture(reference, given)));
  const images = await Promise.all(
    sources.map(async (source) => {
      const element = new Image();
      element.src = source;
      await element.decode();
      return element;
    }),
  );
  const columns = Math.ceil(Math.sqrt(images.length));
  const width = images[0].naturalWidth * scale;
  const height = images[0].naturalHeight * scale;
  const gap = 2 * scale;
  const canvas = h("canvas", {});
  canvas.width = columns * (width + gap) - gap;
  canvas.height = Math.ceil(images.length / columns) * (height + gap) - gap;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  images.forEach((element, k) =>
    context.drawImage(element, (k % columns) * (width + gap), Math.floor(k / columns) * (height + gap), width, height),
  );
  canvas.toBlob((blob) => save(blob, file));
}

export function save(blob, file) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: file }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
