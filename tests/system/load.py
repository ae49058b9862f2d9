"""Phones that keep a ledger: every event meant, what was said of it, and what Kafka holds.

A request is one sync of one sample; (user, seq) is drawn once and never again,
so ledger and log are compared by content.  Nothing is sent twice: an answer is
final here, and what stays unanswered promises nothing.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NamedTuple

import aiohttp
from aiokafka import ConsumerRecord

from tests.system.gateway import Gateway, records, sample, sync

_ANSWER_S: Final = 30.0  # far beyond every deadline of the gateway: who waits so long was forgotten

Event = tuple[str, int]  # user, seq


class Line(NamedTuple):
    """One request and what it was told.  Status 0: no answer, and `error` names the exception."""

    event: Event
    sent_s: float
    took_s: float
    status: int
    problem: dict[str, Any]
    request_id: str
    retry_after: str
    closes: bool
    error: str

    @property
    def code(self) -> str:
        return self.error or str(self.problem.get("code", ""))


class Ledger:
    """All events meant, and all lines in the order of their answers."""

    def __init__(self) -> None:
        self.meant: set[Event] = set()
        self.lines: list[Line] = []

    def add(self, other: "Ledger") -> None:
        """Take over what another one says."""
        self.meant |= other.meant
        self.lines += other.lines

    def by(self, *statuses: int) -> list[Line]:
        return [line for line in self.lines if line.status in statuses]

    def since(self, at_s: float) -> list[Line]:
        return [line for line in self.lines if line.sent_s >= at_s]

    def tally(self) -> Counter[tuple[int, str]]:
        """How often each status and code was said."""
        return Counter((line.status, line.code) for line in self.lines)

    async def reconcile(self, bootstrap: str, topic: str) -> None:
        """Accepted means durable; refused with outcome `none` means that nothing happened."""
        stored = events(await records(bootstrap, topic))
        assert {line.event for line in self.by(202)} <= stored.keys()
        denied = {line.event for line in self.lines if line.problem.get("outcome") == "none"}
        assert not denied & stored.keys()
        assert stored.keys() <= self.meant


def events(found: list[ConsumerRecord]) -> Counter[Event]:
    """How often each event stands in the log."""
    return Counter((record.key.decode(), json.loads(record.value)["seq"]) for record in found)


class Phone:
    """One person who sends one sample after the other."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession, ledger: Ledger, user: str) -> None:
        self._gateway = gateway
        self._session = session
        self._ledger = ledger
        self._user = user
        self._headers = gateway.headers(user)
        self._seq = 0

    async def send(self) -> Line:
        self._seq += 1
        self._ledger.meant.add((self._user, self._seq))
        clock = asyncio.get_running_loop().time
        sent_s = clock()
        status, body, headers, error = 0, b"", dict[str, str](), ""
        try:
            async with self._session.post(f"{self._gateway.public}/v1/syncs", headers=self._headers, json=sync(sample(self._seq))) as answer:
                body, headers = await answer.read(), {name.lower(): value for name, value in answer.headers.items()}
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as exc:
            error = type(exc.__cause__ or exc).__name__
        problem = json.loads(body) if status >= 400 else {}
        line = Line(
            *((self._user, self._seq), sent_s, clock() - sent_s, status, problem),
            *(headers.get("request-id", ""), headers.get("retry-after", ""), headers.get("connection") == "close", error),
        )
        self._ledger.lines.append(line)
        return line


def session(*, keeps: bool = True) -> aiohttp.ClientSession:
    """Connections without limit; with `keeps` false one for every request."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=not keeps), timeout=aiohttp.ClientTimeout(total=_ANSWER_S))


@contextlib.asynccontextmanager
async def load(gateway: Gateway, *, phones: int, pause_s: float = 0.02, keeps: bool = True, prefix: str = "u") -> AsyncIterator[Ledger]:
    """So many phones that send and send; at the end each has its last answer."""
    ledger, is_over = Ledger(), asyncio.Event()

    async def keep_sending(phone: Phone) -> None:
        while not is_over.is_set():
            await phone.send()
            await asyncio.sleep(pause_s)

    async with session(keeps=keeps) as connections:
        sending = [asyncio.create_task(keep_sending(Phone(gateway, connections, ledger, f"{prefix}{n}"))) for n in range(phones)]
        try:
            yield ledger
        finally:
            is_over.set()
            await asyncio.gather(*sending)


async def until(claim: Callable[[], bool], within_s: float, what: str) -> float:
    """Wait until the claim holds; returns the seconds it took."""
    clock = asyncio.get_running_loop().time
    started_s = clock()
    while not claim():
        assert clock() - started_s < within_s, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.02)
    return clock() - started_s


async def accepted(ledger: Ledger, within_s: float) -> float:
    """Wait for a 202 to something sent from now on; returns the seconds until then."""
    now_s = asyncio.get_running_loop().time()
    return await until(lambda: any(line.status == 202 for line in ledger.since(now_s)), within_s, "a 202")


async def light(gateway: Gateway) -> dict[str, str]:
    """The Kafka light; /readyz says 200 whatever its colour."""
    status, body = await gateway.readyz()
    assert status == 200, body
    shown: dict[str, str] = body["lights"]["kafka"]
    return shown


async def until_light(gateway: Gateway, *colours: str, within_s: float) -> dict[str, str]:
    """Wait until the Kafka light has one of these colours."""
    async with asyncio.timeout(within_s):
        while (shown := await light(gateway))["colour"] not in colours:
            await asyncio.sleep(0.05)
    return shown


async def drained(gateway: Gateway, within_s: float = 30) -> None:
    """Wait until every worker has posted what waits for Kafka, and nothing does."""

    def of(name: str, now: dict[str, float]) -> list[float]:
        return [value for series, value in now.items() if series.startswith(f"sluicegate_{name}{{")]

    async with asyncio.timeout(within_s):
        while not (bounds := of("spool_max_bytes", now := await gateway.metrics())) or not all(bounds) or any(of("spool_records", now)):
            await asyncio.sleep(0.1)
