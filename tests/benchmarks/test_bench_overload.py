"""benchmarks/bench_overload.py and its parts: the arithmetic on tries, and the whole of it once, quickly."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import bench_overload, crowd
from benchmarks import overload_report as report
from benchmarks.arrivals import CLOSED, GAVE_UP, NO_RETRY_AFTER, Phase, Try, due_times, most_at_once, packed, unpacked
from benchmarks.command import EXIT_GENERATOR, EXIT_MISSED
from benchmarks.open_generator import Job, Stream, retry_after_s, schedule
from benchmarks.slow_gateway import SlowBroker
from benchmarks.sut import ROOT
from devstack import Devstack
from gateway.core.event import Record
from gateway.core.payload import Signup, SyncBody, read_signup, read_sync
from gateway.errors import BrokerAway
from gateway.kafka import Topic

TIMEOUT_S = 170
NOW = datetime(2026, 1, 27, 22, 10, 5, tzinfo=UTC)


def accepted(due_s: float, latency_s: float = 0.1) -> Try:
    return Try(0, 1, 202, due_s, latency_s, 0.0, NO_RETRY_AFTER)


def refused(due_s: float, retry_after: int = 3) -> Try:
    return Try(0, 1, 503, due_s, 0.001, 0.0, retry_after)


# Arrivals


def test_arrivals_keep_to_their_phases_and_rates() -> None:
    """Ten thousand a second, nothing, a thousand a second; the same again from the same seed."""
    phases = [Phase(1.0, 10_000), Phase(1.0, 0), Phase(2.0, 1_000)]
    times = list(due_times(phases, 7))
    assert times == sorted(times) == list(due_times(phases, 7))
    assert sum(at < 1 for at in times) == pytest.approx(10_000, rel=0.05)
    assert sum(at >= 2 for at in times) == pytest.approx(2_000, rel=0.1)
    assert not any(1 <= at < 2 or at >= 4 for at in times)
    assert times != list(due_times(phases, 8))


def test_a_file_of_tries_gives_back_what_was_put_in() -> None:
    tries = [Try(2, 255, 503, 0.5, 0.25, 0.125, 30), Try(0, 1, GAVE_UP, 1.0, 5.0, 0.0, NO_RETRY_AFTER), Try(1, 1, CLOSED, 2.0, 0.5, 0.0, -1)]
    assert unpacked(packed(tries)) == tries


def test_the_most_at_once_counts_no_touch_as_an_overlap() -> None:
    assert most_at_once([]) == 0
    assert most_at_once([(0, 1), (1, 2), (1.5, 3), (1.75, 1.8)]) == 3


def test_a_schedule_mixes_its_streams_by_time() -> None:
    streams = [Stream(traffic=name, phases=[(1.0, 50.0), (1.0, 5.0)]) for name in ("a", "b")]
    job = Job(port=1, streams=streams, patience_s=5.0, is_obedient=False, seed=1, connections=1, tries="")
    requests, ends_s = schedule(job, lambda name: [name.encode()])
    assert ends_s == 2.0
    assert {(one.stream, one.content) for one in requests} == {(0, b"a"), (1, b"b")}
    assert [one.due_s for one in requests] == sorted(one.due_s for one in requests)


def test_retry_after_is_read_off_an_answer() -> None:
    assert retry_after_s(b"HTTP/1.1 503 x\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n") == 17
    assert retry_after_s(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n") == NO_RETRY_AFTER


def test_the_gateway_reads_the_crowds_requests() -> None:
    """Else a 422 would be measured; and no two people share an address."""
    (sync,) = crowd.syncs(["t"], NOW, days_ago=crowd.BACKFILL_DAYS)
    head, _, body = sync.partition(b"\r\n\r\n")
    assert b"\r\nAuthorization: Bearer t\r\n" in head
    read = read_sync(body)
    assert isinstance(read, SyncBody)
    assert [sample.day for sample in read.valid] == ["2026-01-17"]
    signups = crowd.signups(300)
    assert all(isinstance(read_signup(one.partition(b"\r\n\r\n")[2]), Signup) for one in signups)
    assert len({line for one in signups for line in one.split(b"\r\n") if line.startswith(b"X-Forwarded-For: 198.18.")}) == 300


# The slow store


class Recorder:
    """A broker that acknowledges at once."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    async def connect(self) -> dict[str, Topic]:
        return {}

    async def topics(self) -> dict[str, Topic]:
        return {}

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        del topic, partition
        self.sent.append(len(records))
        return 0

    def discard(self) -> None:
        self.sent.clear()

    async def close(self) -> None:
        self.discard()


async def test_a_slow_store_acknowledges_one_batch_after_the_other() -> None:
    """What is sent together is acknowledged in turn, each after its records' time; all of it is really sent at once."""
    inner = Recorder()
    slow = SlowBroker(inner, records_per_s=200.0)
    record = Record("id", b"key", b"", 0)
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    async def send(records: int) -> float:
        await slow.send("t", 0, [record] * records)
        return loop.time() - began_s

    took_s = await asyncio.gather(send(4), send(8), send(2))
    assert inner.sent == [4, 8, 2]
    for took, least in zip(took_s, (0.02, 0.06, 0.07), strict=True):
        assert took >= least - 0.002


async def test_a_slow_store_that_is_discarded_keeps_nobody_waiting() -> None:
    """As the Broker protocol has it."""
    slow = SlowBroker(Recorder(), records_per_s=0.01)
    sending = asyncio.create_task(slow.send("t", 0, [Record("id", b"key", b"", 0)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    slow.discard()
    with pytest.raises(BrokerAway):
        await sending


# What the tries say


def test_a_row_counts_service_when_it_is_given() -> None:
    """An answer that came after the window, or after its client had gone, is no goodput; one from before it is."""
    tries = [accepted(9.95), accepted(10.5), accepted(11.95), accepted(10.0, 5.5), refused(10.2), refused(11.0, NO_RETRY_AFTER)]
    tries += [Try(0, 1, GAVE_UP, 11.0, 5.0, 0.0, -1), Try(0, 1, 500, 11.5, 0.1, 0.0, -1), refused(12.5)]
    of = report.row("x", tries, (10.0, 12.0), capacity_per_s=2.0)
    assert (of.offered_per_s, of.goodput_per_s, of.share) == (3.5, 1.0, 0.5)
    assert (of.refused_per_s, of.without_retry_after, of.unanswered, of.other) == (1.0, 1, 1, {500: 1})
    assert of.success == pytest.approx(2 / 7)
    assert of.in_flight_max == 3  # the one that took 5.5 s, the one that gave up, and 11.95's
    assert not of.void


def test_what_is_less_than_capacity_need_not_fill_it() -> None:
    of = report.row("x", [accepted(at / 10) for at in range(90)], (0.0, 10.0), capacity_per_s=100.0)
    assert of.share == pytest.approx(1.0)


def test_a_late_generator_voids_its_step_and_no_promise_is_met_by_it() -> None:
    late = [Try(0, 1, 202, 1.0, 0.2, 0.1, -1)] * 10
    of = report.row("x", late, (0.0, 10.0), capacity_per_s=1.0)
    assert "late" in of.void
    assert report.goodput_verdict(of, 0.9).word == "VOID"
    assert "VOID" in report.table([of])
    assert report.generator_void(0.95, 0, 64, "")
    assert report.generator_void(0.5, 3, 64, "") == "3 requests found no connection left, 64 were open"
    assert not report.generator_void(0.5, 0, 64, "")


def test_recovery_is_the_moment_from_which_nearly_all_are_served() -> None:
    tries = [refused(20 + at / 50) if at < 60 else accepted(20 + at / 50) for at in range(500)]
    assert report.recovered_after_s(tries, 20.0, 30.0) == pytest.approx(1.2, abs=0.11)
    assert report.recovered_after_s([refused(20 + at / 50) for at in range(500)], 20.0, 30.0) is None
    # A refusal near the end: not over before.
    assert report.recovered_after_s([*tries, *[refused(27.0)] * 20], 20.0, 30.0) == pytest.approx(7.1, abs=0.11)


def test_costs_and_what_they_leave() -> None:
    """A refusal at a third: of twice the capacity half of one is left; at a half nothing is."""
    accepting = report.Loop(seconds=2.0, cpu_us=1_800_000, refused=0, accepted=18_000)
    refusing = report.Loop(seconds=1.0, cpu_us=60_000 + 40 * 1_000, refused=1_000, accepted=600)
    found = report.costs(accepting, refusing)
    assert (found.accepted_us, found.refused_us) == (100.0, 40.0)
    assert found.ratio == pytest.approx(0.4)
    assert accepting.core_us_per_s == 900_000
    assert report.Costs(90.0, 30.0).goodput_allowed_per_s(2e6 / 90) == pytest.approx(0.5e6 / 90)
    assert report.Costs(90.0, 45.0).goodput_allowed_per_s(2e6 / 90) == pytest.approx(0, abs=1e-6)
    assert report.Costs(90.0, 60.0).goodput_allowed_per_s(2e6 / 90) == 0
    assert report.Costs(90.0, 30.0).goodput_allowed_per_s(100.0) == 100.0
    assert found.alone(30_000, accepting) == pytest.approx(40 * 30_000 / 900_000)


def test_promises_are_said_in_one_word_each() -> None:
    row = report.row("2x", [accepted(at / 10) for at in range(90)], (0.0, 10.0), capacity_per_s=9.0)
    verdicts = [
        report.goodput_verdict(row, 0.9),
        report.success_verdict(row, 0.99),
        report.recovery_verdict("r", None, ""),
        report.bound_verdict("ratio", 0.6, 0.5),
        report.honest_verdict([row]),
    ]
    assert [line.split()[0] for line in report.promises(verdicts)] == ["met", "met", "MISSED", "MISSED", "met"]


def test_the_exit_code_says_void_before_missed() -> None:
    void = report.row("x", [Try(0, 1, 202, 1.0, 0.2, 0.1, -1)], (0.0, 10.0), capacity_per_s=1.0)
    missed = report.bound_verdict("ratio", 0.6, 0.5)
    assert bench_overload.exit_code(bench_overload.Found(verdicts=[missed]), is_enforced=False) == 0
    assert bench_overload.exit_code(bench_overload.Found(verdicts=[missed]), is_enforced=True) == EXIT_MISSED
    assert bench_overload.exit_code(bench_overload.Found(tables=[("t", [void])], verdicts=[missed]), is_enforced=True) == EXIT_GENERATOR


# All of it


async def test_a_quick_run_fills_its_tables(stack: Devstack, tmp_path: Path) -> None:
    """No figure is judged: this machine may be busy, and then it says so with exit 3."""
    out = tmp_path / "found.json"
    command = [sys.executable, "-m", "benchmarks.bench_overload", "--quick", "--parts", "ab", "--json", str(out)]
    command += ["--kafka", stack.kafka.bootstrap, "--redis", stack.redis.url]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode in (0, EXIT_GENERATOR), done.stderr
    found = json.loads(out.read_text())
    rows = [row for _, rows in found["tables"] for row in rows]
    assert [row["name"] for row in rows][:5] == [f"a, {multiple}x" for multiple in bench_overload.MULTIPLES]
    assert all(row["offered_per_s"] > 0 for row in rows)
    # A machine that is held up all the while may serve nobody in its second: then the benchmark says that it is void.
    assert done.returncode == EXIT_GENERATOR or (all(row["goodput_per_s"] > 0 for row in rows[:5]) and rows[4]["refused_per_s"] > 0)
    assert "Retry-After" in done.stdout
    assert not any(row["other"] for row in rows), rows
