"""The 1 Hz samples as arrays, and what a stretch of them says.  Pure.

A sample's value holds from the sample before to its own: `per_s` columns are rates over that time.  nan: nobody could say.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from benchmarks.measure import percentile

NEAR_S: Final = 0.75  # the next sample tells of another second

Span = tuple[float, float]
Columns = Mapping[str, Sequence[float]]


def column(samples: Columns, name: str) -> np.ndarray:
    """All nan where it is not sampled."""
    return np.array(samples.get(name, [math.nan] * len(samples.get("at_s", []))), dtype=np.float64)


def held_s(samples: Columns, span: Span) -> np.ndarray:
    """How much of the span each sample stands for."""
    at_s = column(samples, "at_s")
    since_s = np.concatenate([[0.0], at_s[:-1]]) if len(at_s) else at_s
    result: np.ndarray = np.maximum(np.minimum(at_s, span[1]) - np.maximum(since_s, span[0]), 0.0)
    return result


def total(samples: Columns, name: str, span: Span) -> float:
    """A rate's integral over what is known of the span; nan: nothing is."""
    values, seconds = column(samples, name), held_s(samples, span)
    known = ~np.isnan(values) & (seconds > 0)
    return float((values * seconds)[known].sum()) if known.any() else math.nan


def mean(samples: Columns, name: str, span: Span) -> float:
    """Over time; nan: nothing is known."""
    values, seconds = column(samples, name), held_s(samples, span)
    known = ~np.isnan(values) & (seconds > 0)
    return float((values * seconds)[known].sum() / seconds[known].sum()) if known.any() else math.nan


def known_within(samples: Columns, name: str, span: Span) -> np.ndarray:
    """The values sampled in it."""
    at_s, values = column(samples, "at_s"), column(samples, name)
    result: np.ndarray = values[(at_s >= span[0]) & (at_s < span[1]) & ~np.isnan(values)]
    return result


def most(samples: Columns, name: str, span: Span) -> float:
    """nan: nothing is known."""
    return float(known_within(samples, name, span).max(initial=-math.inf)) if len(known_within(samples, name, span)) else math.nan


def share(samples: Columns, name: str, span: Span, of: float) -> float:
    """A percentile (0-1) by nearest rank; nan: nothing is known."""
    values = sorted(known_within(samples, name, span).tolist())
    return percentile(values, of) if values else math.nan


def by_second(samples: Columns, name: str, seconds: int) -> np.ndarray:
    """The sample next to each second's end, for it tells of that second; nan where it is more than NEAR_S away."""
    at_s, values = column(samples, "at_s"), column(samples, name)
    if not len(at_s):
        return np.full(seconds, np.nan)
    ends_s = np.arange(seconds) + 1.0
    after = np.clip(np.searchsorted(at_s, ends_s), 0, len(at_s) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(at_s[before] - ends_s) < np.abs(at_s[after] - ends_s), before, after)
    return np.where(np.abs(at_s[nearest] - ends_s) <= NEAR_S, values[nearest], np.nan)
