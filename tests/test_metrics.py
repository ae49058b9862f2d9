"""The catalogue of metrics."""

import re
from math import prod

import pytest

from gateway.board import Board
from gateway.errors import PROBLEMS
from gateway.metrics import BY_NAME, CATALOGUE, STATUSES, Metric

each = pytest.mark.parametrize("metric", CATALOGUE, ids=[metric.name for metric in CATALOGUE])


@each
def test_a_name_says_its_kind_and_unit(metric: Metric) -> None:
    """Prometheus' own rules: counters end in _total, units are seconds and bytes and come last before it."""
    assert re.fullmatch(r"sluicegate_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    for unit in ("seconds", "bytes"):
        assert unit not in metric.name or metric.name.removesuffix("_total").endswith(f"_{unit}")
    assert not re.search("_(ms|us|millis|kb|mb)(_|$)", metric.name)


@each
def test_it_says_what_it_means_and_what_to_do(metric: Metric) -> None:
    assert metric.meaning.endswith(".")
    assert metric.remedy.endswith((".", "?"))


@each
def test_its_series_are_known_before_the_first_request(metric: Metric) -> None:
    assert len(metric.series()) == prod(len(values) for _, values in metric.labels) <= 250
    assert len(set(metric.series())) == len(metric.series())
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(CATALOGUE)


def test_every_problem_can_be_counted() -> None:
    assert {str(problem.status) for problem in PROBLEMS.values()} <= {*STATUSES}
    assert dict(BY_NAME["sluicegate_refusals_total"].labels)["code"] == tuple(PROBLEMS)


@pytest.mark.parametrize("name", ["sluicegate_requests", "requests_total", "sluicegate_nothing_total"])
def test_what_is_not_listed_fails_at_start(name: str) -> None:
    slot = Board.create(1).slots[0]
    with pytest.raises(KeyError):
        slot.counter(name)
    with pytest.raises(KeyError):
        slot.counters_by(name)


def test_an_unknown_label_fails_at_start() -> None:
    slot = Board.create(1).slots[0]
    with pytest.raises(KeyError):
        slot.counter("sluicegate_requests_total", "syncs", "299")
