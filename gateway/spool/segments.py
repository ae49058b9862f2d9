"""One directory of a spool: its segment files, made, appended to, recovered and removed.  Everything here blocks.

Decided here: the order of writes and syncs.  Not decided here: who may append, and what is replayed when
(commits.py, replay.py); the bytes (core/record.py); what waits (core/backlog.py).

    <directory>/<first sequence>-<salt>-<key id>.spool

Making a segment: the file, its header, sync; then the directory's sync.  Only then is it written to.  A commit
is one append and one sync.  After a failed sync nobody knows what is on disk: the segment is left as it is, and
what comes next begins another one.  A cut tail is never appended to either: every start begins another segment.

What a kill or a power cut can leave, and what recovery does about it, in this order:

    1  a file of our name that is empty or has half a header: the name says as much, and it has no frames
    2  a segment with a torn tail: core/record.py finds its good frames; the tail stays and is not read again
    3  a segment with damage in the middle: the frames before and behind it count, what is damaged is counted
    4  blocks that cannot be read, after they were asked for again: they are read as zeros, so it is 3, at the end too;
       when the segment is done with they are asked for again, and what is in them then comes late; one that gives nothing
       at all is aside until it does (sweep.py)
    5  a segment whose removal was not yet durable: its records are sent again, which their ids give away
    6  a file of another name: left alone; so are segments that had damage and are kept for a person, `.damaged`
    7  then a new segment, behind every sequence that may have been given; only now may an older one be removed,
       so that no sequence is ever given twice

A second recovery finds the same, and one empty segment more that goes with the next.
"""

import errno
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway import logs
from gateway.core import record as form
from gateway.core.backlog import Backlog, Lane
from gateway.core.event import Record
from gateway.core.part import Part, Rows
from gateway.disk import NOT_THE_DISKS, PAUSES_S, Disk, File
from gateway.errors import ConfigError
from gateway.spool.blocks import Blocks

T = TypeVar("T")

_SUFFIX: Final = ".spool"
_SEQUENCES_MAX: Final = 2**32 // form.ENTRY_BYTES_MIN  # in a segment: none has so many bytes
_DAMAGED_SUFFIX: Final = ".damaged"
# Four segments of the default size: a disk that damages more is not read by hand, and these bytes drain by themselves never.
DAMAGED_BYTES_MAX: Final = 256 << 20


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
        self.part = Part(first, self)
        self.is_damaged = False  # it has frames that were damaged, or not given, when it was found
        self.is_unread = False  # the disk did not give all of it
        self.known = frozenset[int]()  # the places of its frames that joined before it was looked at again
        self.looks = 0  # that found nothing more of it, while it was aside

    @property
    def path(self) -> Path:
        return self.segments.directory / self.name

    @cached_property
    def cipher(self) -> Cipher:
        """There is none for a segment without frames whose key is gone."""
        return Cipher(form.segment_key(self.segments.secrets[self.segment.key_id], self.segment.salt))


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
    set_aside: int  # gaps with good frames behind them, or blocks that were not given, and segments that cannot be opened
    torn_bytes: int
    damaged: int  # segments: those with a gap, those that cannot be opened, and those kept for a person

    @property
    def is_empty(self) -> bool:
        """Nothing in it is of use, or may be later."""
        return not self.frames and not any(held.part.aside for held in self.held)


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
        return next(found for found in self.recovering(backlog) if isinstance(found, Recovered))

    def recovering(self, backlog: Backlog) -> Iterator[Recovered | float]:
        """Find every good frame, step by step: seconds to wait while there is more to read.  The segments found are not in the backlog yet.

        Args: backlog: whose lanes' numbers are used.

        Raises:
            ConfigError: frames were written with a key that is not among the secrets; a segment without any needs none.
        """
        held: list[Held] = []
        kept = len(self._damaged())
        end = next_sequence = set_aside = torn_bytes = frames = 0
        pauses = iter(PAUSES_S)  # for all of them: a disk that gives nothing is not waited for a segment at a time
        for name in sorted(name for name in self._disk.names(self.directory) if name.endswith(_SUFFIX)):
            found = yield from self._asked(name, end, backlog, pauses)
            if found is None:
                continue
            one, gaps = found
            held.append(one)
            end, frames = one.part.end, frames + one.part.frames
            one.part.pack()
            set_aside, torn_bytes = set_aside + gaps.set_aside, torn_bytes + gaps.torn_bytes
            next_sequence = max(next_sequence, one.part.first + gaps.next_sequence - one.segment.first)
        if frames or set_aside:
            logs.info("a spool was recovered", directory=self.directory.name, frames=frames, set_aside=set_aside, torn_bytes=torn_bytes)
        damaged = kept + sum(one.is_damaged or one.part.aside > 0 for one in held)
        yield Recovered(held, max(next_sequence, end), frames, set_aside, torn_bytes, damaged)

    def again(self, held: Held, backlog: Backlog) -> Recovered:
        """Look once more at a segment that the disk did not give all of: the same, with the frames alone that were not found before.  Raises OSError."""
        known = _known(held)
        found = _end(self._found(held.name, 0, backlog, known))
        if found is None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        one, _ = found
        one.known, held.is_damaged = known, one.is_damaged
        return Recovered([one], one.part.end, one.part.frames, 0, 0, 0)

    def unseen(self, held: Held) -> Recovered:
        """The same of one that cannot be opened just now: nothing, and it is aside."""
        one = Held(self, held.name, held.segment, held.segment.first)
        one.known, one.is_damaged, one.is_unread = _known(held), held.is_damaged, True
        one.part.size, one.part.aside = held.part.size, 1
        return Recovered([one], one.part.end, 0, 0, 0, 0)

    def _asked(self, name: str, first: int, backlog: Backlog, pauses: Iterator[float]) -> Generator[float, None, "tuple[Held, _Gaps] | None"]:
        """One segment; what of it the disk does not give is asked for again while there are pauses left."""
        while True:
            try:
                found = yield from self._found(name, first, backlog)
            except OSError as exc:
                if exc.errno in NOT_THE_DISKS:
                    raise
                found = self._unopened(name, first, exc)
            if found is None or not found[0].is_unread or (pause := next(pauses, None)) is None:
                return found
            yield pause

    def _unopened(self, name: str, first: int, exc: OSError) -> "tuple[Held, _Gaps] | None":
        """It may come back, and with it whatever was given in it: nobody knows how much, and something is aside."""
        logs.error("a segment of the spool cannot be opened", name=name, reason=exc.strerror)
        segment = form.read_segment(name, b"")
        if segment is None or isinstance(exc, FileNotFoundError):
            return None
        held = Held(self, name, segment, max(segment.first, first))
        held.is_unread, held.part.aside = True, 1
        return held, _Gaps(1, 0, segment.first + _SEQUENCES_MAX)

    def _found(self, name: str, first: int, backlog: Backlog, known: frozenset[int] = frozenset()) -> Generator[float, None, "tuple[Held, _Gaps] | None"]:
        """One segment as the disk gives it now; None for a file that is none.

        Args: first: none of its sequences is lower in this process; known: the places of frames that are left out.
        """
        file = self._disk.open(self.directory / name)
        try:
            blocks = Blocks(file)
            one = self._named(name, blocks, first)
            if one is None:
                return None
            gaps = yield from _fill(one, file.size(), blocks, backlog, known)
        finally:
            _close(file)
        if one.part.frames and one.segment.key_id not in self.secrets:
            raise ConfigError(f"spool {one.path}: written with a key that is not there (key id {one.segment.key_id.hex()}): want it back")
        if blocks.reason:
            logs.warning("blocks of the spool cannot be read", name=name, reason=blocks.reason)
        return one, gaps

    def _named(self, name: str, blocks: Blocks, first: int) -> Held | None:
        segment = form.read_segment(name, blocks.read(0, form.HEADER_BYTES))
        if segment is None:
            logs.warning("a file in the spool is none of its own, and left alone", name=name)
            return None
        # Its own sequences, unless a segment before it has them too: then somebody copied a file.
        return Held(self, name, segment, max(segment.first, first))

    def foreign(self) -> list[str]:
        """The segments whose key is not among the secrets, by what their names say."""
        named = ((name, form.read_segment(name, b"")) for name in self._disk.names(self.directory) if name.endswith(_SUFFIX))
        return [name for name, segment in named if segment is not None and segment.key_id not in self.secrets]

    # Writing

    def begin(self, first: int, bytes_free_min: int) -> Held:
        """A new segment for what comes from the sequence `first` on; durable when this returns."""
        self.abandon()
        if self._leftover is not None:  # of a try that failed: else a disk that fails for hours fills with them
            with suppress(FileNotFoundError):  # somebody else has tidied up
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
                read.append(_opened(held, _frame_bytes(held, file, place, length_max), place))
        except OSError as exc:
            read.append(exc)
        finally:
            _close(file)
        return read

    def remove(self, held: Held) -> None:
        """Remove a segment.  Not synced: one that comes back is sent again.

        What is damaged in it was not sent, and a person may still read most of that: so it is kept under another name,
        and replayed no more, while there are few such.  One that the disk did not give all of is never removed: what is in
        it may be whole.
        """
        if not (held.is_damaged and self.keep(held)) and not held.is_unread:
            self._disk.unlink(held.path)

    def keep(self, held: Held) -> bool:
        """Keep a segment for a person.  False: there are too many such, and it is where it was."""
        if self._damaged_bytes() + held.part.size > DAMAGED_BYTES_MAX:
            return False
        kept = held.path.with_suffix(_DAMAGED_SUFFIX)
        self._disk.rename(held.path, kept)
        logs.error("a segment of the spool is kept for its damaged frames", name=kept.name)
        return True

    def _damaged_bytes(self) -> int:
        return sum(self._disk.size(path) for path in self._damaged())

    def _damaged(self) -> list[Path]:
        return [self.directory / name for name in self._disk.names(self.directory) if name.endswith(_DAMAGED_SUFFIX)]

    def frames_bytes(self) -> int:
        """What there is beside the headers, whether it can be read or not.  By the files' sizes: it costs no reading."""
        sizes = [self._disk.size(self.directory / name) for name in self._disk.names(self.directory) if name.endswith(_SUFFIX)]
        return sum(max(size - form.HEADER_BYTES, 0) for size in sizes)


class _Gaps(NamedTuple):
    set_aside: int
    torn_bytes: int
    next_sequence: int  # on disk: none that was given in this segment is this or higher


def _fill(held: Held, size: int, blocks: Blocks, backlog: Backlog, known: frozenset[int]) -> Generator[float, None, _Gaps]:
    """Put a segment's frames into its part, and count what is between and behind them; a step is what is read at once."""
    part, shift = held.part, held.part.first - held.segment.first
    part.size = max(size, form.HEADER_BYTES)
    set_aside = torn = torn_bytes = lacking = 0
    next_sequence = held.segment.first
    numbers: dict[bytes, int] = {}
    for found in form.recover(blocks.read, part.size, held.segment):
        if isinstance(found, form.Gap):
            if blocks.lacks(found.place, found.length):
                set_aside, lacking = set_aside + 1, lacking + 1
            else:
                torn, torn_bytes = torn + 1, torn_bytes + found.length
            next_sequence = max(next_sequence, found.next_sequence)
            continue
        set_aside, torn, torn_bytes = set_aside + torn, 0, 0
        next_sequence = found.firsts[-1] + found.records[-1]
        if known:
            found = _without(found, known)  # noqa: PLW2901 - of no use with them
        for lane in set(found.lanes) - numbers.keys():
            numbers[lane] = backlog.number(form.lane_of(lane))
        lanes = [numbers[lane] for lane in found.lanes]
        if found.places:
            part.put(Rows([first + shift for first in found.firsts], found.records, lanes, found.places, found.oldest_ms))
        yield 0.0
    held.is_damaged, held.is_unread = set_aside > 0, lacking > 0  # of a header that is not given nothing is wanted
    if held.is_unread and not part.frames:
        part.aside = 1  # it is not done with, and nobody knows how many records it has
    return _Gaps(set_aside, torn_bytes, next_sequence)


def _known(held: Held) -> frozenset[int]:
    return held.known | frozenset(held.part.index.places)


def _without(run: form.Run, known: frozenset[int]) -> form.Run:
    new = [place not in known for place in run.places]
    places, firsts, records, oldest_ms = ([*compress(column, new)] for column in (run.places, run.firsts, run.records, run.oldest_ms))
    return form.Run(places, firsts, records, [*compress(run.lanes, new)], oldest_ms, run.end)


def _end(steps: Generator[float, None, T]) -> T:
    """What it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return cast("T", stop.value)


def _frame_bytes(held: Held, file: File, place: int, length_max: int) -> bytes:
    try:
        return file.read(place, length_max)
    except OSError:
        # Up to the next frame that was found is as long as it may be: what cannot be read may stand behind it.
        length = form.frame_length(Blocks(file).read(place, min(length_max, form.HEAD_BYTES_MAX)), held.segment.salt)
        if length is None or length >= length_max:
            raise
    return file.read(place, length)


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
