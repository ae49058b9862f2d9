"""One directory of a spool: its segment files, made, appended to, recovered and removed.  Everything here blocks.

Decided here: the order of writes and syncs.  Not decided here: who may append, and what is replayed when
(spool_commits.py, spool_replay.py); the bytes (core/record.py); what waits (core/backlog.py).

    <directory>/<first sequence>-<salt>-<key id>.spool

Making a segment: the file, its header, sync; then the directory's sync.  Only then is it written to.  A commit
is one append and one sync.  After a failed sync nobody knows what is on disk: the segment is left as it is, and
what comes next begins another one.  A cut tail is never appended to either: every start begins another segment.

What a kill or a power cut can leave, and what recovery does about it, in this order:

    1  a file of our name that is empty or has half a header: the name says as much, and it has no frames
    2  a segment with a torn tail: core/record.py finds its good frames; the tail stays and is not read again
    3  a segment with damage in the middle: the frames before and behind it count, what is damaged is counted
    4  blocks that cannot be read: they are read as zeros, so it is 3
    5  a segment whose removal was not yet durable: its records are sent again, which their ids give away
    6  a file of another name: left alone; so are segments that had damage and are kept for a person, `.damaged`
    7  then a new segment, behind every sequence that may have been given; only now may an older one be removed,
       so that no sequence is ever given twice

A second recovery finds the same, and one empty segment more that goes with the next.
"""

import errno
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway import logs
from gateway.core import record as form
from gateway.core.backlog import Backlog, Lane
from gateway.core.event import Record
from gateway.core.part import Part, Rows
from gateway.disk import Disk, File
from gateway.errors import ConfigError

_SUFFIX: Final = ".spool"
_DAMAGED_SUFFIX: Final = ".damaged"
# Four segments of the default size: a disk that damages more is not read by hand, and these bytes drain by themselves never.
DAMAGED_BYTES_MAX: Final = 256 << 20
_BLOCK_BYTES: Final = 4096  # what a disk reads at a time: beside an unreadable one the others are read


class Cipher:
    """AES-GCM as core/record.py asks for it."""

    def __init__(self, key: bytes) -> None:
        self._aes = AESGCM(key)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        return self._aes.encrypt(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        try:
            return self._aes.decrypt(nonce, data, associated_data)
        except InvalidTag as exc:
            raise ValueError("not what was sealed") from exc


class Held:
    """One segment of ours: its file, its key, and its frames."""

    def __init__(self, segments: "Segments", name: str, segment: form.Segment, first: int) -> None:
        """Args: first: its first sequence in this process."""
        self.segments = segments
        self.name = name
        self.segment = segment
        self.cipher = Cipher(form.segment_key(segments.secrets[segment.key_id], segment.salt))
        self.part = Part(first, self)
        self.is_damaged = False  # it has frames that were damaged when it was found

    @property
    def path(self) -> Path:
        return self.segments.directory / self.name


def held_of(part: Part) -> Held:
    """The segment whose frames these are."""
    assert isinstance(part.owner, Held)
    return part.owner


Opened = tuple[form.Frame, list[Record]]


class Group(NamedTuple):
    """Records of one lane with sequences in a row: a frame."""

    lane: Lane
    first: int
    records: Sequence[Record]


class Recovered(NamedTuple):
    """What was found in a directory."""

    held: list[Held]
    next_sequence: int
    frames: int
    set_aside: int  # gaps with good frames behind them, and segments that cannot be opened
    torn_bytes: int
    damaged: int  # segments: those with a gap, those that cannot be opened, and those kept for a person


class Segments:
    """One directory.  One thread at a time."""

    def __init__(
        self, disk: Disk, directory: Path, secrets: Sequence[bytes], random: Callable[[int], bytes] = os.urandom, *, spares: Sequence[Path] = ()
    ) -> None:
        """Args: secrets: all that segments may have been written with, new ones are with the first; spares: the first is taken that nobody is in, where somebody is in the directory."""
        self.directory = directory
        self._candidates = (directory, *spares)
        self.secrets = {form.key_id(secret): secret for secret in secrets}
        self._key_id = form.key_id(secrets[0])
        self._disk = disk
        self._random = random
        self._unlock: Callable[[], None] | None = None
        self._active: Held | None = None
        self._file: File | None = None
        self._leftover: Path | None = None

    # Start and stop

    def lock(self) -> bool:
        """Make the directory if need be, and keep others out.  False: another process is in, and in each of the spares."""
        for candidate in self._candidates:
            self._disk.make_directory(candidate)
            self._unlock = self._disk.lock(candidate)
            if self._unlock is not None:
                self.directory = candidate
                return True
        return False

    def unlock(self) -> None:
        """Close what is open, and let others in."""
        self.abandon()
        if self._unlock is not None:
            self._unlock()
            self._unlock = None

    def recover(self, backlog: Backlog) -> Recovered:
        """All of `recovering` at once."""
        return next(found for found in self.recovering(backlog) if found is not None)

    def recovering(self, backlog: Backlog) -> Iterator[Recovered | None]:
        """Find every good frame, step by step: None while there is more to read.  The segments found are not in the backlog yet.

        Args: backlog: whose lanes' numbers are used.

        Raises:
            ConfigError: a segment was written with a key that is not among the secrets.
        """
        held: list[Held] = []
        kept, unopened = len(self._damaged()), 0
        end = next_sequence = set_aside = torn_bytes = frames = 0
        for name in sorted(name for name in self._disk.names(self.directory) if name.endswith(_SUFFIX)):
            try:
                file = self._disk.open(self.directory / name)
            except OSError as exc:
                # It may come back, and with it whatever was given in it.
                logs.error("a segment of the spool cannot be opened", name=name, reason=exc.strerror)
                next_sequence, set_aside = max(next_sequence, _after(name)), set_aside + 1
                unopened += 1
                continue
            try:
                one = self._known(name, file, end)
                if one is None:
                    continue
                gaps = yield from _fill(one, file, backlog)
            finally:
                _close(file)
            held.append(one)
            end, frames = one.part.end, frames + one.part.frames
            one.part.pack()
            set_aside, torn_bytes = set_aside + gaps.set_aside, torn_bytes + gaps.torn_bytes
            next_sequence = max(next_sequence, one.part.first + gaps.next_sequence - one.segment.first)
        if frames or set_aside:
            logs.info("a spool was recovered", directory=self.directory.name, frames=frames, set_aside=set_aside, torn_bytes=torn_bytes)
        damaged = kept + unopened + sum(one.is_damaged for one in held)
        yield Recovered(held, max(next_sequence, end), frames, set_aside, torn_bytes, damaged)

    def _known(self, name: str, file: File, first: int) -> Held | None:
        segment = form.read_segment(name, _readable(file, 0, form.HEADER_BYTES))
        if segment is None:
            logs.warning("a file in the spool is none of its own, and left alone", name=name)
            return None
        if segment.key_id not in self.secrets:
            raise ConfigError(f"spool {self.directory / name}: written with a key that is not there (key id {segment.key_id.hex()}): want it back")
        # Its own sequences, unless a segment before it has them too: then somebody copied a file.
        return Held(self, name, segment, max(segment.first, first))

    # Writing

    def begin(self, first: int, bytes_free_min: int) -> Held:
        """A new segment for what comes from the sequence `first` on; durable when this returns."""
        self.abandon()
        if self._leftover is not None:  # of a try that failed: else a disk that fails for hours fills with them
            self._disk.unlink(self._leftover)
            self._leftover = None
        if self._disk.free_bytes(self.directory) < bytes_free_min:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        segment = form.Segment(first, self._random(form.SALT_BYTES), self._key_id)
        held = Held(self, form.segment_name(segment), segment, first)
        file = self._disk.create(held.path)
        try:
            self._leftover = held.path
            file.append(form.segment_header(segment))
            file.sync()
            self._disk.sync_directory(self.directory)
        except OSError:
            _close(file)
            raise
        self._active, self._file, self._leftover = held, file, None
        held.part.size = form.HEADER_BYTES
        return held

    def has_room(self, added_bytes: int, segment_bytes: int) -> bool:
        """Whether so many bytes more still belong into the segment that is written to."""
        return self._active is not None and (not self._active.part.frames or self._active.part.size + added_bytes <= segment_bytes)

    def commit(self, groups: Sequence[Group]) -> tuple[list[tuple[Group, int]], int]:
        """Write the groups and sync once: (the places of their frames, bytes written).

        Raises OSError; then the segment is not written to any more, and nobody may be told that they are durable.
        """
        held, file = self._active, self._file
        assert held is not None, "begin() first"
        assert file is not None
        place, placed, frames = held.part.size, [], []
        for group in groups:
            placed.append((group, place))
            frames.append(form.frame(*group.lane, group.first, group.records, held.segment.salt, held.cipher))
            place += len(frames[-1])
        try:
            file.append(b"".join(frames))
            file.sync()
        except OSError:
            self.abandon()
            raise
        return placed, place - held.part.size

    def abandon(self) -> None:
        """Write no more to the newest segment."""
        if self._file is not None:
            _close(self._file)
        self._active = self._file = None

    # Reading and removing

    def read(self, held: Held, places: Sequence[tuple[int, int]]) -> list[Opened | OSError | None]:
        """The frames at these (place, length at most), opened; None for one that is not as it was written.

        Where the disk does not give one, its error stands last, and those behind it are not asked for.
        """
        try:
            file = self._disk.open(held.path)
        except OSError as exc:
            return [exc]
        read: list[Opened | OSError | None] = []
        try:
            for place, length_max in places:
                read.append(_opened(held, file.read(place, length_max), place))
        except OSError as exc:
            read.append(exc)
        finally:
            _close(file)
        return read

    def remove(self, held: Held) -> None:
        """Remove a segment.  Not synced: one that comes back is sent again.

        What is damaged in it was not sent, and a person may still read most of that: so it is kept under another name,
        and replayed no more, while there are few such.
        """
        if held.is_damaged and self._damaged_bytes() + held.part.size <= DAMAGED_BYTES_MAX:
            self._disk.rename(held.path, held.path.with_suffix(_DAMAGED_SUFFIX))
            logs.error("a segment of the spool is kept for its damaged frames", name=held.path.with_suffix(_DAMAGED_SUFFIX).name)
        else:
            self._disk.unlink(held.path)

    def _damaged_bytes(self) -> int:
        return sum(self._disk.size(path) for path in self._damaged())

    def _damaged(self) -> list[Path]:
        return [self.directory / name for name in self._disk.names(self.directory) if name.endswith(_DAMAGED_SUFFIX)]

    def frames_bytes(self) -> int:
        """What there is beside the headers, whether it can be read or not.  By the files' sizes: it costs no reading."""
        sizes = [self._disk.size(self.directory / name) for name in self._disk.names(self.directory) if name.endswith(_SUFFIX)]
        return sum(max(size - form.HEADER_BYTES, 0) for size in sizes)


def _after(name: str) -> int:
    """No sequence in the segment of this name is this or higher, for no segment has so many bytes."""
    segment = form.read_segment(name, b"")
    return segment.first + 2**32 // form.ENTRY_BYTES_MIN if segment else 0


class _Gaps(NamedTuple):
    set_aside: int
    torn_bytes: int
    next_sequence: int  # on disk: none that was given in this segment is this or higher


def _fill(held: Held, file: File, backlog: Backlog) -> Generator[None, None, _Gaps]:
    """Put a segment's frames into its part, and count what is between and behind them; a step is what is read at once."""
    part, shift = held.part, held.part.first - held.segment.first
    part.size = max(file.size(), form.HEADER_BYTES)
    set_aside = torn = torn_bytes = 0
    next_sequence = held.segment.first
    numbers: dict[bytes, int] = {}
    for found in form.recover(lambda offset, size: _readable(file, offset, size), part.size, held.segment):
        if isinstance(found, form.Gap):
            torn, torn_bytes = torn + 1, torn_bytes + found.length
            next_sequence = max(next_sequence, found.next_sequence)
            continue
        set_aside, torn, torn_bytes = set_aside + torn, 0, 0
        for lane in set(found.lanes) - numbers.keys():
            numbers[lane] = backlog.number(form.lane_of(lane))
        lanes = [numbers[lane] for lane in found.lanes]
        part.put(Rows([first + shift for first in found.firsts], found.records, lanes, found.places, found.oldest_ms))
        next_sequence = found.firsts[-1] + found.records[-1]
        yield
    held.is_damaged = set_aside > 0
    return _Gaps(set_aside, torn_bytes, next_sequence)


def _readable(file: File, offset: int, size: int) -> bytes:
    """So many bytes; zeros in place of blocks that the disk does not give, and of those that are not there."""
    try:
        return file.read(offset, size).ljust(size, b"\0")
    except OSError as exc:
        end = offset + size
        cuts = [offset, *range(offset - offset % _BLOCK_BYTES + _BLOCK_BYTES, end, _BLOCK_BYTES), end]
        if len(cuts) == 2:
            logs.warning("a block of the spool cannot be read", reason=exc.strerror)
            return bytes(size)
    return b"".join(_readable(file, start, stop - start) for start, stop in pairwise(cuts))


def _opened(held: Held, content: bytes, place: int) -> Opened | None:
    try:
        return form.opened(content, held.segment.salt, held.cipher)
    except form.BadFrameError:
        logs.error("a frame of the spool is damaged", name=held.name, place=place)
        return None


def _close(file: File) -> None:
    try:
        file.close()
    except OSError as exc:  # nothing that it could still say is of use: what counts was synced
        logs.warning("a spool's file did not close well", reason=exc.strerror)
