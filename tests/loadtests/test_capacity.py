"""The knee, the law behind it, and how many workers that means; climbed against a server that is a formula."""

import asyncio
import itertools
import json
import math
import os
import signal

import numpy as np
import pytest

from loadtests.capacity import (
    ACCEPTED_MIN,
    BEYOND,
    FACTOR,
    SETTLE_S,
    Capacity,
    Step,
    climb,
    found,
    main,
    rate_of,
    row,
    scenario_of,
    sentences,
    step_of,
    workers_for,
)
from loadtests.observed import Observed
from loadtests.recording import CALL, FATE, Call, Process, Recording
from loadtests.scenario import Scenario
from loadtests.usl import Usl

LAW = Usl(250.0, 0.02, 0.0008)  # its most is at 35 at once: 3,300/s


def steps_of(law: Usl, noise: float = 0.01) -> list[Step]:
    """By concurrency: below the knee all is accepted, beyond it what the law allows."""
    draw, steps = np.random.default_rng(1), []
    for at_once in (1, 2, 4, 8, 16, 32, 64, 96):
        x = law.rate(at_once) * (1 + noise * draw.standard_normal())
        is_beyond = at_once > law.peak()[0]
        mean_ms = at_once / x * 1000
        steps.append(Step(x * (1.5 if is_beyond else 1), x, 0.66 if is_beyond else 1.0, mean_ms, mean_ms * 4, 2))
    return steps


def test_the_knee_is_the_last_step_that_holds_and_the_law_is_found() -> None:
    capacity = found(steps_of(LAW))
    assert capacity.knee is not None
    assert capacity.knee.concurrency == pytest.approx(32, rel=0.05)
    assert capacity.fit is not None
    assert capacity.fit.has_knee
    assert capacity.fit.n_peak == pytest.approx(LAW.peak()[0], rel=0.1)
    assert capacity.fit.x_peak == pytest.approx(LAW.peak()[1], rel=0.03)
    assert not capacity.is_ended_by_generator
    assert any("N* = " in line and "95 %" in line for line in sentences(capacity))


def test_a_step_above_one_that_failed_is_no_knee() -> None:
    """Lucky once is not capacity."""
    good, bad = Step(100, 100, 1.0, 5, 20, 1), Step(200, 150, 0.75, 50, 900, 1)
    assert found([good, bad, good._replace(offered_per_s=300, achieved_per_s=300)]).knee == good


def test_little() -> None:
    assert Step(100, 100, 1.0, 50, 100, 1).concurrency == pytest.approx(5.0)


def test_what_flattens_only_has_no_invented_peak() -> None:
    capacity = found(steps_of(Usl(250.0, 0.02, 0.0)))
    assert capacity.fit is not None
    assert not capacity.fit.has_knee
    assert any("no knee" in line.lower() for line in sentences(capacity))


def test_how_many_workers() -> None:
    knee = Step(2_000, 2_000, 1.0, 5, 20, 2)
    capacity = Capacity([knee], knee, is_ended_by_generator=False, fit=None, samples=10)
    assert rate_of(1_000_000, 10, 25, 10) == pytest.approx(5_000)  # three requests each
    # 5,000/s, 1,000/s a worker, three tenths left free: 7.1 workers.
    assert workers_for(1_000_000, 10, 25, capacity, headroom=0.3) == 8
    assert workers_for(1_000_000, 10, 25, capacity, headroom=0.0) == 5
    assert workers_for(10, 10, 1, capacity) == 1


def test_without_a_knee_nobody_says_how_many() -> None:
    failed = Step(100, 10, 0.1, 500, 5_000, 1)
    capacity = found([failed])
    with pytest.raises(ValueError, match="no step held"):
        workers_for(1_000, 1, 1, capacity)
    with pytest.raises(ValueError, match="headroom below 1"):
        workers_for(1_000, 1, 1, capacity, headroom=1.0)
    assert "No step held" in sentences(capacity)[0]


def observed(scenario: Scenario, *, could_per_s: float = 3_000.0, is_late: bool = False) -> Observed:
    """A server that takes 5 ms until it is full, then refuses the rest and takes a second for what it accepts."""
    rate = scenario.streams[0].shape[0].from_per_s
    meant_s = np.arange(0, scenario.seconds, 1 / rate)
    calls = np.zeros(len(meant_s), CALL)
    is_full = rate > could_per_s
    accepted = np.arange(len(meant_s)) % 1_000 < 1_000 * min(could_per_s / rate, 1.0)
    calls["call"], calls["tries"], calls["arrival"] = Call.SYNCS, 1, np.arange(len(meant_s))
    calls["meant_s"] = calls["sent_s"] = meant_s
    calls["late_s"] = 0.1 if is_late else 0.0
    calls["status"] = np.where(accepted, 202, 503)
    calls["done_s"] = meant_s + (1.0 if is_full else 0.005)
    process = Process(0, len(meant_s), "", len(meant_s), 0.0, 0.5)
    return Observed(scenario, 0, 0.0, scenario.seconds, Recording(calls, np.empty(0, FATE), [], [process]), None, {}, {}, {}, [], {})


async def test_it_climbs_until_two_steps_do_not_hold() -> None:
    async def play(scenario: Scenario) -> Observed:
        return observed(scenario)

    told = list[Step]()
    steps = await climb(play, workers=1, samples=2, first_per_s=500.0, tell=told.append)
    assert told == steps
    assert [step.offered_per_s for step in steps] == pytest.approx([500 * FACTOR**number for number in range(len(steps))], rel=0.01)
    assert [step.holds() for step in steps] == [True, True, True, True, False, False]
    assert sum(not step.holds() for step in steps) == BEYOND
    assert found(steps).knee == steps[3]
    assert "does not hold" in row(steps[-1])


async def test_a_generator_that_cannot_keep_up_ends_it_and_is_no_step() -> None:
    async def play(scenario: Scenario) -> Observed:
        return observed(scenario, is_late=scenario.streams[0].shape[0].from_per_s > 1_000)

    steps = await climb(play, workers=1, samples=1, first_per_s=500.0)
    assert [step.is_honest for step in steps] == [True, True, False]
    capacity = found(steps)
    assert capacity.is_ended_by_generator
    assert capacity.knee == steps[1]
    assert any("at least that" in line for line in sentences(capacity))


async def test_a_generator_with_trouble_of_its_own_is_no_step() -> None:
    async def play(scenario: Scenario) -> Observed:
        seen = observed(scenario)
        seen.recording.processes[0].errors.append("[Errno 24] Too many open files (3 times)")
        return seen

    (step,) = await climb(play, workers=1, samples=1, first_per_s=500.0)
    assert not step.is_honest
    assert "or failed" in row(step)
    assert found([step]).knee is None


def test_a_word_to_end_ends_what_was_started(capsys: pytest.CaptureFixture[str]) -> None:
    """As rehearse does: the stack of the step is let down, and there is no figure."""
    cleaned = list[str]()

    async def play(scenario: Scenario) -> Observed:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(5)
        finally:
            cleaned.append("down")
        return observed(scenario)

    before = signal.signal(signal.SIGTERM, lambda *_: None)  # or a failure would end the tests
    try:
        assert main(["--first", "500"], play) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
    assert cleaned == ["down"]
    said = capsys.readouterr()
    assert "capacity: ended" in said.err
    assert "The knee" not in said.out


def test_a_harness_that_broke_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    async def play(scenario: Scenario) -> Observed:
        raise OSError(scenario.name)

    assert main(["--first", "500"], play) == 2
    assert "capacity: the harness broke: capacity-500" in capsys.readouterr().err


def test_a_step_is_judged_once_it_has_settled() -> None:
    scenario = scenario_of(100.0, 1, 1)
    of = observed(scenario)
    early = of.recording.calls["meant_s"] < SETTLE_S
    of.recording.calls["status"][early] = 503
    assert step_of(of).accepted_share == 1.0 >= ACCEPTED_MIN


def test_nobody_s_own_bucket_is_what_is_measured() -> None:
    stream = scenario_of(5_000.0, 2, 1).streams[0]
    assert stream.members / stream.shape[0].from_per_s >= 10  # shipped: one a user in ten seconds


def test_the_command_prints_a_table_and_a_sentence_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    async def play(scenario: Scenario) -> Observed:
        return observed(scenario)

    assert main(["--people", "1000000", "--minutes", "10", "--first", "500"], play) == 0
    said = capsys.readouterr().out
    assert "offered/s" in said
    assert "1,000,000 people in 10 minutes" in said
    assert main(["--json", "--first", "500"], play) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["workers"] >= 1
    assert len(told["steps"]) == 6
    assert all(math.isfinite(step["concurrency"]) for step in told["steps"])
    assert main(["--first", "5000"], play) == 1
    assert "No step held" in capsys.readouterr().out


def test_steps_are_the_same_for_the_same_seed() -> None:
    one, other = (scenario_of(700.0, 1, 1) for _ in range(2))
    assert one == other
    assert len({scenario_of(rate, 1, 1).name for rate in itertools.accumulate([FACTOR] * 8, lambda rate, by: rate * by, initial=200.0)}) == 9
