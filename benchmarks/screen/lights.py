"""Part a: Redis, Kafka or a worker freezes or dies, and nobody sends anything: when does the screen say so, and when is it green again?"""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from benchmarks.command import say
from benchmarks.overload_report import aligned
from benchmarks.screen.gateway import PATIENCE_S, Gateway, Stage, Watcher, running, watching
from benchmarks.screen.report import LIGHTS_HEADINGS, Found, Round, lights_cells, lights_verdicts
from devstack.server import Server

HELD_S: Final = 5.0  # a fault goes on after it is seen, so that whoever tries again does so with longer pauses
_ASK_S: Final = 0.05
_TROUBLED: Final = ("amber", "red")

Repair = Callable[[], Awaitable[None]]


class Fault(NamedTuple):
    """What is done, and what the screen is to say of it."""

    name: str
    lights: tuple[str, ...]
    bottleneck: str
    strike: Callable[[Stage, Gateway], Awaitable[Repair | None]]  # None: the gateway repairs it


async def _freeze(server: Server) -> Repair:
    await server.pause()

    async def thaw() -> None:
        await server.resume()
        await server.ask()

    return thaw


async def _kill(server: Server) -> Repair:
    await server.kill()
    return server.restart


async def _freeze_worker(_: Stage, gateway: Gateway) -> Repair:
    pid = gateway.worker_pids()[0]
    os.kill(pid, signal.SIGSTOP)

    async def wake() -> None:
        os.kill(pid, signal.SIGCONT)

    return wake


async def _kill_worker(_: Stage, gateway: Gateway) -> None:
    os.kill(gateway.worker_pids()[0], signal.SIGKILL)


FAULTS: Final = (
    Fault("Redis frozen", ("redis", "room"), "room-store", lambda stage, _: _freeze(stage.stack.redis)),
    Fault("Redis killed", ("redis", "room"), "room-store", lambda stage, _: _kill(stage.stack.redis)),
    Fault("Kafka frozen", ("kafka",), "kafka", lambda stage, _: _freeze(stage.stack.kafka)),
    Fault("Kafka killed", ("kafka",), "kafka", lambda stage, _: _kill(stage.stack.kafka)),
    Fault("a worker frozen", ("workers",), "worker", _freeze_worker),
    Fault("a worker killed", ("workers",), "worker", _kill_worker),
)


def is_well(frame: dict[str, Any]) -> bool:
    """Whether everything is green, the spool aside, which there is none of."""
    return all(light["colour"] == "green" for name, light in frame["lights"].items() if name != "spool") and bool(frame["ready"])


def is_told(frame: dict[str, Any], fault: Fault) -> bool:
    """Whether lights and bottleneck both name it."""
    return _is_lit(frame["lights"], fault.lights) and frame["bottleneck"]["code"] == fault.bottleneck


def _is_lit(lights: dict[str, Any], names: tuple[str, ...]) -> bool:
    return all(lights[name]["colour"] in _TROUBLED for name in names)


async def measure(stage: Stage, rounds: int, seed: int, found: Found) -> None:
    """All faults, so many times each."""
    took: dict[str, list[Round]] = {fault.name: [] for fault in FAULTS}
    draw = random.Random(seed)
    async with running(stage, "a", {"floor_per_s": 5, "ceiling_per_s": 100}) as gateway, watching(gateway) as watcher:
        for number in range(rounds):
            for fault in FAULTS:
                one = await _round(fault, stage, gateway, watcher, draw)
                took[fault.name].append(one)
                said = f"frame {one.frame_s:.2f} s, /readyz {one.readyz_s:.2f} s, green {one.green_s:.2f} s"
                say(f"a: round {number + 1} of {rounds}: {fault.name}: {said}")
    table = [LIGHTS_HEADINGS, *(lights_cells(name, some) for name, some in took.items())]
    found.tables.append(f"a: seconds, median / worst of {rounds}\n{aligned(table)}")
    found.verdicts += lights_verdicts([one for some in took.values() for one in some])
    found.remarks.append("a: a killed worker is repaired by the gateway: green counts from the kill, and its light is held for five seconds to be seen")


async def _round(fault: Fault, stage: Stage, gateway: Gateway, watcher: Watcher, draw: random.Random) -> Round:
    await watcher.first(is_well, time.monotonic())
    await asyncio.sleep(draw.random())  # a frame came just now; faults and repairs do not wait for frames
    began_s = time.monotonic()
    repair = await fault.strike(stage, gateway)
    frame_s, readyz_s = await asyncio.gather(
        watcher.first(lambda frame: is_told(frame, fault), began_s), _answered(gateway, lambda health: _is_lit(health["lights"], fault.lights))
    )
    repaired_s = began_s
    if repair is not None:
        await asyncio.sleep(HELD_S + draw.random())
        await repair()
        repaired_s = time.monotonic()
    green_s, ready_s = await asyncio.gather(watcher.first(is_well, max(repaired_s, frame_s)), _answered(gateway, is_well))
    return Round(frame_s - began_s, readyz_s - began_s, max(green_s, ready_s) - repaired_s)


async def _answered(gateway: Gateway, is_so: Callable[[dict[str, Any]], bool]) -> float:
    """When /readyz first says so; infinity: never."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        if is_so(await gateway.get("/readyz")):
            return time.monotonic()
        await asyncio.sleep(_ASK_S)
    return float("inf")
