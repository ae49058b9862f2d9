"""What a spool is done with: segments with nothing left are removed, adopted directories let go.

Decided here: when others may have a directory back.  Not decided here: when a segment is done with
(core/backlog.py).  What cannot be removed is tried again with the next.
"""

from functools import partial

from gateway import logs
from gateway.disk import Disk
from gateway.segments import Held, Segments, held_of
from gateway.spool_books import Books
from gateway.spool_tasks import Tasks


class Sweep:
    """One spool's."""

    def __init__(self, disk: Disk, books: Books, tasks: Tasks) -> None:
        self._disk = disk
        self._books = books
        self._tasks = tasks
        self._doomed: list[Held] = []
        self._adopted: list[Segments] = []

    def adopted(self, segments: Segments) -> None:
        """A directory that is locked by us, until nothing in it is left."""
        self._adopted.append(segments)

    def begin(self) -> None:
        """Remove what is done with by now, in the background."""
        done = self._books.backlog.drop_done()
        if done:
            self._doomed += map(held_of, done)
            self._tasks.run("sweep", self._sweep)

    async def _sweep(self) -> None:
        while self._doomed:
            held = self._doomed[0]
            try:
                await self._disk.run(partial(held.segments.remove, held))
            except FileNotFoundError:
                pass
            except OSError as exc:
                logs.warning("a segment of the spool cannot be removed", name=held.name, reason=exc.strerror)
                return
            del self._doomed[0]
            self._books.size_bytes -= held.part.size
            for segments in [one for one in self._adopted if not self._keeps(one)]:
                self._adopted.remove(segments)
                await self._disk.run(segments.unlock)

    def _keeps(self, segments: Segments) -> bool:
        return any(held.segments is segments for held in (*map(held_of, self._books.backlog.parts), *self._doomed))

    async def close(self) -> None:
        """Let all of them go."""
        for segments in self._adopted:
            await self._disk.run(segments.unlock)
