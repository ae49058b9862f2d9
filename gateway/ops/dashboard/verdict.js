// A frame → the five answers.  Decided here: how each question is answered, and how bad that is.
//
// Pure but for the language: a frame in, {level, answer, details} out, ready to be shown.
// Levels: ok, warn (somebody should look), bad (people are turned away or stand still), note (neither good nor bad).

import {clock, day, number, say, span, spans, whole} from "./words.js";

// Below this share of the allowed rate the line does not drain as it should; the rest is the noise of five seconds.
const DRAINS_SHARE = 0.9;
const STANDS_SHARE = 0.5;  // below it, it as good as stands
const HOLDS_SHARE = 0.02;
const OF_A_LIGHT = {kafka: "kafka", redis: "redis", "room-store": "room", spool: "spool", worker: "workers"};
const OF_A_PACE = new Set(["downstream", "floor", "ceiling", "climbing", "lag-unknown", "told", "overload", "acks-stopped", "spool-filling"]);
const LEVELS = {
  none: "ok", downstream: "note", ceiling: "note", told: "note", climbing: "note",
  starting: "warn", draining: "warn", core: "warn", paused: "warn", closed: "warn", overload: "warn", floor: "warn", "lag-unknown": "warn",
  "no-worker": "bad", "acks-stopped": "bad", "spool-filling": "bad",
};
export const LEVEL_OF = {green: "ok", amber: "warn", red: "bad", grey: "note"};

export function up(frame) {
  const all = frame.workers.length, serving = frame.workers.filter(({state}) => state === "serving").length;
  const details = [
    say("up.workers", {all, serving}),
    say("up.since", {since: span((frame.at_ms - frame.started_ms) / 1000)}),
    say("up.version", {version: frame.version}),
  ];
  const told = (level, key, values) => ({level, answer: say(key, values), details});
  if (!frame.ready) return told(frame.why === "no worker answers" ? "bad" : "warn", `up.${frame.why === "no worker answers" ? "no-worker" : frame.why}`);
  for (const colour of ["red", "amber"]) {
    const names = Object.keys(frame.lights).filter((name) => frame.lights[name].colour === colour);
    if (names.length && !(colour === "amber" && serving < all)) return told(LEVEL_OF[colour], `up.${colour}`, {names: names.map((name) => say(`dependency.${name}`)).join(", ")});
  }
  return serving < all ? told("warn", "up.some-workers", {all, serving}) : told("ok", "up.yes");
}

export function wait({room}) {
  if (!room) return {level: "note", answer: say("wait.no-room"), details: [say("wait.no-room-more")]};
  if (!room.known) return {level: "warn", answer: say("wait.unknown"), details: [say("wait.unknown-more")]};
  const details = [
    ...room.depth > 0 ? [say("wait.oldest", {time: span(room.oldest_wait_s)})] : [],
    say("wait.lobby", {lobby: whole(room.lobby)}),
    say("wait.joins", {joins: number(room.joins_per_s)}),
    say("wait.leaving", {leaving: number(room.leaving_per_s)}),
  ];
  if (room.depth === 0) return {level: "ok", answer: say("wait.nobody"), details};
  const depth = whole(room.depth);
  if (room.p50_s === null) return {level: "note", answer: say("wait.people", {depth}), details: [say("wait.estimate-unknown"), ...details]};
  return {level: "note", answer: say("wait.estimate", {depth, estimate: spans(room.p50_s, room.p90_s)}), details};
}

export function drain({room}) {
  if (!room) return {level: "note", answer: say("drain.no-room"), details: []};
  if (!room.known) return {level: "warn", answer: say("drain.unknown"), details: []};
  const rate = number(room.rate_per_s), through = number(room.through_per_s);
  const details = [say("drain.rate", {rate, floor: number(room.floor_per_s), ceiling: number(room.ceiling_per_s)})];
  if (room.depth > 0 && room.through_per_s !== null) details.push(trend(room));
  if (room.state !== "open") return {level: "warn", answer: say(`drain.${room.state}`), details};
  if (room.uncalled === 0) return {level: "ok", answer: say("drain.idle"), details};
  if (room.through_per_s === null) return {level: "warn", answer: say("drain.unknown"), details};
  const share = room.through_per_s / room.rate_per_s, isDraining = share >= DRAINS_SHARE;
  return {level: isDraining ? "ok" : share >= STANDS_SHARE ? "warn" : "bad", answer: say(isDraining ? "drain.yes" : "drain.no", {rate, through}), details};
}

function trend(room) {
  const change = room.joins_per_s - room.through_per_s - room.leaving_per_s, people = number(Math.abs(change));
  if (Math.abs(change) < Math.max(0.5, HOLDS_SHARE * room.rate_per_s)) return say("drain.holds");
  return change > 0 ? say("drain.grows", {people}) : say("drain.shrinks", {people, time: span(room.depth / -change)});
}

export function bottleneck(frame) {
  const {code, reason, worker} = frame.bottleneck, light = frame.lights[OF_A_LIGHT[code]];
  const details = [];
  if (light) details.push(sinceOf(light.since_ms, frame.at_ms));
  if (frame.room?.known && OF_A_PACE.has(code)) details.push(say("pace", {reason: say(`pace.${frame.room.reason}`)}), sinceOf(frame.room.reason_since_ms, frame.at_ms));
  // What a light says stays a light's: the same code in the same words.
  return {level: light ? LEVEL_OF[light.colour] : LEVELS[code] ?? "warn", answer: say(`bottleneck.${code}`, {worker, reason: say(`light.${reason}`)}), details};
}

export function sinceOf(since_ms, at_ms) {
  const isOld = at_ms - since_ms > 20 * 3_600_000;
  return say("since", {time: isOld ? day(since_ms) : clock(since_ms), age: span((at_ms - since_ms) / 1000)});
}
