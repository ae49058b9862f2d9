"""The faults of a scenario, done at their times to servers and workers of our own; and when each really was."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final

from benchmarks import cpu
from devstack import DevstackError
from loadtests.result import Mark
from loadtests.scenario import Planned, Scenario
from loadtests.target import Target

_SAY: Final = {
    "redis.pause": "Redis frozen",
    "redis.kill": "Redis killed",
    "redis.fail_over": "Redis failed over",
    "redis.empty": "Redis emptied",
    "kafka.pause": "Kafka frozen",
    "kafka.kill": "Kafka killed",
    "worker.kill": "worker killed",
    "worker.pause": "worker frozen",
}


class Faults:
    """All of one rehearsal's.  Args: began_s: of the epoch."""

    def __init__(self, scenario: Scenario, target: Target, began_s: float) -> None:
        assert target.stack is not None, "not ours to hurt"
        self._planned = sorted(((at_s, fault) for fault in scenario.faults for at_s in fault.instants_s()), key=lambda one: one[0])
        self._stack = target.stack
        self._supervisor = target.pid
        self._began_s = began_s
        self._next_worker = 0
        self.marks: list[Mark] = []

    async def run(self) -> None:
        """All, each at its time; two may overlap.

        Raises:
            DevstackError: one could not be done.
        """
        async with asyncio.TaskGroup() as going_on:
            for at_s, fault in self._planned:
                await asyncio.sleep(self._began_s + at_s - time.time())
                going_on.create_task(self._do(fault))

    async def _do(self, fault: Planned) -> None:
        from_s = time.time() - self._began_s
        number = len(self.marks)
        self.marks.append(Mark(_SAY[fault.what], from_s, from_s + fault.for_s))
        kind, _, what = fault.what.partition(".")
        if kind == "worker":
            await self._hurt_worker(what, fault.for_s)
        elif fault.what == "redis.fail_over":
            await self._stack.redis.fail_over(fault.lose_ms)
        elif fault.what == "redis.empty":
            await self._stack.redis.empty()
        else:
            server = self._stack.redis if kind == "redis" else self._stack.kafka
            begin, end = (server.pause, server.resume) if what == "pause" else (server.kill, server.restart)
            await _for(begin, end, fault.for_s)
        self.marks[number] = Mark(_SAY[fault.what], from_s, time.time() - self._began_s)

    async def _hurt_worker(self, what: str, for_s: float) -> None:
        """One after the other, the oldest first."""
        workers = sorted(pid for pid, parent in cpu.parents().items() if parent == self._supervisor)
        if not workers:
            raise DevstackError("the gateway has no worker to hurt")
        pid = workers[self._next_worker % len(workers)]
        self._next_worker += 1
        if what == "kill":
            os.kill(pid, signal.SIGKILL)
            return
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(for_s)
        finally:
            _go_on(pid)


def _go_on(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return  # the supervisor replaced it meanwhile, as it should


async def _for(begin: Callable[[], Awaitable[None]], end: Callable[[], Awaitable[None]], seconds: float) -> None:
    await begin()
    try:
        await asyncio.sleep(seconds)
    finally:
        await end()
