"""Records that Kafka refuses for good after their 202: kept apart, for a person to look at.

Decided here: how many bytes of them.  They stand in `rejected/` beside the segments, in segments of the same form
with sequences of their own, and are never replayed or removed by us.  With no room left nothing is written: then the
record stays where it is.

How much there is has to be known from the start, for it is lit; by the files' sizes, since most starts add nothing.
"""

import errno
from collections.abc import Sequence
from contextlib import suppress

from gateway import logs
from gateway.core import record as form
from gateway.core.backlog import Backlog
from gateway.errors import ConfigError
from gateway.spool.segments import Group, Held, Segments


class Rejected:
    """One worker's.  In the disk's thread, under the spool's lock."""

    def __init__(self, segments: Segments, bytes_max: int) -> None:
        self.segments = segments
        self.kept_bytes = 0  # by the last look, and what came since
        self._bytes_max = bytes_max
        self._size_bytes: int | None = None
        self._next = 0
        self._held: Held | None = None

    def look(self) -> None:
        """Learn how much there is; and say at once what a person would find too late: that it cannot be opened."""
        self.kept_bytes = kept_bytes(self.segments)
        with suppress(OSError):  # that was said just now
            for name in self.segments.foreign():
                logs.error("rejected records were sealed with a key that is not there", name=name)

    def keep(self, groups: Sequence[Group]) -> bool:
        """False: no room, or nobody can tell how much there is.  Raises OSError; asking again is no harm."""
        try:
            return self._keep(groups)
        except ConfigError as exc:
            logs.error("a rejected record cannot be kept apart", reason=str(exc))
            return False
        except OSError:
            self._held = None
            raise

    def _keep(self, groups: Sequence[Group]) -> bool:
        if self._size_bytes is None:
            self._begin()
        assert self._size_bytes is not None
        added_bytes = form.HEADER_BYTES + sum(form.frame_bytes_max(group.lane[0], group.records) for group in groups)
        if self._size_bytes + added_bytes > self._bytes_max:
            return False
        numbered = []
        first = self._next
        for group in groups:
            numbered.append(group._replace(first=self._next))
            self._next += len(group.records)
        if self._held is None:
            self._held = self.segments.begin(first, added_bytes)
        self._size_bytes += added_bytes
        _, written_bytes = self.segments.commit(numbered)
        self._held.part.size += written_bytes
        self.kept_bytes += written_bytes
        return True

    def _begin(self) -> None:
        if not self.segments.lock():
            raise OSError(errno.EBUSY, "another process has it")  # who sat here before, and is about to end
        try:
            found = self.segments.recover(Backlog())
        except BaseException:
            self.segments.unlock()
            raise
        self._next, self._size_bytes = found.next_sequence, sum(held.part.size for held in found.held)


def kept_bytes(segments: Segments) -> int:
    """What lies in such a directory, whoever has it; 0 where the disk does not say."""
    try:
        return segments.frames_bytes()
    except OSError as exc:
        logs.warning("nobody knows what was rejected", reason=exc.strerror)
        return 0
