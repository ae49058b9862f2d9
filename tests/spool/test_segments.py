"""A directory of segments: what is written when, and what recovery makes of what a crash or a bad disk left."""

import errno
import os
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from gateway.core.backlog import Backlog
from gateway.core.record import HEADER_BYTES
from gateway.errors import ConfigError
from gateway.spool.segments import Group, Recovered, Segments
from tests.records import made
from tests.simulated_disk import SimulatedDisk

HOME: Final = Path("/data/spool/0")
SECRET: Final = bytes(32)
RECORDS: Final = [made(f"e{n}", b"u1", b"x" * 100) for n in range(100)]


def segments(disk: SimulatedDisk, *secrets: bytes) -> Segments:
    made = Segments(disk, HOME, secrets or (SECRET,))
    disk.kill()
    assert made.lock()
    return made


def group(first: int, count: int, lane: int = 0) -> Group:
    return Group(("syncs", lane), first, RECORDS[first : first + count])


def with_frames(*firsts: int) -> tuple[SimulatedDisk, Segments]:
    """One segment, two records a frame."""
    disk = SimulatedDisk()
    one = segments(disk)
    one.begin(firsts[0], 0)
    for first in firsts:
        held = one._active
        assert held is not None
        _, added = one.commit([group(first, 2)])
        held.part.size += added
    return disk, one


def recover(disk: SimulatedDisk, *secrets: bytes) -> Recovered:
    return segments(disk, *secrets).recover(Backlog())


def firsts(found: Recovered) -> list[int]:
    return [held.part.first + start for held in found.held for start in held.part.index.starts]


def _readable(disk: SimulatedDisk) -> SimulatedDisk:
    """The same disk, mended."""
    other = SimulatedDisk()
    other.inodes, other.directories = disk.inodes, disk.directories
    return other


def content(disk: SimulatedDisk, at: int = 0) -> bytearray:
    return disk.inodes[disk.directories[HOME][sorted(disk.directories[HOME])[at]]]


def test_a_segment_is_durable_before_anything_is_written_to_it_and_a_commit_is_one_sync() -> None:
    disk, _ = with_frames(0, 2)
    kinds = [op.kind for op in disk.log if op.path == HOME or op.inode]
    assert kinds == ["create", "write", "sync", "sync-directory", "write", "sync", "write", "sync"]


def test_what_was_committed_is_found_and_what_comes_next_is_behind_it() -> None:
    disk, _ = with_frames(0, 2, 4)
    found = recover(disk)
    assert (firsts(found), found.next_sequence, found.set_aside, found.torn_bytes) == ([0, 2, 4], 6, 0, 0)


def test_a_torn_tail_is_cut_and_damage_in_the_middle_set_aside() -> None:
    disk, _ = with_frames(0, 2, 4)
    content(disk)[-1] ^= 1
    found = recover(disk)
    assert (firsts(found), found.set_aside, found.torn_bytes > 0, found.next_sequence) == ([0, 2], 0, True, 6)
    content(disk)[-1] ^= 1
    content(disk)[HEADER_BYTES + 60] ^= 1
    found = recover(disk)
    assert (firsts(found), found.set_aside, found.torn_bytes) == ([2, 4], 1, 0)


def test_a_lost_header_costs_nothing_and_neither_does_a_lost_name() -> None:
    disk, _ = with_frames(0, 2)
    content(disk)[3] ^= 1
    assert firsts(recover(disk)) == [0, 2]
    content(disk)[3] ^= 1
    [name] = disk.directories[HOME]
    disk.directories[HOME]["#1234.spool"] = disk.directories[HOME].pop(name)
    assert firsts(recover(disk)) == [0, 2]


def test_a_block_that_cannot_be_read_costs_its_frame_alone() -> None:
    disk = SimulatedDisk()
    one = segments(disk)
    held = one.begin(0, 0)
    for first in range(0, 90, 10):
        _, added = one.commit([group(first, 10)])
        held.part.size += added
    disk.unreadable = {disk.directories[HOME][held.name]: {6_000}}
    whole, found = recover(_readable(disk)), recover(disk)
    [of] = whole.held
    ends = [*of.part.index.places[1:], of.part.size]
    # It reads in blocks of 4,096; which frames are spared follows from where they stand.
    assert firsts(found) == [first for first, place, end in zip(firsts(whole), of.part.index.places, ends, strict=True) if end <= 4_096 or place >= 8_192]
    assert 9 > len(firsts(found)) > 3
    assert (found.set_aside >= 1, found.next_sequence) == (True, 90)


def test_a_segment_that_cannot_be_opened_keeps_its_sequences_and_is_aside() -> None:
    disk, _ = with_frames(0, 2)
    disk.faults = lambda kind: errno.EIO if kind == "open" else 0
    found = recover(disk)
    assert ([held.part.aside for held in found.held], found.next_sequence > 4, found.set_aside, found.damaged) == ([1], True, 1, 1)


@pytest.mark.parametrize("kind", ["open", "read"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_is_not_the_disks_fault_is_no_recovery(kind: str, number: int) -> None:
    disk, _ = with_frames(0, 2)
    disk.faults = lambda asked: number if asked == kind else 0
    with pytest.raises(OSError, match=os.strerror(number)):
        recover(disk)


def test_files_of_other_names_are_left_alone() -> None:
    disk, _ = with_frames(0)
    disk.create(HOME / "notes.txt")
    disk.create(HOME / "notes.spool").append(b"a person put it here")
    assert firsts(recover(disk)) == [0]
    assert {"notes.txt", "notes.spool"} < set(disk.names(HOME))


def test_segments_open_with_any_of_the_secrets_and_not_without_theirs() -> None:
    disk, _ = with_frames(0)
    assert firsts(recover(disk, b"n" * 32, SECRET)) == [0]
    with pytest.raises(ConfigError, match="written with a key that is not there"):
        recover(disk, b"n" * 32)


def test_a_segment_without_frames_needs_no_key() -> None:
    disk, one = with_frames(7)
    one.begin(9, 0)
    disk.unlink(HOME / min(disk.names(HOME)))
    found = recover(disk, b"n" * 32)
    assert ([held.part.frames for held in found.held], found.next_sequence) == ([0], 9)


def test_a_leftover_that_somebody_else_removed_is_in_nobodys_way() -> None:
    disk, one = with_frames(0)
    disk.faults = lambda kind: errno.EIO if kind == "sync" else 0
    with pytest.raises(OSError, match="rror"):
        one.begin(2, 0)
    disk.unlink(HOME / max(disk.names(HOME)))
    disk.faults = lambda _: 0
    assert one.begin(2, 0).name in disk.names(HOME)


def test_a_segment_that_could_not_be_begun_is_removed_by_the_next_try() -> None:
    disk, one = with_frames(0)
    disk.faults = lambda kind: errno.EIO if kind == "sync" else 0
    for _ in range(3):
        with pytest.raises(OSError, match="rror"):
            one.begin(2, 0)
    assert len(disk.names(HOME)) == 2
    disk.faults = lambda _: 0
    one.begin(2, 0)
    assert len(disk.names(HOME)) == 2


def test_a_segment_wants_its_bytes_free_before_it_is_begun() -> None:
    disk, one = with_frames(0)
    disk.free = 999
    with pytest.raises(OSError, match="No space left"):
        one.begin(2, 1_000)
    assert len(disk.names(HOME)) == 1


def test_frames_are_read_where_they_stand_and_a_bad_one_is_told() -> None:
    disk, one = with_frames(0, 2, 4)
    [held] = recover(disk).held
    starts = [*held.part.index.places, held.part.size]
    places = [(place, end - place) for place, end in pairwise(starts)]
    content(disk)[places[1][0] + 70] ^= 1
    opened = one.read(held, places)
    assert [[record.event_id for record in found[1]] if isinstance(found, tuple) else found for found in opened] == [["e0", "e1"], None, ["e4", "e5"]]
    disk.unreadable = {disk.directories[HOME][held.name]: {places[1][0] + 9}}
    [_, error] = one.read(held, places)
    assert isinstance(error, OSError), "and nothing behind it was asked for"
    disk.unlink(held.path)
    [error] = one.read(held, places)
    assert isinstance(error, FileNotFoundError)


def test_a_segment_with_damage_is_kept_for_a_person_while_there_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, _ = with_frames(0, 2, 4)
    content(disk)[HEADER_BYTES + 70] ^= 1
    damaged = bytes(content(disk))
    monkeypatch.setattr("gateway.spool.segments.DAMAGED_BYTES_MAX", len(damaged))
    one = segments(disk)
    [held] = one.recover(Backlog()).held
    one.remove(held)
    assert disk.names(HOME) == [held.path.with_suffix(".damaged").name]
    assert content(disk) == damaged
    found = recover(disk)
    assert (found.held, found.set_aside) == ([], 0), "it is not replayed any more"
    again = segments(disk)
    again.begin(6, 0)
    again.commit([group(6, 2)])
    again.commit([group(8, 2)])
    content(disk, 1)[HEADER_BYTES + 70] ^= 1
    [held] = again.recover(Backlog()).held
    assert held.is_damaged
    again.remove(held)
    assert len(disk.names(HOME)) == 1, "there is room for one"
