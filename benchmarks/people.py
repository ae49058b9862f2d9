"""People in front of a real waiting room, over sockets: the driver that system tests and bench_line share.

Each is a phone as examples/phone.py has it, and what its owner does besides waiting: leaves, sleeps, is cut off,
fills in a form, or knocks whatever it is told.  Times are of the machine's clock, which the room's is too here.

As a process of its own (`python -m benchmarks.people`) it reads one Job a line on stdin and writes one Done a line on
stdout; what became of everybody lies in the file that the job names (Results).
"""

import asyncio
import base64
import json
import os
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypedDict

import aiohttp
import msgspec
import uvloop
from msgspec import Struct

from benchmarks import cpu
from examples.phone import Known, Phone, application

NEVER: Final = float("inf")
PATIENCE_S: Final = 20.0  # for one answer: a knock is held for five seconds at most
REFILL_S: Final = 0.1
REFILL_MAX: Final = 100  # who come in that time: a thousand a second, so that the beginning is a surge and no wall
JOIN_AGAIN_MAX: Final = 200  # people whose join is repeated in the end: is it still the same place?
_TICKET: Final = 0x10  # core/ticket.py: of a place; a provisional one names none


class Walked(Struct, array_like=True):
    """What became of one person.  Instants in seconds since the epoch; 0: it never came to that."""

    place: int = -1
    joined_s: float = 0.0
    called_s: float = 0.0  # told so, and since then there, on time and not told otherwise
    passed_s: float = 0.0
    released_s: float = 0.0  # the pass, by the room's clock
    left_s: float = 0.0
    done_s: float = 0.0  # the application is durable
    away: list[tuple[float, float]] = []
    was_cut: bool = False
    has_moved: bool = False  # another place than before
    knocks: int = 0
    failed: str = ""
    estimated_s: float = -1.0  # the first p50_s that they were told; below 0: none
    stream: int = 0  # of a rehearsal
    arrival: int = 0
    released_again: list[float] = []  # each other pass, where one had expired before the sign-up; also the room's clock


@dataclass
class Person:
    """Somebody in line, and what they do besides waiting."""

    leaves_after_s: float = NEVER
    away_from_s: float = NEVER  # a phone that sleeps or is cut off: it asks nothing
    away_s: float = 0.0
    cut_after_s: float = NEVER  # the network goes in the middle of whatever it is, and is back at once
    form_s: float = 0.0  # between pass and sign-up
    pause_s: float | None = None  # of who knocks again after so long, whatever they are told; None: who behaves
    phone: Phone = field(default_factory=lambda: Phone("signup", Known(str(uuid.uuid4()), application())))
    has_left: bool = False
    walked: Walked = field(default_factory=Walked)


@dataclass
class Seen:
    """What all of them were told."""

    released_s: list[float] = field(default_factory=list)  # when each first pass was, by the room's clock
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)  # join id → ticket
    errors: list[str] = field(default_factory=list)

    def most_in(self, window_s: float) -> int:
        """The most passes that were released within any so many seconds."""
        return most_in(self.released_s, window_s)


def most_in(instants_s: Sequence[float], window_s: float) -> int:
    """The most instants within any so many seconds; of two so far apart only one is."""
    times, first, most = sorted(instants_s), 0, 0
    for last, at_s in enumerate(times):
        while times[first] <= at_s - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def instant_s(text: str) -> float:
    """RFC 3339 → seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def place_in(ticket: str) -> int:
    """As core/ticket.py draws it; of a provisional one what stands in its stead."""
    return int.from_bytes(base64.urlsafe_b64decode(ticket)[17:25], "big")


def is_placed(ticket: str) -> bool:
    """Whether it is no provisional one."""
    return base64.urlsafe_b64decode(ticket)[0] == _TICKET


# One person


async def walk(person: Person, session: aiohttp.ClientSession, base: str, seen: Seen, until: Callable[[], bool] = lambda: False) -> None:
    """One person's morning."""
    loop, phone, walked = asyncio.get_running_loop(), person.phone, person.walked
    began_s = loop.time()
    while not phone.is_over and not until():
        now_s = loop.time() - began_s
        if now_s >= person.leaves_after_s:
            person.has_left, walked.left_s = True, time.time()
            return
        if person.away_from_s <= now_s:
            person.away_from_s, from_s = NEVER, time.time()
            await asyncio.sleep(person.away_s)
            walked.away, walked.called_s = [*walked.away, (from_s, time.time())], 0.0
        try:
            async with asyncio.timeout(None if person.cut_after_s == NEVER else max(person.cut_after_s - now_s, 0.0)):
                await asyncio.sleep(min(await _step(person, session, base, seen), max(person.leaves_after_s - now_s, 0.0) + 0.01))
        except TimeoutError:
            person.cut_after_s, walked.was_cut, walked.called_s = NEVER, True, 0.0
    walked.failed = phone.known.failed


async def _step(person: Person, session: aiohttp.ClientSession, base: str, seen: Seen) -> float:
    """One request and its answer; how long to wait before the next."""
    phone, walked = person.phone, person.walked
    ask = phone.ask()
    had_pass = bool(phone.known.pass_text)
    walked.knocks += ask.path.endswith("/passes")
    try:
        async with session.request(ask.method, base + ask.path, headers=dict(ask.headers), json=ask.body) as answer:
            body: dict[str, Any] = await answer.json(content_type=None) or {}
            wait_s = phone.heard(answer.status, answer.headers, body)
            seen.statuses[ask.path.rsplit("/", 1)[-1], answer.status] += 1
    except (aiohttp.ClientError, TimeoutError) as exc:
        seen.errors.append(repr(exc))
        return phone.missed()
    note(phone, walked)
    if phone.known.ticket:
        seen.places[phone.known.join_id] = phone.known.ticket
    if phone.known.pass_text:
        if had_pass:
            return wait_s
        walked.passed_s, walked.released_s = time.time(), instant_s(body["released_at"])
        seen.released_s.append(walked.released_s)
        return person.form_s
    if person.pause_s is None:
        return wait_s
    phone.state = "called"  # so it claims
    return min(wait_s, person.pause_s)


def note(phone: Phone, walked: Walked) -> None:
    """Write down where they stand after an answer."""
    now_s = time.time()
    if phone.known.ticket and is_placed(phone.known.ticket):
        place = place_in(phone.known.ticket)
        walked.has_moved |= walked.place not in (-1, place)
        walked.place = place
        walked.joined_s = walked.joined_s or now_s
    if phone.known.is_done:
        walked.done_s = now_s
    elif not phone.known.pass_text:
        walked.called_s = (walked.called_s or now_s) if phone.state == "called" else 0.0
    if walked.estimated_s < 0 and phone.told.get("p50_s") is not None:
        walked.estimated_s = float(phone.told["p50_s"])


# A crowd


def session_of_many() -> aiohttp.ClientSession:
    """As many connections as there are requests at once."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=PATIENCE_S))


async def crowd(people: Sequence[Person], base: str, *, over_s: float = 1.0, seed: int = 1) -> Seen:
    """All of them, arriving evenly over so many seconds."""
    seen = Seen()
    async with session_of_many() as session:
        await _arrive(people, session, base, seen, over_s, seed)
    return seen


async def _arrive(people: Sequence[Person], session: aiohttp.ClientSession, base: str, seen: Seen, over_s: float, seed: int) -> None:
    random_ = random.Random(seed)

    async def later(person: Person) -> None:
        await asyncio.sleep(random_.random() * over_s)
        await walk(person, session, base, seen)

    await asyncio.gather(*map(later, people))


# A process of its own


class Job(TypedDict):
    """A crowd, and what it does."""

    base: str
    room: str
    seed: int
    people: int  # who come; where the line is refilled, how many wait all the time
    is_refilled: bool
    over_s: float  # within which they come
    within_s: float  # since coming: when one leaves, falls asleep or is cut off
    leave: float  # shares of the people; nobody leaves who sleeps
    sleep: float
    sleep_s: tuple[float, float]
    cut: float
    form_s: float
    pause_s: float | None
    seconds: float  # then whoever is still there goes home
    results: str


class Done(TypedDict):
    """How the process fared."""

    busy_share: float
    cpu_share: float
    is_cut_short: bool


class Results(Struct):
    """What became of everybody."""

    walked: list[Walked]
    statuses: dict[str, int]  # "passes 429" → how often
    errors: list[str]
    moved: int  # of those who joined again in the end, who were given another place


def people_of(job: Job) -> list[Person]:
    """The same ones for the same seed, their join ids aside."""
    draw = random.Random(job["seed"])
    people = []
    for _ in range(job["people"]):
        person = newcomer(job)
        lot = draw.random()
        if lot < job["leave"]:
            person.leaves_after_s = draw.uniform(0, job["within_s"])
        elif lot < job["leave"] + job["sleep"]:
            person.away_from_s, person.away_s = draw.uniform(0, job["within_s"]), draw.uniform(*job["sleep_s"])
        if draw.random() < job["cut"]:
            person.cut_after_s = draw.uniform(0, job["within_s"])
        people.append(person)
    return people


def newcomer(job: Job) -> Person:
    """Somebody who stays."""
    return Person(form_s=job["form_s"], pause_s=job["pause_s"], phone=Phone(job["room"], Known(str(uuid.uuid4()), application())))


async def drive(job: Job) -> bool:
    """Let them come, and write down what became of them; whether they all went home by themselves."""
    seen, people, is_whole = Seen(), list[Person](), False
    async with session_of_many() as session:
        try:
            async with asyncio.timeout(job["seconds"]):
                if job["is_refilled"]:
                    await _refill(job, people, session, seen)
                people = people_of(job)
                await _arrive(people, session, job["base"], seen, job["over_s"], job["seed"])
                is_whole = True
        except TimeoutError:
            pass
        moved = await _moved(people, session, job)
    statuses = {f"{name} {status}": count for (name, status), count in sorted(seen.statuses.items())}
    _write(job["results"], Results([person.walked for person in people], statuses, seen.errors, moved))
    return is_whole or job["is_refilled"]


def _write(path: str, results: Results) -> None:
    Path(path).write_bytes(msgspec.json.encode(results))


async def _refill(job: Job, people: list[Person], session: aiohttp.ClientSession, seen: Seen) -> None:
    """So many wait, always; until the time is over."""
    async with asyncio.TaskGroup() as walks:
        while True:
            missing = job["people"] - (len(people) - len(seen.released_s))
            for _ in range(min(missing, REFILL_MAX)):
                people.append(newcomer(job))
                walks.create_task(walk(people[-1], session, job["base"], seen))
            await asyncio.sleep(REFILL_S)


async def _moved(people: Sequence[Person], session: aiohttp.ClientSession, job: Job) -> int:
    """Some of them join again: to how many another place is given."""
    joined = [person for person in people if person.walked.place >= 0]
    moved = 0
    for person in random.Random(job["seed"]).sample(joined, min(len(joined), JOIN_AGAIN_MAX)):
        join = {"join_id": person.phone.known.join_id}
        async with session.post(f"{job['base']}/v1/rooms/{job['room']}/tickets", json=join) as answer:
            body = await answer.json(content_type=None)
            moved += answer.status != 200 or place_in(body["ticket"]) != person.walked.place
    return moved


def run(job: Job) -> Done:
    """Do one job, with the books of this process kept around it."""
    pid = os.getpid()
    before_s, before = time.perf_counter(), (cpu.cpu_ns(pid), cpu.waited_ns(pid))
    is_whole = uvloop.run(drive(job))
    seconds = time.perf_counter() - before_s
    used_s, waited_s = (cpu.cpu_ns(pid) - before[0]) / 1e9, (cpu.waited_ns(pid) - before[1]) / 1e9
    return Done(busy_share=(used_s + waited_s) / seconds, cpu_share=used_s / seconds, is_cut_short=not is_whole)


def main() -> None:
    """Do jobs until stdin ends."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
