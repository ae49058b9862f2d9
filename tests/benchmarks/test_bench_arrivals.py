"""bench_arrivals.py: when a rate counts as kept up with."""

import pytest

from benchmarks.bench_arrivals import Row, scenario, shown
from loadtests.crowd import shapes


@pytest.mark.parametrize(("change", "keeps_up"), [({}, True), ({"offered": 0.98}, False), ({"late_p99_ms": 20.1}, False), ({"cpu_share": 0.81}, False)])
def test_late_short_or_busy_is_not_keeping_up(change: dict[str, float], keeps_up: bool) -> None:
    row = Row(4_000, 1.0, 1.0, 20.0, 0.8, 1.0)._replace(**change)  # type: ignore[arg-type]
    assert row.keeps_up is keeps_up
    assert ("could not keep up" in shown([row], 4_000.0)) is not keeps_up


def test_the_scenario_offers_the_rate() -> None:
    assert 3_600 < len(shapes.meant(scenario(4_000, 1.0))) < 4_400
