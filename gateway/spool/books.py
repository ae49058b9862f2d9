"""The books of one worker's spool: which sequences were given, what waits, and how many bytes that takes.

Decided here: what is refused for its bytes, and which sequences belong to whom.  Not decided here: what waits where
(core/backlog.py), and everything that touches the disk.  Only the loop writes in them; nothing here blocks or waits.
"""

from collections.abc import Sequence

from gateway.config import Spool as Settings
from gateway.core.backlog import Backlog
from gateway.core.part import Part
from gateway.spool.segments import Group, Held, Recovered, Segments, held_of


class Books:
    """What is known of a spool without asking its disk."""

    def __init__(self, settings: Settings, own: Segments, reserved_for: str) -> None:
        """Args: own: the directory that is written to; reserved_for: the topic that the last bytes are kept for."""
        self._bytes_max = settings.bytes_max
        self._reserve_bytes = settings.signups_reserve_bytes
        self._own = own
        self._reserved_for = reserved_for
        self.backlog = Backlog()
        self.current: Held | None = None  # the segment that is written to
        self.next = 0  # the sequence that is given next
        self.size_bytes = 0
        self.promised_bytes = 0  # at most, of appends that are still to be written
        self.frames_set_aside = 0  # damaged, or not readable; each may have held several records
        self.segments_damaged = 0  # when they were found

    # Bytes

    def has_room(self, added_bytes: int, topic: str) -> bool:
        """Whether so much more of this topic is within the bound."""
        reserve = 0 if topic == self._reserved_for else self._reserve_bytes
        return self.size_bytes + self.promised_bytes + added_bytes <= self._bytes_max - reserve

    def grew(self, written_bytes: int) -> Part:
        """The segment that is written to is so much longer now."""
        assert self.current is not None
        self.current.part.size += written_bytes
        self.size_bytes += written_bytes
        return self.current.part

    # What is taken in: sequences, frames, segments

    def give(self, records: int) -> int:
        """The first of so many sequences in a row, none of them given before."""
        first, self.next = self.next, self.next + records
        return first

    def book(self, placed: Sequence[tuple[Group, int]], written_bytes: int) -> None:
        """What was synced waits from now on."""
        if placed:
            part = self.grew(written_bytes)
            for group, place in placed:
                self.backlog.put(part, group.first, len(group.records), group.lane, place, group.records[0].timestamp_ms)

    def activate(self, held: Held) -> None:
        """A new segment is written to: nothing more comes into those before it."""
        for part in self.backlog.parts:
            part.is_sealed = part.is_sealed or held_of(part).segments is held.segments
        self.current = held
        self.backlog.add(held.part)
        self.size_bytes += held.part.size

    def take_in(self, found: Recovered) -> None:
        """What was found in a directory."""
        for held in found.held:
            self.backlog.add(held.part)
            self.size_bytes += held.part.size
        self.note_damage(found)

    def note_damage(self, found: Recovered) -> None:
        """What cannot be taken in."""
        self.frames_set_aside += found.set_aside
        self.segments_damaged += found.damaged

    def take_over(self, found: Recovered) -> int:
        """What was found in another worker's directory: behind all of ours, and before what is given from now on.

        One sequence is left out: a segment that is being made this very moment may begin with it.
        Returns by how much its sequences are higher here.
        """
        shift = self.next + 1 - found.held[0].part.first
        for held in found.held:
            held.part.first += shift
            held.part.is_sealed = True
        self.next = found.next_sequence + shift
        self.take_in(found)
        return shift

    def forget(self, part: Part) -> None:
        """A segment of which nothing was found, and that has joined anew."""
        self.backlog.parts.remove(part)
        self.size_bytes -= part.size

    # What becomes of it

    def put_aside(self, sequences: range) -> None:
        """A frame that cannot be read."""
        if self.backlog.put_aside(sequences):
            self.frames_set_aside += 1

    @property
    def records_aside(self) -> int:
        """Records that this process replays no more, and that stay where they are."""
        return sum(part.aside for part in self.backlog.parts)

    @property
    def is_own_empty(self) -> bool:
        """Nothing of our own directory waits, and nothing was put aside."""
        return not any(part.waiting or part.aside for part in self._own_parts())

    @property
    def watermark(self) -> int:
        """Every sequence of our own directory below this one is settled.

        It ends where our last segment does: what was given since, or taken over, is in none of ours, and a kill could let it be given again.
        """
        own = self._own_parts()
        return self.backlog.watermark(own, own[-1].end if own else 0)

    def _own_parts(self) -> list[Part]:
        return [part for part in self.backlog.parts if held_of(part).segments is self._own]
