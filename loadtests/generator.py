"""Locust as a process of its own: started, followed by its progress, ended.

It has a session of its own, so that all its processes can be ended at once, and is tethered: when this process is killed
with -9 the kernel kills Locust, and those it forked.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks import sut
from loadtests.crowd import tethered
from loadtests.scenario import Scenario
from loadtests.target import Target

LEAD_S: Final = 6.0  # from starting Locust to the first arrival: importing it takes two, and a busy machine more
_LATE_S: Final = 60.0  # beyond the scenario's end, for who still has an answer to come and for writing it all down
_STOP_S: Final = 5.0
Progress = Mapping[str, Any]


class GeneratorError(Exception):
    """Locust did not get to its end: the harness broke."""


class Generator:
    """One rehearsal's load."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path, began_s: float, log: Path) -> None:
        self._process = process
        self._log = log
        self.directory = directory
        self.began_s = began_s  # of the epoch

    @property
    def pid(self) -> int:
        """Of the first of its processes."""
        return self._process.pid

    async def follow(self, scenario: Scenario, tell: Callable[[Progress], None]) -> None:
        """Until all is sent and answered.

        Raises:
            GeneratorError: it ended with something else than 0, or does not end.
        """
        assert self._process.stdout is not None
        until_s = self.began_s + scenario.seconds + scenario.drain_s + _LATE_S
        try:
            async with asyncio.timeout(until_s - time.time()):
                async for line in self._process.stdout:
                    if line.startswith(b'{"progress"'):
                        tell(json.loads(line)["progress"])
                code = await self._process.wait()
        except TimeoutError:
            raise GeneratorError(f"the generator does not end; {self._last_words()}") from None
        if code:
            raise GeneratorError(f"the generator ended with {code}; {self._last_words()}")

    def parts(self) -> list[Path]:
        """What each of its processes left."""
        return sorted(path for path in self.directory.iterdir() if path.is_dir())

    def _last_words(self) -> str:
        return " / ".join(self._log.read_text(errors="replace").splitlines()[-5:])


@asynccontextmanager
async def sending(path: Path, target: Target, run: int, directory: Path, processes: int) -> AsyncIterator[Generator]:
    """Start it; whatever happens it has ended afterwards.

    Args:
        path: the scenario's file, which Locust's processes read themselves.
        directory: an empty one, where they leave what they recorded.
    """
    began_s = time.time() + LEAD_S
    argv = [sys.executable, "-m", "locust", "-f", str(sut.ROOT / "loadtests" / "locustfile.py"), "--headless", "--host", target.url]
    argv += ["--scenario", str(path), "--run", str(run), "--record", str(directory), "--begin-at", repr(began_s)]
    argv += ["--secret-file", str(target.secret_file)] if target.secret_file else []
    argv += ["--tokens", str(target.tokens_file)] if target.tokens_file else []
    argv += ["--processes", str(processes)] if processes > 1 else []
    log = directory / "locust.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *tethered.command(argv),
            stdout=asyncio.subprocess.PIPE,
            stderr=output,
            cwd=sut.ROOT,
            env=os.environ | {"PYTHONPATH": str(sut.ROOT)},
            start_new_session=True,
        )
    try:
        yield Generator(process, directory, began_s, log)
    finally:
        await asyncio.shield(_end(process))


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _STOP_S)
        os.killpg(process.pid, signal.SIGKILL)  # its own session: nobody else's processes are in it
    await process.wait()
