"""What a spool is done with: segments with nothing left are removed, adopted directories let go.

Decided here: when others may have a directory back.  Not decided here: when a segment is done with
(core/backlog.py).  What cannot be removed is tried again with the next.

A segment that the disk did not give all of is looked at once more before it goes.  Where that tells nothing new it is
aside, as one is that gave nothing from the start, and looked at every minute: a disk may be away for longer than its
records wait.  What is found then is late: it joins behind all there is, as another worker's records do that are adopted.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from gateway import logs
from gateway.core.part import Part
from gateway.disk import Disk
from gateway.errors import ConfigError
from gateway.spool.books import Books
from gateway.spool.segments import Held, Recovered, Segments, held_of
from gateway.spool.tasks import Tasks

AGAIN_S: Final = 60.0
# Of a segment that was read but for some blocks: they are bad, and a person may try.  Each look reads all of it.
LOOKS_MAX: Final = 10


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

    @property
    def directories(self) -> list[Path]:
        """Those of others that are locked by us."""
        return [segments.directory for segments in self._adopted]

    def begin(self) -> None:
        """Remove what is done with by now, in the background."""
        done = self._books.backlog.drop_done()
        if done:
            self._doomed += map(held_of, done)
            self._tasks.run("sweep", self._sweep)
        self._ask_again()

    def _ask_again(self) -> None:
        if self._unread():
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
                self._ask_again()
            await self._unlock()

    async def _unlock(self) -> None:
        for segments in [one for one in self._adopted if not self._keeps(one)]:
            self._adopted.remove(segments)
            await self._disk.run(segments.unlock)

    def _let_go(self, held: Held) -> Recovered | None:
        """In the disk's thread: remove it, unless it has something for us still."""
        if held.is_unread:
            try:
                late = held.segments.again(held, self._books.backlog)
            except FileNotFoundError:
                raise
            except OSError:
                late = held.segments.unseen(held)
            if late.frames or late.held[0].is_unread:
                return late
            held.is_unread = False
        held.segments.remove(held)
        return None

    def _unread(self) -> list[Part]:
        return [part for part in self._books.backlog.parts if part.aside and not part.frames]

    async def _look_again(self) -> None:
        while unread := self._unread():
            await asyncio.sleep(AGAIN_S)
            for part in unread:
                await self._look_at(part)
            self.begin()

    async def _look_at(self, part: Part) -> None:
        held = held_of(part)
        held.looks += 1
        try:
            late = await self._disk.run(partial(held.segments.again, held, self._books.backlog))
            is_kept = not late.frames and late.held[0].is_unread and await self._given_up(held)
        except (OSError, ConfigError):  # its key may be gone: that is told at the next start
            return
        if late.frames or not late.held[0].is_unread:
            self._books.forget(part)
            self._books.take_over(late)
            self.on_late()
        elif is_kept:
            self._books.forget(part)
            await self._unlock()

    async def _given_up(self, held: Held) -> bool:
        """Whether it is a person's from now on.  One that never gave a frame never is: the next start may find all of it."""
        return bool(held.known) and held.looks >= LOOKS_MAX and await self._disk.run(partial(held.segments.keep, held))

    def _keeps(self, segments: Segments) -> bool:
        return any(held.segments is segments for held in (*map(held_of, self._books.backlog.parts), *self._doomed))

    async def close(self) -> None:
        """Let all of them go."""
        for segments in self._adopted:
            await self._disk.run(segments.unlock)
