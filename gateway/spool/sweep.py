"""What a spool is done with: segments with nothing left are removed, adopted directories let go.

Decided here: when others may have a directory back.  Not decided here: when a segment is done with
(core/backlog.py).  What cannot be removed is tried again with the next.

A segment that the disk did not give all of is looked at once more before it goes, and one that could not even be opened
now and then.  What is found then is late: it joins behind all there is, as another worker's records do that are adopted.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from gateway import logs
from gateway.core.part import Part
from gateway.disk import Disk
from gateway.errors import ConfigError
from gateway.spool.books import Books
from gateway.spool.segments import Held, Recovered, Segments, held_of
from gateway.spool.tasks import Tasks

AGAIN_S: Final = 60.0


class Sweep:
    """One spool's."""

    def __init__(self, disk: Disk, books: Books, tasks: Tasks) -> None:
        self._disk = disk
        self._books = books
        self._tasks = tasks
        self._doomed: list[Held] = []
        self._adopted: list[Segments] = []
        self.on_late: Callable[[], object] = lambda: None  # called when records were found late

    def adopted(self, segments: Segments) -> None:
        """A directory that is locked by us, until nothing in it is left."""
        self._adopted.append(segments)

    def begin(self) -> None:
        """Remove what is done with by now, in the background."""
        done = self._books.backlog.drop_done()
        if done:
            self._doomed += map(held_of, done)
            self._tasks.run("sweep", self._sweep)
        if self._unopened():
            self._tasks.run("again", self._look_again)

    async def _sweep(self) -> None:
        while self._doomed:
            held = self._doomed[0]
            try:
                late = await self._disk.run(partial(self._let_go, held))
            except FileNotFoundError:
                late = None
            except OSError as exc:
                logs.warning("a segment of the spool cannot be removed", name=held.name, reason=exc.strerror)
                return
            del self._doomed[0]
            self._books.size_bytes -= held.part.size
            if late is not None:
                self._books.take_over(late)
                self.on_late()
            for segments in [one for one in self._adopted if not self._keeps(one)]:
                self._adopted.remove(segments)
                await self._disk.run(segments.unlock)

    def _let_go(self, held: Held) -> Recovered | None:
        """In the disk's thread: remove it, unless it has something for us still."""
        if held.is_unread:
            with suppress(OSError):
                late = held.segments.again(held, self._books.backlog)
                if late.frames:
                    return late
        held.segments.remove(held)
        return None

    def _unopened(self) -> list[Part]:
        return [part for part in self._books.backlog.parts if part.aside and not part.frames]

    async def _look_again(self) -> None:
        while unopened := self._unopened():
            await asyncio.sleep(AGAIN_S)
            for part in unopened:
                held = held_of(part)
                with suppress(OSError, ConfigError):  # its key may be gone: that is told at the next start
                    late = await self._disk.run(partial(held.segments.again, held, self._books.backlog))
                    self._books.forget(part)
                    self._books.take_over(late)
                    self.on_late()
        self.begin()

    def _keeps(self, segments: Segments) -> bool:
        return any(held.segments is segments for held in (*map(held_of, self._books.backlog.parts), *self._doomed))

    async def close(self) -> None:
        """Let all of them go."""
        for segments in self._adopted:
            await self._disk.run(segments.unlock)
