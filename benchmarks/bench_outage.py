"""What an outage of Kafka costs: paused for a minute, then killed and started again with its data, under load.  Linux only.

    python -m benchmarks.bench_outage              about four minutes
    python -m benchmarks.bench_outage --quick      does it run?  its figures say little

The real gateway with two workers, Kafka, and a crowd of people of whom each has one request at a time (tests/system/crowd.py),
at half of the rate that the same crowd reaches when nobody pauses, or at --per-s.  What each was told is judged in the end by
the checker of lost events (tests/system/judgement.py), order included.  Latency is that of the crowd's own requests: who
waits for an answer sends nothing meanwhile.

Exit codes: 0 measured; 1 a promise missed, with --enforce; 2 the harness broke.
"""

import argparse
import asyncio
import math
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import aiohttp

from benchmarks import machine
from benchmarks.command import EXIT_MISSED, run, say
from benchmarks.measure import percentile
from devstack import Devstack, Topic
from tests.system import gateway as harness
from tests.system.crowd import Crowd, Phone
from tests.system.gateway import Gateway, records, running
from tests.system.history import History, found
from tests.system.judgement import Judgement, judge
from tests.system.remains import stopped

PEOPLE: Final = 64
FLAT_OUT_PER_S: Final = 1e9
REPLAY_SHARE_MAX: Final = 0.25  # of the outage
LIVE_TIMES_MAX: Final = 2.0  # of the p99 of spooling without a replay
REPLAY_WAIT_S: Final = 120.0
_GLANCE_S: Final = 0.2
_TOPICS: Final = {"syncs_topic": "outage.syncs", "signups_topic": "outage.signups"}


class Times(NamedTuple):
    """In seconds."""

    flat_out: float = 8.0
    calm: float = 10.0
    paused: float = 60.0
    killed: float = 20.0
    turns: float = 5.0  # what an outage begins with: not yet, or only just, spooled


QUICK: Final = Times(2.0, 3.0, 8.0, 4.0, 2.0)


class Outage(NamedTuple):
    """One, and what it was like."""

    what: str
    seconds: float
    spooling_p99_ms: float  # while Kafka was away, from the `turns` on
    waited: int  # records on disk at its end
    replay_s: float
    replay_p99_ms: float  # of what was sent meanwhile

    @property
    def replay_share(self) -> float:
        return self.replay_s / self.seconds

    @property
    def live_times(self) -> float:
        return self.replay_p99_ms / self.spooling_p99_ms


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="What an outage of Kafka costs.")
    parser.add_argument("--per-s", type=float, default=0.0, help="syncs a second (default: half of what the crowd reaches)")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures say little")
    parser.add_argument("--enforce", action="store_true", help="exit 1 when a promise is missed")
    return run(bench(parser.parse_args()))


async def bench(chosen: argparse.Namespace) -> int:
    """Do everything, in order."""
    facts = machine.facts()  # before the run is the load average
    with tempfile.TemporaryDirectory(prefix="sluicegate-outage-") as name:
        async with Devstack(Path(name) / "stack", fast_stop=True, say=say) as stack:
            harness.redis_url = stack.redis.url
            for topic in _TOPICS.values():
                await stack.create_topic(Topic(topic))
            async with running(Path(name) / "gateway", stack.kafka.bootstrap, deliver=_TOPICS) as gateway:
                bench_ = Bench(gateway, stack, QUICK if chosen.quick else Times())
                is_met = await bench_.run(chosen.per_s)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))
    return EXIT_MISSED if chosen.enforce and not is_met else 0


class Bench:
    """One run."""

    def __init__(self, gateway: Gateway, stack: Devstack, times: Times) -> None:
        self._gateway, self._stack, self._times = gateway, stack, times
        phones = [Phone(_TOPICS["syncs_topic"], number) for number in range(PEOPLE)]
        self._crowd = Crowd(gateway, History(), [*phones], FLAT_OUT_PER_S, Random(1))

    async def run(self, per_s: float) -> bool:
        """Print what was found; whether every promise was kept."""
        crowd, times, kafka = self._crowd, self._times, self._stack.kafka
        going_on = asyncio.create_task(crowd.run())
        if not per_s:
            await asyncio.sleep(times.calm / 4)
            reached = await self._accepted(times.flat_out) / times.flat_out
            per_s = reached / 2
            print(f"flat out the crowd of {PEOPLE} reaches {reached:,.0f} syncs/s; at half of it from now on")
        crowd.per_s = per_s
        await asyncio.sleep(times.turns)
        since_s = _now_s()
        served = await self._accepted(times.calm) / times.calm
        print(f"Kafka there: {served:,.0f} syncs/s, p99 {self._p99_ms(since_s, _now_s()):.0f} ms")
        outages = [
            await self._outage("paused", times.paused, kafka.pause, kafka.resume),
            await self._outage("killed, and started with its data", times.killed, kafka.kill, kafka.restart),
        ]
        crowd.is_ending = True
        await going_on
        judgement = await self._judged()
        promises = list(self._promises(outages, judgement))
        for says, is_kept in promises:
            print(f"{'kept  ' if is_kept else 'MISSED'}  {says}")
        return all(is_kept for _, is_kept in promises)

    async def _accepted(self, seconds: float) -> int:
        before = self._crowd.told[202]
        await asyncio.sleep(seconds)
        return self._crowd.told[202] - before

    def _p99_ms(self, from_s: float, to_s: float) -> float:
        took = sorted(took_s for sent_s, took_s in self._crowd.took if from_s <= sent_s < to_s)
        return percentile(took, 0.99) * 1000 if took else math.nan

    async def _outage(self, what: str, seconds: float, begin: Callable[[], Awaitable[None]], end: Callable[[], Awaitable[None]]) -> Outage:
        say(f"Kafka {what}, {seconds:g} s")
        began_s = _now_s()
        await begin()
        await asyncio.sleep(seconds)
        waits = await self._waiting()
        gone_s = _now_s()
        await end()
        back_s = _now_s()
        while await self._waiting():
            if _now_s() - back_s > REPLAY_WAIT_S:
                break
            await asyncio.sleep(_GLANCE_S)
        over_s = _now_s()
        outage = Outage(
            what,
            back_s - began_s,
            self._p99_ms(began_s + self._times.turns, gone_s),
            waits,
            over_s - back_s,
            self._p99_ms(back_s, over_s),
        )
        await asyncio.sleep(self._times.turns)
        print(
            f"Kafka {what}: {outage.seconds:.1f} s, p99 of spooling {outage.spooling_p99_ms:.0f} ms; {waits:,} records waited; "
            f"replay {outage.replay_s:.1f} s ({waits / outage.replay_s:,.0f}/s), p99 meanwhile {outage.replay_p99_ms:.0f} ms"
        )
        return outage

    async def _waiting(self) -> int:
        """Records on disk.  Not by Gateway.metrics: to read all of a scrape takes 40 ms, which the crowd's answers would wait for."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._gateway.ops}/metrics") as answer:
            lines = (await answer.read()).split(b"\n")
        return round(sum(float(line.rpartition(b" ")[2]) for line in lines if line.startswith(b"sluicegate_spool_records{")))

    async def _judged(self) -> Judgement:
        left = await stopped(self._gateway)
        kafka = await records(self._stack.kafka.bootstrap, _TOPICS["syncs_topic"])
        began_s = time.monotonic()
        judgement = judge(self._crowd.history, [found(one.topic, one.partition, one.offset, one.key, one.value, one.headers) for one in kafka], *left)
        print(f"{judgement} (judged in {time.monotonic() - began_s:.1f} s)")
        return judgement

    def _promises(self, outages: list[Outage], judgement: Judgement) -> Iterator[tuple[str, bool]]:
        crowd = self._crowd
        refused = sum(count for status, count in crowd.told.items() if status != 202)
        yield (
            f"every sync accepted: {crowd.told[202]:,}, {crowd.kept['spool']:,} from the spool; anything else {refused} {dict(crowd.problems) or ''}",
            not refused,
        )
        yield (
            f"all 202s in Kafka: {judgement.in_spool} of {judgement.accepted:,} only in the spool, findings {len(judgement.findings)}",
            (not judgement.findings and judgement.in_spool == 0),
        )
        for one in outages:
            yield f"{one.what}: replay in {one.replay_share:.2f} x the outage, at most {REPLAY_SHARE_MAX}", one.replay_share <= REPLAY_SHARE_MAX
            yield f"{one.what}: p99 during the replay {one.live_times:.2f} x that of spooling, at most {LIVE_TIMES_MAX:g}", one.live_times <= LIVE_TIMES_MAX


def _now_s() -> float:
    return asyncio.get_running_loop().time()


if __name__ == "__main__":
    raise SystemExit(main())
