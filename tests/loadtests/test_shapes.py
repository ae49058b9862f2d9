"""shapes.py: the same arrivals for the same seed, at the rates that were asked for."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadtests.crowd import shapes
from loadtests.scenario import Burst, Scale, Scenario, ScenarioError, Segment, Slo, Stream

SIGMAS = 6.0  # one in a billion draws is further out


def scenario(*streams: Stream, seconds: float = 1_000.0, seed: int = 1, scale: Scale | None = None) -> Scenario:
    return Scenario("t", "w", seed, list(streams), [Slo("m", at_most=1.0)], seconds=seconds, scale=scale or Scale())


def stream(name: str, *shape: Segment, bursts: tuple[Burst, ...] = (), times: str = "") -> Stream:
    return Stream(name, "sync", list(shape), list(bursts), times)


def of_stream(arrivals: np.ndarray, number: int) -> list[float]:
    instants: list[float] = arrivals["at_s"][arrivals["stream"] == number].tolist()
    return instants


segments = st.builds(Segment, st.floats(1, 300), st.floats(0, 200), st.floats(0, 200))
names = st.text("abcdefgh", min_size=1, max_size=5)


@given(st.lists(segments, min_size=1, max_size=4), st.integers(0, 2**32 - 1), st.sampled_from([(1.0, 1.0), (10.0, 1.0), (20.0, 120.0)]))
@example([Segment(10, 0, 0), Segment(10, 0, 50), Segment(10, 50, 0)], 3, (1.0, 1.0))
def test_each_part_of_each_segment_has_its_rate(shape: list[Segment], seed: int, scaled: tuple[float, float]) -> None:
    """In the first and second half of each segment come as many as the area under its line, within chance; none outside."""
    scale = Scale(*scaled)
    found = np.array(of_stream(shapes.meant(scenario(stream("one", *shape), scale=scale, seed=seed, seconds=86_400.0)), 0))
    began_s, counted = 0.0, 0
    for segment in shape:
        seconds = segment.seconds / scale.clock
        middle = (segment.from_per_s + segment.to_per_s) / 2
        for half, (low, high) in enumerate(((segment.from_per_s, middle), (middle, segment.to_per_s))):
            area = (low + high) / 2 * segment.seconds / 2 / scale.people
            from_s = began_s + half * seconds / 2
            came = int(((found >= from_s) & (found < from_s + seconds / 2)).sum())
            counted += came
            assert abs(came - area) <= SIGMAS * math.sqrt(area) + 10, (segment, half, came, area)
        began_s += seconds
    assert len(found) - counted <= 2  # rounding at the borders


@given(st.integers(0, 2**32 - 1), names, names.filter(lambda name: name != "mine"))
def test_adding_a_stream_moves_nobody_else(seed: int, other: str, third: str) -> None:
    mine = stream("mine", Segment(20, 5, 20), bursts=(Burst(30, 3.0, 2.0),))
    others = [stream(name, Segment(20, 9, 9)) for name in dict.fromkeys((other, third)) if name != "mine"]
    alone = of_stream(shapes.meant(scenario(mine, seed=seed)), 0)
    assert of_stream(shapes.meant(scenario(mine, *others, seed=seed)), 0) == alone
    assert of_stream(shapes.meant(scenario(*others, mine, seed=seed)), len(others)) == alone


@given(st.integers(0, 2**32 - 1))
def test_same_seed_same_bytes_another_seed_others(seed: int) -> None:
    one = scenario(stream("a", Segment(10, 10, 20)), stream("b", bursts=(Burst(20, 1.0, 5.0),)), seed=seed)
    first = shapes.meant(one)
    assert shapes.meant(one).tobytes() == first.tobytes()
    assert shapes.digest(shapes.meant(one)) == shapes.digest(first)
    assert shapes.digest(shapes.meant(msgspec.structs.replace(one, seed=seed ^ 1))) != shapes.digest(first)
    assert (np.diff(first["at_s"]) >= 0).all()


@given(st.lists(st.integers(0, 40), max_size=3), st.integers(1, 5))
def test_shares_make_the_whole_once(people: list[int], processes: int) -> None:
    count = sum(people)
    shares = [shapes.share(count, process, processes).tolist() for process in range(processes)]
    assert sorted(number for share in shares for number in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_burst_is_scaled_in_people_and_not_in_time() -> None:
    burst = stream("b", bursts=(Burst(2_000, 30.0, 60.0), Burst(400, 100.0)))
    found = of_stream(shapes.meant(scenario(burst, scale=Scale(people=20.0, clock=120.0))), 0)
    assert len(found) == 120
    assert found[100:] == [100.0] * 20
    assert 30 <= found[0] < 35
    assert 85 < found[99] < 90


def test_times_stand_as_given_and_the_end_cuts(tmp_path: Path) -> None:
    (tmp_path / "times.txt").write_text("3.5\n0.25\n10\n")
    one = scenario(stream("t", times=str(tmp_path / "times.txt")), seconds=10.0, scale=Scale(people=20.0, clock=120.0))
    assert of_stream(shapes.meant(one), 0) == [0.25, 3.5]
    (tmp_path / "times.txt").write_text("noon\n")
    with pytest.raises(ScenarioError, match="one instant a line"):
        shapes.meant(one)


def test_ordinals_count_within_a_stream() -> None:
    arrivals = np.array([(0.0, 1), (0.1, 0), (0.2, 1), (0.3, 1)], shapes.MEANT)
    assert shapes.ordinals(arrivals).tolist() == [0, 0, 1, 2]
