"""Counters of two instants → what happened between them: rates, percentiles, and how fast error budgets burn.

Pure.  A counter of the board never goes backwards, whatever is killed, so no rate is ever below zero.

    answered   of syncs and sign-ups, those that were not answered with 5xx; 4xx is the client's and counts for neither
    acked      of events, those that Kafka acknowledged within ACKED_WITHIN_S
    burn       how many times as fast as allowed a budget is spent: 1 spends exactly all of it
               (source: the workbook of Site Reliability Engineering, "Alerting on SLOs")
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from gateway.board import Totals
from gateway.errors import PROBLEMS
from gateway.metrics import SECONDS_BUCKETS, STATUSES, TOPICS
from gateway.ops.frame import Ack, ClassRates, Traffic

ANSWERED: Final = 0.999
ACKED: Final = 0.99
ACKED_WITHIN_S: Final = 0.5  # a bound of SECONDS_BUCKETS

# Which requests are a class: route, and the statuses of what was accepted.
_CLASSES: Final = {"syncs": ("syncs", ("202",)), "signups": ("signups", ("202",)), "joins": ("tickets", ("200", "201")), "looks": ("place", ("200",))}
_SHED: Final = ("signups", "joins", "syncs")
_SERVER_ERRORS: Final = tuple(status for status in STATUSES if status.startswith("5"))
_ERRORS: Final = tuple(status for status in STATUSES if status >= "400")
_REQUESTS: Final = "sluicegate_requests_total"
_REFUSALS: Final = "sluicegate_refusals_total"
_REFUSED: Final = "sluicegate_overload_refused_total"
_ACKS: Final = "sluicegate_ack_seconds"
_REPLAYED: Final = "sluicegate_spool_replayed_total"


class Spent(NamedTuple):
    """What error budgets are counted from, ever since the start."""

    now_s: float
    asked: int
    failed: int  # answered with 5xx
    durable: int
    late: int  # of them: acknowledged after more than ACKED_WITHIN_S


def traffic(past: Totals, now: Totals, span_s: float) -> Traffic:
    def per_s(name: str, labels: Iterable[tuple[str, ...]]) -> float:
        return round(sum(now.count(name, *each) - past.count(name, *each) for each in labels) / span_s, 3)

    by_class = {
        name: ClassRates(
            per_s(_REQUESTS, ((route, status) for status in accepted)),
            per_s(_REQUESTS, ((route, status) for status in _ERRORS)),
            per_s(_REFUSED, ((name,),)) if name in _SHED else 0.0,
        )
        for name, (route, accepted) in _CLASSES.items()
    }
    codes = {code: per_s(_REFUSALS, ((code,),)) for code in PROBLEMS}
    return Traffic(
        round(by_class["syncs"].accepted_per_s + by_class["signups"].accepted_per_s, 3),
        round(sum(codes.values()), 3),
        round(sum(by_class[name].shed_per_s for name in _SHED), 3),
        by_class,
        {code: rate_per_s for code, rate_per_s in codes.items() if rate_per_s},
    )


def ack(past: Totals, now: Totals) -> Ack:
    counts = [sum(of) for of in zip(*(_between(past, now, topic) for topic in TOPICS), strict=True)]
    return Ack(_percentile_ms(counts, 0.5), _percentile_ms(counts, 0.99))


def replayed(past: Totals, now: Totals, span_s: float) -> float:
    """Records a second that Kafka took from the spool."""
    return round((now.count(_REPLAYED) - past.count(_REPLAYED)) / span_s, 3)


def _between(past: Totals, now: Totals, topic: str) -> list[int]:
    return [after - before for before, after in zip(past.counts(_ACKS, topic), now.counts(_ACKS, topic), strict=True)]


def _percentile_ms(counts: Sequence[int], share: float) -> float | None:
    found = quantile(SECONDS_BUCKETS, counts, share)
    return None if found is None else round(found * 1_000, 1)


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Where `share` of what was counted lies, straight lines within a bucket; the last bound for what is beyond; None: nothing was counted.

    Args: counts: per bucket, not cumulative, the last one being beyond every bound.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    for index, below in enumerate(accumulate(counts[:-1])):
        if below >= wanted:
            left = bounds[index - 1] if index else 0.0
            return left + (bounds[index] - left) * (1 - (below - wanted) / counts[index])
    return bounds[-1]


def spent(totals: Totals, now_s: float) -> Spent:
    """What counts for the two objectives: 4xx is the client's and counts for neither."""
    routes = ("syncs", "signups")
    failed = sum(totals.count(_REQUESTS, route, status) for route in routes for status in _SERVER_ERRORS)
    accepted = sum(totals.count(_REQUESTS, route, "202") for route in routes)
    buckets = [totals.counts(_ACKS, topic) for topic in TOPICS]
    in_time = sum(sum(counts[: SECONDS_BUCKETS.index(ACKED_WITHIN_S) + 1]) for counts in buckets)
    durable = sum(map(sum, buckets))
    return Spent(now_s, accepted + failed, failed, durable, durable - in_time)


def burn(bad: int, total: int, objective: float) -> float | None:
    """How many times as fast as allowed the budget is spent; None where nothing was asked."""
    return round(bad / total / (1 - objective), 2) if total else None


def at(spent_: Iterable[Spent], at_s: float) -> Spent:
    """The newest from before that instant, or the oldest there is."""
    found: Spent | None = None
    for one in spent_:
        if found is None or one.now_s <= at_s:
            found = one
    assert found is not None  # the reading that is folded is among them
    return found
