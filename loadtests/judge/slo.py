"""The catalogue of what a scenario may set a bound to: a name → what it is, its unit, how it is measured.

Pure.  A metric is measured over a span of the rehearsal's clock, a phase's: [from, to).  Requests belong to the span in
which they were meant or due, people to the one in which they joined, passes and samples to the one they happened in.
What there is nothing to measure of is nan, and nan meets no bound.

    <call>.<stat>   of requests: calls `syncs`, `signups`, `tickets`, `place`, `passes`, `all`
    <stream>.<stat> the same of what a stream's people send (scenario_file.of_streams)
    line.*          of people: how long, how fair
    door.*          of passes: how many, and never too many
    spool.*         of what the gateway keeps on its disk while Kafka is away
    downstream.*, gateway.*, recovery.s
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from loadtests.judge import line as lines
from loadtests.judge import samples, waits
from loadtests.judge.fairness import lost
from loadtests.judge.latency import corrected_ms, percentile_ms
from loadtests.judge.ledger import TOPICS, Payloads, distinct, is_among, payloads
from loadtests.judge.line import Line, Span, line_of
from loadtests.judge.timeline import is_accepted, is_error, is_refused, is_unanswered
from loadtests.observed import Observed
from loadtests.recording import Call, Fate
from loadtests.result import SloRow
from loadtests.scenario import Scenario, Slo

RECOVERED_SHARE: Final = 0.99
RECOVERED_FOR_S: Final = 3.0
OUTAGES: Final = frozenset({"Kafka frozen", "Kafka killed"})  # what a mark says of them
_ARE_SERVED: Final = frozenset({"applicant", "sync"})  # kinds whose arrivals a healthy gateway accepts


@dataclass(frozen=True)
class Figures:
    """What metrics are measured from: an Observed, with its people as arrays."""

    observed: Observed
    line: Line | None
    overtaken_s: np.ndarray  # by person of the line
    payloads: Sequence[Payloads]  # by topic

    @classmethod
    def of(cls, observed: Observed) -> "Figures":
        """Once for a rehearsal."""
        line = line_of(observed)
        overtaken_s = np.empty(0) if line is None else lines.overtaken_s(line)
        return cls(observed, line, overtaken_s, payloads(observed))

    def calls(self, which: "Which", span: Span) -> np.ndarray:
        """Those meant in the span."""
        calls = self.observed.recording.calls
        wanted = (calls["meant_s"] >= span[0]) & (calls["meant_s"] < span[1])
        for name, value in (("call", which.call), ("stream", which.stream)):
            wanted &= True if value is None else calls[name] == value
        result: np.ndarray = calls[wanted]
        return result


class Which(NamedTuple):
    """Requests of a call, of a stream, or all."""

    call: Call | None = None
    stream: int | None = None


Measure = Callable[[Figures, Span], float]


class Metric(NamedTuple):
    """One of the catalogue."""

    says: str
    unit: str  # "ms", "s", "%" (measured as a share), "/s", "people", "sign-ups", "records", "" (a ratio)
    measure: Measure


# Requests


def _latency(of: Callable[[np.ndarray], np.ndarray] | None, percentile: float, calls: np.ndarray, _: float) -> float:
    return percentile_ms(corrected_ms(calls if of is None else calls[of(calls)]), percentile)


def _share(of: Callable[[np.ndarray], np.ndarray], calls: np.ndarray, _: float) -> float:
    return float(of(calls).mean()) if len(calls) else math.nan


def _is_failed(calls: np.ndarray) -> np.ndarray:
    result: np.ndarray = is_error(calls) | is_unanswered(calls)
    return result


def _first_try(calls: np.ndarray, _: float) -> float:
    first = calls[calls["tries"] == 1]
    return float(is_accepted(first).mean()) if len(first) else math.nan


def _per_s(calls: np.ndarray, seconds: float) -> float:
    return len(calls) / seconds if len(calls) and seconds > 0 else math.nan


def _accepted_per_s(calls: np.ndarray, seconds: float) -> float:
    return float(is_accepted(calls).sum()) / seconds if len(calls) and seconds > 0 else math.nan


Stat = Callable[[np.ndarray, float], float]  # of (calls, seconds)

_LATENCIES: Final = {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0, "max_ms": 100.0}
_STATS: Final[dict[str, tuple[str, str, Stat]]] = {
    **{name: (f"{name.removesuffix('_ms')} from the instant a request was meant", "ms", partial(_latency, None, of)) for name, of in _LATENCIES.items()},
    **{
        f"accepted_{name}": (f"{name.removesuffix('_ms')} of those answered 2xx, from the instant they were meant", "ms", partial(_latency, is_accepted, of))
        for name, of in _LATENCIES.items()
    },
    "accepted_share": ("answered 2xx, of all that were sent", "%", partial(_share, is_accepted)),
    "refused_share": ("answered 4xx or 503, of all that were sent", "%", partial(_share, is_refused)),
    "unanswered_share": ("without an answer, of all that were sent", "%", partial(_share, is_unanswered)),
    "error_share": ("answered 5xx other than 503, or not at all", "%", partial(_share, _is_failed)),
    "first_try_accepted_share": ("answered 2xx, of those sent for the first time", "%", _first_try),
    "per_s": ("requests a second", "/s", _per_s),
    "accepted_per_s": ("answered 2xx a second", "/s", _accepted_per_s),
}
_CALLS: Final[dict[str, Call | None]] = {**{call.name.lower(): call for call in Call}, "all": None}
_WORDS: Final = {"syncs": "syncs", "signups": "sign-ups", "tickets": "joins", "place": "looks", "passes": "knocks", "all": "all requests"}


def _of_calls(which: Which, stat: Stat, figures: Figures, span: Span) -> float:
    return stat(figures.calls(which, span), min(span[1], figures.observed.ended_s) - span[0])


def delivered_share(which: Which, figures: Figures, span: Span) -> float:
    """Payloads accepted in the end, all their tries together, of those that arrivals of the span ever sent; who is still at it has not delivered."""
    calls = figures.observed.recording.calls
    arrivals = distinct(calls["arrival"][~np.isnan(calls["late_s"]) & (calls["meant_s"] >= span[0]) & (calls["meant_s"] < span[1])])
    delivered = sent = 0
    for topic, (_, _, call) in enumerate(TOPICS):
        if which.call not in (None, call):
            continue
        of = figures.payloads[topic]
        wanted = is_among(of.keys >> 8, arrivals)
        at_it = is_among(of.unfinished, arrivals)
        if which.stream is not None:
            wanted &= of.streams == which.stream
            at_it &= of.unfinished_streams == which.stream
        sent += int(wanted.sum()) + int(at_it.sum())
        delivered += int((of.fates[wanted] == Fate.ACCEPTED).sum())
    return delivered / sent if sent else math.nan


def _of_requests(name: str, says: str, which: Which) -> Iterator[tuple[str, Metric]]:
    for stat, (what, unit, measure) in _STATS.items():
        yield f"{name}.{stat}", Metric(f"{says}: {what}", unit, partial(_of_calls, which, measure))
    if which.call in (None, Call.SYNCS, Call.SIGNUPS):
        what = "accepted in the end, all tries together, of all payloads"
        yield f"{name}.delivered_share", Metric(f"{says}: {what}", "%", partial(delivered_share, which))


def _request_metrics() -> Iterator[tuple[str, Metric]]:
    for name, call in _CALLS.items():
        yield from _of_requests(name, _WORDS[name], Which(call=call))


# The line and the door


def _overtaken(figures: Figures, span: Span) -> float:
    if figures.line is None:
        return math.nan
    found = figures.overtaken_s[waits.joined_within(figures.line, span)]
    return float(found.max()) if len(found) else math.nan


def _lost(figures: Figures, span: Span) -> float:
    if figures.line is None:
        return math.nan
    return float((lost(figures.observed, figures.line) & waits.joined_within(figures.line, span)).sum())


def _depth_max(figures: Figures, span: Span) -> float:
    """The gateway's own count where it is sampled; else of those who are there."""
    sampled = samples.most(figures.observed.samples, "depth", span)
    if not math.isnan(sampled) or figures.line is None:
        return sampled
    cells = figures.line.live[max(0, int(span[0] / lines.STEP_S)) : math.ceil(span[1] / lines.STEP_S)]
    return float(cells.max()) if len(cells) else math.nan


def _of_line(measure: Callable[[Line, Span], float], figures: Figures, span: Span) -> float:
    return math.nan if figures.line is None else measure(figures.line, span)


def _line_metrics() -> Iterator[tuple[str, Metric]]:
    of_line: dict[str, tuple[str, str, Callable[[Line, Span], float]]] = {
        "line.wait_p50_s": ("from joining to the pass, half of the people at most", "s", partial(waits.wait_s, percentile=50)),
        "line.wait_p99_s": ("from joining to the pass, 99 of 100 people at most", "s", partial(waits.wait_s, percentile=99)),
        "line.estimate_error_p50": ("how far the first estimate was from the wait, in half of the cases at most", "%", waits.estimate_error),
        "line.called_to_pass_p99_s": ("from being called to the pass, 99 of 100 people at most", "s", waits.called_to_pass_s),
        "line.left_share": ("people who gave up waiting", "%", waits.left_share),
        "door.used": ("passes, of what the door's rate allows while two lobbies of people wait", "%", lines.used),
        "door.most_in_1s": ("passes in the worst second, of the door's bound", "%", lambda line, span: lines.most_in(line, 1.0, span).share),
        "door.most_in_10s": ("passes in the worst ten seconds, of the door's bound", "%", lambda line, span: lines.most_in(line, 10.0, span).share),
        "door.drain_deepest_minute": ("passes in the minute with the most people in line, of what the door's rate allows", "%", lines.deepest_minute),
        "door.per_s": ("passes a second", "/s", lines.per_s),
    }
    yield from ((name, Metric(says, unit, partial(_of_line, measure))) for name, (says, unit, measure) in of_line.items())
    yield "line.depth_max", Metric("people in line, at most", "people", _depth_max)
    yield "line.overtaken_s", Metric("how much a person who was there was overtaken at worst, in seconds of the door's rate", "s", _overtaken)
    yield "line.lost", Metric("people who stayed, had time, and got nothing", "people", _lost)


# All else


def _downstream_used(figures: Figures, span: Span) -> float:
    of = figures.observed.samples
    could = samples.total(of, "downstream_could", span)
    return samples.total(of, "downstream_per_s", span) / could if could else math.nan


def _shed_share(figures: Figures, span: Span) -> float:
    """The gateway's count of what it shed, of the requests that the generator sent."""
    sent_s = figures.observed.recording.calls["sent_s"]
    sent = int(((sent_s >= span[0]) & (sent_s < span[1])).sum())
    return samples.total(figures.observed.samples, "shed_per_s", span) / sent if sent else math.nan


def recovery_s(figures: Figures, span: Span) -> float:
    """From the end of the span's last fault to the first second since which, for RECOVERED_FOR_S, arrivals were accepted; nan: never seen."""
    observed = figures.observed
    ends_s = [mark.to_s for mark in observed.marks if span[0] <= mark.to_s < span[1]]
    if not ends_s:
        return math.nan
    served = [number for number, stream in enumerate(observed.scenario.streams) if stream.kind in _ARE_SERVED]
    calls = observed.recording.calls
    calls = calls[~np.isnan(calls["late_s"]) & np.isin(calls["stream"], served)]
    meant_s, accepted = calls["meant_s"], is_accepted(calls)
    end_s = max(ends_s)
    for second in range(max(0, int(observed.ended_s - end_s - RECOVERED_FOR_S + 1e-9) + 1)):
        of = accepted[(meant_s >= end_s + second) & (meant_s < end_s + second + RECOVERED_FOR_S)]
        if len(of) and of.mean() >= RECOVERED_SHARE:
            return float(second)
    return math.nan


def spooled_share(figures: Figures, span: Span) -> float:
    """The gateway's own counts."""
    of = figures.observed.samples
    kept = samples.total(of, "accepted_per_s", span)
    return samples.total(of, "spooled_per_s", span) / kept if kept else math.nan


def replay_share(figures: Figures, span: Span) -> float:
    """Of the worst outage of Kafka that ended in the span; nan: there was none, or its replay did not come to its end."""
    shares = []
    at_s, waits = samples.column(figures.observed.samples, "at_s"), samples.column(figures.observed.samples, "spool_waits")
    for mark in figures.observed.marks:
        if mark.what in OUTAGES and span[0] <= mark.to_s < span[1]:
            empty = at_s[(at_s >= mark.to_s) & (waits == 0)]
            shares.append((float(empty[0]) - mark.to_s) / (mark.to_s - mark.from_s) if len(empty) else math.nan)
    return max(shares, key=lambda share: math.inf if math.isnan(share) else share, default=math.nan)


def _sampled(measure: Callable[[samples.Columns, str, Span], float], name: str, figures: Figures, span: Span) -> float:
    return measure(figures.observed.samples, name, span)


CATALOGUE: Final[dict[str, Metric]] = {
    **dict(_request_metrics()),
    **dict(_line_metrics()),
    "downstream.per_s": Metric("sign-ups a second that downstream took: the goodput", "/s", partial(_sampled, samples.mean, "downstream_per_s")),
    "downstream.used": Metric("sign-ups that downstream took, of what it could have", "%", _downstream_used),
    "downstream.lag_max": Metric("sign-ups that waited for downstream, at most", "sign-ups", partial(_sampled, samples.most, "consumer_lag")),
    "gateway.loop_lag_p99_ms": Metric(
        "how late the worst worker's event loop ran, 99 of 100 seconds at most", "ms", partial(_sampled, partial(samples.share, of=0.99), "loop_lag_ms")
    ),
    "gateway.shed_share": Metric("requests refused for overload, of all that were sent", "%", _shed_share),
    "spool.accepted_share": Metric("events answered from the gateway's disk, of all that were accepted", "%", spooled_share),
    "spool.replay_share": Metric("from the end of Kafka's outage until nothing waits on the gateway's disk, of how long the outage was", "%", replay_share),
    "spool.waits_max": Metric("records that waited on the gateway's disk, at most", "records", partial(_sampled, samples.most, "spool_waits")),
    "recovery.s": Metric("from the end of the last fault until arrivals are accepted again, for three seconds", "s", recovery_s),
}
METRICS: Final = frozenset(CATALOGUE)


def metric_of(name: str, scenario: Scenario) -> Metric:
    """One of the catalogue, or a stream's.  KeyError cannot happen for what scenario_file.load let through."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    of_streams = (_of_requests(stream.name, f"stream {stream.name}", Which(stream=number)) for number, stream in enumerate(scenario.streams))
    return {key: metric for metrics in of_streams for key, metric in metrics}[name]


def shown(value: float, unit: str) -> str:
    """Four digits and the unit."""
    if math.isnan(value):
        return "not measured"
    if unit == "%":
        return f"{_digits(100 * value)} %"
    return f"{_digits(value)}{unit if unit.startswith('/') else f' {unit}' if unit else ''}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def bound_of(slo: Slo, unit: str) -> str:
    """In words: "≤ 500 ms"."""
    sides = (("≥", slo.at_least), ("≤", slo.at_most))
    return " and ".join(f"{sign} {shown(bound, unit)}" for sign, bound in sides if bound is not None)


def row(figures: Figures, slo: Slo) -> SloRow:
    """A bound, measured."""
    metric = metric_of(slo.metric, figures.observed.scenario)
    measured = metric.measure(figures, figures.observed.scenario.within(slo.phase))
    return SloRow(slo.phase, slo.metric, metric.says, bound_of(slo, metric.unit), measured, shown(measured, metric.unit), is_met=slo.holds(measured))
