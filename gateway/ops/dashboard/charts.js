// The charts: each a line over time drawn by uPlot, the same as a table, and one sentence of it.
//
// A chart is for the eye alone (hidden from screen readers); its sentence and its table say the same.
// Lines differ by dash as well as by colour, and the legend shows both.  Where uPlot is missing the
// tables stand in, and a note says so.  Nothing is drawn in a tab nobody looks at.

import {columns} from "./points.js";
import {made, fill, one, put, resize} from "./screen.js";
import {clock, compact, minute, number, say} from "./words.js";

const RANGES_S = [600, 3_600, 86_400];
const TABLE_ROWS = 20;
const HEIGHT_PX = 160;
const REDRAWS = 600;  // over the whole range: finer than that is less than a pixel
const REDRAW_MS_MAX = 10_000;
const DASHES = [[], [8, 4], [2, 3]];
const CHARTS = [
  {name: "depth", paths: ["room.depth"], of: "room"},
  {name: "pace", paths: ["room.through_per_s", "room.rate_per_s"], of: "room"},
  {name: "traffic", paths: ["traffic.accepted_per_s", "traffic.refused_per_s", "traffic.shed_per_s"]},
  {name: "ack", paths: ["ack.p99_ms"]},
  {name: "spool", paths: ["spool.records"], of: "spool"},
  {name: "lag", paths: ["room.lag"], of: "room"},
];

export class Charts {
  range_s = RANGES_S[0];
  #points;
  #drawn_ms = 0;
  #note = "";

  // Args: onRange: called with the seconds that somebody wants to see.
  constructor(points, onRange) {
    this.#points = points;
    this.charts = CHARTS.map((spec) => new Chart(spec));
    one("#figures").append(...this.charts.map(({figure}) => figure));
    for (const range_s of RANGES_S) {
      const button = made("button", {type: "button", "data-range": range_s});
      button.addEventListener("click", () => { this.#choose(range_s); onRange(range_s); });
      one("#range").append(button);
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.again();
  }

  // Everything in the language of now.
  again() {
    for (const button of one("#range").children) {
      put(button, say(`range.${button.dataset.range}`));
      button.setAttribute("aria-pressed", String(+button.dataset.range === this.range_s));
    }
    for (const chart of this.charts) chart.label();
    this.note(this.#note);
    this.draw();
  }

  // What is wrong with them: a key, or nothing.
  note(key) {
    this.#note = key;
    put(one("#charts-note"), [globalThis.uPlot ? "" : say("chart.missing"), key && say(key)].filter(Boolean).join(" "));
  }

  // A frame came: draw, unless it would move by less than a pixel or nobody looks.
  tick(frame) {
    for (const chart of this.charts) chart.figure.hidden = chart.spec.of && !frame[chart.spec.of];
    const since_ms = performance.now() - this.#drawn_ms;
    if (!document.hidden && since_ms >= Math.min(this.range_s * 1000 / REDRAWS, REDRAW_MS_MAX) - 500) this.draw();
  }

  draw() {
    this.#drawn_ms = performance.now();
    const rows = this.#points.last(this.range_s), newest_s = this.#points.newest_ms / 1000;
    for (const chart of this.charts) chart.draw(rows, newest_s - this.range_s, newest_s);
  }

  #choose(range_s) {
    this.range_s = range_s;
    this.again();
  }
}

class Chart {
  #plot = null;
  #isTable = !globalThis.uPlot;

  constructor(spec) {
    this.spec = spec;
    const id = `chart-${spec.name}`;
    this.title = made("h3", {id});
    this.button = made("button", {type: "button", class: "quiet", "aria-pressed": "false"});
    this.summary = made("p", {class: "hint"});
    this.legend = made("ul", {class: "legend", "aria-hidden": "true"});
    this.canvas = made("div", {class: "plot", "aria-hidden": "true"});
    this.caption = made("caption", {class: "unseen"});
    this.heads = made("tr");
    this.body = made("tbody");
    const table = made("table", {}, this.caption, made("thead", {}, this.heads), this.body);
    this.table = made("div", {class: "scroll tall", role: "group", tabindex: "0", "aria-labelledby": id}, table);
    this.figure = made("figure", {"aria-labelledby": id}, made("div", {class: "row"}, this.title, this.button), this.summary, this.legend, this.canvas, this.table);
    this.button.hidden = this.#isTable;
    this.button.addEventListener("click", () => { this.#isTable = !this.#isTable; this.#show(); });
    if (spec.paths.length < 2) this.legend.hidden = true;
    resize(this.legend, spec.paths.length, (index) => made("li", {"data-line": index}, made("span", {class: "swatch"}), made("span"), made("strong")));
    this.#show();
  }

  label() {
    const title = say(`chart.${this.spec.name}`);
    put(this.title, title);
    put(this.button, say("chart.table-short"));
    this.button.setAttribute("aria-label", say("chart.table", {title}));
    put(this.caption, say("chart.caption", {title}));
    const heads = [say("time"), ...this.spec.paths.map((path) => say(`series.${path}`))];
    resize(this.heads, heads.length, () => made("th", {scope: "col"}));
    heads.forEach((head, index) => put(this.heads.children[index], head));
    this.spec.paths.forEach((path, index) => put(this.legend.children[index].children[1], say(`series.${path}`)));
  }

  draw(rows, from_s, to_s) {
    const drawn = this.drawn = columns(rows, this.spec.paths);
    this.#say(drawn);
    this.#values(drawn[0].length - 1);
    if (this.#isTable) return this.#tabulate();
    this.from_s = from_s;
    this.to_s = to_s;
    this.#ink();
    this.#plot ??= this.#made();
    this.#plot.setData(drawn);
  }

  #show() {
    this.button.setAttribute("aria-pressed", String(this.#isTable));
    this.canvas.hidden = this.#isTable;
    this.table.hidden = !this.#isTable;
    if (this.drawn) this.#isTable ? this.#tabulate() : this.draw([], 0, 1);
  }

  #say([, values]) {
    const known = values.filter((value) => value !== null);
    const low = known.reduce((one, other) => Math.min(one, other), Infinity), high = known.reduce((one, other) => Math.max(one, other), -Infinity);
    const told = {label: say(`series.${this.spec.paths[0]}`), now: number(values.at(-1)), low: number(low), high: number(high)};
    put(this.summary, known.length ? say("chart.summary", told) : say("chart.none"));
  }

  // The legend's numbers: of the newest point, or of the one under the pointer.
  #values(index) {
    this.spec.paths.forEach((_, line) => put(this.legend.children[line].children[2], number(this.drawn[line + 1][index])));
  }

  // The newest is always there; the others in even steps before it.
  #tabulate() {
    const [times, ...lines] = this.drawn, step = Math.max(1, Math.ceil(times.length / TABLE_ROWS)), rows = [];
    for (let index = times.length - 1; index >= 0; index -= step) rows.push([clock(times[index] * 1000), ...lines.map((line) => number(line[index]))]);
    fill(this.body, rows);
  }

  #ink() {
    const style = getComputedStyle(this.figure);
    this.ink = {lines: [1, 2, 3].map((line) => style.getPropertyValue(`--line-${line}`)), text: style.getPropertyValue("--soft"), grid: style.getPropertyValue("--grid")};
  }

  #made() {
    const axis = {stroke: () => this.ink.text, grid: {stroke: () => this.ink.grid, width: 1}, ticks: {stroke: () => this.ink.grid, width: 1}, font: "12px system-ui, sans-serif"};
    const plot = new uPlot({
      width: this.canvas.clientWidth || 300,
      height: HEIGHT_PX,
      legend: {show: false},
      cursor: {drag: {x: false, y: false}, y: false, sync: {key: "time"}},
      scales: {x: {range: () => [this.from_s, this.to_s]}, y: {range: (_, __, high) => [0, Math.max((high || 0) * 1.1, 1)]}},
      axes: [
        {...axis, size: 30, space: 70, values: (_, times) => times.map((time) => this.#clock(time))},
        {...axis, size: 52, values: (_, values) => values.map((value) => compact(value))},
      ],
      series: [{}, ...this.spec.paths.map((_, line) => ({stroke: () => this.ink.lines[line], dash: DASHES[line], width: 2, points: {show: false}}))],
      hooks: {setCursor: [({cursor}) => this.#values(cursor.idx ?? this.drawn[0].length - 1)]},
    }, this.drawn, this.canvas);
    // One for the page's whole life, as the chart.
    new ResizeObserver(([{contentRect}]) => { if (contentRect.width) plot.setSize({width: contentRect.width, height: HEIGHT_PX}); }).observe(this.canvas);
    return plot;
  }

  #clock(time_s) {
    return time_s % 60 ? clock(time_s * 1000) : minute(time_s * 1000);
  }
}
