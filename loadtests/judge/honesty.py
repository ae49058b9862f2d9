"""May the generator be believed?  Where it could not keep up nothing is said of the gateway, and never "pass".

Pure.  All of the time counts, the first second too: whoever rehearses a surge is late just there.  One figure of all
arrivals would not see it, for a surge may be less than a hundredth of them, so lateness is bound three times:

    of all arrivals     p99; a phase of a hundred arrivals or more is held to the same
    of any WINDOW_S     half of them: a window holds WINDOW_ARRIVALS at least, so that a few who were late are no surge

One hiccup of the machine is in a window too, and makes late who comes meanwhile: half a second of it is forgiven, more is
not, for then it was the machine that was rehearsed.
"""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from loadtests.judge import samples
from loadtests.judge.waits import percentile_of
from loadtests.observed import Observed
from loadtests.result import Honesty

OFFERED_SHARE_MIN: Final = 0.99
OFFERED_S: Final = 1.0  # who is taken up later than that was not offered when the crowd was there
LATE_MS_MAX: Final = 20.0
PHASE_ARRIVALS_MIN: Final = 100  # of fewer, p99 is the worst one
WINDOW_S: Final = 1.0
WINDOW_ARRIVALS: Final = 50
CPU_SHARE_MAX: Final = 0.80
BUSY_SAMPLES: Final = 10  # one a second


class _Arrivals(NamedTuple):
    """Those that were taken up, by when they were meant."""

    meant_s: np.ndarray
    late_ms: np.ndarray  # from when it was meant to when it was taken up


def honesty(observed: Observed) -> Honesty:
    """How it fared, all processes together.  Sent is what was taken up within OFFERED_S."""
    processes, arrivals = observed.recording.processes, _arrivals(observed)
    meant, sent = sum(one.meant for one in processes), sum(one.sent for one in processes)
    offered = sent - int((arrivals.late_ms > 1000 * OFFERED_S).sum())
    late_p99_ms, cpu_share = percentile_of(arrivals.late_ms, 99), float(np.max([one.cpu_share for one in processes] or [math.nan]))  # nan stays nan
    problems = [*_unsent(meant, offered), *_late(observed, arrivals, late_p99_ms), *_busy(observed, cpu_share)]
    return Honesty(meant, offered, late_p99_ms, cpu_share, problems, observed.tries)


def _arrivals(observed: Observed) -> _Arrivals:
    calls = observed.recording.calls
    calls = calls[~np.isnan(calls["late_s"])]
    return _Arrivals(calls["meant_s"], np.maximum(calls["late_s"].astype(np.float64), 0.0) * 1000)


# Each problem in a sentence.  nan is a problem too: who measured nothing may not be believed.


def _unsent(meant: int, offered: int) -> Iterator[str]:
    if not offered >= OFFERED_SHARE_MIN * meant:
        share = f"{100 * offered / meant:.1f} %; want {100 * OFFERED_SHARE_MIN:.0f} %"
        yield f"of {meant:,} arrivals that were meant the generator sent {offered:,} within {OFFERED_S:g} s of their instant, {share}"


def _late(observed: Observed, arrivals: _Arrivals, late_p99_ms: float) -> Iterator[str]:
    honest = f"at most {LATE_MS_MAX:.0f} ms is honest"
    if not late_p99_ms <= LATE_MS_MAX:
        yield f"one arrival in a hundred was sent {late_p99_ms:,.1f} ms late or later; {honest}"
    for phase in observed.scenario.phases:
        within = arrivals.late_ms[(arrivals.meant_s >= phase.from_s) & (arrivals.meant_s < phase.to_s)]
        of_phase_ms = percentile_of(within, 99)
        if len(within) >= PHASE_ARRIVALS_MIN and of_phase_ms > LATE_MS_MAX:
            yield f"in phase {phase.name} one arrival in a hundred was sent {of_phase_ms:,.1f} ms late or later; {honest}"
    if len(arrivals.late_ms):
        late, count, from_s = _worst_window(arrivals)
        if late > count / 2:
            yield f"of {count:,} arrivals from {from_s:.1f} s on {late:,} were sent more than {LATE_MS_MAX:.0f} ms late; half of them at most is honest"


def _worst_window(arrivals: _Arrivals) -> tuple[int, int, float]:
    """(late, all, from when), of the window with the largest share; one that begins with each arrival, and the last WINDOW_ARRIVALS."""
    count = len(arrivals.meant_s)
    first = np.arange(max(1, count - WINDOW_ARRIVALS + 1))
    last = np.maximum(np.searchsorted(arrivals.meant_s, arrivals.meant_s[first] + WINDOW_S, side="left"), np.minimum(first + WINDOW_ARRIVALS, count))
    late = np.concatenate([[0], np.cumsum(arrivals.late_ms > LATE_MS_MAX)])
    among = late[last] - late[first]
    worst_one = int((among / (last - first)).argmax())
    return int(among[worst_one]), int((last - first)[worst_one]), float(arrivals.meant_s[worst_one])


def _busy(observed: Observed, cpu_share: float) -> Iterator[str]:
    room = f"more than {100 * CPU_SHARE_MAX:.0f} % leaves no room"
    if not cpu_share <= CPU_SHARE_MAX:
        yield f"the busiest process of the generator used {100 * cpu_share:.0f} % of its core; {room}"
    # Before second 0 it reads the scenario and draws its people, as busily as it likes.
    at_s, used = samples.column(observed.samples, "at_s"), samples.column(observed.samples, "generator_cpu")
    is_known = (at_s >= 0) & ~np.isnan(used)
    if not is_known.any():
        return  # nobody sampled it, and the processes have said what they used
    means = sliding_window_view(used[is_known], min(BUSY_SAMPLES, int(is_known.sum()))).mean(axis=1)
    if means.max() > CPU_SHARE_MAX:
        from_s = max(float(at_s[is_known][means.argmax()]) - 1.0, 0.0)
        yield f"from {from_s:.0f} s on the busiest process of the generator used {100 * means.max():.0f} % of its core for {BUSY_SAMPLES} s; {room}"
