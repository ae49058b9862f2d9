"""The books: who has room, whose sequences are whose, and what a watermark may say while a commit is on its way."""

from pathlib import Path

from gateway.core.backlog import Backlog
from gateway.spool.books import Books
from gateway.spool.segments import Group, Held, Segments
from tests.simulated_disk import SimulatedDisk
from tests.spools import HOME, SETTINGS, some


def directory(disk: SimulatedDisk, path: Path = HOME) -> Segments:
    segments = Segments(disk, path, [bytes(32)])
    assert segments.lock()
    return segments


def begun() -> tuple[Books, Segments, Held]:
    own = directory(SimulatedDisk())
    books, held = Books(SETTINGS, own, "signups"), own.begin(0, 0)
    books.activate(held)
    return books, own, held


def test_what_is_promised_counts_and_the_reserve_is_for_one_topic() -> None:
    books, _, held = begun()
    spare = SETTINGS.bytes_max - SETTINGS.signups_reserve_bytes - held.part.size
    assert (books.has_room(spare, "syncs"), books.has_room(spare + 1, "syncs"), books.has_room(spare + 1, "signups")) == (True, False, True)
    books.promised_bytes += 1
    assert not books.has_room(spare, "syncs")
    assert not books.has_room(spare + SETTINGS.signups_reserve_bytes, "signups")


def test_what_is_not_yet_on_disk_is_not_below_the_watermark() -> None:
    books, own, _ = begun()
    assert (books.give(2), books.give(3), books.watermark) == (0, 2, 0)
    group = Group(("syncs", 0), 0, some(0, 5))
    books.book(*own.commit([group]))
    assert (books.watermark, books.backlog.waiting()) == (0, {("syncs", 0): 5})
    books.backlog.settle(range(3))
    assert books.watermark == 3
    books.backlog.settle(range(3, 5))
    assert (books.watermark, books.is_own_empty) == (5, True)
    assert (books.give(4), books.watermark) == (5, 5)
    # Their commit fails: until another segment begins behind them, a kill could let 5 be given again.
    books.activate(own.begin(books.next, 0))
    assert books.watermark == 9


def test_a_segment_that_is_replaced_takes_no_more_and_is_counted() -> None:
    books, own, first = begun()
    books.give(1)
    books.book(*own.commit([Group(("syncs", 0), 0, some(0, 1))]))
    second = own.begin(books.next, 0)
    books.activate(second)
    assert (first.part.is_sealed, second.part.is_sealed, books.current) == (True, False, second)
    assert books.size_bytes == first.part.size + second.part.size


def test_another_directorys_sequences_are_ours_and_not_below_our_watermark() -> None:
    books, own, _ = begun()
    books.give(3)
    books.book(*own.commit([Group(("syncs", 0), 0, some(0, 3))]))
    gone = directory(SimulatedDisk(), HOME.parent / "1")
    gone.begin(70, 0)
    gone.commit([Group(("syncs", 0), 70, some(70, 2))])
    gone.abandon()
    found = gone.recover(Backlog())
    assert books.take_over(found) == 4 - 70
    assert [(part.first, part.end) for part in books.backlog.parts] == [(0, 3), (4, 6)]
    assert books.next == 6
    books.backlog.settle(range(3))
    # Ours begin behind theirs only with our next segment: a kill before it, and 3 is given again.
    assert (books.watermark, books.is_own_empty, books.backlog.waiting()) == (3, True, {("syncs", 0): 2})
