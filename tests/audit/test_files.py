"""What is in <data_dir>/audit outlives a power cut as a whole, or is not there."""

import errno
import random
from pathlib import Path
from typing import Final

import pytest

from gateway.audit import files
from gateway.core import audit
from tests.minutes import event_id, line
from tests.simulated_disk import LOSSES, Crash, SimulatedDisk, prefixes

DATA: Final = Path("/data")
DRAWN: Final = "07" * 8
LINES: Final = [line([event_id(n) for n in range(300)]), line([event_id(300)], part=2)]


def crashed(disk: SimulatedDisk) -> list[SimulatedDisk]:
    """Each disk that a power cut may leave, whenever it comes."""
    return [crash.disk(loss, random.Random(seed)) for _, crash in prefixes(disk.log) for loss in LOSSES for seed in range(3)]


def after(disk: SimulatedDisk) -> list[SimulatedDisk]:
    """Each that it may leave now."""
    crash = Crash()
    for op in disk.log:
        crash.follow(op)
    return [crash.disk(loss, random.Random(seed)) for loss in LOSSES for seed in range(3)]


def test_a_data_directory_has_one_name_from_the_first_time_on() -> None:
    disk = SimulatedDisk()
    assert files.home_of(disk, DATA) == ""
    assert files.named_home(disk, DATA, DRAWN) == DRAWN
    assert files.named_home(disk, DATA, "08" * 8) == DRAWN == files.home_of(disk, DATA)
    assert {files.home_of(one, DATA) for one in after(disk)} == {DRAWN}
    assert {files.home_of(one, DATA) for one in crashed(disk)} == {DRAWN, ""}


@pytest.mark.parametrize("left", [b"", b"0707", b"07" * 9, b"x" * 16, b"\xff" * 16])
def test_what_is_no_name_is_none_and_is_replaced(left: bytes) -> None:
    disk = SimulatedDisk()
    disk.make_directory(DATA / "audit")
    disk.create(DATA / "audit" / "home").append(left)
    assert files.home_of(disk, DATA) == ""
    assert files.named_home(disk, DATA, DRAWN) == DRAWN == files.home_of(disk, DATA)


def test_a_disk_that_is_full_leaves_no_name_and_takes_it_later() -> None:
    disk = SimulatedDisk()
    disk.faults = lambda kind: errno.ENOSPC if kind == "append" else 0
    for _ in range(2):
        with pytest.raises(OSError, match="space"):
            files.named_home(disk, DATA, DRAWN)
        assert files.home_of(disk, DATA) == ""
    disk.faults = lambda _: 0
    assert files.named_home(disk, DATA, DRAWN) == DRAWN


def test_lines_are_there_when_they_were_put_and_never_by_half() -> None:
    disk = SimulatedDisk()
    files.put_lines(disk, DATA, "1-0", LINES)
    assert {len(files.waiting_lines(one, DATA).lines) for one in after(disk)} == {2}
    for one in crashed(disk):
        assert files.lines_by_file(one, DATA, ()) in (({}, []), ({"1-0": LINES}, []))
    assert files.waiting_lines(disk, DATA).lines == [audit.encoded(one) for one in LINES]


def test_only_files_that_are_not_known_are_read() -> None:
    disk = SimulatedDisk()
    for name in ("1-0", "1-1"):
        files.put_lines(disk, DATA, name, LINES)
    assert files.lines_by_file(disk, DATA, {"1-0"}) == ({"1-1": LINES}, [])


def test_what_is_removed_is_gone_and_nothing_else() -> None:
    disk = SimulatedDisk()
    for name in ("1-0", "1-1"):
        files.put_lines(disk, DATA, name, LINES)
    files.remove(disk, DATA, {"1-0", "never-there"})
    assert files.lines_by_file(disk, DATA, ()) == ({"1-1": LINES}, [])


def test_drafts_of_lines_that_are_old_are_removed_and_nothing_else() -> None:
    disk = SimulatedDisk()
    disk.make_directory(DATA / "audit")
    kept = ["home", "home.draft", "1000-0.lines", "2000-0.lines.draft", "x-0.lines.draft"]
    for name in (*kept, "1000-0.lines.draft", "1999-0000002a.lines.draft"):
        disk.create(DATA / "audit" / name)
    files.remove_drafts(disk, DATA, 2000)
    assert sorted(disk.names(DATA / "audit")) == sorted(kept)


def test_what_is_no_line_is_left_out() -> None:
    disk = SimulatedDisk()
    disk.make_directory(DATA / "audit")
    disk.create(DATA / "audit" / "1-0.lines").append(audit.encoded(LINES[0]) + b"\n{}\n" + audit.encoded(LINES[1])[:-5])
    assert files.lines_by_file(disk, DATA, ()) == ({"1-0": LINES[:1]}, [])
    assert files.waiting_lines(disk, DATA) == ([audit.encoded(LINES[0])], [])


def unreadable(disk: SimulatedDisk, name: str) -> None:
    """A bad sector in this file."""
    disk.unreadable = {disk.directories[DATA / "audit"][name]: {5}}


def test_a_file_that_cannot_be_read_is_told_and_holds_up_no_other() -> None:
    disk = SimulatedDisk()
    for name in ("1-0", "1-1"):
        files.put_lines(disk, DATA, name, LINES)
    unreadable(disk, "1-0.lines")
    assert files.lines_by_file(disk, DATA, ()) == ({"1-1": LINES}, ["1-0.lines"])
    assert files.waiting_lines(disk, DATA) == ([audit.encoded(one) for one in LINES], ["1-0.lines"])


def test_want_of_descriptors_is_no_damage() -> None:
    disk = SimulatedDisk()
    files.put_lines(disk, DATA, "1-0", LINES)
    disk.faults = lambda kind: errno.EMFILE if kind == "open" else 0
    with pytest.raises(OSError, match="Too many open files"):
        files.waiting_lines(disk, DATA)
