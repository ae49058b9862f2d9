"""What came nearest to its bound, by the 1 Hz samples: the first of these to look at when an SLO was missed.

Pure.  Each is a share of its bound, the mean of its worst ten seconds: 1 is full.  The door stands among them because it
is meant to be the first: a line before a used door is the product at work.
"""

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from loadtests.judge.line import STEP_S, Line, used
from loadtests.judge.samples import column
from loadtests.observed import Observed
from loadtests.result import Bottleneck

WORST_S: Final = 10.0
LEAST_S: Final = 3.0  # of known samples within them: fewer say nothing
LOOP_LAG_MS: Final = 50.0  # docs/metrics.md: over that the worker's core is full
REDIS_MS: Final = 30.0  # limits.decide_timeout_ms: later answers are not waited for
ACK_P99_MS: Final = 250.0  # what the overload limiter learns to aim at
STALL_MS: Final = 1_000.0  # deliver.stall_ms as shipped
GENERATOR_CPU: Final = 0.8
DOOR_USED: Final = 0.95


class _Bound(NamedTuple):
    what: str
    name: str  # of SAMPLED
    bound: float
    says: str  # with {value} in the column's unit and {bound}


def bottlenecks(observed: Observed, line: Line | None) -> list[Bottleneck]:
    """The nearest to its bound first; what nobody sampled is left out."""
    found = []
    for bound in _bounds(observed):
        share, at_s = worst(observed, column(observed.samples, bound.name) / bound.bound)
        if not math.isnan(share):
            found.append(Bottleneck(bound.what, share, at_s, bound.says.format(value=share * bound.bound, bound=bound.bound)))
    found += [*_downstream(observed), *_door(line)]
    return sorted(found, key=lambda one: -one.share)


def _bounds(observed: Observed) -> Iterator[_Bound]:
    cores = _cores(observed)
    stall_s = _stall_ms(observed.scenario.gateway.settings) / 1000
    yield _Bound("the busiest worker's core", "worker_cpu", 1.0, "{value:.2f} of its one core")
    if not math.isnan(cores):
        yield _Bound("the gateway's share of the machine", "gateway_cpu", cores, "{value:.2f} of {bound:.0f} cores")
        yield _Bound("Kafka's share of the machine", "kafka_cpu", cores, "{value:.2f} of {bound:.0f} cores")
    yield _Bound("the event loop", "loop_lag_ms", LOOP_LAG_MS, "timers ran {value:.0f} ms late; over {bound:.0f} ms a worker's core is full")
    yield _Bound("Redis' core", "redis_cpu", 1.0, "{value:.2f} of its one core")
    yield _Bound("Redis' answers", "redis_ms", REDIS_MS, "{value:.1f} ms for a PING; {bound:.0f} ms is as long as limits wait")
    yield _Bound("Kafka's acknowledgements", "ack_p99_ms", ACK_P99_MS, "p99 {value:.0f} ms; over {bound:.0f} ms the gateway takes less at once")
    yield _Bound("the oldest batch", "unacked_age_s", stall_s, "{value:.2f} s without an acknowledgement; at {bound:g} s requests are refused")
    yield _Bound("the generator", "generator_cpu", GENERATOR_CPU, "{value:.2f} of a core in its busiest process; {bound:.2f} is honest")


def worst(observed: Observed, values: np.ndarray) -> tuple[float, float]:
    """(mean, its first second) of the WORST_S with the highest mean; nan twice where LEAST_S are never known.

    Args: values: one for each sample.
    """
    at_s = column(observed.samples, "at_s")
    at_s, values = at_s[~np.isnan(values)], values[~np.isnan(values)]
    if not len(values):
        return math.nan, math.nan
    # A sample stands for the second before it; a window ends with a sample.
    first = np.searchsorted(at_s, at_s - WORST_S, side="right")
    last = np.arange(len(values)) + 1
    sums = np.concatenate([[0.0], np.cumsum(values)])
    means = np.where(last - first >= min(LEAST_S, len(values)), (sums[last] - sums[first]) / (last - first), -math.inf)
    index = int(means.argmax())
    return float(means[index]), max(float(at_s[first[index]]) - 1.0, 0.0)


def _downstream(observed: Observed) -> Iterator[Bottleneck]:
    """Full: it takes all that its law allows."""
    took, could = column(observed.samples, "downstream_per_s"), column(observed.samples, "downstream_could")
    share, at_s = worst(observed, took / np.where(could > 0, could, np.nan))
    if not math.isnan(share):
        yield Bottleneck("downstream", share, at_s, f"took {100 * share:.0f} % of the sign-ups that it could")


def _door(line: Line | None) -> Iterator[Bottleneck]:
    """Over all the time in which two lobbies wait: that the door limits then is its purpose."""
    share = math.nan if line is None else used(line, (0.0, line.end_s))
    if line is None or math.isnan(share):
        return
    is_limit = "people wait because of the door's rate, as they should" if share >= DOOR_USED else "people wait before a door that could take more"
    yield Bottleneck("the door", share, float(line.crowded.argmax()) * STEP_S, f"let in {100 * share:.0f} % of its rate while two lobbies waited: {is_limit}")


def _cores(observed: Observed) -> float:
    """Of the machine; nan: nobody says."""
    try:
        return float(observed.machine.get("cores", "nan"))
    except ValueError:
        return math.nan


def _stall_ms(settings: dict[str, Any]) -> float:
    return float(settings.get("deliver", {}).get("stall_ms", STALL_MS))
