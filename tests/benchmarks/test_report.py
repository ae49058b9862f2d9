"""benchmarks/report.py and table.py: ratios pair by pair, targets in words, failures aloud."""

import json
from dataclasses import replace

import pytest

from benchmarks import report, table
from benchmarks.bench_path import exit_code
from benchmarks.command import EXIT_BROKEN, EXIT_GENERATOR, EXIT_MISSED
from benchmarks.plan import ARMS, BARE, Pair, PairSample, Sample

PLAIN = Sample(
    arm="bare",
    events=1,
    requests=1_000,
    refused={},
    lost=0,
    spooled=0,
    seconds=1.0,
    cpu_us=40_000.0,
    supervisor_cpu_us=400.0,
    server_busy=1.0,
    generator_busy=0.5,
    generator_cpu=0.4,
    was_generator_bottleneck=False,
    p50_ms=2.0,
    p99_ms=4.0,
    error="",
)

Measured = list[tuple[Pair, PairSample]]


def rounds_of(name: str, cpu_us: float, rounds: int = 12) -> Measured:
    """Return rounds in which bare costs 40 us a request and the arm `cpu_us`."""
    arm = ARMS[name]
    sample = replace(PLAIN, arm=name, events=arm.events, cpu_us=cpu_us * 1_000)
    return [(Pair(arm, BARE), PairSample(number, sample, PLAIN)) for number in range(rounds)]


def test_ratio_is_per_event() -> None:
    """A batch of 50 at 240 us beside bare at 40 us is 0.12 an event, not 6."""
    found = report.build(rounds_of("gateway-50", 240.0))
    reference, ratio = found.ratios["gateway-50"]
    assert reference == "bare"
    assert ratio.median == pytest.approx(0.12)
    assert found.arms["gateway-50"].cpu_us_per_event == pytest.approx(4.8)
    assert found.arms["gateway-50"].events_per_s == pytest.approx(50_000)


def test_a_machine_that_slows_down_does_not_move_the_ratio() -> None:
    """Every round is twice as dear as the last: each pair still says 1.5."""
    measured = []
    for pair, both in rounds_of("gateway", 60.0, rounds=10):
        slower = 2.0**both.round
        arm = replace(both.arm, cpu_us=both.arm.cpu_us * slower)
        bare = replace(both.reference, cpu_us=both.reference.cpu_us * slower)
        measured.append((pair, PairSample(both.round, arm, bare)))
    _, ratio = report.build(measured).ratios["gateway"]
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((1.5, 1.5, 1.5))


@pytest.mark.parametrize(
    ("cpu_us", "words"),
    [
        (48.0, "met; beyond (1.25): reached"),
        (60.0, "met; beyond (1.25): not reached"),
        (70.0, "MISSED"),
    ],
)
def test_targets_are_judged_in_words(cpu_us: float, words: str) -> None:
    """At most 1.6 x bare, and 1.25 is what we would like."""
    (verdict,) = report.build(rounds_of("gateway", cpu_us)).verdicts
    assert verdict.words == words


def test_a_bound_inside_the_interval_is_said() -> None:
    """Half the pairs above, half below: the median alone would be a coin toss."""
    measured = rounds_of("gateway", 60.0, 6) + rounds_of("gateway", 67.0, 6)
    (verdict,) = report.build(measured).verdicts
    assert "the interval holds the bound" in verdict.words


def test_cheaper_than_the_first_thing_is_a_quotient_of_pairs() -> None:
    """The naive peer at 4 x bare, ours at 1.6: 2.5 times cheaper, which is at least 2.2."""
    found = report.build(rounds_of("naive", 160.0) + rounds_of("gateway", 64.0))
    cheaper = next(verdict for verdict in found.verdicts if "cheaper" in verdict.text)
    assert cheaper.measured.median == pytest.approx(2.5)
    assert cheaper.is_met


def test_a_missed_target_fails_only_when_enforced() -> None:
    """A figure is news, not a broken build, until someone says otherwise."""
    found = report.build(rounds_of("gateway", 80.0))
    assert exit_code(found, is_enforced=False) == 0
    assert exit_code(found, is_enforced=True) == EXIT_MISSED


def test_answers_other_than_202_break_the_harness() -> None:
    """A server that refuses is cheap, and its figure worthless; so is one that hangs up."""
    ((pair, both),) = rounds_of("naive", 160.0, 1)
    refusing = replace(both.arm, refused={"429": 3}, lost=1, error="closed")
    found = report.build([(pair, PairSample(0, refusing, both.reference))])
    assert exit_code(found, is_enforced=False) == EXIT_BROKEN
    assert "3 answers other than were wanted ['429'], 1 never answered" in found.broken[0]


def test_a_generator_in_the_way_is_said_and_fails_when_it_was_often() -> None:
    """Once in twelve rounds is a remark, twice is exit 3."""
    measured = rounds_of("gateway", 60.0)
    for often, code in ((1, 0), (2, EXIT_GENERATOR)):
        spoilt = [(pair, replace(both, arm=replace(both.arm, was_generator_bottleneck=True))) for pair, both in measured[:often]]
        found = report.build(spoilt + measured[often:])
        assert exit_code(found, is_enforced=False) == code
        assert "the generator was the bottleneck" in table.text(found, {}, {})


def test_table_and_json_say_the_same() -> None:
    """Every arm is in both, and the JSON is JSON."""
    found = report.build(rounds_of("gateway", 60.0) + rounds_of("bare", 40.0))
    shown = table.text(found, {"pairs": 12}, {"cpu": "a good one", "packages": {"aiohttp": "3"}})
    plain = json.loads(json.dumps(report.as_json(found, {"pairs": 12}, {})))
    assert plain["ratios"]["gateway"]["median"] == pytest.approx(1.5)
    assert "1.5 [1.5, 1.5]" in shown
    assert "itself" in shown  # bare beside bare
    assert "the supervisor's share of that CPU is 0.7%" in shown
    assert "a good one" in shown
    assert set(plain["arms"]) == {"bare", "gateway"}
