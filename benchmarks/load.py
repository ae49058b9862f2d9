"""One interface over two load generators: our own process, and `wrk` where it is installed.

Both keep `connections` keep-alive connections busy for `seconds` and say what was answered,
how long it took, and how busy they were themselves.  wrk is told apart from the rest in three
things: it counts whole seconds only, it tells refusals (status over 399) but no other status,
and its run-queue time cannot be read once it has ended, so its busy share is its CPU alone.
"""

import asyncio
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from benchmarks import open_generator
from benchmarks.generator import PATIENCE_S, Answered, Job

WRK_SCRIPT = Path(__file__).with_name("wrk.lua")
# Every process gets this long to come up with an answer beyond the round itself.
GRACE_S = 20.0


class GeneratorError(RuntimeError):
    """The load generator itself failed; nothing was measured."""


class Generator(Protocol):
    """What can put load on a port."""

    name: str

    async def run(self, job: Job) -> Answered:
        """Do one round."""

    async def close(self) -> None:
        """End whatever was started."""


def choose(wanted: str) -> Generator:
    """Return the generator named `asyncio`, `wrk`, or the better one there is for `auto`."""
    wrk = shutil.which("wrk")
    if wanted == "wrk" and wrk is None:
        raise GeneratorError("wrk is not on the PATH: install it or use --generator asyncio")
    if wrk is not None and wanted in ("auto", "wrk"):
        return Wrk(wrk)
    return OwnProcess()


class Piped:
    """A module of ours in a process of its own, kept between jobs so that its start is not part of them: a line in, a line out."""

    def __init__(self, module: str) -> None:
        """Start nothing yet: the first job does."""
        self._module = module
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, job: Mapping[str, Any], seconds: float) -> Any:
        """Send the job down the pipe and wait for its line, so long and some more."""
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._module,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=WRK_SCRIPT.parent.parent,
            )
        process = self._process
        assert process.stdin is not None  # both are pipes, above
        assert process.stdout is not None
        process.stdin.write(json.dumps(job).encode() + b"\n")
        try:
            async with asyncio.timeout(seconds + GRACE_S):
                line = await process.stdout.readline()
        except TimeoutError:
            raise GeneratorError(f"the load generator never finished {job}") from None
        if not line:
            raise GeneratorError(f"the load generator ended with {await process.wait()}")
        return json.loads(line)

    async def close(self) -> None:
        """Close its stdin, which ends it."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()


class OwnProcess(Piped):
    """benchmarks/generator.py: as many requests as connections can send one after the other."""

    name = "asyncio"

    def __init__(self) -> None:
        """Start nothing yet: the first round does."""
        super().__init__("benchmarks.generator")

    async def run(self, job: Job) -> Answered:
        """One round."""
        answered: Answered = await self.ask(job, job["seconds"] + PATIENCE_S)
        return answered


class OpenLoad(Piped):
    """benchmarks/open_generator.py: requests when they are due, answered or not."""

    def __init__(self) -> None:
        """Start nothing yet: the first job does."""
        super().__init__("benchmarks.open_generator")

    async def run(self, job: open_generator.Job) -> open_generator.Done:
        """All of a job's phases."""
        seconds = max(sum(seconds for seconds, _ in stream["phases"]) for stream in job["streams"])
        done: open_generator.Done = await self.ask(job, seconds + job["patience_s"])
        return done


class Wrk:
    """wrk with one thread and wrk.lua."""

    name = "wrk"

    def __init__(self, path: str) -> None:
        """Use the executable at `path`."""
        self._path = path

    async def run(self, job: Job) -> Answered:
        """Run wrk once and translate what it reports."""
        return await asyncio.to_thread(self._run, job)

    async def close(self) -> None:
        """Nothing outlives a round."""

    def _run(self, job: Job) -> Answered:
        command = [self._path, "-t1", f"-c{job['connections']}", f"-d{math.ceil(job['seconds'])}s"]
        command += [f"--timeout={PATIENCE_S:.0f}s", "-s", str(WRK_SCRIPT)]
        command += [f"http://127.0.0.1:{job['port']}/v1/syncs"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"WRK_TRAFFIC": job["traffic"]})
        started_s = time.perf_counter()
        assert process.stdout is not None  # a pipe, above
        with process.stdout as stdout:
            output = stdout.read().decode()
        # wait4 rather than wait(): it is what tells this one child's CPU time.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        lines = [line[4:] for line in output.splitlines() if line.startswith("WRK ")]
        if process.returncode or not lines:
            raise GeneratorError(f"wrk ended with {process.returncode}: {output[-500:]}")
        report = json.loads(lines[-1])
        share = (usage.ru_utime + usage.ru_stime) / (time.perf_counter() - started_s)
        return Answered(
            statuses={"202": report["requests"] - report["refused"], "4xx/5xx": report["refused"]},
            spooled=0,
            lost=report["lost"],
            seconds=report["seconds"],
            p50_ms=report["p50_ms"],
            p99_ms=report["p99_ms"],
            cpu_share=share,
            busy_share=share,
            error="",
        )
