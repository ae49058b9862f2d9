"""A crowd of phones in front of a real waiting room, over sockets; what tests and benchmarks of the line share."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp

from examples.phone import Known, Phone, application


@dataclass
class Person:
    """Somebody in line, and what they do besides waiting."""

    leaves_after_s: float = float("inf")
    away_from_s: float = float("inf")  # a phone that sleeps or is cut off: it asks nothing
    away_s: float = 0.0
    phone: Phone = field(default_factory=lambda: Phone("signup", Known(str(uuid.uuid4()), application())))
    has_left: bool = False


@dataclass
class Seen:
    """What all of them were told."""

    released_s: list[float] = field(default_factory=list)  # when each first pass was, by the room's clock
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)  # join id → ticket
    errors: list[str] = field(default_factory=list)

    def most_in(self, window_s: float) -> int:
        """The most passes that were released within any so many seconds."""
        times, first, most = sorted(self.released_s), 0, 0
        for last, at_s in enumerate(times):
            while times[first] <= at_s - window_s:
                first += 1
            most = max(most, last - first + 1)
        return most


def instant_s(text: str) -> float:
    """RFC 3339 → seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


async def walk(person: Person, session: aiohttp.ClientSession, base: str, seen: Seen, until: Callable[[], bool] = lambda: False) -> None:
    """One person's morning."""
    loop, phone = asyncio.get_running_loop(), person.phone
    began_s = loop.time()
    while not phone.is_over and not until():
        now_s = loop.time() - began_s
        if now_s >= person.leaves_after_s:
            person.has_left = True
            return
        if person.away_from_s <= now_s:
            person.away_from_s = float("inf")
            await asyncio.sleep(person.away_s)
        await asyncio.sleep(min(await _step(phone, session, base, seen), max(person.leaves_after_s - now_s, 0.0) + 0.01))


async def _step(phone: Phone, session: aiohttp.ClientSession, base: str, seen: Seen) -> float:
    ask = phone.ask()
    had_pass = bool(phone.known.pass_text)
    try:
        async with session.request(ask.method, base + ask.path, headers=dict(ask.headers), json=ask.body) as answer:
            body: dict[str, Any] = await answer.json(content_type=None) or {}
            wait_s = phone.heard(answer.status, answer.headers, body)
            seen.statuses[ask.path.rsplit("/", 1)[-1], answer.status] += 1
    except (aiohttp.ClientError, TimeoutError) as exc:
        seen.errors.append(repr(exc))
        return phone.missed()
    if phone.known.pass_text and not had_pass:
        seen.released_s.append(instant_s(body["released_at"]))
    if phone.known.ticket:
        seen.places[phone.known.join_id] = phone.known.ticket
    return wait_s


async def crowd(people: Sequence[Person], base: str, *, over_s: float = 1.0, seed: int = 1) -> Seen:
    """All of them, arriving evenly over so many seconds."""
    seen, random_ = Seen(), random.Random(seed)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=20)) as session:

        async def later(person: Person) -> None:
            await asyncio.sleep(random_.random() * over_s)
            await walk(person, session, base, seen)

        await asyncio.gather(*map(later, people))
    return seen
