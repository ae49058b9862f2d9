"""One process's part of a rehearsal: each arrival starts in its own greenlet at the instant it is meant to, answered or not.

    prepare ─▶ fire (never waits for an answer) ─▶ drain (until all are home, or the time is over) ─▶ leave (recording.write)

The scheduler sleeps to the next instant; what is due it starts, and lets others run after each few, so that a process
that is behind is late for all alike, and shows it.  Lateness ends where the arrival's own greenlet takes it up.
Instants are seconds of the rehearsal's clock, which is the machine's monotonic one: all processes of a machine share it.
"""

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import gevent
import numpy as np
from gevent.event import Event

from loadtests.crowd import shapes
from loadtests.crowd.payloads import Payloads, Tokens
from loadtests.crowd.sender import PATIENCE_S, Sender
from loadtests.crowd.users import Arrival, Crowd
from loadtests.recording import Fate, Process, write
from loadtests.scenario import Scenario

TOGETHER_MAX: Final = 16  # arrivals started before others may run
NICE: Final = -5
_CHUNK: Final = 65_536
_HOME_S: Final = PATIENCE_S + 5.0  # by then every answer has come or is given up
_TICK_S: Final = 1.0
Progress = dict[str, float]


class WallClock:
    """The rehearsal's clock; resting is gevent's."""

    def __init__(self, began_s: float) -> None:
        """`began_s`: of the epoch, second 0."""
        self._zero_s = time.monotonic() + began_s - time.time()
        self._over = Event()

    def now_s(self) -> float:
        """Since second 0."""
        return time.monotonic() - self._zero_s

    def rest_until(self, at_s: float) -> bool:
        """Wait; false: the rehearsal is over."""
        if (wait_s := at_s - self.now_s()) > 0:
            self._over.wait(wait_s)
        return not self._over.is_set()

    def together(self, lives: Sequence[Callable[[], None]]) -> None:
        """Live them at once."""
        if len(lives) == 1:
            lives[0]()
        else:
            gevent.joinall([gevent.spawn(life) for life in lives], raise_error=True)

    def end(self) -> None:
        """Send everybody home."""
        self._over.set()


class Plan(NamedTuple):
    """What one process is to do."""

    scenario: Scenario
    arrivals: np.ndarray  # of shapes.MEANT: all processes'
    process: int
    processes: int
    run: int
    began_s: float  # of the epoch
    url: str
    tokens: Tokens


class Firing:
    """One process's people, and when they come."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._scenario = plan, plan.scenario
        self._clock = WallClock(plan.began_s)
        self._sender = Sender(plan.url, self._clock.now_s)
        payloads = Payloads(plan.scenario, plan.run, plan.began_s, self._sender.host, self._sender.prefix, plan.tokens)
        self.crowd = Crowd(plan.scenario, payloads, self._sender, self._clock)
        self._numbers = shapes.share(len(plan.arrivals), plan.process, plan.processes)
        self._meant_s = plan.arrivals["at_s"][self._numbers]
        self._told_rows = 0
        self._cpu = (0.0, 0.0)  # (clock, CPU seconds) when arrivals began
        self._cpu_share = 0.0
        self.progress: Progress = self._progress()

    def run(self) -> None:
        """All of it but the writing."""
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
        ticker = gevent.spawn(self._tick)
        self._clock.rest_until(0.0)
        self._cpu = (self._clock.now_s(), time.process_time())
        self._fire()
        self._clock.rest_until(self._scenario.seconds)
        self._cpu_share = self._share_of_cpu()
        self._drain()
        ticker.kill()
        self.progress = self._progress()
        self._sender.close()

    def leave(self, record: Path) -> None:
        """Write down what was seen."""
        plan, crowd = self._plan, self.crowd
        errors = crowd.errors + [f"{words} ({count} times)" for words, count in self._sender.errors.items()]
        if crowd.present:
            errors.append(f"{crowd.present} people did not go home")
        process = Process(
            number=plan.process,
            meant=len(self._numbers),
            meant_sha256=shapes.digest(plan.arrivals),
            sent=crowd.taken_up,
            began_s=plan.began_s,
            cpu_share=self._cpu_share,
            errors=errors,
        )
        write(record / str(plan.process), crowd.book.calls.since(0), crowd.book.fates.since(0), crowd.people, process)

    def _mine(self) -> Iterator[Arrival]:
        arrivals, ordinals = self._plan.arrivals, shapes.ordinals(self._plan.arrivals)
        for first in range(0, len(self._numbers), _CHUNK):
            chunk = self._numbers[first : first + _CHUNK]
            streams, instants = arrivals["stream"][chunk].tolist(), arrivals["at_s"][chunk].tolist()
            yield from map(Arrival, chunk.tolist(), streams, ordinals[chunk].tolist(), instants)

    def _fire(self) -> None:
        now_s, arrive, started = self._clock.now_s, self.crowd.arrive, 0
        for arrival in self._mine():
            while (wait_s := arrival.meant_s - now_s()) > 0:
                gevent.sleep(wait_s)
                started = 0
            if started == TOGETHER_MAX:
                gevent.sleep(0)
                started = 0
            gevent.spawn(arrive, arrival)
            started += 1

    def _drain(self) -> None:
        """Until everybody is home by themselves; at the end they are sent, and answers under way are waited for."""
        end_s = self._scenario.seconds + self._scenario.drain_s
        self._until_home(end_s)
        self._clock.end()
        self._until_home(end_s + _HOME_S)

    def _until_home(self, until_s: float) -> None:
        gevent.sleep(0)  # who was started last has come by then
        while self.crowd.present and self._clock.now_s() < until_s:
            gevent.sleep(0.05)

    def _share_of_cpu(self) -> float:
        began_s, used_s = self._cpu
        elapsed_s = self._clock.now_s() - began_s
        return (time.process_time() - used_s) / elapsed_s if elapsed_s > 0 else 0.0

    def _tick(self) -> None:
        """Each second: the figures, and the garbage of that second alone, as a whole collection would stop all that is due."""
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            while True:
                gevent.sleep(_TICK_S)
                gc.collect(1)
                self.progress = self._progress()
        finally:
            gc.enable()

    def _progress(self) -> Progress:
        crowd, now_s = self.crowd, self._clock.now_s()
        late_s = crowd.book.calls.since(self._told_rows)["late_s"]
        late_s = late_s[~np.isnan(late_s)]
        self._told_rows = len(crowd.book.calls)
        return {
            "at_s": round(now_s, 1),
            "meant": int(np.searchsorted(self._meant_s, now_s)),
            "sent": crowd.taken_up,
            "answered": crowd.answered,
            "accepted": crowd.book.by_fate[Fate.ACCEPTED],
            "refused": crowd.refused,
            "waiting": crowd.waiting,
            "late_p99_ms": round(float(np.percentile(late_s, 99)) * 1000, 1) if len(late_s) else 0.0,
            "cpu_share": round(self._cpu_share or (self._share_of_cpu() if self._cpu[1] else 0.0), 3),
        }


def together(parts: Sequence[Progress]) -> Progress:
    """All processes' figures: counts add up, the worst lateness and the busiest process stand for all."""
    worst = ("at_s", "late_p99_ms", "cpu_share")
    names = parts[0] if parts else ()
    return {name: (max if name in worst else sum)(part[name] for part in parts) for name in names}
