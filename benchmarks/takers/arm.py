"""An arm's process as the harness sees it.  One that cannot be measured answers why, round after round, and harms no other."""

import asyncio
import json
import sys
from typing import Self

from benchmarks import machine
from benchmarks.takers import loop

START_TIMEOUT_S = 20.0
# A round ends with the answers that are under way; a store that is gone is told by the libraries within this.
PATIENCE_S = 15.0
STOP_TIMEOUT_S = 5.0


class Arm:
    """One limiter in a process of its own."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Take over a process that was just started."""
        self.name = name
        self.note = ""
        self.error = ""  # why nothing more is to be expected of it
        self._process = process

    @classmethod
    async def start(cls, name: str, url: str, cores: frozenset[int]) -> Self:
        """Start it on its cores and wait for its first line."""
        with machine.pinned(cores):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.takers", name, url),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        arm = cls(name, process)
        hello = await arm._line(START_TIMEOUT_S)
        if hello:
            said = json.loads(hello)
            arm.note, arm.error = said["note"], said["error"]
        return arm

    async def run(self, job: loop.Job) -> loop.Answered:
        """Do one round."""
        if self.error:
            return loop.broken(self.error)
        assert self._process.stdin is not None  # a pipe, above
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        line = await self._line(job["seconds"] + PATIENCE_S)
        if not line:
            return loop.broken(self.error)
        answered: loop.Answered = json.loads(line)
        return answered

    async def stop(self) -> None:
        """Close its stdin, which ends it; kill it when that does not."""
        assert self._process.stdin is not None  # a pipe, above
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _line(self, timeout_s: float) -> bytes:
        assert self._process.stdout is not None  # a pipe, above
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            self.error = f"silent for {timeout_s:.0f} s"
            return b""
        if not line:
            self.error = f"its process ended with {await self._process.wait()}"
        return line
