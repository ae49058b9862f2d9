"""What a spool does behind its callers' backs: each kind of work at most once at a time, and a bug in it is loud."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial


class Tasks:
    """The background tasks of one spool, by name."""

    def __init__(self, on_bug: Callable[[], object]) -> None:
        """Args: on_bug: called when a task has ended with an error that nobody expected."""
        self._on_bug = on_bug
        self._running: dict[str, asyncio.Task[None]] = {}
        self.failure: BaseException | None = None

    def run(self, name: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Begin it, unless it runs."""
        if name not in self._running or self._running[name].done():  # done, and its callback still to come
            task = asyncio.get_running_loop().create_task(work())
            self._running[name] = task
            task.add_done_callback(partial(self._ended, name))

    def cancel(self, name: str) -> None:
        """End it where it waits, if it runs."""
        if name in self._running:
            self._running[name].cancel()

    async def idle(self) -> None:
        """Return when none runs."""
        while self._running:
            await asyncio.wait([*self._running.values()])
            await asyncio.sleep(0)  # their callbacks take them out

    def _ended(self, name: str, task: "asyncio.Task[None]") -> None:
        if self._running[name] is task:
            del self._running[name]
        if not task.cancelled() and (exc := task.exception()):
            self.failure = exc
            self._on_bug()
