// Training: what the run wrote down while it learned.

import { address, explain, get } from "../api.js";
import { lineChart, roomIn, short } from "../chart.js";
import { h, swap } from "../dom.js";
import { image } from "../pictures.js";
import { set, state } from "../state.js";
import { busy, button, failure, note, plural, radios, slider, toggle } from "../widgets.js";

export const title = "Training";
export const lead = "The curves of the run, what they say about its health, and its samples over time.";

const AXES = ["step", "total_steps", "epoch", "seconds"];

export function mount(root) {
  const abort = new AbortController();
  const curves = h("section", { "aria-labelledby": "curves-title" });
  const health = h("section", { "aria-labelledby": "health-title" });
  const sheets = h("section", { "aria-labelledby": "sheets-title" });
  root.append(health, curves, sheets);
  let history = null;
  let drawCurves = () => {};
  let drawSheet = () => {};

  function loadHistory() {
    swap(curves, h("h2", { id: "curves-title" }, "Curves"), busy());
    swap(health, h("h2", { id: "health-title" }, "Health"), busy());
    get("/api/history", {}, { signal: abort.signal }).then(showHistory, (error) => {
      if (error.name === "AbortError") return;
      swap(curves, h("h2", { id: "curves-title" }, "Curves"), failure(explain(error), loadHistory));
      swap(health, h("h2", { id: "health-title" }, "Health"), failure(explain(error), loadHistory));
    });
  }

  function showHistory(answer) {
    history = answer;
    const { verdict, alarms } = answer.health ?? {};
    swap(
      health,
      h(
        "div",
        { class: "row between" },
        h("h2", { id: "health-title" }, "Health"),
        button("Read again", () => (loadHistory(), loadSheets()), {
          "data-key": "again",
          title: "The run may still be training",
        }),
      ),
      h(
        "p",
        {
          class: `verdict ${alarms?.some((alarm) => alarm.up) ? "alarm" : ""} ${answer.records.length && verdict !== "not measured" ? "" : "none"}`,
        },
        verdict ? verdict[0].toUpperCase() + verdict.slice(1) : "Not measured",
      ),
      verdict === "not measured"
        ? note("This run wrote down none of the measurements by which health is judged.")
        : null,
      alarms?.length
        ? h(
            "ul",
            { class: "alarms" },
            alarms.map((alarm) =>
              h(
                "li",
                {},
                `${alarm.message} (step ${alarm.step.toLocaleString("en")}${alarm.up ? "" : "; over since"})`,
              ),
            ),
          )
        : null,
    );
    const keys = answer.keys.filter((key) => !AXES.includes(key));
    if (!answer.records.length || !keys.length) {
      swap(
        curves,
        h("h2", { id: "curves-title" }, "Curves"),
        note("This run kept no history, so there are no curves. Imported networks have none."),
      );
      return;
    }
    const axis = ["step", "epoch", "seconds"].find((name) => answer.keys.includes(name) || name in answer.records[0]);
    const losses = keys.filter((key) => key.startsWith("loss/"));
    const initial = losses.length ? losses.slice(0, 4) : keys.slice(0, 2);
    const now = () => (state().curves.length ? state().curves.filter((key) => keys.includes(key)) : initial);
    const groups = new Map();
    for (const key of keys) {
      const group = key.includes("/") ? key.split("/")[0] : "other";
      groups.set(group, [...(groups.get(group) ?? []), key]);
    }
    const boxes = new Map();
    const choice = (key) => {
      const box = toggle({
        label: key.includes("/") ? key.slice(key.indexOf("/") + 1) : key,
        checked: false,
        key: `curve-${key}`,
        onChange: (on) => set({ curves: keys.filter((own) => (own === key ? on : now().includes(own))) }),
      });
      box.input.setAttribute("aria-label", key);
      boxes.set(key, box);
      return box.element;
    };
    const log = toggle({
      label: "log scale",
      checked: state().log,
      key: "log",
      onChange: (value) => set({ log: value }),
    });
    const readout = h("p", { class: "readout", "aria-live": "polite" });
    const place = h("div", { class: "chart-box" });
    const legend = h("ul", { class: "legend" });
    const restore = () =>
      (readout.textContent = `Point at the curves, or focus them and use the arrow keys, to read values at one ${axis}.`);
    swap(
      curves,
      h("h2", { id: "curves-title" }, "Curves"),
      h(
        "div",
        { class: "curve-choice" },
        [...groups].map(([group, own]) => h("fieldset", { class: "checks" }, h("legend", {}, group), own.map(choice))),
      ),
      h("div", { class: "controls" }, log.element),
      place,
      legend,
      readout,
      losses.length
        ? note(
            "The losses of a GAN need not fall: generator and discriminator work against each other, and one’s gain is the other’s loss. Health and the samples below say more.",
          )
        : null,
    );
    drawCurves = () => {
      const chosen = now();
      for (const [key, box] of boxes) box.set(chosen.includes(key));
      log.set(state().log);
      const lines = chosen.map((key) => ({
        name: key,
        colour: chosen.indexOf(key),
        points: history.records.map((record) => [record[axis], record[key]]),
      }));
      restore();
      swap(
        place,
        lines.length
          ? lineChart({
              lines,
              width: roomIn(place, 960),
              xName: axis,
              log: state().log,
              name: `${chosen.join(", ")} against the ${axis}${state().log ? ", log scale" : ""}. Arrow keys read values.`,
              onRead: (x, values) =>
                (readout.textContent = `${axis} ${x.toLocaleString("en")}: ${values
                  .filter(([, y]) => y !== undefined)
                  .map(([name, y]) => `${name} ${short(y)}`)
                  .join(", ")}`),
            })
          : note("Choose a curve above."),
      );
      swap(
        legend,
        lines.map((line) =>
          h(
            "li",
            {},
            h("span", { class: `swatch series-${line.colour % 6} dash-${Math.floor(line.colour / 6) % 3}` }),
            line.name,
          ),
        ),
      );
    };
    drawCurves();
  }

  function loadSheets() {
    swap(sheets, h("h2", { id: "sheets-title" }, "Samples over time"), busy());
    get("/api/sheets", {}, { signal: abort.signal }).then(showSheets, (error) => {
      if (error.name !== "AbortError")
        swap(sheets, h("h2", { id: "sheets-title" }, "Samples over time"), failure(explain(error), loadSheets));
    });
  }

  function showSheets({ sheets: both }) {
    const heading = h("h2", { id: "sheets-title" }, "Samples over time");
    if (!both.length) {
      swap(sheets, heading, note("The run kept no sample sheets."));
      return;
    }
    // A run with an encoder keeps sheets of reconstructions, too: each kind has its own row in time.
    const again = (name) => name.startsWith("reconstruction-");
    const kinds = {
      samples: both.filter((own) => !again(own.name)),
      reconstructions: both.filter((own) => again(own.name)),
    };
    const kindNow = () => (kinds.samples.length && !again(state().sheet) ? "samples" : "reconstructions");
    const all = () => (kinds[kindNow()].length ? kinds[kindNow()] : both);
    const find = () => {
      const at = all().findIndex((sheet) => sheet.name === state().sheet);
      return at < 0 ? all().length - 1 : at;
    };
    const picture = image("", "", "sheet");
    // The sheet is enlarged by whole pixels as far as there is room.
    picture.addEventListener("load", () => {
      const room = Math.min(sheets.clientWidth, 720);
      const times = Math.max(1, Math.min(3, Math.floor(room / picture.naturalWidth)));
      picture.style.setProperty("width", `${picture.naturalWidth * times}px`);
    });
    const caption = h("figcaption", {});
    const kind =
      kinds.samples.length && kinds.reconstructions.length
        ? radios({
            label: "Show",
            choices: [
              ["samples", "samples"],
              ["reconstructions", "reconstructions"],
            ],
            value: kindNow(),
            key: "sheet-kind",
            onChange: (own) => set({ sheet: kinds[own].at(-1).name }),
          })
        : null;
    const time = slider({
      label: "Sheet",
      min: 0,
      max: 0,
      step: 1,
      value: 0,
      words: (k) => (all()[k] ?? all().at(-1)).label,
      onInput: (k) => set({ sheet: all()[k].name }, { replace: true }),
      key: "sheet",
    });
    drawSheet = () => {
      const sheet = all()[find()];
      time.set(find(), { max: all().length - 1 });
      time.element.hidden = all().length < 2;
      kind?.set(kindNow());
      picture.src = address("/api/sheet.png", { name: sheet.name });
      picture.alt = `Sheet: ${sheet.label}`;
      const place = all().length > 1 ? ` (${find() + 1} of ${plural(all().length, "sheet")})` : "";
      caption.textContent = again(sheet.name)
        ? `${sheet.label}${place}: rows of pictures, and below each what encoder and generator make of it`
        : `${sheet.label}${place}${place ? ": the same points z on each" : ""}`;
    };
    swap(
      sheets,
      heading,
      h("div", { class: "controls" }, kind?.element, time.element),
      h("figure", {}, picture, caption),
    );
    drawSheet();
  }

  loadHistory();
  loadSheets();
  return {
    update(now, before) {
      if (String(now.curves) !== String(before.curves) || now.log !== before.log) drawCurves();
      if (now.sheet !== before.sheet) drawSheet();
    },
    leave: () => abort.abort(),
  };
}
