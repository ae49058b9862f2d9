"""Latencies of many requests: HdrHistograms of 3 digits, their percentiles, curves and heat maps.

Pure.  A million latencies are rounded by numpy as the histogram itself would (to one in 2,048), counted, and only
then recorded: some ten thousand records instead of a million.

    corrected    from the instant a request was meant, or due: what a person waited
    uncorrected  from its first byte: what a generator that waits for its server would have said

Shapes: `calls` is an array of recording.CALL, in any order.  Units: ms, but for the histogram, which counts in µs.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from hdrh.histogram import HdrHistogram

from loadtests.recording import Call
from loadtests.result import Curve, HeatMap

PATHS: Final = {
    Call.SYNCS: "POST /v1/syncs",
    Call.SIGNUPS: "POST /v1/signups",
    Call.TICKETS: "POST /v1/rooms/…/tickets",
    Call.PLACE: "GET /v1/rooms/…/place",
    Call.PASSES: "POST /v1/rooms/…/passes",
}
PERCENTILES: Final = (*(0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0), *(97.5, 99.0, 99.5, 99.75, 99.9, 99.95, 99.99, 99.999, 100.0))
ABOVE_MS: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0)
COLUMNS_MAX: Final = 120  # of a heat map: more are thinner than a phone's pixels

_DIGITS: Final = 3
_MOST_US: Final = 86_400_000_000  # no rehearsal is longer than a day
_EXACT_BITS: Final = 11  # the histogram's sub-buckets: below 2,048 µs every µs counts for itself


def corrected_ms(calls: np.ndarray) -> np.ndarray:
    """From the instant it was meant or due to the last byte, or to when the client gave up."""
    return _ms(calls["done_s"] - calls["meant_s"])


def uncorrected_ms(calls: np.ndarray) -> np.ndarray:
    """From the first byte to the same end."""
    return _ms(calls["done_s"] - calls["sent_s"])


def _ms(seconds: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.maximum(seconds, 0.0) * 1000
    return result


def histogram(values_ms: np.ndarray) -> HdrHistogram:
    """Of all of them, to three digits; the longest count as a day."""
    counted = HdrHistogram(1, _MOST_US, _DIGITS)
    values_us = np.clip(np.rint(values_ms * 1000), 0, _MOST_US).astype(np.int64)
    _, bits = np.frexp(values_us.astype(np.float64))
    shift = np.maximum(bits.astype(np.int64) - _EXACT_BITS, 0)
    rounded, counts = np.unique((values_us >> shift) << shift, return_counts=True)
    for value_us, count in zip(rounded.tolist(), counts.tolist(), strict=True):
        counted.record_value(value_us, count)
    return counted


def percentiles_ms(values_ms: np.ndarray, percentiles: Sequence[float]) -> list[float]:
    """Each percentile (0-100), nan of nothing.  The 100th is exact; none is above it."""
    if not len(values_ms):
        return [math.nan] * len(percentiles)
    found = histogram(values_ms).get_percentile_to_value_dict(list(percentiles))
    most_ms = float(values_ms.max())
    return [most_ms if share == 100.0 else min(found[share] / 1000, most_ms) for share in percentiles]


def percentile_ms(values_ms: np.ndarray, percentile: float) -> float:
    """One of them."""
    return percentiles_ms(values_ms, [percentile])[0]


def curves(calls: np.ndarray) -> list[Curve]:
    """Of each call that was made."""
    found = []
    for call, path in PATHS.items():
        rows = calls[calls["call"] == call]
        if len(rows):
            both = (percentiles_ms(values, PERCENTILES) for values in (corrected_ms(rows), uncorrected_ms(rows)))
            found.append(Curve(path, len(rows), list(PERCENTILES), *both))
    return found


def heat_maps(calls: np.ndarray, seconds: float) -> list[HeatMap]:
    """Of each call that was made: columns by when it was meant, of whole seconds, COLUMNS_MAX at most."""
    width_s = max(1, math.ceil(seconds / COLUMNS_MAX))
    columns, rows = max(1, math.ceil(seconds / width_s)), len(ABOVE_MS)
    found = []
    for call, path in PATHS.items():
        of_call = calls[calls["call"] == call]
        if not len(of_call):
            continue
        column = np.clip(of_call["meant_s"] // width_s, 0, columns - 1).astype(np.int64)
        row = np.searchsorted(ABOVE_MS, corrected_ms(of_call), side="right") - 1
        counts = np.bincount(column * rows + row, minlength=columns * rows).reshape(columns, rows)
        found.append(HeatMap(path, [float(number * width_s) for number in range(columns)], list(ABOVE_MS), counts.tolist()))
    return found
