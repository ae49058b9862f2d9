"""The board as Prometheus text.

Counters and histograms are summed over the slots: a process's share says
nothing that outlives it.  Gauges carry the worker they belong to, but those of
the supervisor, of which there is one.  Series are those of the catalogue times
the board's slots: nothing here grows with time, traffic or restarts.

A scrape of eight workers costs the supervisor's loop some 4 ms (`make bench-scrape`);
nearly all of it is prometheus_client writing text.
"""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from gateway.board import Board, Totals
from gateway.metrics import CATALOGUE, Metric


class _BoardCollector:
    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Family]:
        totals = self._board.totals()
        for metric in CATALOGUE:
            match metric.kind:
                case "counter":
                    yield _counter(metric, totals)
                case "gauge":
                    yield self._gauge(metric)
                case "histogram":
                    yield _histogram(metric, totals)

    def _gauge(self, metric: Metric) -> Family:
        if metric.is_supervisors:
            family = GaugeMetricFamily(metric.name, metric.meaning, labels=[name for name, _ in metric.labels])
            for labels in metric.series():
                family.add_metric(list(labels), self._board.supervisor.gauge(metric.name, *labels).value)
            return family
        family = GaugeMetricFamily(metric.name, metric.meaning, labels=["worker", *(name for name, _ in metric.labels)])
        for index, slot in enumerate(self._board.slots[:-1]):
            for labels in metric.series():
                family.add_metric([str(index), *labels], slot.gauge(metric.name, *labels).value)
        return family


def _counter(metric: Metric, totals: Totals) -> Family:
    family = CounterMetricFamily(metric.name, metric.meaning, labels=[name for name, _ in metric.labels])
    for labels in metric.series():
        family.add_metric(list(labels), totals.count(metric.name, *labels))
    return family


def _histogram(metric: Metric, totals: Totals) -> Family:
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=[name for name, _ in metric.labels])
    bounds = [*(str(bound) for bound in metric.buckets), "+Inf"]
    for labels in metric.series():
        cumulative = accumulate(totals.counts(metric.name, *labels))
        family.add_metric(list(labels), list(zip(bounds, cumulative, strict=True)), totals.sum_s(metric.name, *labels))
    return family


class Exposition:
    """What GET /metrics answers."""

    def __init__(self, board: Board) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_BoardCollector(board))

    def text(self) -> bytes:
        return generate_latest(self._registry)
