// The line to the gateway: frames, history and log entries as they come, and how old the newest frame is.
//
//   open ──▶ frames, 1 Hz ──▶ silent for SILENT_MS ─┐
//    ▲                   └──▶ given up by the browser ┴─▶ 401? signed out, wait for start()
//    └──── RETRY_MS, with ?last=<at_ms> ◀── anything else ─┘
//
// The browser's EventSource repairs most breaks by itself and says Last-Event-ID.  What it gives up for good
// (an answer that is not 200) and what it cannot see (a connection that is dead but not closed) is opened anew here,
// with the newest instant in the address, so that the gateway sends what was missed.
//
// Age is counted on this browser's clocks alone, from frame to frame: they need not agree with the gateway's.

const RETRY_MS = 1_000;
const SILENT_MS = 10_000;  // ten frames: not a hiccup, and no operator waits longer
export const STALE_MS = 3_000;

export class Stream {
  #source = null;
  #timer = 0;
  #heard = now();
  #opened = now();
  hasFrame = false;

  // Args: on: {status, history, log, signedOut}, each called with what came; last_ms: the newest instant known.
  constructor(on, last_ms) {
    this.on = on;
    this.last_ms = last_ms;
  }

  start() {
    this.stop();
    this.#opened = now();
    const last_ms = this.last_ms();
    const source = this.#source = new EventSource(last_ms ? `/api/stream?last=${last_ms}` : "/api/stream");
    source.addEventListener("status", ({data}) => this.#hear(data));
    source.addEventListener("history", ({data}) => this.on.history(JSON.parse(data)));
    source.addEventListener("log", ({data}) => this.on.log(JSON.parse(data).entries));
    source.addEventListener("error", () => { if (source.readyState === EventSource.CLOSED) this.#later(); });
  }

  stop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  // Since the last frame; before the first, since the page was opened.
  get age_ms() { return since(this.#heard); }

  // Called once a second: a connection that says nothing is given up.
  watch() {
    if (this.#source && Math.min(this.age_ms, since(this.#opened)) > SILENT_MS) this.start();
  }

  // A frame that cannot be shown leaves the page as old as it was, and it says so.
  #hear(data) {
    const before = [this.#heard, this.hasFrame];
    [this.#heard, this.hasFrame] = [now(), true];
    try {
      this.on.status(JSON.parse(data));
    } catch (error) {
      [this.#heard, this.hasFrame] = before;
      throw error;
    }
  }

  #later() {
    this.stop();
    this.#timer = setTimeout(() => this.#again(), RETRY_MS);
  }

  async #again() {
    // An EventSource does not tell why it was refused.
    const status = await fetch("/api/status", {signal: AbortSignal.timeout(SILENT_MS)}).then((answer) => answer.status, () => 0);
    if (status === 401) this.on.signedOut();
    else this.start();
  }
}

// Two clocks: the steady one stands still while a laptop sleeps, the other may be set.
function now() { return [performance.now(), Date.now()]; }
function since([steady, wall]) { return Math.max(performance.now() - steady, Date.now() - wall); }
