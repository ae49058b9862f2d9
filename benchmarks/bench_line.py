"""The waiting room over sockets: what it costs, whether the door is exact, and whether its pace fits downstream.  Linux only.

    python -m benchmarks.bench_line              everything, about a quarter of an hour
    python -m benchmarks.bench_line --quick      does it run?  a minute and a half; its figures say little
    python -m benchmarks.bench_line --parts c    one part: a, b, c, d or e

    a  GET place beside a bare aiohttp GET, interleaved on one core; what it asks of Redis
    b  POST tickets, each of somebody new, beside a bare aiohttp POST, likewise
    c  2,000 people before a door of 50/s, two workers.  35 % leave without a word, 15 % sleep, 60 % are cut off once and return at
       once.  The line of loadtests/simulate takes 800 s and its people sleep 30-300 s; this one takes 40 s, and they sleep
       a tenth of that: a twentieth would not be noticed, for presence is counted in windows of four seconds all the same
    d  the same, and 500 clients that knock twice a second whatever they are told
    e  the pace in a closed loop: downstream takes 60/s, then 20/s, then 100/s; 30 s between pass and sign-up

The people of c, d and e are real phones (examples/phone.py) in a process of their own, those of d's 500 in another.

Exit codes, as bench_overload's: 0 measured; 1 a promise missed, with --enforce; 2 the harness broke;
3 a generator could not keep up in some part, which is void.
"""

import argparse
import asyncio
import dataclasses
import json
import math
import os
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import msgspec
from redis.asyncio import Redis

from benchmarks import downstream, load, machine, plan, report, rounds, servers, sut, table, traffic
from benchmarks import line_report as line
from benchmarks.arrivals import Phase
from benchmarks.command import BREAKAGES, EXIT_BROKEN, EXIT_GENERATOR, EXIT_MISSED, parsed_with_servers, run, say
from benchmarks.gauges import board_path
from benchmarks.line_report import Door, Flow
from benchmarks.measure import FULL_SHARE, Estimate, estimate
from benchmarks.overload_report import Verdict, aligned, promises
from benchmarks.people import Done, Job, Results
from devstack import Devstack, Topic
from gateway.board import Board

PARTS: Final = "abcde"
_BREAKAGES: Final[tuple[type[Exception], ...]] = (*BREAKAGES, aiohttp.ClientError)
ROOM: Final = "bench"
PLACES: Final = f"/v1/rooms/{ROOM}/place"
TICKETS: Final = f"/v1/rooms/{ROOM}/tickets"

# a, b
CONNECTIONS: Final = 64
IN_LINE: Final = 50 * CONNECTIONS  # whose place is asked: each connection asks for fifty people in turn
WAITING_SHARE_MIN: Final = 0.9  # of them: who is called and never knocks makes room for the next, one in some seconds
SHUT_PER_S: Final = 0.1  # the door, while what is measured is not the door
NEWCOMERS_PER_S: Final = 16_000  # join ids made for b: more than one core can take
PLACE_RATE_MIN, JOIN_RATE_MIN = 0.8, 0.6  # of bare aiohttp's
PLACE_BYTES_MAX: Final = 220
REDIS_PER_PLACE_MAX: Final = 0.001  # calls beyond the ticks: a tick that falls between two readings
GATEWAY_PLACE = plan.Arm("place", "gateway", status=200)
BARE_GET = plan.Arm("bare GET", "bare", status=200)
GATEWAY_JOIN = plan.Arm("join", "gateway", status=201)
BARE_POST = plan.Arm("bare POST", "bare")

# c, d
RATE_PER_S: Final = 50.0
PEOPLE: Final = 2_000
RUDE: Final = 500
RUDE_PAUSE_S: Final = 0.5  # a thousand knocks a second: bounded, or their own process is what would be measured
LEAVE, SLEEP, CUT = 0.35, 0.15, 0.60
SLEEP_S: Final = (3.0, 30.0)
SURGE: Final = 10.0  # times the rate: how fast they come
GIVEN_UP_S: Final = 60.0  # beyond the time the door needs

# e
WAITING: Final = 1_200  # always: two lobbies at the ceiling
FLOOR_PER_S, CEILING_PER_S, KNOWN_PER_S, LAG_TARGET = 5.0, 200.0, 60.0, 1_000  # ten seconds of the most it takes, as gateway.toml says
# Three minutes each, six times the form: of the first half minute after a rise nobody can know, for those who sign up then are past the door already.
PHASES: Final = (Phase(180.0, 60.0), Phase(180.0, 20.0), Phase(180.0, 100.0))
BEGINNING_S: Final = 60.0  # from the floor, and the first people's forms: not judged
DOWNSTREAM_MIN: Final = 0.9
_WATCH_S: Final = 0.5

_RULES: Final = ", ".join(f'{{ by = "{by}", tokens = 100000, per_s = 1, burst = 1000000 }}' for by in ("global", "route", "address"))
POLICIES: Final = "".join(f'\n[[limits.policies]]\nname = "{charge}"\ncharge = "{charge}"\nrules = [{_RULES}]\n' for charge in ("signups", "joins"))


class Sizes(NamedTuple):
    """How much of everything."""

    pairs: int = 12
    seconds: float = 1.5
    people: int = PEOPLE
    rude: int = RUDE
    phases: Sequence[Phase] = PHASES
    beginning_s: float = BEGINNING_S
    form_s: float = 30.0


QUICK: Final = Sizes(pairs=2, seconds=0.3, people=600, rude=50, phases=tuple(phase._replace(seconds=8.0) for phase in PHASES), beginning_s=6.0, form_s=3.0)


@dataclasses.dataclass
class Found:
    """What there is to print."""

    tables: list[str] = dataclasses.field(default_factory=list)
    verdicts: list[Verdict] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)


def main() -> int:
    """Measure, print, and return the exit code."""
    return run(bench(arguments()))


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="The waiting room: its cost, its door, its pace.")
    parser.add_argument("--parts", default=PARTS, help="of a, b, c, d, e (default: all)")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures say little")
    parser.add_argument("--seed", type=int, default=1, help="of the people")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--enforce", action="store_true", help="exit 1 when a promise is missed")
    chosen = parsed_with_servers(parser)
    if not chosen.parts or set(chosen.parts) - set(PARTS):
        parser.error(f"--parts {chosen.parts}: want some of {', '.join(PARTS)}")
    return chosen


async def bench(chosen: argparse.Namespace) -> int:
    """Do everything, in order."""
    began_s = time.monotonic()
    available = frozenset(os.sched_getaffinity(0))
    cores = machine.divide(available)
    facts = machine.facts()  # before the run is the load average
    os.sched_setaffinity(0, cores.others)  # inherited by the stack and the generators
    found = Found()
    with tempfile.TemporaryDirectory(prefix="sluicegate-line-") as name:
        async with AsyncExitStack() as cleanup:
            stack = Devstack(Path(name) / "stack", redis_url=chosen.redis or None, kafka_bootstrap=chosen.kafka or None, fast_stop=True, say=say)
            own = await cleanup.enter_async_context(stack)
            broken = await Bench(Path(name), own, cores, available, chosen).run_all(found)
    pinning = f"a, b: {cores}; c, d, e: two workers on {machine.listed(available)}"
    print_all(found, {"seed": chosen.seed, "pinning": pinning, "took_s": round(time.monotonic() - began_s), **facts})
    if chosen.json:
        chosen.json.write_text(json.dumps(dataclasses.asdict(found) | {"machine": facts}, indent=2) + "\n")
    return EXIT_BROKEN if broken else exit_code(found.verdicts, is_enforced=chosen.enforce)


def exit_code(verdicts: Sequence[Verdict], *, is_enforced: bool) -> int:
    """Turn what was found into the process's answer."""
    if any(verdict.void for verdict in verdicts):
        return EXIT_GENERATOR
    if is_enforced and not all(verdict.is_met for verdict in verdicts):
        return EXIT_MISSED
    return 0


def print_all(found: Found, facts: Mapping[str, object]) -> None:
    """Tables, remarks, promises, machine."""
    print("\n\n".join(found.tables) + "\n")
    print("\n".join([*found.remarks, "", *promises(found.verdicts), ""]))
    print("\n".join(f"{name}: {table.shown(value)}" for name, value in facts.items()))


def settings(room: Mapping[str, object], signups_topic: str) -> str:
    """What the gateway is told: as it is measured elsewhere, and a room that one address may enter without end."""
    shipped = (sut.ROOT / "benchmarks" / "gateway.toml").read_text()
    named = {"name": ROOM, "held_max": 20_000, **room}
    return f'{shipped}{POLICIES}\n[deliver]\nsignups_topic = "{signups_topic}"\n[room]\n' + "".join(
        f"{name} = {json.dumps(value)}\n" for name, value in named.items()
    )


def rate_ratio(measured: Sequence[tuple[plan.Pair, plan.PairSample]]) -> Estimate:
    """The arm's requests a second in units of the reference's, pair by pair."""
    return estimate([(both.arm.requests / both.arm.seconds) / (both.reference.requests / both.reference.seconds) for _, both in measured])


def rate_verdict(text: str, measured: Sequence[tuple[plan.Pair, plan.PairSample]], least: float, void: str) -> Verdict:
    """At least such a share of bare aiohttp's rate."""
    ratio = rate_ratio(measured)
    return Verdict(f"{text}: at least {least:g} of the rate of bare aiohttp on the same core", table.interval(ratio), ratio.median >= least, void)


def look(ticket: str) -> bytes:
    """One question for a place, as a phone sends it."""
    head = [f"GET {PLACES} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: okhttp/4.12.0", f"Waiting-Room-Ticket: {ticket}", "", ""]
    return "\r\n".join(head).encode()


def join(join_id: str) -> bytes:
    """One join, likewise."""
    body = json.dumps({"join_id": join_id}, separators=(",", ":")).encode()
    head = [f"POST {TICKETS} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: okhttp/4.12.0", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


def generator_void(shares: Mapping[str, float]) -> str:
    """Why nothing can be said of the gateway; "" where it can."""
    return ", ".join(f"{name} was busy {share:.0%} of the time" for name, share in shares.items() if share > FULL_SHARE)


def script_calls(commandstats: Mapping[str, Any]) -> int:
    """Calls of scripts.  All that the gateway asks for in passing is one; what scripts call in turn is counted elsewhere."""
    return sum(int(commandstats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in ("eval", "evalsha"))


class Bench:
    """The parts of a run."""

    def __init__(self, directory: Path, stack: Devstack, cores: machine.Cores, available: frozenset[int], chosen: argparse.Namespace) -> None:
        self._directory, self._stack, self._cores, self._available = directory, stack, cores, available
        self._where = sut.Addresses(stack.kafka.bootstrap, stack.redis.url)
        self._parts: str = chosen.parts
        self._seed: int = chosen.seed
        self._sizes = QUICK if chosen.quick else Sizes()
        self._secret = sut.new_secret()
        self._epoch = int(time.time())  # of a Redis that was there before us, too
        self._crowd, self._rude, self._closed = load.Piped("benchmarks.people"), load.Piped("benchmarks.people"), load.OwnProcess()

    async def run_all(self, found: Found) -> bool:
        """All parts; whether the harness broke, after which what was found until then is still told."""
        try:
            await self._run(found)
        except _BREAKAGES as error:
            say(f"the harness broke: {error}")
            return True
        finally:
            for generator in (self._crowd, self._rude, self._closed):
                await generator.close()
        return False

    async def _run(self, found: Found) -> None:
        if set("ab") & set(self._parts):
            await self._costs(found)
        doors = []
        if "c" in self._parts:
            doors.append(await self._door("c", 0, found))
        if "d" in self._parts:
            doors.append(await self._door("d", self._sizes.rude, found))
        if doors:
            found.tables.append(aligned([line.DOOR_HEADINGS, *map(line.door_cells, doors)]))
        if "e" in self._parts:
            await self._pace(found)

    # The servers

    @asynccontextmanager
    async def _gateway(self, name: str, room: Mapping[str, object], *, workers: int, topic: str = "signups.v1") -> AsyncIterator[servers.Server]:
        """One with a new line; one worker on the servers' core, or several on all there are."""
        self._epoch += 1
        command = sut.command(sut.ROOT, self._directory / name, self._where, self._secret)
        path = self._directory / f"{name}.toml"
        path.write_text(settings({"epoch": self._epoch, **room}, topic))
        argv, environment = (*command.argv[:3], "--config", str(path)), command.environment | {"GATEWAY_WORKERS": f"{workers}"}
        cores = self._cores.servers if workers == 1 else self._available
        server = await servers.start(name, dataclasses.replace(command, argv=argv, environment=environment), cores, self._directory / f"{name}.log")
        try:
            yield server
        finally:
            await servers.stop(server)
            errors = [text for text in servers.lines(server.log) if '"level": "error"' in text]
            if errors:
                say(f"{name} logged {len(errors)} errors; the last: {errors[-1]}")

    # a, b: what a request costs

    async def _costs(self, found: Found) -> None:
        room = {"floor_per_s": SHUT_PER_S}
        async with AsyncExitStack() as cleanup:
            gateway = await cleanup.enter_async_context(self._gateway("ab", room, workers=1))
            bare = await servers.start("bare", sut.peer_command("bare", self._where, self._secret), self._cores.servers, self._directory / "bare.log")
            cleanup.push_async_callback(servers.stop, bare)
            of = rounds.Bench({"gateway": gateway, "bare": bare}, self._closed, {}, CONNECTIONS, self._sizes.seconds)
            tables = []
            if "a" in self._parts:
                tables.append(await self._places(of, gateway, found))
            if "b" in self._parts:
                tables.append(await self._joins(of, found))
        found.tables += ["\n".join(table.rows(report.build(measured))) for measured in tables]
        found.remarks.append("a, b: ratios of the table are of CPU, of the whole process tree; those of the targets of requests a second")

    async def _places(self, of: rounds.Bench, gateway: servers.Server, found: Found) -> list[tuple[plan.Pair, plan.PairSample]]:
        """Part a."""
        say(f"a: {IN_LINE:,} people join")
        tickets = await self._join_all(gateway.port)
        of = dataclasses.replace(of, traffic={1: self._traffic("places", [look(ticket) for ticket in tickets])})
        pairs = [plan.Pair(GATEWAY_PLACE, BARE_GET)]
        await of.warm_up(pairs)
        measured = await of.run(pairs, self._sizes.pairs, lambda words: say(f"a: {words}"))
        calls, ticks, seconds, looks = await self._redis_calls(of, gateway)
        bodies = await self._bodies(gateway.port, tickets[:: IN_LINE // 100])
        waiting = sum(json.loads(body)["state"] == "waiting" for body in bodies)
        if waiting < WAITING_SHARE_MIN * len(bodies):
            raise servers.ServerError(f"{waiting} of {len(bodies)} people are told that they wait: something else was measured")
        void = "; ".join(report.build(measured).bottlenecks)
        largest, per_look = max(map(len, bodies)), (calls - ticks - seconds) / looks
        supervisor = f"{calls - ticks} more in {seconds:.1f} s, where the supervisor looks once a second"
        found.remarks.append(f"a: {looks:,} places asked, {calls} calls of scripts in Redis, {ticks} of them the worker's ticks, {supervisor}")
        found.verdicts += [
            rate_verdict("a: GET place", measured, PLACE_RATE_MIN, void),
            Verdict(f"a: an answer's body is at most {PLACE_BYTES_MAX} bytes", f"{largest}", largest <= PLACE_BYTES_MAX, ""),
            Verdict("a: Redis is not asked, ticks aside: calls per place", f"{max(per_look, 0.0):.4f}", per_look <= REDIS_PER_PLACE_MAX, ""),
        ]
        return measured

    async def _joins(self, of: rounds.Bench, found: Found) -> list[tuple[plan.Pair, plan.PairSample]]:
        """Part b."""
        pairs, measured = [plan.Pair(GATEWAY_JOIN, BARE_POST)], []
        fresh = math.ceil(NEWCOMERS_PER_S * self._sizes.seconds / CONNECTIONS) * CONNECTIONS
        for number in range(-1, self._sizes.pairs):  # the first one warms up
            path = self._traffic(f"joins-{number}", [join(str(uuid.uuid4())) for _ in range(fresh)])
            once = dataclasses.replace(of, traffic={1: path})
            for pair, halves in plan.order(pairs, max(number, 0)):
                both = await once.both(number, pair, halves)
                measured += [(pair, both)] if number >= 0 else []
            say(f"b: round {number + 1} of {self._sizes.pairs}")
        built = report.build(measured)
        if built.broken:
            raise servers.ServerError("; ".join(built.broken))
        found.verdicts.append(rate_verdict("b: POST tickets, each of somebody new", measured, JOIN_RATE_MIN, "; ".join(built.bottlenecks)))
        return measured

    def _traffic(self, name: str, requests: Sequence[bytes]) -> str:
        path = self._directory / f"traffic-{name}"
        path.write_bytes(traffic.framed(requests))
        return str(path)

    @staticmethod
    async def _join_all(port: int) -> list[str]:
        """The tickets of those whose places are asked."""
        tickets: list[str] = []
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:

            async def one() -> None:
                async with session.post(TICKETS, json={"join_id": str(uuid.uuid4())}) as answer:
                    tickets.append((await answer.json())["ticket"])

            await asyncio.gather(*(one() for _ in range(IN_LINE)))
        return tickets

    @staticmethod
    async def _bodies(port: int, tickets: Sequence[str]) -> list[bytes]:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            bodies = []
            for ticket in tickets:
                async with session.get(PLACES, headers={"Waiting-Room-Ticket": ticket}) as answer:
                    bodies.append(await answer.read())
            return bodies

    async def _redis_calls(self, of: rounds.Bench, gateway: servers.Server) -> tuple[int, int, float, int]:
        """Of one more round: (calls of scripts, the worker's ticks, seconds, places asked)."""
        fd = os.open(board_path(gateway.process.pid), os.O_RDWR)
        ticked = Board(fd, 1).slots[0].counters_by("sluicegate_room_ticks_total")
        client: Any = Redis.from_url(self._where.redis)
        try:
            before, ticks, began_s = script_calls(await client.info("commandstats")), ticked["done"].value, time.monotonic()
            sample = await of.sample(GATEWAY_PLACE, max(of.seconds, 1.0))
            calls, ticks = script_calls(await client.info("commandstats")) - before, ticked["done"].value - ticks
            return calls, int(ticks), time.monotonic() - began_s, sample.requests
        finally:
            await client.aclose()
            os.close(fd)

    # c, d: the door

    async def _door(self, name: str, rude: int, found: Found) -> Door:
        sizes = self._sizes
        seconds = (sizes.people + rude) / RATE_PER_S
        async with self._gateway(name, {"floor_per_s": RATE_PER_S, "ceiling_per_s": RATE_PER_S}, workers=2) as gateway:
            say(f"{name}: {sizes.people:,} people, {rude} who knock without pause")
            those = self._job(f"{name}-rude", gateway, rude, seconds + GIVEN_UP_S, over_s=sizes.people / (SURGE * RATE_PER_S))
            hammer: Job = {**those, "pause_s": RUDE_PAUSE_S}
            mixed: Job = {**those, "leave": LEAVE, "sleep": SLEEP, "sleep_s": SLEEP_S, "cut": CUT, "within_s": sizes.people / RATE_PER_S}
            job: Job = {**mixed, "people": sizes.people, "results": str(self._directory / f"{name}-crowd")}
            asked = [self._crowd.ask(job, job["seconds"])]
            if rude:
                asked.append(self._rude.ask(hammer, job["seconds"]))
            done: list[Done] = await asyncio.gather(*asked)
        crowd = _results(job["results"])
        others = _results(hammer["results"]) if rude else Results([], {}, [], 0)
        void = generator_void(dict(zip(("the people's process", "the rude ones' process"), (one["busy_share"] for one in done), strict=False)))
        statuses = {status: crowd.statuses.get(status, 0) + others.statuses.get(status, 0) for status in (*crowd.statuses, *others.statuses)}
        errors, elsewhere = len(crowd.errors) + len(others.errors), crowd.moved + others.moved
        of = line.door(name, RATE_PER_S, crowd.walked, others.walked, statuses, errors=errors, joined_elsewhere=elsewhere)
        found.verdicts += [*line.door_verdicts(of, void), line.used_verdict(of, void)]
        found.remarks.append(
            f"{name}: answers {table.shown(statuses)}; generators busy {', '.join(format(one['busy_share'], '.0%') for one in done)} of a core"
        )
        if rude:
            found.remarks.append(f"{name}: who knocks without pause did so {others_knocks(others):.0f} times for a pass")
            found.verdicts += [line.later_verdict(of, self._quiet, void)] if self._quiet else []
        else:
            self._quiet = of
        return of

    _quiet: Door | None = None  # part c's, where it was run

    def _job(self, name: str, gateway: servers.Server, count: int, seconds: float, *, over_s: float = 0.0) -> Job:
        """A crowd that stays, signs up at once and behaves."""
        return Job(
            base=f"http://127.0.0.1:{gateway.port}",
            room=ROOM,
            seed=self._seed,
            people=count,
            is_refilled=False,
            over_s=over_s,
            within_s=0.0,
            leave=0.0,
            sleep=0.0,
            sleep_s=(0.0, 0.0),
            cut=0.0,
            form_s=0.0,
            pause_s=None,
            seconds=seconds,
            results=str(self._directory / name),
        )

    # e: the pace

    async def _pace(self, found: Found) -> None:
        phases, seconds = self._sizes.phases, sum(phase.seconds for phase in self._sizes.phases)
        topic = f"line.{self._epoch}"
        await self._stack.create_topic(Topic(topic))
        room = {"floor_per_s": FLOOR_PER_S, "ceiling_per_s": CEILING_PER_S, "takes_per_s": KNOWN_PER_S, "lag_target": LAG_TARGET, "consumer_group": topic}
        async with downstream.consuming(self._where.kafka, topic, topic) as consumer, self._gateway("e", room, workers=2, topic=topic) as gateway:
            say(f"e: downstream takes {', '.join(f'{phase.per_s:g}/s for {phase.seconds:g} s' for phase in phases)}")
            job = self._job("e-crowd", gateway, WAITING, seconds)
            job["form_s"], job["is_refilled"] = self._sizes.form_s, True
            began_s, rates = time.time(), list[tuple[float, float]]()
            watching = asyncio.create_task(_watch(gateway.process.pid, rates))
            try:
                done, taken = await asyncio.gather(self._crowd.ask(job, seconds), downstream.take(consumer, phases))
            finally:
                watching.cancel()
        crowd = _results(job["results"])
        passed_s, signed_up_s = (sorted(filter(None, instants)) for instants in zip(*((one.passed_s, one.done_s) for one in crowd.walked), strict=True))
        flow = Flow(passed_s, signed_up_s, taken, rates, self._sizes.form_s)
        self._tell_pace(flow, began_s, found, generator_void({"the people's process": done["busy_share"]}))
        found.remarks.append(
            f"e: answers {table.shown(crowd.statuses)}; generator busy {done['busy_share']:.0%} of a core, {len(crowd.errors)} without an answer"
        )

    def _tell_pace(self, flow: Flow, began_s: float, found: Found, void: str) -> None:
        sizes = self._sizes
        rows = line.stretches(flow, sizes.phases, began_s, sizes.beginning_s)
        found.tables.append(f"e, after the first {sizes.beginning_s:g} s\n{aligned([line.STRETCH_HEADINGS, *map(line.stretch_cells, rows)])}")
        end_s = began_s + sum(phase.seconds for phase in sizes.phases)
        share = line.share_of(flow.within(began_s + sizes.beginning_s, end_s))
        measured = f"{share:.3f}, where {line.best_of(rows):.3f} could be at best"
        found.verdicts.append(Verdict(f"e: at least {DOWNSTREAM_MIN} of downstream is used", measured, share >= DOWNSTREAM_MIN, void))
        found.remarks += [
            f"e: the door a second, every ten seconds: {' '.join(format(flow.rate_at(began_s + at_s), '.0f') for at_s in range(10, round(end_s - began_s) + 1, 10))}",
            "e: could at best: behind a door that knows each change when it comes, when those of the form's time before are past it already",
        ]


def others_knocks(others: Results) -> float:
    """For each of their passes."""
    return sum(one.knocks for one in others.walked) / max(sum(bool(one.passed_s) for one in others.walked), 1)


def _results(path: str) -> Results:
    return msgspec.json.decode(Path(path).read_bytes(), type=Results)


async def _watch(pid: int, rates: list[tuple[float, float]]) -> None:
    """The door's rate as the supervisor sets it, until cancelled."""
    fd = os.open(board_path(pid), os.O_RDWR)
    gauge = Board(fd, 2).supervisor.gauge("sluicegate_room_rate_per_second")
    try:
        while True:
            rates.append((time.time(), gauge.value))
            await asyncio.sleep(_WATCH_S)
    finally:
        os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
