"""What a scrape says of a second."""

import math

from loadtests.sampler import ack_p99_ms, gauge, name_of


def acks(*counts: float, topic: str = "syncs") -> dict[str, float]:
    """Cumulative, as Prometheus has them: up to 5 ms, 10 ms, and all."""
    return {name_of("sluicegate_ack_seconds_bucket", {"topic": topic, "le": le}): count for le, count in zip(("0.005", "0.01", "+Inf"), counts, strict=True)}


def test_labels_stand_in_the_order_of_the_alphabet() -> None:
    assert name_of("x", {"b": "2", "a": "1"}) == 'x{a="1",b="2"}'
    assert name_of("x", {}) == "x"


def test_a_gauge_is_that_of_the_worst_worker() -> None:
    assert gauge({'lag{worker="0"}': 1.0, 'lag{worker="1"}': 3.0}, "lag") == 3
    assert gauge({"depth": 2.0}, "depth") == 2
    assert math.isnan(gauge({}, "depth"))


def test_the_p99_of_acknowledgements_is_of_what_came_in_between() -> None:
    assert ack_p99_ms(acks(100, 100, 100), acks(199, 200, 200)) == 5.0
    assert ack_p99_ms(acks(100, 100, 100), acks(198, 200, 200)) == 10.0
    assert ack_p99_ms(acks(100, 100, 100), acks(198, 198, 200)) == math.inf
    assert math.isnan(ack_p99_ms(acks(100, 100, 100), acks(100, 100, 100)))


def test_both_topics_count() -> None:
    now = acks(90, 90, 90) | acks(0, 10, 10, topic="signups")
    assert ack_p99_ms({}, now) == 10.0
