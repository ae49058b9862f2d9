"""What came nearest to its bound comes first; a short peak is none; the door among them, by design."""

import math

import numpy as np
import pytest

from loadtests.judge.bottleneck import bottlenecks, worst
from loadtests.judge.line import line_of
from loadtests.observed import Observed
from loadtests.result import Bottleneck
from tests.loadtests.observations import by_name, observed, samples, scenario, steady_line


def found(of: Observed) -> list[Bottleneck]:
    return bottlenecks(of, line_of(of))


def test_the_nearest_to_its_bound_is_first_and_what_nobody_sampled_is_left_out() -> None:
    of = observed(samples=samples(40, worker_cpu=0.5, loop_lag_ms=40.0, ack_p99_ms=50.0))
    assert [(one.what, round(one.share, 2)) for one in found(of)] == [
        ("the event loop", 0.8),
        ("the busiest worker's core", 0.5),
        ("Kafka's acknowledgements", 0.2),
    ]


def test_each_by_its_own_bound() -> None:
    columns = {"gateway_cpu": 1.0, "kafka_cpu": 0.5, "redis_cpu": 0.25, "redis_ms": 3.0, "unacked_age_s": 0.4, "generator_cpu": 0.4}
    stalls = scenario(gateway={"settings": {"deliver": {"stall_ms": 500}}})
    told = by_name(found(observed(samples=samples(40, **columns), scenario=stalls)), "what")
    assert {what: round(one.share, 3) for what, one in told.items()} == {
        "the gateway's share of the machine": 0.5,
        "Kafka's share of the machine": 0.25,
        "Redis' core": 0.25,
        "Redis' answers": 0.1,
        "the oldest batch": 0.8,
        "the generator": 0.5,
    }
    assert told["the oldest batch"].says == "0.40 s without an acknowledgement; at 0.5 s requests are refused"


def test_without_cores_no_share_of_the_machine() -> None:
    assert found(observed(samples=samples(40, gateway_cpu=1.0), machine={})) == []


def test_the_worst_ten_seconds_count_and_no_peak() -> None:
    """Samples at 1, 2 … 40 s."""
    of = observed()
    peak, plateau = np.zeros(40), np.zeros(40)
    peak[20], plateau[20:30] = 1.0, 1.0
    assert worst(of, peak)[0] == pytest.approx(0.1)
    assert worst(of, plateau) == (1.0, 20.0)
    plateau[29] = 0.0
    assert worst(of, plateau)[0] == pytest.approx(0.9)


def test_few_samples_say_nothing() -> None:
    of = observed()
    values = np.full(40, math.nan)
    values[[3, 20, 37]] = 1.0
    assert math.isnan(worst(of, np.full(40, math.nan))[0])
    assert worst(of, values)[0] == -math.inf or math.isnan(worst(of, values)[0])
    values[[21, 22]] = 1.0
    assert worst(of, values) == (1.0, 20.0)


def test_downstream_is_full_when_it_takes_all_that_it_could() -> None:
    of = observed(samples=samples(40, downstream_per_s=[5.0] * 20 + [9.0] * 20, downstream_could=[10.0] * 30 + [0.0] * 10))
    (one,) = found(of)
    assert (one.what, round(one.share, 2)) == ("downstream", 0.9)


def test_the_door_limits_by_design() -> None:
    (one,) = found(observed(people=steady_line(300, 10.0, join_s=1.0), samples=samples(40, door_per_s=10.0)))
    assert one.what == "the door"
    assert one.share == pytest.approx(1.0, abs=0.01)
    assert one.says.endswith("as they should")
    (one,) = found(observed(people=steady_line(300, 5.0), samples=samples(40, door_per_s=10.0)))
    assert one.says.endswith("could take more")
    assert found(observed(people=steady_line(10, 5.0), samples=samples(40, door_per_s=10.0))) == []
