"""May the generator be believed?  Where it could not keep up nothing is said of the gateway, and never "pass".

Pure.  All of the time counts, the first second too: whoever rehearses a surge is late just there.
"""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from loadtests.judge.slo import percentile_of
from loadtests.observed import Observed
from loadtests.result import Honesty

OFFERED_SHARE_MIN: Final = 0.99
LATE_P99_MS_MAX: Final = 20.0
CPU_SHARE_MAX: Final = 0.80


def honesty(observed: Observed) -> Honesty:
    """How it fared, all processes together; late is the time from when an arrival was meant to when it was taken up."""
    recording = observed.recording
    late_ms = np.maximum(recording.calls["late_s"].astype(np.float64), 0.0) * 1000
    meant, sent = sum(one.meant for one in recording.processes), sum(one.sent for one in recording.processes)
    late_p99_ms = percentile_of(late_ms, 99)
    cpu_share = float(np.max([one.cpu_share for one in recording.processes] or [math.nan]))  # one nan makes it nan, as max() would not
    return Honesty(meant, sent, late_p99_ms, cpu_share, list(_problems(meant, sent, late_p99_ms, cpu_share)), observed.tries)


def _problems(meant: int, sent: int, late_p99_ms: float, cpu_share: float) -> Iterator[str]:
    """Each in a sentence.  nan is a problem too: who measured nothing may not be believed."""
    if not sent >= OFFERED_SHARE_MIN * meant:
        yield f"of {meant:,} arrivals that were meant the generator sent {sent:,}, {100 * sent / meant:.1f} %; want {100 * OFFERED_SHARE_MIN:.0f} %"
    if not late_p99_ms <= LATE_P99_MS_MAX:
        yield f"one arrival in a hundred was sent {late_p99_ms:,.1f} ms late or later; at most {LATE_P99_MS_MAX:.0f} ms is honest"
    if not cpu_share <= CPU_SHARE_MAX:
        yield f"the busiest process of the generator used {100 * cpu_share:.0f} % of its core; more than {100 * CPU_SHARE_MAX:.0f} % leaves no room"
