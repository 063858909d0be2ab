// One channel of a layer: the pictures that excite it most, and the pixels that it looks at in them.

import { explain, get, wait } from "./api.js";
import { h, swap } from "./dom.js";
import { outlines } from "./boxes.js";
import { image } from "./pictures.js";
import { set, state } from "./state.js";
import { busy, button, failure, iconButton, note, number, plural, progress, select } from "./widgets.js";

const SIDE = 96;

// Crops differ in size: each is enlarged by whole pixels to about the same one.
function fitted(source, alt, side = SIDE) {
  const element = image("", alt, "fitted");
  element.addEventListener("load", () => {
    const times = Math.max(1, Math.floor(side / Math.max(element.naturalWidth, element.naturalHeight)));
    element.style.setProperty("width", `${element.naturalWidth * times}px`);
    element.style.setProperty("height", `${element.naturalHeight * times}px`);
  });
  element.src = source;
  return element;
}

export function mountChannels(root) {
  const title = h("h2", { id: "channel-title" }, "Channels");
  const content = h("div", { class: "channel", "aria-live": "off" });
  const filters = h("div", { class: "filters" });
  let layers = null;
  let abort = new AbortController();
  let shown = "";
  let filtersFor = "";

  const named = (name) => layers.networks.find((own) => own.name === name);
  const networkOf = (now) => named(now.from) ?? named(layers.first) ?? layers.networks[0];
  const layerOf = (now) => {
    const all = networkOf(now).layers;
    return all.find((own) => own.index === now.block) ?? all.at(-1);
  };

  const network = select({
    label: "Network",
    choices: [],
    value: "",
    key: "from",
    onChange: (value) => set({ from: value, block: null, channel: 0 }),
  });
  const layer = select({
    label: "Layer",
    choices: [],
    value: "",
    key: "block",
    onChange: (value) => set({ block: Number(value), channel: 0 }),
  });
  const channel = number({
    label: "Channel",
    min: 0,
    max: 0,
    value: 0,
    key: "channel",
    onChange: (value) => set({ channel: value }),
  });
  const step = (by) => {
    const { channels } = layerOf(state());
    set({ channel: (Math.min(state().channel, channels - 1) + by + channels) % channels });
  };
  const of = h("span", { class: "what" });

  function choices(now) {
    const own = networkOf(now);
    const at = layerOf(now);
    network.set(
      own.name,
      layers.networks.map((one) => [one.name, one.name]),
    );
    layer.set(
      at.index,
      own.layers.map((one) => [
        one.index,
        `${one.name}: ${plural(one.channels, "channel")} of ${one.height} × ${one.width}`,
      ]),
    );
    channel.set(Math.min(now.channel, at.channels - 1), { max: at.channels - 1 });
    of.textContent = `of ${at.channels}, from 0`;
  }

  async function start() {
    swap(root, title, busy());
    try {
      layers = await get("/api/layers", {}, { signal: abort.signal });
    } catch (error) {
      if (error.name !== "AbortError") swap(root, title, failure(explain(error), start));
      return;
    }
    if (!layers.networks.some((own) => own.layers.length)) {
      swap(root, title, note("The networks of this run have no convolutional layers, whose channels could be shown."));
      return;
    }
    layers.networks = layers.networks.filter((own) => own.layers.length);
    swap(
      root,
      title,
      h(
        "div",
        { class: "controls" },
        layers.networks.length > 1 ? network.element : null,
        layer.element,
        channel.element,
        of,
        h(
          "div",
          { class: "buttons" },
          iconButton("left", "Previous channel", () => step(-1)),
          iconButton("right", "Next channel", () => step(1)),
          button("Random channel", () => set({ channel: Math.floor(Math.random() * layerOf(state()).channels) })),
        ),
      ),
      content,
      filters,
    );
    draw(state());
  }

  async function draw(now) {
    if (!layers) return;
    choices(now);
    const own = networkOf(now);
    const at = layerOf(now);
    const index = Math.min(now.channel, at.channels - 1);
    drawFilters(own.name);
    const wanted = `${own.name}|${at.index}|${index}`;
    if (wanted === shown) return;
    shown = wanted;
    abort.abort();
    abort = new AbortController();
    content.classList.add("stale");
    try {
      const answer = await wait(
        "/api/channel",
        { network: own.name, layer: at.index, channel: index, k: 6 },
        {
          signal: abort.signal,
          progress: (job) => (
            content.classList.remove("stale"),
            swap(content, progress(`${job.doing ?? "Looking through the pictures"}…`, job.progress))
          ),
        },
      );
      content.classList.remove("stale");
      show(answer);
    } catch (error) {
      if (error.name === "AbortError") return;
      shown = "";
      content.classList.remove("stale");
      swap(
        content,
        failure(explain(error), () => draw(state())),
      );
    }
  }

  function show(answer) {
    const { items, random, receptive, size } = answer;
    const what = answer.of === "data" ? "pictures of the data" : "generated samples";
    const row = (words, explanation, cells) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, words, h("small", {}, explanation)),
        cells.map((cell) => h("td", {}, cell)),
      );
    const boxed = (item, k) => {
      const picture = fitted(
        item.image,
        `Rank ${k + 1}: activation ${item.value.toFixed(2)}, receptive field from x ${item.x}, y ${item.y}, ${item.width} by ${item.height}`,
      );
      return h("div", { class: "boxed" }, picture, outlines([item], size.width, size.height, "outlines receptive"));
    };
    if (!items.length) {
      swap(content, note("No picture excites this channel: it is silent on all of them."));
      return;
    }
    swap(
      content,
      h(
        "p",
        { class: "note", id: "channel-words" },
        `The ${plural(items.length, "picture")} that excite channel ${answer.channel} of ${answer.channels} most, of ${answer.n_images.toLocaleString("en")} ${what}; one unit sees ${receptive.height} × ${receptive.width} pixels. Below each rank its activation, in units of this channel alone.`,
      ),
      h(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Pictures of the channel" },
        h(
          "table",
          { class: "channel-table", "aria-describedby": "channel-words" },
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              h("td", {}),
              items.map((item, k) => h("th", { scope: "col" }, `${k + 1}`, h("small", {}, item.value.toFixed(2)))),
            ),
          ),
          h(
            "tbody",
            {},
            row("Picture", "with what the unit sees", items.map(boxed)),
            row(
              "Crop",
              "only that",
              items.map((item, k) => fitted(item.crop, `Crop of rank ${k + 1}`)),
            ),
            row(
              "Guided backpropagation",
              "which pixels excite it",
              items.map((item, k) => fitted(item.guided, `Guided backpropagation of rank ${k + 1}`)),
            ),
            row(
              "Plain gradient",
              "the same without guidance",
              items.map((item, k) => fitted(item.plain, `Plain gradient of rank ${k + 1}`)),
            ),
          ),
          random
            ? h(
                "tbody",
                { class: "random" },
                row(
                  "Untrained: crop",
                  "the same channel of random filters",
                  random.map((item, k) => fitted(item.crop, `Untrained network, crop of rank ${k + 1}`)),
                ),
                row(
                  "Untrained: guided",
                  "",
                  random.map((item, k) =>
                    fitted(item.guided, `Untrained network, guided backpropagation of rank ${k + 1}`),
                  ),
                ),
              )
            : null,
        ),
      ),
      random ? null : note("The run kept no untrained copy of the network to set beside it."),
    );
    content.dataset.channel = `${answer.network}|${answer.layer}|${answer.channel}`;
  }

  async function drawFilters(name) {
    if (filtersFor === name) return;
    filtersFor = name;
    try {
      const { images } = await get("/api/filters", { network: name });
      if (filtersFor !== name) return;
      const all = images.map((source, k) => h("li", {}, fitted(source, `Filter ${k}`, SIDE / 2)));
      swap(
        filters,
        h("h3", {}, "Filters of the first layer"),
        images.length
          ? h("ul", { class: "filter-list" }, all)
          : note("The first layer has no filters to show as pictures."),
      );
    } catch (error) {
      if (filtersFor !== name) return;
      filtersFor = "";
      swap(
        filters,
        h("h3", {}, "Filters of the first layer"),
        failure(explain(error), () => drawFilters(name)),
      );
    }
  }

  start();
  return {
    update(now, before) {
      if (["from", "block", "channel"].some((name) => now[name] !== before[name])) draw(now);
    },
    leave: () => abort.abort(),
  };
}
