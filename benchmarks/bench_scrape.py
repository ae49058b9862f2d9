"""What one scrape of the operators' port costs: eight workers, every series of the catalogue, before and after restarts.

    python -m benchmarks.bench_scrape            half a minute
    python -m benchmarks.bench_scrape --quick    does everything run?  seconds

Beside it, in the same rounds, prometheus_client itself with the same families: in one process, which is the least its
text format can cost, and in its multiprocess mode, which is how several workers are usually counted.  A restart zeroes
a slot's gauges and counts on; in multiprocess mode it leaves the dead process' files, from which its counts are summed.

CPU of this process, in milliseconds; ratios are taken within a round.  Exit codes as bench_path has them.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from benchmarks import machine
from benchmarks.command import EXIT_MISSED, say
from benchmarks.measure import Estimate, estimate
from gateway.board import Board
from gateway.metrics import CATALOGUE
from gateway.ops.exposition import Exposition

WORKERS: Final = 8
RESTARTS, QUICK_RESTARTS = 1_000, 16
ROUNDS, QUICK_ROUNDS = 21, 3
SCRAPE_MS_MAX: Final = 50.0
CHANGE_MAX: Final = 1.1  # noise of the machine; what grew with restarts would be many times that

Scrape = Callable[[], bytes]


class Cost(NamedTuple):
    """One way of scraping, at one time."""

    ms: Estimate
    ratio: Estimate  # to one process' registry, round by round
    series: int


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="CPU of one scrape: ours beside prometheus_client's own.")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures say little")
    parser.add_argument("--enforce", action="store_true", help="exit 1 when the target is missed")
    chosen = parser.parse_args()
    rounds, restarts = (QUICK_ROUNDS, QUICK_RESTARTS) if chosen.quick else (ROUNDS, RESTARTS)
    with tempfile.TemporaryDirectory(prefix="sluicegate-scrape-") as directory:
        board, files = Board.create(WORKERS), Files(Path(directory))
        scrapes: dict[str, Scrape] = {"the board": Exposition(board).text, "one registry": registry().text, "multiprocess mode": files.text}
        for worker in range(WORKERS):
            live(board, worker)
            files.live(worker)
        say("before")
        before = measured(scrapes, rounds)
        for life in range(restarts):
            live(board, life % WORKERS)
            files.die(life)
            files.live(life + WORKERS)
        say(f"after {restarts} restarts")
        after = measured(scrapes, rounds if chosen.quick else rounds // 2)
    told = verdicts(before["the board"], after["the board"])
    sys.stdout.write("\n".join([*table(before, after, restarts), "", *(text for text, _ in told), "", str(machine.facts())]) + "\n")
    return EXIT_MISSED if chosen.enforce and not all(is_met for _, is_met in told) else 0


def live(board: Board, worker: int) -> None:
    """One life of a worker: it zeroes the gauges, counts everything once and posts every gauge."""
    slot = Board(board.fd, board.workers).slots[worker]
    slot.zero_gauges()
    for metric in CATALOGUE:
        for labels in metric.series():
            match metric.kind:
                case "counter":
                    slot.counter(metric.name, *labels).add(worker + 1)
                case "gauge":
                    slot.gauge(metric.name, *labels).set(worker + 0.5)
                case "histogram":
                    slot.histogram(metric.name, *labels).observe(0.02 * (worker + 1))


class Registry(NamedTuple):
    """prometheus_client's own metrics, of the same families."""

    registry: CollectorRegistry

    def text(self) -> bytes:
        """A scrape."""
        return generate_latest(self.registry)


def registry() -> Registry:
    """As many series as the board shows, in one process: what is a gauge per worker there is labelled so here."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # when each began to count: as many lines again, which we do not show
    found = CollectorRegistry()
    for metric in CATALOGUE:
        is_per_worker = metric.kind == "gauge" and not metric.is_supervisors
        names = [name for name, _ in metric.labels] + (["worker"] if is_per_worker else [])
        family = _family(metric.kind, metric.name, metric.meaning, names, metric.buckets, found)
        for labels in metric.series():
            for worker in [str(number) for number in range(WORKERS)] if is_per_worker else [None]:
                _touch(family, (*labels, *([worker] if worker else [])))
    return Registry(found)


class Files:
    """The same in multiprocess mode: files by process, of the living and the dead."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)

    def live(self, process: int) -> None:
        """A process that counts everything once."""
        with _counting_as(process):
            own = CollectorRegistry()
            for metric in CATALOGUE:
                family = _family(metric.kind, metric.name, metric.meaning, [name for name, _ in metric.labels], metric.buckets, own)
                for labels in metric.series():
                    _touch(family, labels)

    def die(self, process: int) -> None:
        """As its documentation says to tell it."""
        mark_process_dead(process, str(self._directory))  # type: ignore[no-untyped-call]

    def text(self) -> bytes:
        """A scrape."""
        shown = CollectorRegistry()
        MultiProcessCollector(shown, str(self._directory))  # type: ignore[no-untyped-call]
        return generate_latest(shown)


@contextmanager
def _counting_as(process: int) -> Iterator[None]:
    """Values made inside are in this process' files.  The library chooses once, at import, for all."""
    before, values.ValueClass = values.ValueClass, values.MultiProcessValue(lambda: process)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        values.ValueClass = before
        values.close_all_multiprocess_files()  # type: ignore[no-untyped-call]  # the files stay: scrapes read them


def _family(kind: str, name: str, meaning: str, labels: list[str], buckets: tuple[float, ...], found: CollectorRegistry) -> Any:
    match kind:
        case "counter":
            return Counter(name, meaning, labels, registry=found)
        case "gauge":
            # By a name of its own: prometheus_client takes a gauge `x` and a counter `x_total` for one family.
            return Gauge(f"{name}_now", meaning, labels, registry=found, multiprocess_mode="liveall")
        case _:
            return Histogram(name, meaning, labels, registry=found, buckets=buckets)


def _touch(family: Any, labels: tuple[str, ...]) -> None:
    child = family.labels(*labels) if labels else family
    match child:
        case Counter():
            child.inc()
        case Gauge():
            child.set(0.5)
        case _:
            child.observe(0.02)


def measured(scrapes: Mapping[str, Scrape], rounds: int) -> dict[str, Cost]:
    """Each way once a round, and once before that is not counted."""
    ms: dict[str, list[float]] = {name: [] for name in scrapes}
    for number in range(-1, rounds):
        for name, scrape in scrapes.items():
            gc.collect()  # what one way leaves behind is not the next one's cost
            since_ns = time.process_time_ns()
            scrape()
            ms[name] += [(time.process_time_ns() - since_ns) / 1e6] if number >= 0 else []
    ratios = {name: [own / plain for own, plain in zip(of, ms["one registry"], strict=True)] for name, of in ms.items()}
    return {name: Cost(estimate(ms[name]), estimate(ratios[name]), series_in(scrape())) for name, scrape in scrapes.items()}


def series_in(text: bytes) -> int:
    """How many there are."""
    return sum(not line.startswith(b"#") for line in text.splitlines())


def table(before: Mapping[str, Cost], after: Mapping[str, Cost], restarts: int) -> Iterator[str]:
    """The figures, one way a line."""
    yield f"one scrape of {WORKERS} workers, CPU ms: median [95 %], and the ratio to one registry; then after {restarts:,} restarts"
    for name in before:
        yield f"{name:18} {_shown(before[name])}   after: {_shown(after[name])}"


def _shown(cost: Cost) -> str:
    ms, ratio = cost.ms, cost.ratio
    return f"{cost.series:5} series  {ms.median:7.2f} [{ms.low:.2f}, {ms.high:.2f}] ms  x {ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def verdicts(before: Cost, after: Cost) -> list[tuple[str, bool]]:
    """What is promised of ours, and whether it holds."""
    worst_ms = max(before.ms.high, after.ms.high)
    change = after.ratio.median / before.ratio.median
    rows = [
        (f"a scrape takes at most {SCRAPE_MS_MAX:g} ms: {worst_ms:.1f} ms", worst_ms <= SCRAPE_MS_MAX),
        (f"restarts leave it as it is, within {CHANGE_MAX - 1:.0%} beside one registry: x {change:.2f}", change <= CHANGE_MAX),
        (f"restarts leave no series: {before.series} and {after.series}", before.series == after.series),
    ]
    return [(f"target: {claim}: {'met' if is_met else 'MISSED'}", is_met) for claim, is_met in rows]


if __name__ == "__main__":
    sys.exit(main())
