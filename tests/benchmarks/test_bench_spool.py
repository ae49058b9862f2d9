"""benchmarks/bench_spool.py in small; and a day's backlog in small, which is a promise of the spool."""

import asyncio
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import spool_path
from benchmarks.backlogs import Recovered, fill, measured
from benchmarks.bench_spool import GROWTH_MIB_MAX
from benchmarks.plan import Arm, PairSample, Sample
from benchmarks.sut import ROOT

TIMEOUT_S = 120
RECORDS = 60_000


def recovered(directory: Path, frames_of: int, records: int) -> Recovered:
    """In files as small as fits, so that there are many."""
    asyncio.run(fill(directory, frames_of, records=records, segment_bytes=1 << 20))
    assert len(list(directory.iterdir())) > 10
    return measured(directory, frames_of, math.inf)


@pytest.mark.parametrize("frames_of", [1, 7])
def test_a_long_backlog_is_replayed_in_order_in_the_memory_of_a_short_one(tmp_path: Path, frames_of: int) -> None:
    told = recovered(tmp_path, frames_of, RECORDS)
    assert (told.records, told.replayed, told.is_in_order) == (RECORDS, RECORDS, True)
    assert told.mib > 20, "which as records in memory would be more"
    assert max(told.growth_mib, told.replay_growth_mib) < 16


def test_every_part_that_needs_no_servers_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.bench_spool", "--quick", "--parts", "append,recover,day"]
    done = subprocess.run(
        [*command, "--directory", str(tmp_path), "--json", str(tmp_path / "told.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    assert {name: len(of) for name, of in told.items()} == {"append": 5, "recover": 2, "day": 1}
    assert all(one["is_in_order"] and one["growth_mib"] < GROWTH_MIB_MAX for one in told["recover"] + told["day"])
    assert "replays in order" in done.stdout


def sample(arm: Arm, requests: int, cpu_us: float, refused: int = 0) -> Sample:
    """A round of a second."""
    of: dict[str, int] = {"503": refused} if refused else {}
    return Sample(arm.name, arm.events, requests, of, 0, 0, 1.0, cpu_us * requests, 0.0, 1.0, 0.2, 0.2, False, 1.0, 2.0, "")


@pytest.mark.parametrize(("spooled", "refused", "is_met"), [(700, 0, True), (690, 0, False), (900, 1, False)])
def test_spooling_is_judged_by_its_events_a_second(spooled: int, refused: int, *, is_met: bool) -> None:
    samples = [
        (pair, PairSample(number, sample(pair.arm, spooled, 300.0, refused), sample(pair.reference, 1_000, 200.0)))
        for pair in spool_path.PAIRS
        for number in range(6)
    ]
    for told in spool_path.figures(samples):
        assert (told.throughput.median, told.cpu.median, told.is_met) == (spooled / 1_000, 1.5, is_met)
        assert told.kafka_per_s == 1_000 * told.events
