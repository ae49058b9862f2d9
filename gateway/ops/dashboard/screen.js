// Frames and log entries → what stands on the page.  Not here: how bad something is (verdict.js), charts, controls.
//
// One render a frame, and only what changed is written: a page open for days does the same work each second.
// Read aloud is what changes in kind (an answer's level, the bottleneck, a light), never a number.

import {LEVEL_OF, bottleneck, drain, sinceOf, up, wait} from "./verdict.js";
import {bytes, clock, compact, number, percent, say, span, whole} from "./words.js";

const ANSWERS = {up, wait, drain, bottleneck};
const LOG_MAX = 200;
const CHANGES_SHOWN = 3;
const ALARM_BURN = 14.4;  // a month's budget in two days: what pages somebody
const OLD_SIGN_MS = 3_000;  // three ticks missed

export const one = (css, inside = document) => inside.querySelector(css);

export function made(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Written only where it differs: else every frame would lay the page out anew, and lose what somebody has selected.
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A table's body: the first cell of a row is its head.
export function fill(body, rows) {
  resize(body, rows.length, () => made("tr"));
  rows.forEach((cells, index) => {
    const row = body.children[index];
    resize(row, cells.length, (column) => column ? made("td") : made("th", {scope: "row"}));
    cells.forEach((cell, column) => put(row.children[column], cell));
  });
}

export function resize(parent, length, make) {
  while (parent.children.length > length) parent.lastElementChild.remove();
  while (parent.children.length < length) parent.append(make(parent.children.length));
}

// "rate 50 → 20", of an act in the log or the audit.
export function changes(changed) {
  const told = Object.entries(changed ?? {}).map(([name, [before, after]]) => say("changed", {name: say(`name.${name}`), before: value(name, before), after: value(name, after)}));
  return told.join(", ") || say("changed.same");
}

function value(name, said) {
  if (typeof said === "boolean") return say(`value.${said}`);
  if (typeof said === "number") return number(said);
  if (said === null) return say(name.includes("per_s") ? "told.free" : "value.none");
  return said === "" ? say("value.none") : `“${said}”`;
}

export class Screen {
  #entries = [];
  #frame = null;
  #spoken = null;

  show(frame) {
    this.#frame = frame;
    put(one("#room-name"), frame.room ? say("room", {name: frame.room.name}) : "");
    const answers = Object.entries(ANSWERS).map(([id, answer]) => [id, answer(frame)]);
    for (const [id, told] of answers) this.#answer(one(`#${id}`), told);
    this.#lights(frame);
    this.#workers(frame);
    this.#machines(frame);
    this.#spool(frame);
    this.#traffic(frame);
    this.#promises(frame);
    this.#changed();
    this.#speak(frame, answers);
    for (const id of ["wait", "drain"]) one(`#${id}`).classList.toggle("old", isOldSign(frame));
  }

  // Newest first, each once, however often the gateway sends it.
  log(entries) {
    // A gateway that restarts counts from one again.
    const byKey = new Map([...this.#entries, ...entries].map((entry) => [`${entry.at_ms} ${entry.seq}`, entry]));
    this.#entries = [...byKey.values()].sort((a, b) => b.at_ms - a.at_ms || b.seq - a.seq).slice(0, LOG_MAX);
    this.#log();
  }

  // Everything in the language of now.
  again() {
    this.#spoken = null;
    put(one("#said"), "");
    if (this.#frame) this.show(this.#frame);
    this.#log();
  }

  // How old it is: of the page's own, then of the line's figures.
  age(age_ms, hasFrame, isStale) {
    const sign_ms = (this.#frame?.room?.known && this.#frame.room.sign_age_ms) || 0;
    const isSignOld = !isStale && isOldSign(this.#frame);
    const kind = isStale ? hasFrame ? "stale" : "stale.never" : "stale.sign";
    one("#stale").hidden = !isStale && !isSignOld;
    put(one("#stale-said"), isStale || isSignOld ? say(kind) : "");
    put(one("#stale-age"), say(hasFrame ? isStale ? "stale.age" : "stale.sign-age" : "stale.never-age", {age: span((isStale ? age_ms : sign_ms) / 1000)}));
    document.body.classList.toggle("stale", isStale);
    put(one("#live-word"), !hasFrame ? say("loading") : say(isStale ? "live.old" : "live"));
    put(one("#live-at"), hasFrame ? say("live.at", {time: clock(this.#frame.at_ms)}) : "");
    document.title = this.#title(hasFrame, isStale);
  }

  #title(hasFrame, isStale) {
    if (!hasFrame) return "Sluicegate";
    const {room} = this.#frame, level = up(this.#frame).level;
    const parts = [isStale ? say("live.old") : say(`level.${level}`), room?.known ? say("wait.people", {depth: compact(room.depth)}) : "", "Sluicegate"];
    return parts.filter(Boolean).join(" · ");
  }

  #answer(article, {level, answer, details}) {
    article.dataset.level = level;
    const line = one(".answer", article);
    resize(line, 2, (index) => made("span", {class: index ? "text" : "mark"}));
    put(line.children[0], level === "note" ? "" : say(`level.${level}`));
    put(line.children[1], answer);
    const more = one(".details", article);
    resize(more, details.length, () => made("span"));
    details.forEach((detail, index) => put(more.children[index], detail));
  }

  #lights({lights, at_ms}) {
    const list = one("#lights ul"), names = Object.keys(lights);
    resize(list, names.length, () => made("li", {}, made("strong"), made("span", {class: "mark"}), made("span", {class: "why"}), made("span", {class: "hint"})));
    names.forEach((name, index) => {
      const item = list.children[index], {colour, reason, since_ms} = lights[name];
      item.dataset.level = LEVEL_OF[colour];
      const texts = [say(`dependency.${name}`), say(`colour.${colour}`), say(`light.${reason}`), sinceOf(since_ms, at_ms)];
      texts.forEach((text, part) => put(item.children[part], text));
    });
  }

  #workers({workers, supervisor, viewers}) {
    fill(one("#workers tbody"), workers.map((worker) => [
      String(worker.worker), say(`worker.${worker.state}`), number(worker.lag_ms), percent(round(worker.cpu)), whole(worker.memory_mb), whole(worker.restarts), whole(worker.connections),
    ]));
    workers.forEach(({state}, index) => { one("#workers tbody").children[index].dataset.level = state === "serving" ? "ok" : state === "silent" ? "bad" : "warn"; });
    put(one("#supervisor"), say("supervisor", {cpu: percent(round(supervisor?.cpu)), memory: whole(supervisor?.memory_mb), viewers: whole(viewers)}));
  }

  // The others, where there are any; those in trouble come first.
  #machines({machine, machines = [], machines_heard = 0}) {
    one("#machines").hidden = !machines.length;
    fill(one("#machines tbody"), machines.map(({name, age_ms, ready, able, workers, accepted_per_s, refused_per_s, p99_ms, lights, spool_records}) => [
      name, say(ready ? "machine.ready" : "machine.not-ready", {age: span(age_ms / 1000)}), `${able}/${workers}`, number(accepted_per_s), number(refused_per_s), number(p99_ms), compact(spool_records ?? 0),
      Object.entries(lights).map(([light, colour]) => `${say(`dependency.${light}`)}: ${say(`colour.${colour}`)}`).join(", ") || say("colour.green"),
    ]));
    machines.forEach(({ready, lights}, index) => { one("#machines tbody").children[index].dataset.level = ready ? Object.keys(lights).length ? "warn" : "ok" : "bad"; });
    put(one("#machine"), say("machines.this", {machine, more: whole(machines_heard - machines.length)}));
  }

  // What waits on this machine's disk; nothing where it is switched off.
  #spool({spool, lights}) {
    one("#spool").hidden = !spool;
    if (!spool) return;
    const {colour, reason} = lights.spool, {records, left_s} = spool;
    const left = records ? left_s === null ? say("spool.stays") : span(left_s) : say("spool.empty");
    const told = {
      state: `${say(`colour.${colour}`)}: ${say(`light.${reason}`)}`,
      bytes: say("spool.of", {bytes: bytes(spool.bytes), most: bytes(spool.bytes_max), share: percent(round(spool.bytes / spool.bytes_max))}),
      fullest: percent(round(spool.fullest)),
      records: whole(records),
      oldest_s: records ? span(spool.oldest_s) : say("spool.empty"),
      replayed_per_s: number(spool.replayed_per_s),
      left_s: left,
      aside: whole(spool.aside),
    };
    fill(one("#spool tbody"), Object.entries(told).map(([name, value]) => [say(`spool.${name}`), value]));
    one("#spool tr").dataset.level = LEVEL_OF[colour];
  }

  #traffic({traffic, unacked}) {
    const kinds = ["accepted_per_s", "refused_per_s", "shed_per_s"];
    fill(one("#classes tbody"), Object.entries(traffic.by_class).map(([name, rates]) => [say(`class.${name}`), ...kinds.map((kind) => number(rates[kind]))]));
    const codes = Object.entries(traffic.refused_by_code).sort((a, b) => b[1] - a[1]);
    fill(one("#codes tbody"), codes.map(([code, rate]) => [say(`problem.${code}`), number(rate)]));
    one("#codes").hidden = !codes.length;
    one("#codes-none").hidden = codes.length > 0;
    put(one("#unacked"), say("unacked", {kilobytes: number((unacked?.bytes ?? NaN) / 1024), age: number(unacked?.age_ms)}));
  }

  #promises({slo}) {
    const names = Object.keys(slo), body = one("#slo tbody");
    fill(body, names.map((name) => [say(`slo.${name}`), percent(slo[name].objective), number(slo[name].burn_5m), number(slo[name].burn_1h), say(`slo.${burning(slo[name])}`)]));
    names.forEach((name, index) => { body.children[index].dataset.level = {ok: "ok", over: "warn", alarm: "bad", quiet: "note"}[burning(slo[name])]; });
  }

  #changed() {
    const list = one("#changed ol"), newest = this.#entries.slice(0, CHANGES_SHOWN), now_ms = this.#frame?.at_ms;
    resize(list, newest.length || 1, () => made("li", {}, made("span"), made("span", {class: "hint"})));
    if (!newest.length) [say("changed.nothing"), ""].forEach((text, part) => put(list.children[0].children[part], text));
    newest.forEach((entry, index) => {
      const [what, when] = list.children[index].children;
      put(what, sentence(entry));
      put(when, now_ms ? say("ago", {age: span(Math.max(now_ms - entry.at_ms, 0) / 1000)}) : clock(entry.at_ms));
    });
  }

  #log() {
    const list = one("#log ol");
    resize(list, this.#entries.length, () => made("li", {}, made("time"), made("span")));
    this.#entries.forEach((entry, index) => {
      const [time, text] = list.children[index].children;
      put(time, clock(entry.at_ms));
      time.dateTime = new Date(entry.at_ms).toISOString();
      put(text, sentence(entry));
    });
    one("#log-none").hidden = this.#entries.length > 0;
    one("#log .scroll").hidden = !this.#entries.length;
    this.#changed();
  }

  // The first frame says nothing: who opens the page reads it.
  #speak(frame, answers) {
    const now = new Map(answers.map(([id, {level}]) => [id, [level + (id === "bottleneck" ? frame.bottleneck.code + frame.bottleneck.reason : ""), id]]));
    for (const [name, {colour, reason}] of Object.entries(frame.lights)) now.set(`light ${name}`, [colour + reason, null]);
    const before = this.#spoken;
    this.#spoken = now;
    if (!before) return;
    const news = [...now].filter(([key, [state]]) => before.get(key)?.[0] !== state).map(([key, [, id]]) => id ? one(`#${id} .text`).textContent : lightSaid(frame, key.slice(6)));
    if (news.length) put(one("#said"), news.join(". "));
  }
}

function lightSaid({lights}, name) {
  return say("log.light", {dependency: say(`dependency.${name}`), colour: say(`colour.${lights[name].colour}`), reason: say(`light.${lights[name].reason}`)});
}

function sentence(entry) {
  return say(`log.${entry.kind}`, {
    worker: entry.worker,
    rate: number(entry.rate_per_s),
    state: entry.state && say(`state.${entry.state}`),
    dependency: entry.dependency && say(`dependency.${entry.dependency}`),
    colour: entry.colour && say(`colour.${entry.colour}`),
    code: entry.kind === "act-refused" ? say(`problem.${entry.code}`) : entry.code,
    changed: entry.kind === "act" && changes(entry.changed),
    // An operator's own words, or a code of ours.
    reason: entry.kind === "act" ? entry.reason : say(`${entry.kind === "pace" ? "pace" : "light"}.${entry.reason}`),
  });
}

function burning({burn_5m, burn_1h}) {
  if (burn_5m === null && burn_1h === null) return "quiet";
  if (Math.min(burn_5m ?? 0, burn_1h ?? 0) >= ALARM_BURN) return "alarm";
  return Math.max(burn_5m ?? 0, burn_1h ?? 0) >= 1 ? "over" : "ok";
}

function isOldSign(frame) { return Boolean(frame?.room?.known) && frame.room.sign_age_ms > OLD_SIGN_MS; }
function round(ratio) { return typeof ratio === "number" ? Math.round(ratio * 100) / 100 : ratio; }
