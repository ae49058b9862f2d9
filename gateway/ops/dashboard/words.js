// What the page says, and in which language.  No other file holds a sentence.
//
// words.json has every sentence in Korean and in English under one key; {name} stands for a value.
// A code the page does not know is shown as it is: a newer gateway must not leave a hole.
// Numbers, times and spans are put in words here too; units are in the names of the arguments.
// null and undefined are "–": unknown is never shown as 0.

const KEPT_AS = "sluicegate-language";
const NONE = "–";
const book = {ko: {}, en: {}};
let lang = remembered() || (navigator.language.startsWith("ko") ? "ko" : "en");
let forms = made();

// Whether they are there now.
export async function load() {
  const words = await fetch("/assets/words.json").then((answer) => answer.ok ? answer.json() : null).catch(() => null);
  if (words) Object.assign(book, words);
  if (words) write();
  return words !== null;
}

export function speak(next) {
  lang = next;
  forms = made();
  try { localStorage.setItem(KEPT_AS, lang); } catch { /* a browser that keeps nothing asks again */ }
  write();
}

export function language() { return lang; }

export function say(key, values = {}) {
  const sentence = book[lang][key] ?? key.slice(key.indexOf(".") + 1);
  return sentence.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? NONE);
}

// All that index.html says by itself.
function write() {
  document.documentElement.lang = lang;
  for (const one of document.querySelectorAll("[data-word]")) one.textContent = say(one.dataset.word);
  for (const one of document.querySelectorAll("[data-label]")) one.setAttribute("aria-label", say(one.dataset.label));
  for (const one of document.querySelectorAll("[data-lang]")) one.setAttribute("aria-pressed", String(one.dataset.lang === lang));
}

const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

// As fine as it is read: 0.8, 49.8, 812.
export const number = (value) => !isKnown(value) ? NONE : forms[Math.abs(value) < 100 ? "fine" : "whole"].format(value);
export const whole = (value) => isKnown(value) ? forms.whole.format(value) : NONE;
export const compact = (value) => isKnown(value) ? forms.compact.format(value) : NONE;
export const percent = (ratio) => isKnown(ratio) ? forms.percent.format(ratio) : NONE;
export const bytes = (count) => !isKnown(count) ? NONE : count < 1e6 ? `${number(count / 1e3)} kB` : count < 1e9 ? `${number(count / 1e6)} MB` : `${number(count / 1e9)} GB`;
export const clock = (at_ms) => isKnown(at_ms) ? forms.clock.format(at_ms) : NONE;
export const minute = (at_ms) => isKnown(at_ms) ? forms.minute.format(at_ms) : NONE;
export const day = (at_ms) => isKnown(at_ms) ? forms.day.format(at_ms) : NONE;

// A span as finely as somebody decides by it: 45 s, 25 min, 1 h 20 min, 2 d 3 h.
export function span(seconds) {
  if (!isKnown(seconds)) return NONE;
  const minutes = Math.round(seconds / 60), hours = Math.floor(minutes / 60);
  if (seconds < 100) return say("second", {seconds: Math.max(Math.floor(seconds), 0)});
  if (minutes < 100) return say("minute", {minutes});
  if (hours >= 48) return say("day", {days: Math.floor(hours / 24), hours: hours % 24});
  return minutes % 60 ? say("hour", {hours, minutes: minutes % 60}) : say("hour.full", {hours});
}

export const spans = (low_s, high_s) => span(low_s) === span(high_s) || !isKnown(high_s) ? span(low_s) : `${span(low_s)} – ${span(high_s)}`;

function made() {
  const times = (form) => new Intl.DateTimeFormat(lang, {hourCycle: "h23", ...form});
  const numbers = (form) => new Intl.NumberFormat(lang, form);
  return {
    fine: numbers({maximumFractionDigits: 1}),
    whole: numbers({maximumFractionDigits: 0}),
    compact: numbers({notation: "compact", maximumFractionDigits: 1}),
    percent: numbers({style: "percent", maximumFractionDigits: 2}),
    clock: times({hour: "2-digit", minute: "2-digit", second: "2-digit"}),
    minute: times({hour: "2-digit", minute: "2-digit"}),
    day: times({month: "short", day: "numeric", hour: "2-digit", minute: "2-digit"}),
  };
}

function remembered() {
  try {
    const kept = localStorage.getItem(KEPT_AS);
    return kept in book ? kept : null;
  } catch { return null; }
}
