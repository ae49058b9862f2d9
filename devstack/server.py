"""One server of the stack: started, paused, resumed, killed, started again, stopped.

The law: `start` and `restart` return when the server ANSWERS a question of its own
protocol, not when its process runs or its port opens.  What is particular to a server is
its launch (a command and a log) and that question; see kafka.py and valkey.py.

A server without a launch is somebody else's, known by its address only: it is asked the
same question at start, and everything that would end or freeze it raises NotOurs.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .errors import DevstackError, NotOurs, StartFailed, with_log_tail
from .guarded import GuardedProcess, start_guarded
from .processes import is_stopped

if TYPE_CHECKING:
    from pathlib import Path

# How long a server somebody else runs may take to answer once.
_EXISTING_ANSWER_S = 10.0
# Between two questions at start: small against the start, large against a question.
_ASK_EVERY_S = 0.05
# SIGSTOP takes effect within milliseconds; the rest is for a machine on its knees.
_STOPPED_S = 10.0
_LOOK_EVERY_S = 0.001


@dataclass(frozen=True)
class Launch:
    """How to start a server of ours."""

    command: tuple[str, ...]
    log_path: Path
    answer_s: float  # from start to the first answer, at most
    grace_s: float  # from SIGTERM to SIGKILL at the end; 0 = SIGKILL at once
    held_fds: tuple[int, ...] = ()


class Server(ABC):
    """A server, ours or existing.  All waits are bounded; see `Launch.answer_s`."""

    name: ClassVar[str]

    def __init__(self, launch: Launch | None) -> None:
        """Describe the server; nothing happens before `start`."""
        self._launch = launch
        self._process: GuardedProcess | None = None
        self._end_was_asked_for = False

    @property
    @abstractmethod
    def address(self) -> str:
        """What a client is configured with."""

    @abstractmethod
    async def ask(self) -> None:
        """Ask one question once; return if it was answered, raise anything if not."""

    @property
    def is_ours(self) -> bool:
        """True for a server this stack starts, False for an existing one."""
        return self._launch is not None

    @property
    def pid(self) -> int:
        """The process id of the server itself (not of its guard).

        Raises:
            NotOurs: somebody else started it.
        """
        return self._running("have the pid of").pid

    @property
    def log_path(self) -> Path:
        """Where the server writes its log.

        Raises:
            NotOurs: somebody else started it.
        """
        return self._ours("read the log of").log_path

    async def start(self) -> None:
        """Start the server, or find the existing one; return when it answers.

        Raises:
            StartFailed: it died or did not answer in time; nothing of it is left running.
        """
        if self._launch is None:
            await self._find_existing()
            return
        launch = self._launch
        launch.log_path.parent.mkdir(parents=True, exist_ok=True)
        with launch.log_path.open("ab") as log:
            self._process = await start_guarded(launch.command, grace_s=launch.grace_s, output=log, held_fds=launch.held_fds)
        self._end_was_asked_for = False
        try:
            await self._first_answer(self._process, launch)
        except BaseException:
            await self.stop()
            raise

    async def pause(self) -> None:
        """Freeze the server (SIGSTOP); on return connections are open and nothing answers.

        Raises:
            NotOurs: somebody else started it.
            DevstackError: its threads were not all stopped in time.
        """
        process = self._running("pause")
        process.signal(signal.SIGSTOP)
        # The signal returns before the threads have stopped: measured on a JVM, some still
        # ran after 64 of 150 pauses, and on a busy machine two of 150 sends were answered.
        try:
            async with asyncio.timeout(_STOPPED_S):
                while not process.has_ended and not is_stopped(process.pid):
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError as error:
            raise DevstackError(f"{self.name} did not freeze in {_STOPPED_S:.0f} s") from error

    async def resume(self) -> None:
        """Let a paused server go on (SIGCONT).

        Raises:
            NotOurs: somebody else started it.
        """
        self._running("resume").signal(signal.SIGCONT)

    async def kill(self) -> None:
        """Kill the server (SIGKILL), paused or not, and wait until it is gone; data stays.

        Raises:
            NotOurs: somebody else started it.
        """
        process = self._running("kill")
        self._end_was_asked_for = True
        process.signal(signal.SIGKILL)
        await process.wait()

    async def restart(self) -> None:
        """Start it again on the same data and port (killed first if running).

        Raises:
            NotOurs: somebody else started it.
            StartFailed: it died or did not answer in time.
        """
        await self.kill()
        await self.start()

    async def stop(self) -> None:
        """End the server if it is ours and running, and wait; never raises NotOurs."""
        if self._process is not None:
            self._end_was_asked_for = True
            await self._process.stop()

    def hand_over(self) -> GuardedProcess:
        """Let go of the running process; whoever takes it sees to its end.

        Raises:
            NotOurs: somebody else started it.
        """
        process = self._running("hand over")
        self._process = None
        return process

    async def wait_unasked_end(self) -> int:
        """Return the exit code when the server ends though nobody here ended it."""
        process = self._running("watch")
        while True:
            code = await process.wait()
            if not self._end_was_asked_for:
                return code
            # Killed on purpose: what counts is the process `restart` puts in its place.
            await asyncio.sleep(_ASK_EVERY_S)
            process = self._running("watch")

    def _ours(self, wish: str) -> Launch:
        if self._launch is None:
            raise NotOurs(f"cannot {wish} {self.name} at {self.address}: it is not ours")
        return self._launch

    def _running(self, wish: str) -> GuardedProcess:
        self._ours(wish)
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    def _take_over(self, process: GuardedProcess) -> None:
        """Go on with another process, which answers at our address, in place of the ended one."""
        # Without an await in between: `wait_unasked_end` must see both or neither.
        self._process, self._end_was_asked_for = process, False

    async def _find_existing(self) -> None:
        try:
            async with asyncio.timeout(_EXISTING_ANSWER_S):
                await self.ask()
        except Exception as error:
            why = f"{type(error).__name__}: {error}".rstrip(": ")
            raise StartFailed(f"the existing {self.name} at {self.address} does not answer: {why}") from error

    async def _first_answer(self, process: GuardedProcess, launch: Launch) -> None:
        answer = asyncio.create_task(self._ask_until_answered())
        end = asyncio.create_task(process.wait())
        try:
            await asyncio.wait({answer, end}, timeout=launch.answer_s, return_when=asyncio.FIRST_COMPLETED)
            if end.done():
                what = f"{self.name} ended with code {end.result()} while starting"
                raise StartFailed(with_log_tail(what, launch.log_path))
            if not answer.done():
                what = f"{self.name} did not answer within {launch.answer_s:.0f} s"
                raise StartFailed(with_log_tail(what, launch.log_path))
            await answer
        finally:
            for task in (answer, end):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, DevstackError):
                    await task

    async def _ask_until_answered(self) -> None:
        while True:
            try:
                await self.ask()
            except DevstackError:  # a client library is missing: no answer will ever come
                raise
            except Exception:  # noqa: BLE001
                # "Not yet": which exceptions a half-started server provokes in a client
                # library is nobody's promise.  The caller holds the deadline.
                await asyncio.sleep(_ASK_EVERY_S)
            else:
                return
