"""A result's timeline as panels: which columns are drawn together, thinned to what a page can hold, and two results side by side.

Columns are timeline.py's TIMELINE and observed.py's SAMPLED.  Pure; one that is missing or nan throughout is not drawn,
and the page says so.  A value is that of a second, and stands at its beginning.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from loadtests.report import charts
from loadtests.report.charts import Axis, Line, Span
from loadtests.report.figures import UNKNOWN, clock, duration, latency, number, said
from loadtests.result import Result

POINTS_MAX: Final = 600
ROWS_MAX: Final = 60  # of the table
TIPS_MAX: Final = 48  # what the pointer is told, along the width
MARKS_MAX: Final = 100  # drawn; a scenario may kill a thousand times
HALF_MINUTE_S: Final = 30
Columns = dict[str, list[float]]

LABELS: Final = {
    "meant": "arrivals meant",
    "sent": "requests sent",
    "answered": "answered",
    "accepted": "accepted (2xx)",
    "refused": "refused (4xx, 503)",
    "errors": "errors (other 5xx)",
    "unanswered": "no answer",
    "joins": "joined the line",
    "passes": "passes released",
    "live": "there and in line",
    "signups_accepted": "sign-ups answered 202",
    "syncs_p50_ms": "p50",
    "syncs_p99_ms": "p99",
    "signups_p50_ms": "p50",
    "signups_p99_ms": "p99",
    "depth": "in line, as the gateway counts",
    "lobby": "called (lobby)",
    "door_per_s": "door's rate",
    "shed_per_s": "shed (overload)",
    "downstream_could": "could have consumed",
    "downstream_per_s": "consumed",
    "consumer_lag": "sign-ups not consumed",
    "spool_waits": "on the gateway's disk",
    "gateway_cpu": "gateway, all processes",
    "worker_cpu": "busiest worker",
    "redis_cpu": "Redis",
    "kafka_cpu": "Kafka",
    "generator_cpu": "busiest generator",
}
# Of several seconds the worst is kept: a mean would hide what a report is for.  All else is averaged.
_WORST: Final = frozenset({"ack_p99_ms", "loop_lag_ms", "redis_ms", "unacked_age_s"})
_LEAST: Final = frozenset({"workers"})


class Panel(NamedTuple):
    """What shares an axis."""

    title: str
    unit: str
    columns: tuple[str, ...]
    is_latency: bool = False


SYNCS: Final = Panel("Latency of syncs", "corrected, log scale", ("syncs_p50_ms", "syncs_p99_ms"), is_latency=True)
SIGNUPS: Final = Panel("Latency of sign-ups", "corrected, log scale", ("signups_p50_ms", "signups_p99_ms"), is_latency=True)
PANELS: Final = (
    Panel("Load", "per second", ("meant", "sent")),
    Panel("People waiting", "people", ("depth", "lobby", "live")),
    Panel("Door", "people per second", ("door_per_s", "passes")),
    SYNCS,
    SIGNUPS,
    Panel("Answers", "per second", ("accepted", "refused", "errors", "unanswered", "shed_per_s")),
    Panel("Downstream", "sign-ups per second", ("downstream_could", "downstream_per_s")),
    Panel("Waiting for downstream", "sign-ups", ("consumer_lag",)),
    Panel("Waiting for Kafka", "records", ("spool_waits",)),
)
CORES: Final = Panel("Processors", "cores in use", ("worker_cpu", "redis_cpu", "kafka_cpu", "generator_cpu"))


def thinned(columns: Columns, most: int = POINTS_MAX) -> Columns:
    """At most so many values of each; nan only where all of them are."""
    together = math.ceil(len(columns.get("at_s", [])) / most) or 1
    return {name: [_one(name, values[start : start + together]) for start in range(0, len(values), together)] for name, values in columns.items()}


def _one(name: str, values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return math.nan
    if name == "at_s":
        return known[0]
    is_worst = name in _WORST or name.endswith(("_p50_ms", "_p99_ms"))
    return max(known) if is_worst else min(known) if name in _LEAST else sum(known) / len(known)


def has(columns: Columns, name: str) -> bool:
    """Whether there is anything to draw."""
    return any(math.isfinite(value) for value in columns.get(name, []))


def time_of(*results: Result) -> Axis:
    """One axis for all of them."""
    ends = [one.seconds for one in results]
    for one in results:
        ends += [at + 1 for at in one.timeline.get("at_s", [])[-1:]] + [mark.to_s for mark in one.marks] + [to_s for _, _, to_s in one.phases]
    starts = [at for one in results for at in one.timeline.get("at_s", [])[:1]]
    return charts.time_axis(min([0.0, *starts]), max(ends))


def faults(result: Result) -> list[Span]:
    """The bands that lie across every panel; of very many, evenly chosen ones."""
    every = math.ceil(len(result.marks) / MARKS_MAX) or 1
    return [Span(mark.from_s, mark.to_s, mark.what, "fault") for mark in result.marks[::every]]


def when(result: Result, x: Axis) -> str:
    """Phases and faults by name, above the panels: a row for each kind of fault, named once."""
    rows = charts.packed([Span(from_s, to_s, name, "phase") for name, from_s, to_s in result.phases], x)
    times = Counter(mark.what for mark in result.marks)
    for what in dict.fromkeys(span.label for span in faults(result)):
        same = [span for span in faults(result) if span.label == what]
        rows.append([span._replace(label=_times(what, times[what], len(same)) if place == 0 else "") for place, span in enumerate(same)])
    if not rows:
        return ""
    phases = "; ".join(f"{name} {clock(from_s)} to {clock(to_s)}" for name, from_s, to_s in result.phases)
    done = "; ".join(f"{what}, {count} times" for what, count in times.items())
    says = f"Phases: {phases or 'none'}. Faults: {done or 'none'}."
    head = "Phases and faults" if phases and done else "Phases" if phases else "Faults"
    return f"<figure><figcaption><b>{head}</b></figcaption>{charts.spans(rows, x, says)}</figure>"


def _times(what: str, count: int, drawn: int) -> str:
    return what if count == 1 else f"{what}, {count:,} times" + (f" ({drawn} drawn)" if drawn < count else "")


def panel(chosen: Panel, columns: Columns, x: Axis, bands: Sequence[Span], y: Axis | None = None) -> str:
    """A figure with its legend, or nothing where nobody measured."""
    names = [name for name in chosen.columns if has(columns, name)]
    if not names:
        return ""
    drawn = [Line(LABELS[name], 1 + chosen.columns.index(name), columns[name]) for name in names]
    shown = latency if chosen.is_latency else number
    extents = " ".join(f"{LABELS[name]}: {_extent(columns, name, shown)}." for name in names)
    says = f"{chosen.title}, {chosen.unit}, from {clock(x.least)} to {clock(x.most)}. {extents}"
    legend = " ".join(f"<span>{charts.key(line.style)} {said(line.label)}</span>" for line in drawn)
    svg = charts.lines(columns["at_s"], drawn, x, y or axis_of(chosen, [columns]), says, bands=bands, tips=_told(columns, names, x, shown))
    return f'<figure><figcaption><b>{said(chosen.title)}</b> <small>{said(chosen.unit)}</small> <span class="keys">{legend}</span></figcaption>{svg}</figure>'


def axis_of(chosen: Panel, of: Sequence[Columns]) -> Axis:
    """That holds all the values."""
    values = [value for columns in of for name in chosen.columns for value in columns.get(name, [])]
    return charts.log_axis(values, latency) if chosen.is_latency else charts.linear_axis(values, number)


def _extent(columns: Columns, name: str, shown: Callable[[float], str]) -> str:
    known = [(value, at) for value, at in zip(columns[name], columns["at_s"], strict=True) if math.isfinite(value)]
    most, at = max(known)
    return f"{shown(min(known)[0])} to {shown(most)} (at {clock(at)})"


def _told(columns: Columns, names: Sequence[str], x: Axis, shown: Callable[[float], str]) -> list[str]:
    """What each part of the width says under the pointer; "" where there is nothing to say."""
    width = (x.most - x.least) / TIPS_MAX
    parts: list[Columns] = [{name: [] for name in names} for _ in range(TIPS_MAX)]
    for row, at in enumerate(columns["at_s"]):
        part = parts[min(max(int((at - x.least) / width), 0), TIPS_MAX - 1)]
        for name in names:
            part[name].append(columns[name][row])
    return [
        f"{clock(x.least + place * width)}: " + ", ".join(f"{LABELS[name]} {shown(_one(name, values))}" for name, values in part.items())
        if any(part.values())
        else ""
        for place, part in enumerate(parts)
    ]


def table(result: Result) -> tuple[list[str], list[list[str]]]:
    """The same in figures: heads and at most ROWS_MAX rows.  Columns of reasons are left out: they are numbers of the gateway's lists."""
    columns = thinned(result.timeline, ROWS_MAX)
    names = [name for name in columns if name != "at_s" and not name.endswith("_reason") and has(columns, name)]
    heads = ["time", *(name.replace("_", " ") for name in names)]
    return heads, [[clock(at), *(number(columns[name][row]) for name in names)] for row, at in enumerate(columns.get("at_s", []))]


def unmeasured(result: Result) -> list[str]:
    """What the panels would have shown."""
    return [f"{chosen.title.lower()} ({LABELS[name]})" for chosen in PANELS for name in chosen.columns if not has(result.timeline, name)]


# Two side by side


class Served(NamedTuple):
    """How much was got through while something waited, in units a second."""

    mean: float
    best: float  # half-minute
    worst: float
    seconds: int  # while something waited; 0: never, and all of it was counted


def goodput_of(*results: Result) -> str:
    """The column all have: what downstream consumed, else sign-ups that were accepted, else any answer 2xx."""
    return next((name for name in ("downstream_per_s", "signups_accepted") if all(has(one.timeline, name) for one in results)), "accepted")


def served(result: Result, name: str) -> Served:
    """Goodput counts where there was work: a line that is empty gets nobody through, and that is no collapse."""
    goodput = result.timeline.get(name, [])
    waiting = [result.timeline.get(one, [0.0] * len(goodput)) for one in ("depth", "consumer_lag")]
    work = [sum(value for value in row if math.isfinite(value)) for row in zip(*waiting, strict=True)]
    known = [(value, depth) for value, depth in zip(goodput, work, strict=True) if math.isfinite(value)]
    most = max((value for value, _ in known), default=0.0)
    busy = [value for value, depth in known if depth >= 2 * most]  # two seconds' work at the best it ever did
    counted = busy or [value for value, _ in known]
    if not counted:
        return Served(math.nan, math.nan, math.nan, 0)
    width = min(HALF_MINUTE_S, len(counted))
    means = [sum(counted[start : start + width]) / width for start in range(len(counted) - width + 1)]
    return Served(sum(counted) / len(counted), max(means), min(means), len(busy))


def in_short(result: Result, found: Served) -> list[str]:
    """The figures that two are compared by."""
    waited = duration(float(found.seconds)) if found.seconds else "none: all of it counts"
    most = [max((value for value in result.timeline.get(one, []) if math.isfinite(value)), default=math.nan) for one in ("depth", "consumer_lag")]
    known = [f"{number(value)} {what}" for value, what in zip(most, ("people", "sign-ups"), strict=True) if math.isfinite(value)]
    return [number(found.mean), number(found.best), number(found.worst), waited, ", ".join(known) or UNKNOWN]


def halves(results: Sequence[Result], name: str) -> list[list[str]]:
    """For each panel, a figure for each result, on equal axes."""
    x = time_of(*results)
    chosen = (
        Panel("Load", "arrivals per second", ("meant",)),
        Panel("Goodput", "sign-ups per second" if name != "accepted" else "answers 2xx per second", (name,)),
        Panel("Waiting", "people and sign-ups", ("depth", "consumer_lag")),
        SIGNUPS if any(has(one.timeline, "signups_p99_ms") for one in results) else SYNCS,
    )
    thin = [thinned(one.timeline, POINTS_MAX // 2) for one in results]
    return [
        [
            panel(one._replace(unit=f"{result.name}: {one.unit}"), columns, x, faults(result), axis_of(one, thin))
            for result, columns in zip(results, thin, strict=True)
        ]
        for one in chosen
    ]
