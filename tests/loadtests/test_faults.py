"""Faults are done at their times, undone at their ends, and marked when they really were."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from benchmarks import cpu
from devstack import DevstackError
from loadtests.faults import Faults
from loadtests.scenario import Planned, Scenario, Slo, Stream
from loadtests.target import Target


class Server:
    """A server of a devstack, by what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def do(*arguments: object) -> None:
            self.done.append(" ".join(map(str, (name, *arguments))))

        return do


class Stack:
    def __init__(self) -> None:
        self.redis, self.kafka = Server(), Server()


def faults(*planned: Planned, stack: Stack | None = None, pid: int = 0) -> Faults:
    scenario = Scenario("t", "w", 1, [Stream("daily", "sync")], [Slo("syncs.p99_ms", at_most=1.0)], faults=list(planned))
    return Faults(scenario, Target("http://127.0.0.1:9", "", pid=pid, stack=stack or Stack()), time.time())  # type: ignore[arg-type]


async def test_servers_are_hurt_and_healed() -> None:
    stack = Stack()
    those = faults(
        Planned("kafka.kill", 0.02, 0.01),
        Planned("redis.pause", 0.0, 0.05),
        Planned("redis.fail_over", 0.03, lose_ms=700),
        Planned("redis.empty", 0.04),
        stack=stack,
    )
    await those.run()
    assert stack.redis.done == ["pause", "fail_over 700", "empty", "resume"]
    assert stack.kafka.done == ["kill", "restart"]
    assert [mark.what for mark in those.marks] == ["Redis frozen", "Kafka killed", "Redis failed over", "Redis emptied"]
    assert all(mark.from_s <= mark.to_s for mark in those.marks)
    assert those.marks[0].to_s - those.marks[0].from_s >= 0.05


async def test_a_rehearsal_that_is_ended_leaves_nothing_frozen() -> None:
    stack = Stack()
    running = asyncio.create_task(faults(Planned("redis.pause", 0.0, 60.0), stack=stack).run())
    while stack.redis.done != ["pause"]:
        await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.wait([running])
    assert stack.redis.done == ["pause", "resume"]


@pytest_asyncio.fixture
async def supervisor() -> AsyncIterator[int]:
    """A process with two children."""
    program = "import subprocess, sys, time; [subprocess.Popen(['sleep', '60']) for _ in range(2)]; print(flush=True); time.sleep(60)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    await process.stdout.readline()
    yield process.pid
    os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def states(parent: int) -> list[str]:
    """Of its children, the oldest first: S sleeps, T is stopped, Z is dead."""
    children = sorted(pid for pid, of in cpu.parents().items() if of == parent)
    return [(cpu.PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] for pid in children]


async def until(parent: int, wanted: list[str]) -> None:
    async with asyncio.timeout(10):
        while states(parent) != wanted:
            await asyncio.sleep(0.01)


async def test_workers_are_killed_in_turn(supervisor: int) -> None:
    await faults(Planned("worker.kill", 0.0, times=2, every_s=0.02), pid=supervisor).run()
    await until(supervisor, ["Z", "Z"])


async def test_a_frozen_worker_goes_on(supervisor: int) -> None:
    running = asyncio.create_task(faults(Planned("worker.pause", 0.0, 0.5), pid=supervisor).run())
    await until(supervisor, ["T", "S"])
    await running
    await until(supervisor, ["S", "S"])


async def test_a_gateway_without_workers_cannot_be_hurt() -> None:
    with pytest.raises(ExceptionGroup) as error:
        await faults(Planned("worker.kill", 0.0), pid=os.getppid() and 2**22 + 1).run()
    assert isinstance(error.value.exceptions[0], DevstackError)
