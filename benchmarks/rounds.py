"""Run the rounds: every pair, both halves, over and over, with the books kept.

What is decided here: what one sample is made of.  In which order, plan.py; what the samples say,
report.py.  CPU is read right before and right after a generator's round, so it holds the opening
and closing of the connections too, the same number for every arm.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import cpu, measure
from benchmarks.generator import Answered, Job
from benchmarks.load import Generator
from benchmarks.plan import Arm, Pair, PairSample, Sample, order
from benchmarks.servers import Server, ServerError, last_words

# The first round of every arm fills caches and grows the heap; it is not counted.
WARM_UP_SECONDS_MAX = 1.0


@dataclass(frozen=True)
class Bench:
    """What the rounds need: the servers, the generator and the size of a round."""

    servers: Mapping[str, Server]
    generator: Generator
    traffic: Mapping[int, str]  # events per request -> traffic file
    connections: int
    seconds: float

    async def warm_up(self, pairs: Sequence[Pair]) -> None:
        """Run every arm once, uncounted."""
        arms = dict.fromkeys(arm for pair in pairs for arm in (pair.arm, pair.reference))
        for arm in arms:
            await self.sample(arm, min(self.seconds, WARM_UP_SECONDS_MAX))

    async def run(self, pairs: Sequence[Pair], rounds: int, said: Callable[[str], None]) -> list[tuple[Pair, PairSample]]:
        """Measure every pair `rounds` times."""
        found = []
        for number in range(rounds):
            for pair, halves in order(pairs, number):
                found.append((pair, await self.both(number, pair, halves)))
            said(f"round {number + 1} of {rounds}")
        return found

    async def both(self, number: int, pair: Pair, halves: tuple[Arm, Arm]) -> PairSample:
        """Measure the two halves of a pair, in this order."""
        first = await self.sample(halves[0], self.seconds)
        last = await self.sample(halves[1], self.seconds)
        arm, reference = (first, last) if halves[0] == pair.arm else (last, first)
        return PairSample(number, arm, reference)

    async def sample(self, arm: Arm, seconds: float) -> Sample:
        """Put load on one arm for `seconds` and return what it cost."""
        server = self.servers[arm.server]
        job = Job(
            port=server.port,
            traffic=self.traffic[arm.events],
            connections=self.connections,
            seconds=seconds,
        )
        before = cpu.read(server.process.pid)
        started_s = time.perf_counter()
        answered = await self.generator.run(job)
        elapsed_s = time.perf_counter() - started_s
        spent = cpu.spent(before, cpu.read(server.process.pid))
        if not answered["statuses"].get(str(arm.status)):
            raise ServerError(f"{arm.name} answered no {arm.status} at all: {answered}{last_words(server.log)}")
        return sample_of(arm, answered, spent, min(elapsed_s, answered["seconds"]))


def sample_of(arm: Arm, answered: Answered, spent: cpu.Spent, seconds: float) -> Sample:
    """Put one round's figures together."""
    server_busy = (spent.cpu_ns + spent.waited_ns) / 1e9 / seconds
    refused = {status: count for status, count in answered["statuses"].items() if status != str(arm.status)}
    return Sample(
        arm=arm.name,
        events=arm.events,
        requests=answered["statuses"][str(arm.status)],
        refused={status: count for status, count in refused.items() if count},
        lost=answered["lost"],
        spooled=answered["spooled"],
        seconds=answered["seconds"],
        cpu_us=spent.cpu_ns / 1e3,
        supervisor_cpu_us=spent.root_cpu_ns / 1e3,
        server_busy=server_busy,
        generator_busy=answered["busy_share"],
        generator_cpu=answered["cpu_share"],
        was_generator_bottleneck=measure.generator_was_bottleneck(answered["busy_share"], server_busy),
        p50_ms=answered["p50_ms"],
        p99_ms=answered["p99_ms"],
        error=answered["error"],
    )
