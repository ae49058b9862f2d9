"""The board as Prometheus text.

Counters and histograms are summed over the slots: a process's share says
nothing that outlives it.  Gauges carry the worker they belong to, but those of
the supervisor, of which there is one.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from gateway.board import Board
from gateway.metrics import CATALOGUE, Metric


class _BoardCollector:
    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Family]:
        for metric in CATALOGUE:
            match metric.kind:
                case "counter":
                    yield self._counter(metric)
                case "gauge":
                    yield self._gauge(metric)
                case "histogram":
                    yield self._histogram(metric)

    def _counter(self, metric: Metric) -> Family:
        family = CounterMetricFamily(metric.name, metric.meaning, labels=[name for name, _ in metric.labels])
        for labels in metric.series():
            family.add_metric(list(labels), sum(slot.counter(metric.name, *labels).value for slot in self._board.slots))
        return family

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

    def _histogram(self, metric: Metric) -> Family:
        family = HistogramMetricFamily(metric.name, metric.meaning, labels=[name for name, _ in metric.labels])
        for labels in metric.series():
            histograms = [slot.histogram(metric.name, *labels) for slot in self._board.slots]
            counts = [sum(column) for column in zip(*(h.counts for h in histograms), strict=True)]
            cumulative = [sum(counts[: i + 1]) for i in range(len(counts))]
            bounds = [*(str(bound) for bound in metric.buckets), "+Inf"]
            family.add_metric(list(labels), list(zip(bounds, cumulative, strict=True)), sum(h.sum_s for h in histograms))
        return family


class Exposition:
    """What GET /metrics answers."""

    def __init__(self, board: Board) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_BoardCollector(board))

    def text(self) -> bytes:
        return generate_latest(self._registry)
