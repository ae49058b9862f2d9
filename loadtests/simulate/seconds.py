"""What goes by the second: downstream commits, the door's pace is set by that, and a row of samples is written.

The pace is the gateway's own rule (core/pace) over its own meter.  Downstream is a model: it takes what the universal
scalability law allows with as many sign-ups waiting as there are.  The columns are observed.py's SAMPLED, but for those
that have no meaning in virtual time.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from gateway.core.pace import Counts, Meter, Orders, Pace, Policy, Reading, Reason, next_pace
from loadtests.simulate.cores import Core, Store, us_of
from loadtests.simulate.crowd import STEP_S
from loadtests.simulate.plan import Plan
from loadtests.simulate.room import WaitingRoom
from loadtests.simulate.seen import Seen
from loadtests.usl import Usl

REASONS: Final = list(Reason)


class Below:
    """Downstream: sign-ups wait, and the more of them the slower."""

    def __init__(self, law: Usl | None) -> None:
        self._law = law
        self.produced = 0
        self.consumed = self.could = 0.0
        self.committed = 0

    def step(self) -> None:
        """A tenth of a second."""
        if self._law is None:
            self.consumed = self.produced
            return
        waiting = self.produced - self.consumed
        could = self._law.rate(max(waiting, 1.0)) * STEP_S
        self.could += could
        self.consumed += min(could, waiting)


class Seconds:
    """The pacer's state, and what the last row of samples counted from."""

    def __init__(self, plan: Plan, room: WaitingRoom, cores: Sequence[Core], store: Store, below: Below, seen: Seen) -> None:
        settings, scenario = plan.config.room, plan.scenario
        self._room, self._cores, self._store, self._below, self._seen = room, cores, store, below, seen
        self._has_room, self._has_downstream = scenario.has_room, scenario.downstream is not None
        self._orders = Orders(settings.floor_per_s, settings.ceiling_per_s)
        self._policy = Policy(lag_target=settings.lag_target)
        self._meter = Meter(takes_per_s=settings.takes_per_s)
        self._reading: Reading | None = None
        self._busy_before_s = [0.0] * len(cores)
        self._below_before = 0.0, 0.0
        self._counts_before: Counter[str] = Counter()

    def passed(self, now_s: float, lags_s: Sequence[float], *, is_shedding: bool) -> None:
        """One more.

        Args:
            lags_s: how late each core is.
            is_shedding: a sign-up was refused for overload in it.
        """
        self._note(now_s, lags_s)
        self._below.committed = int(self._below.consumed)
        if self._has_room and not self._room.is_away:
            self._set_pace(now_s, is_shedding=is_shedding)

    def _set_pace(self, now_s: float, *, is_shedding: bool) -> None:
        now_us, below, line = us_of(now_s), self._below, self._room.line
        sign, is_away = line.tick(now_us), self._store.is_away(now_s)
        if self._has_downstream and not is_away:
            counts = Counts(now_us, below.produced, below.committed, sign.passes, sign.signups, sign.form_s)
            self._reading = self._meter.saw(counts) or self._reading
        stalled = is_away and any(core.is_stalled(now_s) for core in self._cores)
        pace: Pace = next_pace(self._policy, self._orders, sign.pace, now_us, self._reading, acks_stopped=stalled, sheds=is_shedding)
        if pace != sign.pace and line.set_pace(pace, sign.pace.changed_us, now_us):
            self._seen.counts["changes of the rate"] += 1

    def _note(self, now_s: float, lags_s: Sequence[float]) -> None:
        """One sample of each of observed.SAMPLED that has a meaning here."""
        seen, below, line, cores = self._seen, self._below, self._room.line, self._cores
        sign, has_room = self._room.workers[0].sign, self._has_room
        busy_s = [core.busy_s - before for core, before in zip(cores, self._busy_before_s, strict=True)]
        self._busy_before_s = [core.busy_s for core in cores]
        acks_s = [wait_s for core in cores for wait_s in core.acks_s]
        counts = seen.counts - self._counts_before
        self._counts_before = seen.counts.copy()
        row = {
            "at_s": now_s,
            "depth": float(sign.waiting) if has_room else math.nan,
            "lobby": float(sign.called) if has_room else math.nan,
            "door_per_s": line.clock.rate_per_s if has_room else math.nan,
            "door_reason": float(REASONS.index(line.pace.reason)) if has_room else math.nan,
            "consumer_lag": float(below.produced - below.committed) if self._has_downstream else math.nan,
            "accepted_per_s": float(counts["accepted"]),
            "refused_per_s": float(counts["refused"]),
            "shed_per_s": float(counts["shed"]),
            "ack_p99_ms": float(np.percentile(acks_s, 99)) * 1000 if acks_s else math.nan,
            "loop_lag_ms": max(lags_s) * 1000,
            "in_flight": float(sum(core.in_flight for core in cores)),
            "unacked_age_s": max(core.unacked_age_s(now_s) for core in cores),
            "workers": float(len(cores)),
            "gateway_cpu": sum(busy_s),
            "worker_cpu": max(busy_s),
            "downstream_per_s": below.consumed - self._below_before[0],
            "downstream_could": below.could - self._below_before[1] if self._has_downstream else math.nan,
        }
        self._below_before = below.consumed, below.could
        for name, value in row.items():
            seen.samples.setdefault(name, []).append(value)
