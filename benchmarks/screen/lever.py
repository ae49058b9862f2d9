"""Part e: the operator tells another rate, by a call or by the command; when does the last worker's sign have it?"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Final, NamedTuple

import aiohttp

from benchmarks import servers
from benchmarks.command import say
from benchmarks.overload_report import aligned
from benchmarks.screen.gateway import PATIENCE_S, ROOM, WORKERS, Gateway, Stage, running
from benchmarks.screen.report import LEVER_HEADINGS, Found, lever_cells, lever_verdicts

RATES: Final = (20.0, 90.0)  # between which it is told
BETWEEN_S: Final = (1.5, 2.5)  # at no instant of the pacer's second in particular
ASKERS: Final = 2
_PAUSE_S: Final = 0.005


class Change(NamedTuple):
    """One."""

    seconds: float  # from before it was told, until every worker's sign has it
    heard_s: float  # of that, before the gateway heard it, by the version of the act, which is when it was said


async def measure(stage: Stage, changes: int, seed: int, found: Found) -> None:
    """So many by each way."""
    took: dict[str, list[Change]] = {}
    draw = random.Random(seed)
    async with running(stage, "e", {"floor_per_s": 5, "ceiling_per_s": 100}) as gateway:
        for name, way in (("POST /api/rooms", _call), ("sluicegate room set", _command)):
            took[name] = []
            for number in range(changes):
                await asyncio.sleep(draw.uniform(*BETWEEN_S))
                rate_per_s = round(draw.uniform(*RATES), 1)
                took[name].append(await _change(gateway, rate_per_s, way))
                say(f"e: {name} {number + 1} of {changes}: {took[name][-1].seconds:.3f} s")
    rows = [lever_cells(name, [one.seconds for one in some], [one.heard_s for one in some]) for name, some in took.items()]
    found.tables.append(f"e: seconds from the word to the last worker's sign, median / worst of {changes}\n{aligned([LEVER_HEADINGS, *rows])}")
    found.verdicts += [verdict for name, some in took.items() for verdict in lever_verdicts(name, [one.seconds for one in some])]
    found.remarks.append("e: all is counted from before the call, and of the command from its start: before it is heard an interpreter starts")


async def _change(gateway: Gateway, rate_per_s: float, way: Callable[[Gateway, float], Coroutine[None, None, None]]) -> Change:
    began_s = time.time()
    telling = asyncio.create_task(way(gateway, rate_per_s))
    seen: dict[str, float] = {}
    try:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as askers:
            for _ in range(ASKERS):
                askers.create_task(_ask(gateway, rate_per_s, seen))
    except TimeoutError:
        raise servers.ServerError(f"after {PATIENCE_S:g} s {len(seen)} of {WORKERS} workers say {rate_per_s}/s") from None
    await telling
    said_us = (await gateway.get(f"/api/rooms/{ROOM}"))["version"]
    return Change(max(seen.values()) - began_s, said_us / 1e6 - began_s)


async def _ask(gateway: Gateway, rate_per_s: float, seen: dict[str, float]) -> None:
    """Whichever worker answers, each time on a connection of its own; until all were seen with this rate."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        while len(seen) < WORKERS:
            async with session.get(f"{gateway.public}/v1/rooms/{ROOM}") as answer:
                sign, worker = await answer.json(), answer.headers["Request-Id"].rpartition("-")[0]
            if sign["rate_per_s"] == rate_per_s:
                seen.setdefault(worker, time.time())
            await asyncio.sleep(_PAUSE_S)


async def _call(gateway: Gateway, rate_per_s: float) -> None:
    await gateway.tell(rate_per_s=rate_per_s)


async def _command(gateway: Gateway, rate_per_s: float) -> None:
    of = gateway.command
    argv = (*of.argv[:3], "room", "set", ROOM, "--rate", f"{rate_per_s}", "--reason", "a measurement", "--ops", gateway.ops, *of.argv[3:])
    process = await asyncio.create_subprocess_exec(*argv, cwd=of.cwd, env=os.environ | of.environment, stdout=asyncio.subprocess.DEVNULL, stderr=sys.stderr)
    if code := await process.wait():
        raise servers.ServerError(f"{' '.join(argv[1:])} ended with {code}")
