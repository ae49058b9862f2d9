// The past that the charts show: rows merged by their instant, thinned with age, bounded.
//
// A row is [at_ms, value of FIELDS[1], ...]; null is unknown.  It comes from a frame, once a second, or in a
// block of history, at the start, after a break and when more of the past is wanted.  The same instant is
// the same row, so what comes twice is there once.  One row a second for an hour, one in ten seconds
// beyond, none beyond a day: at most ROWS_MAX, however long the page is open.

export const FIELDS = [
  "at_ms", "room.depth", "room.rate_per_s", "room.through_per_s", "room.oldest_wait_s", "room.p50_s", "room.lag",
  "traffic.accepted_per_s", "traffic.refused_per_s", "traffic.shed_per_s", "ack.p99_ms", "loop_lag_ms", "spool.records",
];
const HOUR_MS = 3_600_000, DAY_MS = 24 * HOUR_MS, COARSE_MS = 10_000;
const ROWS_MAX = 3_600 + 8_280 + 600;  // an hour, a day, and what comes between two thinnings
// What is missing for longer is a hole in the line rather than a straight stroke over it.
const HOLE_MS = 5_000, COARSE_HOLE_MS = 3 * COARSE_MS;

export class Points {
  rows = [];

  get newest_ms() { return this.rows.length ? this.rows.at(-1)[0] : 0; }

  // One frame's.
  add(frame) {
    const row = FIELDS.map((path) => valueAt(frame, path));
    if (row[0] > this.newest_ms) this.rows.push(row);
    else this.#merge([row]);
    if (this.rows.length > ROWS_MAX) this.#thin();
  }

  // A block of history; `fields` are in the server's order.
  addAll({fields, rows}) {
    const where = FIELDS.map((path) => fields.indexOf(path));
    this.#merge(rows.map((row) => where.map((index) => index < 0 ? null : row[index])));
    this.#thin();
  }

  // The rows of the last `seconds`.
  last(seconds) {
    const since_ms = this.newest_ms - seconds * 1000;
    let low = 0, high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle][0] < since_ms) low = middle + 1;
      else high = middle;
    }
    return this.rows.slice(low);
  }

  #merge(more) {
    const byInstant = new Map(this.rows.map((row) => [row[0], row]));
    for (const row of more) byInstant.set(row[0], row);
    this.rows = [...byInstant.values()].sort((one, other) => one[0] - other[0]);
  }

  #thin() {
    const newest_ms = this.newest_ms;
    let kept = -1;
    this.rows = this.rows.filter(([at_ms]) => {
      if (at_ms > newest_ms - HOUR_MS) return true;
      const slot = Math.floor(at_ms / COARSE_MS), isFirst = slot !== kept;
      kept = slot;
      return isFirst && at_ms > newest_ms - DAY_MS;
    }).slice(-ROWS_MAX);
  }
}

// Rows as columns for a chart: seconds, then one column a path; a row of nulls in each hole.
export function columns(rows, paths) {
  const indexes = paths.map((path) => FIELDS.indexOf(path)), made = [[], ...paths.map(() => [])];
  let before_ms = null;
  const newest_ms = rows.length ? rows.at(-1)[0] : 0;
  for (const row of rows) {
    const hole_ms = newest_ms - row[0] < HOUR_MS ? HOLE_MS : COARSE_HOLE_MS;
    if (before_ms !== null && row[0] - before_ms > Math.max(hole_ms, HOLE_MS)) {
      made[0].push((before_ms + 1) / 1000);
      indexes.forEach((_, one) => made[one + 1].push(null));
    }
    made[0].push(row[0] / 1000);
    indexes.forEach((index, one) => made[one + 1].push(row[index]));
    before_ms = row[0];
  }
  return made;
}

function valueAt(frame, path) {
  return path.split(".").reduce((inside, name) => inside?.[name], frame) ?? null;
}
