"""Clients that obey docs/api.md, and a history of what each sent and was told: what the torture and the disk's faults are judged by.

They obey but for their patience: they come back within a third of a second of a broken connection, which is harder on
the gateway than the minutes they are told.  Their number and pace bound the rate.
"""

import asyncio
import contextlib
import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

import aiohttp

from loadtests.recording import NO_ANSWER
from tests.system.gateway import Gateway, sample, signup
from tests.system.history import Event, History, Send, signup_event
from tests.system.load import session, until
from tests.system.outbox import Outbox

_SAMPLES_MAX: Final = 20
_BACK_S: Final = 0.2  # at most, after no answer and instead of a longer Retry-After
_MORE_S: Final = 30.0
_FEW: Final = 8
_FEW_PER_S: Final = 60.0


class Client(Protocol):
    """Who has something to send, and keeps it until an answer lets it go."""

    @property
    def path(self) -> str: ...
    @property
    def user(self) -> str | None: ...  # None: no token

    def refill(self, dice: Random) -> None: ...
    def request(self) -> tuple[Mapping[str, Any], list[Event]] | None: ...
    def heard(self, send: Send) -> None: ...


class Phone:
    """Syncs: a sample or some, now and then one with the seq of the last and other steps."""

    path = "/v1/syncs"

    def __init__(self, topic: str, number: int) -> None:
        self.user = f"u{number}"
        self._outbox = Outbox(topic, self.user, {"device_id": f"d{number}", "platform": "android", "app_version": "2.3.1"})
        self._seq = 0

    def refill(self, dice: Random) -> None:
        for _ in range(dice.choice((1, 1, 1, 2, 5))):
            self._seq += dice.random() < 0.95
            self._outbox.add(sample(self._seq, steps=dice.randint(0, 200_000)))

    def request(self) -> tuple[Mapping[str, Any], list[Event]] | None:
        return self._outbox.request(_SAMPLES_MAX) if self._outbox else None

    def heard(self, send: Send) -> None:
        self._outbox.heard(send)


class Applicant:
    """Sign-ups: one application after the other, each corrected once."""

    path = "/v1/signups"
    user = None

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._forms = list[dict[str, Any]]()

    def refill(self, dice: Random) -> None:
        signup_id = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        self._forms += [signup(signup_id), signup(signup_id, revision=2, district="중구")]

    def request(self) -> tuple[Mapping[str, Any], list[Event]] | None:
        return (self._forms[0], [signup_event(self._topic, self._forms[0])]) if self._forms else None

    def heard(self, send: Send) -> None:
        if send.status == 202:
            del self._forms[0]


class Crowd:
    """All clients, each with one request at a time."""

    def __init__(self, gateway: Gateway, history: History, clients: list[Client], per_s: float, dice: Random) -> None:
        self._gateway, self.history, self._dice = gateway, history, dice
        self._clients = clients
        self.per_s = per_s
        self.told = Counter[int]()
        self.problems = Counter[str]()  # codes of all that was refused
        self.kept = Counter[str]()  # "durability" of all that was accepted
        self.took = list[tuple[float, float]]()  # of each request that was accepted: when it was sent, and how long that took
        self.is_ending = False

    async def run(self) -> None:
        """Until it is told to end, and has nothing left to send."""
        async with session() as connections, asyncio.TaskGroup() as sending:
            for client in self._clients:
                sending.create_task(self._serve(client, connections))

    async def _serve(self, client: Client, connections: aiohttp.ClientSession) -> None:
        headers = self._gateway.headers(client.user) if client.user else {"Content-Type": "application/json"}
        while (pending := client.request()) or not self.is_ending:
            if pending is None:
                client.refill(self._dice)
                continue
            send = self.history.send(pending[1])
            retry_after = await self._ask(connections, client.path, headers, pending[0], send)
            client.heard(send)
            self.told[send.status] += 1
            pause_s = len(self._clients) / self.per_s if send.status == 202 else min(retry_after or _BACK_S, _BACK_S)
            await asyncio.sleep(pause_s * self._dice.uniform(0.5, 1.5))

    async def _ask(self, connections: aiohttp.ClientSession, path: str, headers: Mapping[str, str], body: Mapping[str, Any], send: Send) -> float:
        """Returns Retry-After; 0 where there was none."""
        clock = asyncio.get_running_loop().time
        sent_s = clock()
        try:
            async with connections.post(f"{self._gateway.public}{path}", headers=headers, data=json.dumps(body)) as answer:
                said = await answer.read()
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            self.history.answer(send, NO_ANSWER)
            return 0.0
        self.history.answer(send, answer.status, said, answer.headers.get("Request-Id", ""))
        told = json.loads(said)
        if answer.status == 202:
            self.kept[told["durability"]] += 1
            self.took.append((sent_s, clock() - sent_s))
        else:
            self.problems[told["code"]] += 1
        return float(answer.headers.get("Retry-After", 0))


@contextlib.asynccontextmanager
async def sending(gateway: Gateway, topic: str) -> AsyncIterator[Crowd]:
    """A few phones under way; in the end each has its last answer."""
    crowd = Crowd(gateway, History(), [Phone(topic, number) for number in range(_FEW)], _FEW_PER_S, Random(1))
    going_on = asyncio.create_task(crowd.run())
    try:
        yield crowd
        crowd.is_ending = True
        async with asyncio.timeout(2 * _MORE_S):
            await going_on
    finally:
        going_on.cancel()
        await asyncio.wait([going_on])


async def more(count: Callable[[], int], added: int, what: str) -> None:
    """Return when there are so many more than now."""
    wanted = count() + added
    await until(lambda: count() >= wanted, _MORE_S, what)


async def killed_whole(gateway: Gateway) -> None:
    """Supervisor and workers at once, and nobody left."""
    pids = [gateway.process.pid, *gateway.worker_pids()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    await gateway.process.wait()
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), _MORE_S, "they are gone")
