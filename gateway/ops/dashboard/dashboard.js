// The operators' page: connects the parts, and is the only file that does.
//
//   stream.js ──frames, history──▶ points.js ──▶ charts.js
//       │└─────frames──▶ screen.js (verdict.js), controls.js
//       └──────log entries──▶ screen.js; an operator's act ──▶ the audit anew
//   words.js    every sentence, in two languages
//
// Served as it stands: no build step, no library but uPlot.  The stream, the charts and all listeners are made once and live
// as long as the page; what grows (points, log, audit) has a bound where it is kept.

import {Charts} from "./charts.js";
import {Controls} from "./controls.js";
import {Points} from "./points.js";
import {Screen, one} from "./screen.js";
import {STALE_MS, Stream} from "./stream.js";
import {load, speak} from "./words.js";

const TICK_MS = 1_000;

const points = new Points(), screen = new Screen();
const stream = new Stream({status, history, log, signedOut}, () => points.newest_ms);
let charts, controls, isSignedOut = false;

function status(frame) {
  points.add(frame);
  screen.show(frame);
  controls.show(frame);
  charts.tick(frame);
  tick();
}

function history(block) {
  points.addAll(block);
  charts.draw();
}

function log(entries) {
  screen.log(entries);
  if (entries.some(({kind}) => kind === "act")) controls.refresh();
}

function signedOut() {
  isSignedOut = true;
  one("#stale").hidden = true;
  controls.signedOut(true);
}

function signedIn() {
  if (isSignedOut) stream.start();
  isSignedOut = false;
}

// The past that the stream did not bring.
async function fetchPast(seconds) {
  const block = await fetch(`/api/history?seconds=${seconds}`).then((answer) => answer.ok ? answer.json() : null).catch(() => null);
  charts.note(block ? "" : "range.failed");
  if (block) history(block);
}

function tick() {
  if (isSignedOut) return;
  stream.watch();
  screen.age(stream.age_ms, stream.hasFrame, stream.age_ms > STALE_MS);
}

function turn(language) {
  speak(language);
  for (const part of [screen, charts, controls]) part.again();
  tick();
}

// Without words there is nothing to show; a gateway that restarts just now has them in a moment.
while (!await load()) await new Promise((later) => setTimeout(later, TICK_MS));
charts = new Charts(points, fetchPast);
controls = new Controls(signedIn);
for (const button of document.querySelectorAll("[data-lang]")) button.addEventListener("click", () => turn(button.dataset.lang));
// A laptop that wakes says at once how old it is, and draws what came meanwhile.
document.addEventListener("visibilitychange", () => { tick(); charts.draw(); });
setInterval(tick, TICK_MS);
// A page that came with 401 need not ask for more to know; where the browser does not tell, the stream will.
if (performance.getEntriesByType("navigation")[0]?.responseStatus === 401) signedOut();
else stream.start();
tick();
