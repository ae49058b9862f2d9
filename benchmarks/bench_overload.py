"""How much is still served when far more comes than can be: the real gateway, Kafka and Redis.  Linux only.

    python -m benchmarks.bench_overload            everything, about four minutes
    python -m benchmarks.bench_overload --quick    does it run?  half a minute; its figures say little
    python -m benchmarks.bench_overload --parts a  one part: a, b or c

    a  the store is slow (slow_gateway.py), the core is not: 1 to 50 times its rate, without and with retries
    b  the same store, a mix: sign-ups come through while samples of days gone by wait
    c  the core itself: what a refusal costs beside a sync, of one sample and of 20, and twice what it can serve.  A process that only
       spins takes half of the gateway's core: else a generator on another core could not offer twice as much,
       and a gateway with time to spare wakes once for each request, which is dearer than what is judged here

Exit codes, as bench_path's: 0 measured; 1 a promise missed, with --enforce; 2 the harness broke;
3 the generator could not keep up in some step, which is void.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import cpu, crowd, generator, load, machine, servers, sut, traffic
from benchmarks import overload_report as report
from benchmarks.arrivals import Try, unpacked
from benchmarks.command import BREAKAGES, EXIT_BROKEN, EXIT_GENERATOR, EXIT_MISSED, parsed_with_servers, run, say
from benchmarks.gauges import Gauges, rss_mb
from benchmarks.open_generator import Job, Stream
from benchmarks.overload_report import Loop, Row, Verdict
from devstack import Devstack

MULTIPLES: Final = (1, 2, 5, 10, 50)
MULTIPLES_RETRYING: Final = (2, 10, 50)
MULTIPLES_MIXED: Final = (2, 5)
SIGNUPS_SHARE: Final = 0.05
BEYOND: Final = 50  # up to it 0.9 of capacity is promised, from it on 0.8
CALM: Final = 0.8  # of capacity: what is offered once the crowd has gone
CONNECTIONS: Final = 64
BATCH: Final = 20  # samples: the hours of a day awake, and what a phone brings that was away for one
MEMBERS: Final = 2_000
WARM_UP_S: Final = 1.0  # of a closed loop, before it is measured
# Until whoever started it is gone.
_SPIN: Final = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    for _ in range(100_000): pass"


class Times(NamedTuple):
    """How long things take, in seconds."""

    warm_up: float = 4.0
    step: float = 10.0
    mixed: float = 20.0  # a hundred sign-ups
    recovery: float = 10.0
    closed: float = 4.0


QUICK: Final = Times(warm_up=0.5, step=1.0, mixed=1.0, recovery=2.5, closed=0.5)


@dataclasses.dataclass
class Found:
    """What there is to print."""

    tables: list[tuple[str, list[Row]]] = dataclasses.field(default_factory=list)
    verdicts: list[Verdict] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        return [row for _, rows in self.tables for row in rows]


class Measured(NamedTuple):
    """One job: the tries, what was seen of the gateway meanwhile, and whether the generator kept up."""

    tries: list[Try]
    limits: tuple[float, float]
    rss_mb: float
    cpu_share: float  # of the gateway, from the end of the warm-up to the end of the step
    void: str


def main() -> int:
    """Measure, print, and return the exit code."""
    return run(bench(arguments()))


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Goodput under overload.")
    parser.add_argument("--parts", default="abc", help="of a, b, c (default: all)")
    parser.add_argument("--records-per-s", type=float, default=100.0, help="what the slow store of a and b takes (default 100)")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures say little")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--enforce", action="store_true", help="exit 1 when a promise is missed")
    chosen = parsed_with_servers(parser)
    if not chosen.parts or set(chosen.parts) - set("abc"):
        parser.error(f"--parts {chosen.parts}: want some of a, b, c")
    return chosen


async def bench(chosen: argparse.Namespace) -> int:
    """Do everything, in order."""
    began_s = time.monotonic()
    cores = machine.divide(frozenset(os.sched_getaffinity(0)))
    facts = machine.facts()  # before the run is the load average
    os.sched_setaffinity(0, cores.others)  # inherited by the stack and the generators
    found = Found()
    with tempfile.TemporaryDirectory(prefix="sluicegate-overload-") as name:
        async with bench_in(Path(name), chosen, cores) as here:
            broken = await here.run_all(found)
    print_all(found, {"arrivals": f"Poisson, seed {chosen.seed}", "pinning": str(cores), "took_s": round(time.monotonic() - began_s), **facts})
    if chosen.json:
        chosen.json.write_text(json.dumps(dataclasses.asdict(found) | {"machine": facts}, indent=2) + "\n")
    return EXIT_BROKEN if broken else exit_code(found, is_enforced=chosen.enforce)


def exit_code(found: Found, *, is_enforced: bool) -> int:
    """Turn what was found into the process's answer."""
    if any(row.void for row in found.rows):
        return EXIT_GENERATOR
    if is_enforced and not all(verdict.is_met for verdict in found.verdicts):
        return EXIT_MISSED
    return 0


def print_all(found: Found, facts: dict[str, object]) -> None:
    """Tables, remarks, promises, machine."""
    for title, rows in found.tables:
        print(f"{title}\n{report.table(rows)}\n")
    print("\n".join([*found.remarks, "", *report.promises(found.verdicts), ""]))
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))


@asynccontextmanager
async def bench_in(directory: Path, chosen: argparse.Namespace, cores: machine.Cores) -> AsyncIterator["Bench"]:
    """Start stack and generators; end them afterwards."""
    async with AsyncExitStack() as cleanup:
        stack = Devstack(directory / "stack", redis_url=chosen.redis or None, kafka_bootstrap=chosen.kafka or None, fast_stop=True, say=say)
        own = await cleanup.enter_async_context(stack)
        bench = Bench(directory, sut.Addresses(own.kafka.bootstrap, own.redis.url), cores, chosen)
        cleanup.push_async_callback(bench.close)
        yield bench


@asynccontextmanager
async def spinning(cores: frozenset[int]) -> AsyncIterator[None]:
    """Leave the gateway half of these cores."""
    with machine.pinned(cores):
        # In a session of its own, as the gateway is: the kernel shares a core out among sessions first (autogroup).
        spinner = await asyncio.create_subprocess_exec(sys.executable, "-c", _SPIN, str(os.getpid()), start_new_session=True)
    try:
        yield
    finally:
        spinner.kill()
        await spinner.wait()


class Bench:
    """The parts of a run."""

    def __init__(self, directory: Path, where: sut.Addresses, cores: machine.Cores, chosen: argparse.Namespace) -> None:
        self._directory, self._where, self._cores = directory, where, cores
        self._parts: str = chosen.parts
        self._rate: float = chosen.records_per_s
        self._seed: int = chosen.seed
        self._times = QUICK if chosen.quick else Times()
        self._open, self._closed = load.OpenLoad(), load.OwnProcess()
        self._secret = sut.new_secret()
        tokens = sut.tokens(self._secret, MEMBERS, int(time.time()))
        now = datetime.now(UTC)
        kinds = {
            "syncs": crowd.syncs(tokens, now),
            "batches": crowd.syncs(tokens, now, samples=BATCH),
            "backfill": crowd.syncs(tokens, now, days_ago=crowd.BACKFILL_DAYS),
            "signups": crowd.signups(MEMBERS),
        }
        self._probe = kinds["syncs"][0]
        self._files = {kind: str(directory / f"traffic-{kind}") for kind in kinds}
        for kind, requests in kinds.items():
            Path(self._files[kind]).write_bytes(traffic.framed(requests))

    async def close(self) -> None:
        await self._open.close()
        await self._closed.close()

    async def run_all(self, found: Found) -> bool:
        """All parts; whether the harness broke, after which what was found until then is still told."""
        try:
            await self._run(found)
        except BREAKAGES as error:
            say(f"the harness broke: {error}")
            return True
        return False

    async def _run(self, found: Found) -> None:
        refusing: dict[str, Loop] = {}
        async with self._gateway(is_slow=True) as slow:
            if "a" in self._parts:
                await self._slow_store(slow, found)
                await self._slow_store_retrying(slow, found)
            if "b" in self._parts:
                await self._mix(slow, found)
            if "c" in self._parts:
                say("c: refusals")
                async with spinning(self._cores.servers):
                    refusing = {kind: await self._closed_loop(slow, kind) for kind in ("syncs", "batches")}
        for kind, loop in refusing.items():
            async with self._gateway(is_slow=False, run=kind) as real, spinning(self._cores.servers):
                await self._core(real, kind, loop, found)
        found.verdicts.append(report.honest_verdict(found.rows))

    # The gateway

    @asynccontextmanager
    async def _gateway(self, *, is_slow: bool, run: str = "") -> AsyncIterator[servers.Server]:
        """One worker: behind a slow store, or as it is shipped."""
        name = "slow" if is_slow else f"real-{run}"
        command = sut.command(sut.ROOT, self._directory / name, self._where, self._secret)
        settings = self._directory / f"{name}.toml"
        shipped = (sut.ROOT / "benchmarks" / "gateway.toml").read_text()
        settings.write_text(f'{shipped}\n[http]\ntrusted_proxies = ["{crowd.PROXIES}"]\n')
        module = ("benchmarks.slow_gateway", "--records-per-s", f"{self._rate}") if is_slow else ("gateway",)
        command = dataclasses.replace(command, argv=(sys.executable, "-m", *module, "--config", str(settings)))
        server = await servers.start(name, command, self._cores.servers, self._directory / f"{name}.log")
        try:
            await servers.probe(server, self._probe)
            yield server
        finally:
            await servers.stop(server)
            self._tell_errors(server)

    @staticmethod
    def _tell_errors(server: servers.Server) -> None:
        """What it logged as an error: nothing, on a good day."""
        errors = [line for line in servers.lines(server.log) if '"level": "error"' in line]
        if errors:
            say(f"{server.name} logged {len(errors)} errors; the last: {errors[-1]}")

    # a, b: the store is the limit

    async def _slow_store(self, slow: servers.Server, found: Found) -> None:
        times, rows = self._times, list[Row]()
        for multiple in MULTIPLES:
            say(f"a: {multiple}x of {self._rate:g}/s")
            measured = await self._step(slow, {"syncs": multiple * self._rate}, recovers_at_per_s=CALM * self._rate if multiple == BEYOND else 0.0)
            of = self._row(f"a, {multiple}x", measured, times.step)
            rows.append(of)
            found.verdicts.append(report.goodput_verdict(of, 0.9 if multiple < BEYOND else 0.8))
            found.remarks.append(f"a, {multiple}x: gateway busy {measured.cpu_share:.0%} of a core, {measured.rss_mb:.0f} MB")
            if multiple == BEYOND:
                found.verdicts.append(self._recovery(f"a, {multiple}x to {CALM:g}x", measured))
        found.tables.append((f"a: a store that takes {self._rate:g}/s, nobody retries", rows))

    async def _slow_store_retrying(self, slow: servers.Server, found: Found) -> None:
        rows = []
        for multiple in MULTIPLES_RETRYING:
            say(f"a: {multiple}x, with retries")
            measured = await self._step(slow, {"syncs": multiple * self._rate}, is_obedient=True)
            of = self._row(f"a, {multiple}x + retries", measured, self._times.step)
            rows.append(of)
            found.verdicts.append(report.goodput_verdict(of, 0.9 if multiple < BEYOND else 0.8))
        found.tables.append(("a: the same, the refused come back after Retry-After", rows))

    async def _mix(self, slow: servers.Server, found: Found) -> None:
        times, rows = self._times, list[Row]()
        for multiple in MULTIPLES_MIXED:
            say(f"b: {multiple}x of a mix")
            rest = (multiple - SIGNUPS_SHARE) * self._rate
            rates = {"signups": SIGNUPS_SHARE * self._rate, "syncs": rest / 2, "backfill": rest / 2}
            measured = await self._step(slow, rates, seconds=times.mixed)
            rows.append(self._row(f"b, {multiple}x all", measured, times.mixed))
            by_kind = {kind: self._row(f"b, {multiple}x {kind}", measured, times.mixed, stream) for stream, kind in enumerate(rates)}
            rows += by_kind.values()
            found.verdicts.append(report.success_verdict(by_kind["signups"], 0.99))
            least = by_kind["syncs"].success
            found.verdicts.append(
                report.bound_verdict(f"b, {multiple}x: success of backfill, that of today's", by_kind["backfill"].success, least, rows[-1].void)
            )
        found.tables.append((f"b: the same store, sign-ups {SIGNUPS_SHARE:.0%} of its rate, the rest half of today and half of ten days ago", rows))

    # c: the core is the limit

    async def _core(self, real: servers.Server, kind: str, refusing: Loop, found: Found) -> None:
        times, name = self._times, "c" if kind == "syncs" else f"c, {BATCH} samples each"
        say(f"{name}: saturation")
        accepting = await self._closed_loop(real, kind)
        costs = report.costs(accepting, refusing)
        capacity_per_s = accepting.accepted / accepting.seconds
        offered_per_s = 2 * capacity_per_s
        say(f"{name}: 2x of {capacity_per_s:,.0f}/s")
        before_mb = rss_mb(real.process.pid)
        measured = await self._step(real, {kind: offered_per_s}, recovers_at_per_s=CALM * capacity_per_s)
        allowed_per_s = costs.goodput_allowed_per_s(offered_per_s, accepting.core_us_per_s)
        of = self._row(f"{name}, 2x", measured, times.step, capacity_per_s=allowed_per_s)
        found.tables.append((f"{name}: the core is the limit; of capacity: of what the refusals' cost leaves", [of]))
        had = ", ".join(f"{share:.0%}" for share in (refusing.core_us_per_s / 1e6, accepting.core_us_per_s / 1e6, measured.cpu_share))
        found.remarks += [
            f"{name}: a sync accepted costs {costs.accepted_us:.0f} us of CPU, one refused {costs.refused_us:.0f} us; of its core it had {had} (refusing, accepting, 2x)",
            f"{name}: saturated it serves {capacity_per_s:,.0f}/s; refusing the rest of twice as many leaves {allowed_per_s:,.0f}/s",
            f"{name}, 2x: resident memory {before_mb:.0f} MB before, {measured.rss_mb:.0f} MB at the end",
        ]
        found.verdicts += [
            report.bound_verdict(f"{name}: cost of a refused / of an accepted request", costs.ratio, 1 / 2),
            report.bound_verdict(f"{name}: the same, what we would like", costs.ratio, 1 / 3),
            report.goodput_verdict(of, 0.9)
            if allowed_per_s
            else report.bound_verdict(f"{name}, 2x: refusing alone, in cores", costs.alone(offered_per_s, accepting), 1),
            self._recovery(f"{name}, 2x to {CALM:g}x", measured),
        ]

    async def _closed_loop(self, server: servers.Server, kind: str) -> Loop:
        """As many requests as 64 connections can send one after the other."""
        port, path, pid = server.port, self._files[kind], server.process.pid
        await self._closed.run(generator.Job(port=port, traffic=path, connections=CONNECTIONS, seconds=WARM_UP_S))
        before, before_s = cpu.read(pid), time.monotonic()
        answered = await self._closed.run(generator.Job(port=port, traffic=path, connections=CONNECTIONS, seconds=self._times.closed))
        spent, seconds = cpu.spent(before, cpu.read(pid)), time.monotonic() - before_s
        statuses = answered["statuses"]
        if answered["lost"] or set(statuses) - {"202", "503"}:
            raise servers.ServerError(f"a closed loop was answered {statuses}, {answered['lost']} lost: {answered['error']}")
        return Loop(seconds, spent.cpu_ns / 1000, statuses.get("503", 0), statuses.get("202", 0))

    # One step

    async def _step(
        self, server: servers.Server, rates: dict[str, float], *, seconds: float = 0.0, recovers_at_per_s: float = 0.0, is_obedient: bool = False
    ) -> Measured:
        """Warm up and go on at these rates; then, where asked for, see it recover."""
        times = self._times
        seconds = seconds or times.step
        calm = [(times.recovery, recovers_at_per_s)] if recovers_at_per_s else []
        streams = [Stream(traffic=self._files[kind], phases=[(times.warm_up + seconds, per_s), *calm]) for kind, per_s in rates.items()]
        path = self._directory / "tries"
        job = Job(
            port=server.port,
            streams=streams,
            patience_s=report.PATIENCE_S,
            is_obedient=is_obedient,
            seed=self._seed,
            connections=CONNECTIONS,
            tries=str(path),
        )
        pid = server.process.pid
        with Gauges(pid) as gauges:
            watching = asyncio.create_task(gauges.watch())
            sending = asyncio.create_task(self._open.run(job))
            try:
                await asyncio.sleep(times.warm_up)
                gauges.forget()
                before, before_s = cpu.read(pid), time.monotonic()
                await asyncio.sleep(seconds)
                spent, spent_s = cpu.spent(before, cpu.read(pid)), time.monotonic() - before_s
                limits, held_mb = gauges.limits, rss_mb(pid)
                done = await sending
            finally:
                watching.cancel()
                sending.cancel()
        return Measured(
            unpacked(path.read_bytes()),
            limits,
            held_mb,
            spent.cpu_ns / 1e9 / spent_s,
            report.generator_void(done["busy_share"], done["starved"], done["connections_max"], done["error"]),
        )

    def _row(self, name: str, measured: Measured, seconds: float, stream: int | None = None, capacity_per_s: float | None = None) -> Row:
        begin_s = self._times.warm_up
        own = measured.tries if stream is None else [one for one in measured.tries if one.stream == stream]
        return report.row(name, own, (begin_s, begin_s + seconds), self._rate if capacity_per_s is None else capacity_per_s, measured.limits, measured.void)

    def _recovery(self, name: str, measured: Measured) -> Verdict:
        begin_s = self._times.warm_up + self._times.step
        after_s = report.recovered_after_s(measured.tries, begin_s, begin_s + self._times.recovery)
        return report.recovery_verdict(name, after_s, measured.void)


if __name__ == "__main__":
    sys.exit(main())
