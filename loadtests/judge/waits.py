"""What waiting was like: for whom it lasted how long, what they were told of it, who gave up.

Pure.  People belong to the span of the rehearsal's clock in which they joined: [from, to).  What there is nothing to measure
of is nan.  slo.py sets bounds to these figures in a phase, a report shows them of the whole.
"""

import math
from typing import Final

import numpy as np

from loadtests.judge import line as lines
from loadtests.judge.line import Line, Span
from loadtests.result import Waits

ESTIMATED_FROM_S: Final = 5.0  # of a shorter wait no estimate is worth a comparison


def all_of(line: Line, overtaken_s: np.ndarray) -> Waits:
    """Over the whole rehearsal."""
    span = (-math.inf, math.inf)
    return Waits(
        people=int((~np.isnan(line.joined_s) | ~np.isnan(line.passed_s)).sum()),  # let in on a provisional ticket: no place
        passed=int((~np.isnan(line.passed_s)).sum()),
        left=int((~np.isnan(line.left_s)).sum()),
        wait_p50_s=wait_s(line, span, 50),
        wait_p99_s=wait_s(line, span, 99),
        estimate_error_p50=estimate_error(line, span),
        overtaken_worst_s=float(overtaken_s.max()),
        called_to_pass_p99_s=called_to_pass_s(line, span),
        door_used=lines.used(line, (0.0, line.end_s)),
        most_in_1s=lines.most_in(line, 1.0, span).share,
        most_in_10s=lines.most_in(line, 10.0, span).share,
        drain_deepest_minute=lines.deepest_minute(line, (0.0, line.end_s)),
    )


def joined_within(line: Line, span: Span) -> np.ndarray:
    """Who."""
    result: np.ndarray = (line.joined_s >= span[0]) & (line.joined_s < span[1])
    return result


def percentile_of(values: np.ndarray, percentile: float) -> float:
    """By nearest rank, nan left out; nan of none."""
    known = np.sort(values[~np.isnan(values)])
    return float(known[max(0, math.ceil(percentile / 100 * len(known) - 1e-9) - 1)]) if len(known) else math.nan


def wait_s(line: Line, span: Span, percentile: float) -> float:
    """From joining to the pass, of those who got one."""
    return percentile_of((line.passed_s - line.joined_s)[joined_within(line, span)], percentile)


def estimate_error(line: Line, span: Span) -> float:
    """The median of |first estimate - wait| / wait, of those who waited ESTIMATED_FROM_S at least."""
    wait = line.passed_s - line.joined_s
    wanted = joined_within(line, span) & (wait >= ESTIMATED_FROM_S)
    return percentile_of((np.abs(line.estimated_s - wait) / np.where(wanted, wait, 1.0))[wanted], 50)


def called_to_pass_s(line: Line, span: Span) -> float:
    """p99, of those who were there all the while (line_report.called_waits_s)."""
    return percentile_of((line.passed_s - line.called_s)[joined_within(line, span)], 99)


def left_share(line: Line, span: Span) -> float:
    """Who gave up, of those who joined; nan: nobody did."""
    wanted = joined_within(line, span)
    return float((~np.isnan(line.left_s[wanted])).mean()) if wanted.any() else math.nan
