"""benchmarks/bench_take.py: every arm once against a real Valkey, and the arithmetic of the results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.command import EXIT_BROKEN
from benchmarks.sut import ROOT
from benchmarks.takers import ARMS, OURS, loop, results
from benchmarks.takers.arm import Arm
from benchmarks.takers.loop import Answered
from benchmarks.takers.results import Sample

TIMEOUT_S = 120


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as `make bench-take` does."""
    command = [sys.executable, "-m", "benchmarks.bench_take", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def sample(arm: str, client_us: float, number: int = 0, concurrency: int = 64, refused: int = 0, error: str = "") -> Sample:
    """A round of 1,000 decisions in half a second."""
    answered = Answered(
        decisions=1_000,
        refused=refused,
        seconds=0.5,
        client_cpu_us=client_us * 1_000,
        server_cpu_us=5_000.0,
        p50_ms=1.0,
        p99_ms=2.0,
        error=error,
    )
    return Sample(number, concurrency, arm, loop.broken(error) if error else answered)


def test_every_arm_is_measured_at_every_concurrency_and_refused_nothing(tmp_path: Path) -> None:
    """No figure is judged: this machine may be busy."""
    out = tmp_path / "take.json"
    done = bench("--quick", "--rounds", "1", "--concurrency", "1", "64", "--json", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert set(found) == {"machine", "settings", "arms", "figures", "targets", "broken"}
    assert [(of["concurrency"], of["arm"]) for of in found["figures"]] == [(tasks, arm) for tasks in (1, 64) for arm in ARMS]
    assert all(min(of["decisions_per_s"], of["client_us"], of["server_us"], of["p50_ms"]) > 0 for of in found["figures"])
    assert all((of["ratio"] is None) == (of["arm"] == OURS) for of in found["figures"])
    assert len(found["targets"]) == len(ARMS) - 1
    assert "at least 5 x cheaper in client CPU per decision than limits (target 10 x)" in done.stdout
    assert all(found["machine"]["limiters"].values())


def test_a_wrong_concurrency_is_said_in_one_line() -> None:
    """More tasks than identities would leave some with nothing to ask for."""
    done = bench("--concurrency", "1001")
    assert done.returncode == EXIT_BROKEN
    assert "--concurrency 1001: want 1 to 1000" in done.stderr


async def test_an_arm_whose_server_is_gone_says_so_and_goes_on_answering() -> None:
    """Nothing listens on port 1."""
    arm = await Arm.start("limits", "redis://127.0.0.1:1/0", frozenset(os.sched_getaffinity(0)))
    try:
        job = loop.Job(concurrency=2, seconds=0.01, server_pid=os.getpid())
        answers = [await arm.run(job), await arm.run(job)]
    finally:
        await arm.stop()
    for answered in answers:
        assert "ConnectionError" in answered["error"]
        assert answered["decisions"] == 0


async def test_an_arm_that_ends_or_does_not_exist_is_an_error_in_its_row() -> None:
    """KeyError at its start: the harness learns of the end and asks no further."""
    arm = await Arm.start("no such limiter", "redis://127.0.0.1:1/0", frozenset(os.sched_getaffinity(0)))
    answered = await arm.run(loop.Job(concurrency=1, seconds=0.01, server_pid=os.getpid()))
    await arm.stop()
    assert answered["error"] == "its process ended with 1"


async def test_the_loop_counts_every_answer_and_what_was_refused() -> None:
    """Each task asks once at least, however short the round."""
    asked = []

    async def take(who: str) -> bool:
        asked.append(who)
        return who != "user:2"

    answered = await loop.run(take, loop.Job(concurrency=5, seconds=0.0, server_pid=os.getpid()))
    assert asked == [f"user:{number}" for number in range(5)]
    assert (answered["decisions"], answered["refused"], answered["error"]) == (5, 1, "")
    assert 0 < answered["p50_ms"] <= answered["p99_ms"]
    assert answered["client_cpu_us"] > 0


def test_ratios_are_taken_within_a_round() -> None:
    """Every round is twice as dear as the last for all: the ratio is 7 in each, and the figures are medians."""
    samples = [sample(arm, us * 2.0**number, number) for number in range(9) for arm, us in ((OURS, 10.0), ("limits", 70.0))]
    ours, limits = results.build(samples).figures
    assert ours.ratio is None
    assert limits.ratio is not None
    assert (limits.ratio.low, limits.ratio.median, limits.ratio.high) == pytest.approx((7, 7, 7))
    assert limits.ratio.coverage >= 0.95
    assert (ours.client_us, ours.server_us, ours.decisions_per_s) == pytest.approx((160, 5, 2_000))


@pytest.mark.parametrize(
    ("theirs_us", "is_met", "words"),
    [(49.9, False, "MISSED; 10 x: not reached"), (50.0, True, "met; 10 x: not reached"), (100.0, True, "met; 10 x: reached")],
)
def test_the_target_is_five_and_ten_is_said(theirs_us: float, is_met: bool, words: str) -> None:
    """At concurrency 64 alone."""
    samples = [sample(arm, us, number, tasks) for tasks in (1, 64) for number in range(9) for arm, us in ((OURS, 10.0), ("limits", theirs_us))]
    (verdict,) = results.build(samples).verdicts
    assert (verdict.is_met, verdict.words) == (is_met, words)


def test_what_failed_or_was_refused_is_told_and_left_out() -> None:
    """Such a round is neither a figure nor a ratio, for it may have cost less."""
    samples = [sample(OURS, 10.0, 0), sample(OURS, 1.0, 1, refused=3), sample(OURS, 10.0, 2)]
    samples += [sample("limits", 0.0, 0, error="Gone: away"), sample("limits", 60.0, 1), sample("limits", 60.0, 2)]
    found = results.build(samples)
    assert found.broken == (
        "limits, 64 at once: 1 rounds failed: Gone: away",
        "sluicegate, 64 at once: 3 decisions were not granted by the store; their rounds are left out",
    )
    ours, limits = found.figures
    assert limits.ratio is not None
    assert (ours.rounds, ours.client_us) == (2, 10.0)
    assert (limits.rounds, limits.ratio.count, limits.ratio.median) == (2, 1, 6.0)
    shown = results.text(found, {}, {}, {})
    assert "BROKEN:\nlimits, 64 at once: 1 rounds failed: Gone: away" in shown


def test_an_arm_that_never_answered_stands_in_the_table_all_the_same() -> None:
    """It has no figures; its row says why."""
    found = results.build([sample(OURS, 10.0), sample("limits", 0.0, error="Gone: away")])
    rows = list(results.rows(found))
    assert "limits" in rows[-1]
    assert "BROKEN" in rows[-1]


def test_order_puts_every_arm_in_every_place_and_turns_round() -> None:
    """In eight rounds each of four arms stands twice in each place, after each neighbour."""
    rounds = [results.order("abcd", number) for number in range(8)]
    for place in range(4):
        assert sorted(names[place] for names in rounds) == list("aabbccdd")
    assert rounds[0] == list("abcd")
    assert rounds[4] == list("dcba")
