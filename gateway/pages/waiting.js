// The waiting page, better: asks for the place and goes through the door by itself.
// Everything here also works without it, through the forms and a reload; so where an answer
// is not understood, the page is opened anew and the server says what now.
//
//   ask ──▶ GET place ──▶ waiting, paused, ..  show, ask again in poll_after_s
//    ▲                └─▶ called               POST passes ──▶ 201 show the pass, end
//    └──────────── Retry-After ─────────────────────────────┘ 429 "busy"
//
// For old phones no word younger than 2018: one unknown, and nothing would run, nor <noscript>.
// All names are global; nobody else's script is on the page.
"use strict";
const one = (id) => document.getElementById(id);
const all = (what) => [...document.querySelectorAll(what)];
const facts = all("main")[0].dataset, lang = document.documentElement.lang, isKorean = lang === "ko";
const IN_LINE = ["waiting", "paused", "closed", "provisional", "called", "busy"];
const ASK_MS_MIN = 1000, SAY_MS_MIN = 60000, CALL_MS_MAX = 15000, FAILURES_MAX = 6, RISES_MIN = 3;
let state = facts.state, why = facts.reason, p90 = +facts.p90, before = p90, rises = 0;
let timer = 0, failures = 0, askedAt = 0, saidAt = 0, isAsking = false;

// The estimate in words: words.py is the specification.
function minutes(a, b) {
  const low_s = Math.max(Math.min(a, b), 0), high_s = Math.max(a, b, 0);
  if (high_s < 60) return isKorean ? "1분 이내" : "less than a minute";
  if (low_s >= 86400) return isKorean ? "하루 이상" : "more than a day";
  const low = Math.max(1, stepped(low_s, (steps) => Math.floor(steps + 0.5)));
  if (high_s >= 86400) return isKorean ? span(low) + " 이상" : "more than " + span(low);
  const high = stepped(high_s, Math.ceil), from = (text, dash) => low === high ? "" : text + dash;
  if (isKorean) return "약 " + from(high < 60 ? low : span(low), "–") + span(high);
  return "about " + (high < 60 ? from(low, "–") + high + (high > 1 ? " minutes" : " minute") : from(span(low), " – ") + span(high));
}
function stepped(seconds, round) {
  const minute = seconds / 60, step = minute < 20 ? 1 : minute < 60 ? 5 : minute < 180 ? 10 : minute < 720 ? 30 : 60;
  return round(minute / step) * step;
}
function span(minute) {
  const hours = Math.floor(minute / 60), rest = minute % 60;
  if (isKorean) return ((hours ? hours + "시간 " : "") + (rest ? rest + "분" : "")).trim();
  return (hours ? hours + " h " + (rest || "") : rest + " min").trim();
}

function setTime(id, date) {
  one(id).textContent = one(id).dataset.words.replace("{}", date.toLocaleTimeString(lang, {hour: "numeric", minute: "2-digit"}));
}

// Read aloud: what is new at once, the rest at most once a minute.
function say(text, isNew) {
  if (!isNew && Math.abs(Date.now() - saidAt) < SAY_MS_MIN) return;
  saidAt = Date.now();
  one("said").textContent = text;
}

function show(next) {
  const isNew = next !== state;
  state = next;
  all("[data-in]").forEach((part) => { part.hidden = !part.dataset.in.split(" ").includes(state); });
  const head = all("h2").find((some) => some.offsetParent).textContent, wait = state === "waiting" ? one("wait").textContent : "";
  document.title = (wait || (/called|busy|through/.test(state) ? facts.turn : head)) + " · " + all("h1")[0].textContent;
  // Through, the focus moves to the heading, which is then read.
  if (state !== "through") say(head + ". " + wait, isNew);
}

// A wait that grows for no reason is not shown to grow before it has done so three times in a row: mostly the next
// answer takes it back.  That it changed stands there until it is what it was.
function estimate(told) {
  const text = minutes(told.p50_s, told.p90_s), isRise = told.p90_s > p90 && text !== one("wait").textContent;
  all(".ahead").forEach((place) => { place.textContent = told.ahead.toLocaleString("en"); });
  rises = isRise ? rises + 1 : 0;
  if (state !== "waiting" || (why && told.p90_s <= before)) why = "";
  else if (isRise) {
    if (!told.reason && rises < RISES_MIN) return;
    if (!why) before = p90;
    why = told.reason || "any";
  }
  rises = 0;
  p90 = told.p90_s;
  one("wait").textContent = text;
  all("[data-why]").forEach((part) => { part.hidden = !why || !part.dataset.why.split(" ").some((name) => name === why || name === "any"); });
}

function trouble(isThere) {
  if (isThere && one("trouble").hidden) say(one("trouble").textContent, true);
  one("trouble").hidden = !isThere;
}

async function call(method, what) {
  // One that never ends would stop the page for good; a knock is held for up to 5 s.
  const stop = new AbortController(), alarm = setTimeout(() => stop.abort(), CALL_MS_MAX);
  try {
    const answer = await fetch("/v1/rooms/" + facts.room + "/" + what, {method, signal: stop.signal, cache: "no-store"});
    const {status, ok} = answer, after_s = +answer.headers.get("Retry-After") || 0;
    if (status >= 500 || (status === 429 && method === "GET")) throw {after_s};
    return {status, ok, after_s, told: ok && await answer.json()};
  } finally { clearTimeout(alarm); }
}

function later(seconds, what = ask) {
  clearTimeout(timer);
  timer = setTimeout(what, seconds * 1000);
}

async function ask() {
  const since_ms = Math.abs(Date.now() - askedAt);
  if (isAsking || !IN_LINE.includes(state)) return;
  if (since_ms < ASK_MS_MIN) return later(1 - since_ms / 1000);
  clearTimeout(timer);
  isAsking = true;
  askedAt = Date.now();
  let after_s;
  try {
    after_s = await look();
    failures = 0;
    trouble(false);
  } catch (error) {
    failures = Math.min(failures + 1, FAILURES_MAX);
    trouble(true);
    // Spread, or all who lost one gateway would come back as one.
    after_s = Math.max(error.after_s || 0, 2 ** failures * (0.5 + Math.random() / 2));
  }
  isAsking = false;
  if (after_s) later(after_s);
}

// These two return in how many seconds to ask again; nothing: not any more.
async function look() {
  const {ok, told} = await call("GET", "place");
  if (!ok) return anew();
  setTime("at", new Date(Date.now() - (told.sign_age_ms || 0)));
  if (/called|through/.test(told.state)) {
    if (state !== "busy") show("called");
    return knock();
  }
  if (!IN_LINE.includes(told.state)) return anew();
  // "provisional" has no place yet.
  if (told.ahead >= 0) estimate(told);
  show(told.state);
  return Math.min(Math.max(told.poll_after_s, 1), 600);
}
async function knock() {
  const {status, ok, after_s, told} = await call("POST", "passes");
  if (status === 429) {
    show("busy");
    return Math.max(after_s, 1);
  }
  if (!ok) return anew();
  through(told);
}

function through({pass, expires_at}) {
  if (one("go")) one("go").href = one("go").href.split("#")[0] + "#pass=" + encodeURIComponent(pass);
  else one("pass").value = pass;
  // Past it nothing happens by itself: a page somebody left open would take a turn every ten minutes.
  setTime("until", new Date(expires_at));
  one("until").hidden = false;
  show("through");
  one("done").focus();
}

// Not at once: a page and a server that disagree must not spin.
function anew() {
  later(5, () => location.replace("/rooms/" + facts.room));
}

all(".script").forEach((part) => { part.hidden = false; });
all("form").forEach((form) => {
  const button = form.lastElementChild, label = button.textContent;
  form.addEventListener("submit", (event) => {
    const isJoin = button.dataset.moment;
    // Twice pressed would be two places, and the later one kept.
    if (!isJoin || label !== button.textContent) event.preventDefault();
    if (isJoin) button.textContent = isJoin;
    else ask();
  });
  addEventListener("pageshow", () => { button.textContent = label; });
});
if (one("copy")) one("copy").addEventListener("click", () => {
  one("pass").select();
  document.execCommand("copy");
  say(one("copy").dataset.copied, true);
});
// A phone that slept, or was in a tunnel, asks at once.
document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
addEventListener("online", ask);
if (IN_LINE.includes(state)) {
  setTime("at", new Date());
  if (state === "called") ask();
  else later(+facts.next || 5);
}
