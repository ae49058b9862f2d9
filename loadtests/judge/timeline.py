"""A rehearsal second by second: what a report draws.  Pure."""

import math
from typing import Final

import numpy as np

from loadtests.judge.latency import corrected_ms
from loadtests.judge.line import Line
from loadtests.judge.samples import by_second
from loadtests.observed import SAMPLED, Observed
from loadtests.recording import Call

TIMELINE: Final = {
    "at_s": "the second that begins then",
    "meant": "arrivals that were meant to come",
    "sent": "requests sent",
    "answered": "requests answered, whatever the answer",
    "accepted": "of them, 2xx",
    "refused": "of them, 4xx or 503",
    "errors": "of them, 5xx other than 503",
    "unanswered": "requests given up without an answer",
    "joins": "people who got a place",
    "passes": "passes released",
    "live": "people in line who are there; nan: no line",
    "signups_accepted": "sign-ups answered 202",
    "syncs_p50_ms": "of syncs that were due, corrected",
    "syncs_p99_ms": "of syncs that were due, corrected",
    "signups_p50_ms": "of sign-ups that were due, corrected",
    "signups_p99_ms": "of sign-ups that were due, corrected",
}
"""Columns beside SAMPLED's; counts are of the second, by when it happened."""


def is_accepted(calls: np.ndarray) -> np.ndarray:
    """2xx."""
    result: np.ndarray = (calls["status"] >= 200) & (calls["status"] < 300)
    return result


def is_refused(calls: np.ndarray) -> np.ndarray:
    """4xx or 503: an answer that says no."""
    result: np.ndarray = ((calls["status"] >= 400) & (calls["status"] < 500)) | (calls["status"] == 503)
    return result


def is_unanswered(calls: np.ndarray) -> np.ndarray:
    """NO_ANSWER or CUT."""
    result: np.ndarray = calls["status"] <= 0
    return result


def is_error(calls: np.ndarray) -> np.ndarray:
    """5xx other than 503: an answer that nobody meant."""
    result: np.ndarray = (calls["status"] >= 500) & (calls["status"] != 503)
    return result


def timeline(observed: Observed, line: Line | None) -> dict[str, list[float]]:
    """TIMELINE's columns and SAMPLED's, each of as many whole seconds as the rehearsal took."""
    calls, seconds = observed.recording.calls, max(1, math.ceil(observed.ended_s))

    def counted(instants_s: np.ndarray) -> np.ndarray:
        second = np.floor(instants_s[~np.isnan(instants_s)]).astype(np.int64)
        return np.bincount(second[(second >= 0) & (second < seconds)], minlength=seconds).astype(np.float64)

    done_s = calls["done_s"]
    answered, accepted = ~is_unanswered(calls), is_accepted(calls)
    none = np.full(seconds, np.nan)
    columns = {
        "at_s": np.arange(seconds, dtype=np.float64),
        "meant": counted(calls["meant_s"][~np.isnan(calls["late_s"])]),
        "sent": counted(calls["sent_s"]),
        "answered": counted(done_s[answered]),
        "accepted": counted(done_s[accepted]),
        "refused": counted(done_s[is_refused(calls)]),
        "errors": counted(done_s[is_error(calls)]),
        "unanswered": counted(done_s[~answered]),
        "joins": counted(line.joined_s) if line else none,
        "passes": counted(line.released_s) if line else none,
        "live": _live(line, seconds) if line else none,
        "signups_accepted": counted(done_s[accepted & (calls["call"] == Call.SIGNUPS)]),
    }
    for name, call in (("syncs", Call.SYNCS), ("signups", Call.SIGNUPS)):
        rows = calls[calls["call"] == call]
        columns |= {f"{name}_p{share}_ms": _percentiles(rows, seconds, share / 100) for share in (50, 99)}
    columns |= {name: by_second(observed.samples, name, seconds) for name in SAMPLED if name != "at_s"}
    return {name: values.tolist() for name, values in columns.items()}


def _live(line: Line, seconds: int) -> np.ndarray:
    """At the middle of each second."""
    cells = ((np.arange(seconds) + 0.5) * len(line.live) / max(line.end_s, 1e-9)).astype(np.int64)
    return line.live[np.minimum(cells, len(line.live) - 1)].astype(np.float64)


def _percentiles(rows: np.ndarray, seconds: int, share: float) -> np.ndarray:
    """By nearest rank, of the rows due in each second; nan of none."""
    second = np.clip(rows["meant_s"], 0, seconds - 1).astype(np.int64)
    latency_ms = corrected_ms(rows)
    latency_ms = latency_ms[np.lexsort((latency_ms, second))]
    counts = np.bincount(second, minlength=seconds)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank = first + np.maximum(np.ceil(share * counts - 1e-9).astype(np.int64), 1) - 1
    return np.where(counts > 0, latency_ms[np.minimum(rank, max(len(rows) - 1, 0))], np.nan) if len(rows) else np.full(seconds, np.nan)
