"""Once a second: what the gateway counts, what the machine's processes use, how quickly Redis answers."""

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import cpu
from devstack import DevstackError
from loadtests.downstream import Faltering
from loadtests.observed import SAMPLED, Series, total
from loadtests.target import Target

PERIOD_S: Final = 1.0
REFUSED: Final = ("400", "401", "403", "413", "422", "429", "503")  # of a gateway that works: any other status is an error
SPOOLED: Final = "sluicegate_spool_records"  # that wait for Kafka
_PATIENCE_S: Final = 0.8
_ACK: Final = "sluicegate_ack_seconds_bucket"


async def scrape(session: aiohttp.ClientSession, ops_url: str) -> Series:
    """/metrics.  Raises aiohttp.ClientError or TimeoutError: nobody answers."""
    async with session.get(f"{ops_url}/metrics", timeout=aiohttp.ClientTimeout(total=5.0), raise_for_status=True) as answer:
        text = await answer.text()
    return {name_of(sample.name, sample.labels): sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def name_of(name: str, labels: Mapping[str, str]) -> str:
    """As Series has them."""
    inside = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name


def gauge(series: Series, name: str) -> float:
    """The supervisor's, or that of the worker who has most; nan: it is not there."""
    return max((value for key, value in series.items() if key.partition("{")[0] == name), default=math.nan)


def ack_p99_ms(before: Series, now: Series) -> float:
    """Of the acknowledgements in between, both topics: the bucket's upper edge; nan where there were none."""
    grown = {float(key.partition('le="')[2].partition('"')[0]): 0.0 for key in now if key.startswith(_ACK)}
    for key, value in now.items():
        if key.startswith(_ACK):
            grown[float(key.partition('le="')[2].partition('"')[0])] += value - before.get(key, 0.0)
    everything = grown.get(math.inf, 0.0)
    return next((edge * 1000 for edge, count in sorted(grown.items()) if count >= 0.99 * everything), math.nan) if everything else math.nan


class Sampler:
    """From the first second to the last.

    Args:
        began_s: of the epoch.
        generator: pids of the generator's processes.
    """

    def __init__(self, target: Target, downstream: Faltering | None, began_s: float, generator: int) -> None:
        self._target = target
        self._downstream = downstream
        self._began_s = began_s
        self._roots = {"gateway": target.pid, "generator": generator}
        self._cpu: dict[int, int] = {}
        self._before: Series = {}
        self._at_s = time.time()
        self._taken = (0, 0.0)
        self.columns: dict[str, list[float]] = {name: [] for name in SAMPLED}

    @property
    def last(self) -> Series:
        """The newest scrape that was answered."""
        return self._before

    async def run(self) -> None:
        """Until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                await self._sample(session)
                await asyncio.sleep(PERIOD_S - (time.time() - self._began_s) % PERIOD_S)

    async def _sample(self, session: aiohttp.ClientSession) -> None:
        series, redis_ms = await asyncio.gather(self._scraped(session), self._redis_ms())
        now_s = time.time()  # after the answers: a rate that is dated too early would make passes before its cut too many
        since_s = max(now_s - self._at_s, 1e-3)
        row = {"at_s": now_s - self._began_s, "redis_ms": redis_ms, **self._used(since_s)}
        row |= self._counted(series, since_s) if series and self._before else {}
        row |= self._consumed(since_s)
        self._before, self._at_s = series or self._before, now_s
        for name, column in self.columns.items():
            column.append(row.get(name, math.nan))

    async def _scraped(self, session: aiohttp.ClientSession) -> Series:
        if not self._target.ops_url:
            return {}
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await scrape(session, self._target.ops_url)
        except (aiohttp.ClientError, TimeoutError):
            return {}

    async def _redis_ms(self) -> float:
        if self._target.stack is None:
            return math.nan
        began_s = time.perf_counter()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._target.stack.redis.ask()
        except Exception:  # noqa: BLE001 - whatever it is, it did not answer
            return math.nan
        return (time.perf_counter() - began_s) * 1000

    def _counted(self, now: Series, since_s: float) -> dict[str, float]:
        def grown(name: str, **labels: tuple[str, ...]) -> float:
            return (total(now, name, **labels) - total(self._before, name, **labels)) / since_s

        return {
            "depth": gauge(now, "sluicegate_room_depth"),
            "lobby": gauge(now, "sluicegate_room_lobby"),
            "door_per_s": gauge(now, "sluicegate_room_rate_per_second"),
            "door_reason": gauge(now, "sluicegate_room_reason"),
            "consumer_lag": gauge(now, "sluicegate_room_consumer_lag") if self._target.room else math.nan,
            "accepted_per_s": grown("sluicegate_events_total", outcome=("durable", "spooled")),
            "spooled_per_s": grown("sluicegate_events_total", outcome=("spooled",)),
            "spool_waits": total(now, SPOOLED),
            "replayed_per_s": grown("sluicegate_spool_replayed_total"),
            "refused_per_s": grown("sluicegate_requests_total", status=REFUSED),
            "shed_per_s": grown("sluicegate_overload_refused_total"),
            "ack_p99_ms": ack_p99_ms(self._before, now),
            "loop_lag_ms": 1000 * gauge(now, "sluicegate_loop_lag_seconds"),
            "in_flight": total(now, "sluicegate_overload_in_flight"),
            "unacked_age_s": gauge(now, "sluicegate_unacked_age_seconds"),
            "redis_reason": gauge(now, "sluicegate_redis_reason"),
            "kafka_reason": gauge(now, "sluicegate_kafka_reason"),
        }

    def _consumed(self, since_s: float) -> dict[str, float]:
        if self._downstream is None:
            return {}
        before, self._taken = self._taken, (self._downstream.consumed, self._downstream.could_take)
        took, could = (self._taken[0] - before[0]) / since_s, (self._taken[1] - before[1]) / since_s
        return {"downstream_per_s": took, "downstream_could": could, "consumer_lag": self._downstream.waiting}

    # The machine

    def _used(self, since_s: float) -> dict[str, float]:
        parents = cpu.parents()
        used = {name: self._cores(cpu.tree(root, parents), since_s) for name, root in self._roots.items() if root}
        found: dict[str, float] = {}
        if gateway := used.get("gateway"):
            workers = [cores for pid, cores in gateway.items() if pid != self._target.pid]
            found |= {"gateway_cpu": sum(gateway.values()), "worker_cpu": max(workers, default=math.nan), "workers": len(workers)}
        if generator := used.get("generator"):
            found["generator_cpu"] = max(generator.values())
        if self._target.stack is not None:
            for server in self._target.stack.servers:
                found[f"{server.name}_cpu"] = sum(self._cores(self._pid(server), since_s).values())
        return found

    @staticmethod
    def _pid(server: object) -> list[int]:
        try:
            return [server.pid]  # type: ignore[attr-defined]
        except (DevstackError, AssertionError):
            return []

    def _cores(self, pids: list[int], since_s: float) -> dict[int, float]:
        """Of each; who is new since the last second counts from now on."""
        cores = {}
        for pid in pids:
            try:
                now_ns = cpu.cpu_ns(pid)
            except OSError:
                continue  # it has ended
            cores[pid] = (now_ns - self._cpu.get(pid, now_ns)) / 1e9 / since_s
            self._cpu[pid] = now_ns
        return cores
