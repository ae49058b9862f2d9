"""Rehearse a scenario, and end with a verdict.

    make rehearse SCENARIO=dec18                       a stack and a gateway of our own, hurt as the scenario says
    python -m loadtests.rehearse smoke --url https://gateway.example --tokens FILE
                                                       any deployed gateway; what cannot be looked at is said, not assumed

    stack, gateway ─▶ generator (Locust), faults, downstream, 1 Hz samples ─▶ ledgers ─▶ verdict ─▶ report

Exit codes: 0 passed; 1 a bound was missed; 2 the harness broke, or cannot do what it was told; 3 the generator could not
keep up, twice (never a pass); 4 something was lost, doubled or unfair.  The report is one HTML file, with result.json and
junit.xml beside it.
"""

import argparse
import asyncio
import logging
import secrets
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from aiokafka.errors import KafkaError as ClientError

from benchmarks import machine
from benchmarks.command import say, until_terminated
from devstack import DevstackError
from loadtests import kafka, report, sampler, scenario, scenario_file, target
from loadtests.downstream import Faltering, taking
from loadtests.faults import Faults
from loadtests.generator import GeneratorError, sending
from loadtests.judge import slo
from loadtests.judge.verdict import judge
from loadtests.observed import Observed, Series, total
from loadtests.progress import Bar
from loadtests.recording import read
from loadtests.result import Mark, Result, Verdict
from loadtests.sampler import Sampler
from loadtests.scenario import Scenario, ScenarioError
from loadtests.target import Target, TargetError

GRAVITY: Final = (Verdict.PASS, Verdict.MISSED, Verdict.GENERATOR, Verdict.BROKE, Verdict.LOST)
TRIES: Final = 2  # the second one only where the generator could not keep up
SETTLE_S: Final = 1.0  # after the last answer: what was answered `unknown` may still arrive
SPOOL_S: Final = 60.0  # after that: what was answered from the gateway's disk may still be on its way
OUT: Final = Path("var") / "rehearsals"
BREAKAGES: Final = (DevstackError, GeneratorError, TargetError, kafka.KafkaError, ClientError, aiohttp.ClientError, OSError, ValueError)


def main() -> int:
    """Rehearse, write the report, and return the exit code."""
    chosen = arguments()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # Kafka is killed on purpose
    try:
        wanted = scenario_file.load(chosen.scenario, slo.METRICS)
        beside = scenario_file.load(wanted.beside, slo.METRICS) if wanted.beside and not chosen.url else None
        previous = report.read(chosen.against) if chosen.against else None
        if chosen.seed is not None:
            wanted = scenario.with_seed(wanted, chosen.seed)
        if chosen.room:
            wanted = scenario.with_room(wanted, chosen.room)
        refuse_impossible(wanted, chosen)
        chosen.out.mkdir(parents=True, exist_ok=True)  # now, and not when an hour has been rehearsed
    except (ScenarioError, OSError, RecursionError, msgspec.DecodeError) as error:
        say(f"rehearse: {error}")
        return Verdict.BROKE
    return kept_apart(lambda: asyncio.run(until_terminated(_all(wanted, beside, previous, chosen))), "rehearse")


def kept_apart(work: Callable[[], int], name: str) -> int:
    """The work's exit code; BROKE for all that it raises: Python's own 1 would read as a missed bound."""
    try:
        return work()
    except (asyncio.CancelledError, KeyboardInterrupt):
        say(f"{name}: ended before there was a verdict")
    except (*BREAKAGES, BaseExceptionGroup) as error:
        say(f"{name}: the harness broke: {innermost(error)}")
    except Exception:  # noqa: BLE001 - a bug of the harness is no verdict either
        say(f"{name}: the harness broke: {traceback.format_exc()}")
    return Verdict.BROKE


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="rehearse", description="Play an opening day against the gateway, and judge it.")
    parser.add_argument("scenario", help="the name of one of loadtests/scenarios, or a .toml file")
    parser.add_argument("--seed", type=int, help="other arrivals than the scenario's")
    parser.add_argument("--processes", type=int, default=1, help="of the generator (default: 1)")
    parser.add_argument("--out", type=Path, default=OUT, help=f"where reports go (default: {OUT})")
    parser.add_argument("--against", type=Path, metavar="RESULT.JSON", help="of an earlier rehearsal, to compare with")
    parser.add_argument("--url", default="", help="a gateway that is there already; nothing is started, nothing is hurt")
    parser.add_argument("--room", default="", help="the name its waiting room has (default: as in the scenario)")
    parser.add_argument("--ops-url", default="", help="its operators' port, for /metrics")
    parser.add_argument("--kafka", default="", help="its Kafka, for the third ledger")
    parser.add_argument("--tokens", type=Path, help="members' tokens for it, one a line")
    parser.add_argument("--secret-file", type=Path, help="or what signs them: {kid, issuer, audience, key}")
    return parser.parse_args()


def refuse_impossible(wanted: Scenario, chosen: argparse.Namespace) -> None:
    """Raises ScenarioError: it cannot be done to somebody else's gateway."""
    if not chosen.url:
        return
    if wanted.faults:
        raise ScenarioError(f"{wanted.name} hurts servers, and those behind {chosen.url} are not ours: take a scenario without [[faults]]")
    if wanted.gateway.loses_one or wanted.gateway.records_per_s:
        raise ScenarioError(f"{wanted.name} needs a gateway that is made for it")
    if not chosen.tokens and not chosen.secret_file and any(stream.kind == "sync" for stream in wanted.streams):
        raise ScenarioError(f"{wanted.name} sends members' syncs: want --tokens or --secret-file")


def innermost(error: BaseException) -> BaseException:
    """What a group of tasks failed of."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _all(wanted: Scenario, beside: Scenario | None, previous: Result | None, chosen: argparse.Namespace) -> int:
    """What stands beside it first; returns the graver exit code.  A bound that is missed beside it is what it is there to show."""
    other, unexpected = None, Verdict.PASS
    if beside:
        other = await rehearsed(beside, chosen)
        code = _told(other, chosen.out)
        unexpected = code if other.verdict > Verdict.MISSED else Verdict.PASS
    result = await rehearsed(wanted, chosen)
    return max(unexpected, _told(result, chosen.out, previous=previous, beside=other), key=GRAVITY.index)


def _told(result: Result, out: Path, *, previous: Result | None = None, beside: Result | None = None) -> Verdict:
    """Say it, and write it down.  A disk that is full takes the report and not the verdict."""
    for reason in result.reasons:
        say(f"  {reason}")
    directory = out / f"{result.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        report.write(directory, result, previous=previous, beside=beside)
    except OSError as error:
        say(f"{result.name}: {result.verdict.name}; the report cannot be written: {error}")
        return max(result.verdict, Verdict.BROKE, key=GRAVITY.index)
    say(f"{result.name}: {result.verdict.name}; {directory / 'report.html'}")
    return result.verdict


async def rehearsed(wanted: Scenario, chosen: argparse.Namespace) -> Result:
    """The verdict; a second try where the generator could not keep up in the first."""
    for number in range(1, TRIES + 1):
        result = judge(msgspec.structs.replace(await observe(wanted, chosen), tries=number))
        if result.verdict is not Verdict.GENERATOR or number == TRIES:
            return result
        say(f"{wanted.name}: {'; '.join(result.honesty.problems)}; once more")
    raise AssertionError("unreachable")


async def observe(wanted: Scenario, chosen: argparse.Namespace) -> Observed:
    """Play it once.  Raises one of BREAKAGES: the harness broke."""
    with tempfile.TemporaryDirectory(prefix="sluicegate-rehearsal-") as name:
        directory = Path(name)
        path = directory / f"{wanted.name}.toml"
        scenario_file.save(wanted, path)
        if chosen.url:
            room = wanted.gateway.settings.get("room", {}).get("name", "")
            another = Target(chosen.url.rstrip("/"), room, chosen.secret_file, chosen.tokens, chosen.ops_url.rstrip("/"), chosen.kafka)
            return await Rehearsal(wanted, path, another, directory, chosen.processes).play()
        async with AsyncExitStack() as cleanup:
            ours = await cleanup.enter_async_context(target.own(wanted, directory))
            return await Rehearsal(wanted, path, ours, directory, chosen.processes).play()


class Rehearsal:
    """One play of one scenario."""

    def __init__(self, wanted: Scenario, path: Path, where: Target, directory: Path, processes: int) -> None:
        self._wanted, self._path, self._where, self._directory, self._processes = wanted, path, where, directory, processes
        self._run = secrets.randbits(32)
        self._bar = Bar(wanted)
        self._generated = directory / "generator"
        self._generated.mkdir()

    async def play(self) -> Observed:
        """Everything in order, from the first look at Kafka to the last."""
        where, wanted = self._where, self._wanted
        topics = (target.SYNCS, target.SIGNUPS)
        await target.reach(where)
        since = await kafka.ends(where.bootstrap, topics) if where.bootstrap else {}
        async with AsyncExitStack() as cleanup:
            falters: Faltering | None = None
            if wanted.downstream and where.bootstrap:
                falters = await cleanup.enter_async_context(taking(wanted.downstream, where.bootstrap, target.SIGNUPS, target.GROUP))
            before = await self._scrape()
            sent = await cleanup.enter_async_context(sending(self._path, where, self._run, self._generated, self._processes))
            samples = Sampler(where, falters, sent.began_s, sent.pid)
            faults = Faults(wanted, where, sent.began_s) if where.stack else None
            async with asyncio.TaskGroup() as beside:
                sampling = beside.create_task(samples.run())
                hurting = beside.create_task(faults.run()) if faults else None
                await sent.follow(wanted, self._bar.tell)
                if hurting:
                    await hurting
                await asyncio.sleep(SETTLE_S)
                in_spool = await self._drained(samples)
                sampling.cancel()
            ended_s = time.time() - sent.began_s
            after, died = await self._last_scrape(samples)
            recording = read(sent.parts())
        records = await kafka.records(where.bootstrap, topics, since, self._run, sent.began_s) if where.bootstrap else None
        self._bar.end()
        marks: Sequence[Mark] = faults.marks if faults else ()
        return Observed(
            scenario=wanted,
            run=self._run,
            began_s=sent.began_s,
            ended_s=ended_s,
            recording=recording,
            records=records,
            before=before,
            after=after,
            samples=samples.columns,
            marks=list(marks),
            machine={"url": where.url} | {name: str(value) for name, value in machine.facts().items()},
            is_ours=where.stack is not None and not died,
            died=died,
            in_spool=in_spool,
        )

    async def _drained(self, samples: Sampler) -> int:
        """Wait until no record waits for Kafka on the gateway's disk: how many do all the same when SPOOL_S is over."""
        until_s = time.monotonic() + SPOOL_S
        while (waits := total(samples.last, sampler.SPOOLED)) and time.monotonic() < until_s:
            await asyncio.sleep(sampler.PERIOD_S)
        return round(waits)

    async def _last_scrape(self, samples: Sampler) -> tuple[Series, str]:
        """Where nobody answers any more, the last one that did, and why: a gateway that died is judged, too."""
        try:
            return await self._scrape(), ""
        except (aiohttp.ClientError, TimeoutError) as error:
            return samples.last, str(error) or type(error).__name__

    async def _scrape(self) -> Series:
        if not self._where.ops_url:
            return {}
        async with aiohttp.ClientSession() as session:
            return await sampler.scrape(session, self._where.ops_url)


if __name__ == "__main__":
    sys.exit(main())
