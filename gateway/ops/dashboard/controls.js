// The lever: signing in, the acts, what becomes of them, and the audit.
//
// An act names one thing and its reason; what it does not name stays.  The buttons say what they do rather than turn
// round under somebody's finger: between a look and a press another operator may have acted.
// What somebody typed is never taken away: not by a frame, not by a refusal, not by a session that ended.
//
// The session is a cookie no script can read; that there is one is remembered beside it, and found wrong by a 401.

import {changes, fill, one, put} from "./screen.js";
import {day, number, say} from "./words.js";

const CALL_MS_MAX = 15_000;  // the gateway answers within five seconds or not at all
const AUDIT_MAX = 100;
const SIGNED_IN = "sluicegate-signed-in";
const FIELDS = ["reason", "rate_per_s", "message"];

export class Controls {
  #frame = null;
  #isSignedIn = remembered();
  #isSending = false;
  #hasAudit = false;
  #entries = [];
  #said = null;  // [id, key, values] of what stands there, to say it again in the other language

  // Args: onSignedIn: called when there is a session again.
  constructor(onSignedIn) {
    this.onSignedIn = onSignedIn;
    one("#sign-in-form").addEventListener("submit", (event) => { event.preventDefault(); this.#signIn(); });
    one("#sign-out").addEventListener("click", () => this.#signOut());
    one("#acts").addEventListener("submit", (event) => event.preventDefault());
    for (const button of document.querySelectorAll("[data-act]")) button.addEventListener("click", () => this.#press(button));
    one("#rate_per_s").addEventListener("input", () => { one("[name=rate][value=told]").checked = true; });
    one("#rate").addEventListener("input", () => { one("#rate").dataset.touched = ""; });
    one("#message").addEventListener("input", () => { one("#message").dataset.touched = ""; });
    one("#confirm-no").addEventListener("click", () => one("#confirm").close());
    this.#arrange();
    if (this.#isSignedIn) this.refresh();
  }

  show(frame) {
    this.#frame = frame;
    const {room} = frame, isKnown = Boolean(room?.known);
    const values = {state: say(`state.${room?.state}`), rate: number(room?.rate_per_s), told: say(room?.told_per_s === null ? "told.free" : "told")};
    put(one("#controls-state"), !room ? say("controls.no-room") : isKnown ? say("controls.state", values) : say("act.unlooked"));
    one("#controls-kept").hidden = !room || room.applied !== false;
    if (!room) return this.#arrange();
    const bounds = {floor: number(room.floor_per_s), ceiling: number(room.ceiling_per_s)};
    put(one("#rate-label"), say("act.rate-number", bounds));
    one("#rate_per_s").min = room.floor_per_s;
    one("#rate_per_s").max = room.ceiling_per_s;
    this.#prefill(room);
    const already = {pause: room.state === "paused", resume: room.state === "open", close: room.state === "closed", open: room.state !== "closed", undo: !room.acts_version};
    for (const [act, isSo] of Object.entries(already)) one(`[data-act=${act}]`).setAttribute("aria-disabled", String(isSo));
    this.#undoes();
    this.#arrange();
  }

  // Everything in the language of now.
  again() {
    if (this.#frame) this.show(this.#frame);
    this.#wrong({});
    this.#tell(this.#said);
    this.#list();
    this.#arrange();
  }

  // The whole page is closed to who has no session; what was typed stays.
  signedOut(isWholePage) {
    if (isWholePage) document.body.classList.add("signed-out");
    if (this.#isSignedIn) put(one("#sign-in-said"), say("sign-in.again"));
    this.#isSignedIn = remember(false);
    this.#arrange();
  }

  // The audit, anew; after each act, and when a session begins.
  async refresh() {
    if (!this.#isSignedIn) return;
    const {status, told} = await call("GET", `/api/audit?limit=${AUDIT_MAX}`);
    if (status === 401) return this.signedOut(false);
    this.#hasAudit = status === 200;
    if (this.#hasAudit) this.#entries = told.entries;
    this.#list();
  }

  // Who may see what just now.
  #arrange() {
    const isClosed = document.body.classList.contains("signed-out");
    one("#seen").hidden = isClosed || !this.#frame;
    one("#sign-in").hidden = this.#isSignedIn;
    // Where one may look without it, the form stands where it is of use.
    const place = isClosed ? one("#main") : one("#sign-in-here");
    if (one("#sign-in").parentElement !== place) place.prepend(one("#sign-in"));
    put(one("#sign-in-why"), say(isClosed ? "sign-in.page" : "sign-in.why"));
    one("#acts").hidden = !this.#isSignedIn || !this.#frame?.room;
    one("#audit").hidden = !this.#isSignedIn;
  }

  async #signIn() {
    const field = one("#token");
    if (!field.value) {
      put(one("#sign-in-said"), say("sign-in.empty"));
      return field.focus();
    }
    const {status, told} = await call("POST", "/api/session", {token: field.value});
    if (status !== 204) {
      put(one("#sign-in-said"), status === 401 ? say("sign-in.wrong") : status ? refusal(told) : say("act.no-answer"));
      return field.select();
    }
    field.value = "";
    put(one("#sign-in-said"), "");
    this.#isSignedIn = remember(true);
    document.body.classList.remove("signed-out");
    this.#arrange();
    this.onSignedIn();
    (one("#acts").hidden ? one("#main") : one("#reason")).focus();
    await this.refresh();
  }

  async #signOut() {
    await call("DELETE", "/api/session");
    this.#isSignedIn = remember(false);
    this.#arrange();
    one("#token").focus();
  }

  #press(button) {
    const {act} = button.dataset;
    if (this.#isSending) return;
    if (button.getAttribute("aria-disabled") === "true") return this.#tell(["act-said", act === "undo" ? "act.undo-none" : "act.already"]);
    const asked = this.#asked(act), faults = this.#faults(asked);
    this.#wrong(faults);
    if (Object.keys(faults).length) return;
    if (act === "close" || act === "open") this.#confirm(act, () => this.#send(asked));
    else this.#send(asked);
  }

  // Exactly what is sent.
  #asked(act) {
    const reason = one("#reason").value.trim(), isTold = one("[name=rate][value=told]").checked, rate = one("#rate_per_s").valueAsNumber;
    const changed = {
      rate: () => ({rate_per_s: isTold ? rate : null}),
      pause: () => ({paused: true}),
      resume: () => ({paused: false}),
      close: () => ({closed: true}),
      open: () => ({closed: false}),
      message: () => ({message: one("#message").value}),
      undo: () => ({undo: this.#frame.room.acts_version}),
    }[act]();
    return {...changed, reason};
  }

  // What the gateway would refuse anyway, said before it is asked: field → key of the sentence.
  #faults({reason, rate_per_s, message}) {
    const {floor_per_s, ceiling_per_s} = this.#frame.room, faults = {};
    if (!reason) faults.reason = "wrong./reason";
    if (typeof rate_per_s === "number" && !(rate_per_s >= floor_per_s && rate_per_s <= ceiling_per_s)) faults.rate_per_s = "wrong./rate_per_s";
    if (message?.includes("\n")) faults.message = "wrong./message";
    return faults;
  }

  // Beside the fields; the first of them gets the focus, and so is read.
  #wrong(faults) {
    const bounds = {floor: number(this.#frame?.room?.floor_per_s), ceiling: number(this.#frame?.room?.ceiling_per_s)};
    for (const name of FIELDS) {
      put(one(`#${name}-wrong`), faults[name] ? say(faults[name], bounds) : "");
      one(`#${name}`).toggleAttribute("aria-invalid", false);
      if (faults[name]) one(`#${name}`).setAttribute("aria-invalid", "true");
    }
    const first = FIELDS.find((name) => faults[name]);
    if (first) one(`#${first}`).focus();
  }

  #confirm(act, yes) {
    put(one("#confirm-title"), say(`confirm.${act}`));
    put(one("#confirm-more"), say(`confirm.${act}-more`));
    put(one("#confirm-yes"), say(`act.${act}`));
    one("#confirm-yes").onclick = () => { one("#confirm").close(); yes(); };
    one("#confirm").showModal();
    one("#confirm-no").focus();
  }

  async #send(asked) {
    this.#isSending = true;
    this.#tell(["act-said", "act.sending"]);
    const answer = await call("POST", `/api/rooms/${encodeURIComponent(this.#frame.room.name)}`, asked);
    this.#isSending = false;
    if (answer.status === 401) {
      this.#tell(null);
      this.signedOut(false);
      return one("#token").focus();
    }
    this.#told(answer, asked);
  }

  #told({status, told}, asked) {
    if (status === 0) return this.#tell(["act-said", "act.no-answer"]);
    if (status === 200) this.#tell(["act-said", told.kept === false ? "act.done-not-kept" : "act.done"]);
    else if (status === 503 && told.applied === false) this.#tell(["act-said", told.kept === false ? "act.remembered" : "act.kept"]);
    else return this.#refused(told);
    // In force: the next act has a reason of its own.
    one("#reason").value = "";
    if ("message" in asked) delete one("#message").dataset.touched;
    if ("rate_per_s" in asked) delete one("#rate").dataset.touched;
  }

  #refused(told) {
    const faults = {}, others = [];
    for (const {pointer, detail} of told?.errors ?? []) {
      if (FIELDS.includes(pointer.slice(1))) faults[pointer.slice(1)] = `wrong.${pointer}`;
      else others.push(["/paused", "/closed", "/undo"].includes(pointer) ? say(`wrong.${pointer}`) : detail);
    }
    this.#wrong(faults);
    this.#tell(["act-said", "act.refused", () => ({why: others.join(" ") || refusal(told)})]);
  }

  // One line on what became of it.
  #tell(said) {
    this.#said = said;
    put(one("#act-said"), said ? say(said[1], said[2]?.()) : "");
  }

  // What is in force, until somebody touches it.
  #prefill({told_per_s, message}) {
    if (!("touched" in one("#rate").dataset)) {
      one(`[name=rate][value=${told_per_s == null ? "free" : "told"}]`).checked = true;
      one("#rate_per_s").value = told_per_s ?? "";
    }
    if (!("touched" in one("#message").dataset) && one("#message").value !== (message ?? "")) one("#message").value = message ?? "";
  }

  #undoes() {
    const {acts_version} = this.#frame.room, newest = this.#entries.find(({version}) => version === acts_version);
    put(one("#undo-what"), !acts_version ? say("act.undo-none") : newest ? say("act.undo-what", {changed: changes(newest.changed), time: day(Date.parse(newest.time))}) : "");
  }

  #list() {
    fill(one("#audit tbody"), this.#entries.map(({time, changed, reason, who}) => [day(Date.parse(time)), changes(changed), reason ?? "", who ?? ""]));
    put(one("#audit-note"), this.#hasAudit ? this.#entries.length ? "" : say("audit.none") : this.#isSignedIn ? say("audit.failed") : "");
    one("#audit .scroll").hidden = !this.#entries.length;
    if (this.#frame?.room) this.#undoes();
  }
}

// {status, told}; status 0: no answer.
async function call(method, path, body) {
  const headers = body ? {"Content-Type": "application/json"} : {};
  try {
    const answer = await fetch(path, {method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(CALL_MS_MAX)});
    return {status: answer.status, told: await answer.json().catch(() => null)};
  } catch {
    return {status: 0, told: null};
  }
}

// A problem+json in words.
function refusal(told) {
  return told?.code ? say(`problem.${told.code}`) : String(told?.title ?? "?");
}

function remembered() {
  try { return localStorage.getItem(SIGNED_IN) !== null; } catch { return false; }
}

function remember(isSignedIn) {
  try { isSignedIn ? localStorage.setItem(SIGNED_IN, "") : localStorage.removeItem(SIGNED_IN); } catch { /* asked for again next time */ }
  return isSignedIn;
}
