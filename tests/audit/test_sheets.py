"""What a worker counted is what the supervisor takes, whoever is killed when."""

import contextlib
import os
import signal
from itertools import count

import pytest

from gateway.audit.sheets import SHEETS, WORDS, Desk, Life, Sheet, Sheets
from gateway.board import Board
from gateway.core import audit
from gateway.core.event import Record
from tests.minutes import event_id

MINUTE = 29_000_000
numbers = count()


def records(first: int, many: int, minute: int = MINUTE) -> list[Record]:
    return [Record(audit.text_of(event_id(n)), b"u1", b"", minute * audit.MINUTE_MS + 5) for n in range(first, first + many)]


def words() -> "memoryview[int]":
    return memoryview(bytearray(8 * WORDS)).cast("Q")


def taken(desk: Desk, before: int | None) -> list[Sheet]:
    desk.close(before)
    return desk.take()


def test_what_was_counted_is_taken_once() -> None:
    slot = words()
    desk, sheets = Desk(slot), Sheets(slot, "0000002a", MINUTE * 60_000_000)
    assert desk.life == Life("0000002a", MINUTE)
    for first in range(0, 100, 10):
        sheets.count(records(first, 10))
    sheets.count(records(100, 1, MINUTE + 1))
    assert taken(desk, MINUTE) == []
    ids = [event_id(n) for n in range(100)]
    assert taken(desk, MINUTE + 1) == [Sheet("0000002a", MINUTE, 1, False, audit.cells_of(ids))]
    assert taken(desk, MINUTE + 1) == []
    assert taken(desk, MINUTE + 2) == [Sheet("0000002a", MINUTE + 1, 2, False, audit.cells_of([event_id(100)]))]


def test_records_of_two_minutes_go_each_into_its_own() -> None:
    slot = words()
    desk, sheets = Desk(slot), Sheets(slot, "0000002a", 0)
    sheets.count([*records(0, 1), *records(1, 1, MINUTE - 1), *records(2, 2)])
    found = {one.minute: one.cells for one in taken(desk, MINUTE + 1)}
    assert found == {MINUTE: audit.cells_of([event_id(n) for n in (0, 2, 3)]), MINUTE - 1: audit.cells_of([event_id(1)])}


def test_what_comes_after_the_close_is_another_part() -> None:
    slot = words()
    desk, sheets = Desk(slot), Sheets(slot, "0000002a", 0)
    sheets.count(records(0, 1))
    desk.close(MINUTE + 1)
    sheets.count(records(1, 1))
    sheets.count(records(2, 1))
    assert [(one.number, audit.acknowledged_of(one.cells)) for one in desk.take()] == [(1, 1)]
    assert [(one.number, audit.acknowledged_of(one.cells)) for one in taken(desk, MINUTE + 1)] == [(2, 2)]


def test_a_minute_after_the_other_for_days() -> None:
    slot = words()
    desk, sheets, total = Desk(slot), Sheets(slot, "0000002a", 0), 0
    for minute in range(MINUTE, MINUTE + 3_000):
        sheets.count(records(0, 2, minute))
        sheets.count(records(2, 1, minute - 1))
        total += sum(audit.acknowledged_of(one.cells) for one in taken(desk, minute))
    total += sum(audit.acknowledged_of(one.cells) for one in taken(desk, None))
    assert (total, desk.uncounted) == (9_000, {})
    assert len(sheets._open) <= SHEETS


def test_a_successor_leaves_its_predecessors_sheets_alone() -> None:
    slot = words()
    desk, counted = Desk(slot), 0
    for life in range(SHEETS):
        sheets = Sheets(slot, f"{life:08x}", 0)
        sheets.count(records(life, 1))
        counted += 1
    found = taken(desk, None)
    assert sorted(one.worker for one in found) == [f"{life:08x}" for life in range(SHEETS)]
    assert len({one.number for one in found}) == SHEETS == counted


def test_without_a_free_sheet_nothing_is_overwritten_and_it_is_said() -> None:
    slot = words()
    desk = Desk(slot)
    sheets = Sheets(slot, "0000002a", 0)
    for minute in range(SHEETS + 2):
        sheets.count(records(minute, 3, MINUTE + minute))
    assert desk.uncounted == {MINUTE + SHEETS: 3, MINUTE + SHEETS + 1: 3}
    sheets.count(records(0, 2, MINUTE + SHEETS))
    assert desk.uncounted == {MINUTE + SHEETS: 5, MINUTE + SHEETS + 1: 3}
    sheets.count(records(0, 2, MINUTE + SHEETS + 16))
    assert desk.uncounted == {MINUTE + SHEETS + 16: 2, MINUTE + SHEETS + 1: 3}
    assert sorted(one.minute for one in taken(desk, None)) == [MINUTE + minute for minute in range(SHEETS)]
    sheets.count(records(0, 1, MINUTE + SHEETS))
    assert [one.minute for one in taken(desk, None)] == [MINUTE + SHEETS]


class _Killed(Exception):
    """The process is gone."""


class _Board:
    """Words whose writer is killed at its nth write."""

    def __init__(self, slot: "memoryview[int]", writes: int) -> None:
        self._slot = slot
        self._left = writes

    def __getitem__(self, at: int) -> int:
        return self._slot[at]

    def __setitem__(self, at: "int | slice", value: object) -> None:
        if self._left == 0:
            raise _Killed
        self._left -= 1
        self._slot[at] = value  # type: ignore[call-overload]


@pytest.mark.parametrize("writes", range(4))
def test_nobody_sits_with_anothers_time(writes: int) -> None:
    slot = words()
    Sheets(slot, "0000002a", 0)
    with contextlib.suppress(_Killed):
        Sheets(_Board(slot, writes), "0000002b", 60_000_000)  # type: ignore[arg-type]
    assert Desk(slot).life in (Life("0000002a", 0), None, Life("0000002b", 1))


@pytest.mark.parametrize("writes", range(40))
def test_a_kill_at_any_write_loses_nothing_that_was_counted_before(writes: int) -> None:
    """What is taken is all requests before, and of the last one some ids wholly and at most one by half, which is said."""
    slot = words()
    desk = Desk(slot)
    board = _Board(slot, writes)
    done, began = 0, False
    try:
        sheets = Sheets(board, "0000002a", 0)  # type: ignore[arg-type]
        for request in range(3):
            began = True
            sheets.count(records(request * 2, 2))
            done += 2
    except _Killed:
        pass
    found = taken(desk, None)
    assert len(found) <= 1
    if not found:
        assert done == 0
        return
    [sheet] = found
    counted = audit.acknowledged_of(sheet.cells)
    assert began
    assert done <= counted <= done + 2
    if not sheet.is_torn:
        assert sheet.cells == audit.cells_of(event_id(n) for n in range(done))
    successor = Sheets(slot, "0000002b", 0)
    successor.count(records(50, 1))
    assert [one.worker for one in taken(desk, None)] == ["0000002b"]


@pytest.mark.parametrize("writes", range(30))
def test_a_kill_at_any_write_of_a_sheet_that_is_used_again_counts_nothing_of_before_twice(writes: int) -> None:
    slot = words()
    desk, sheets = Desk(slot), Sheets(slot, "0000002a", 0)
    sheets.count(records(0, 20))
    assert len(taken(desk, None)) == 1
    sheets, is_done = Sheets(slot, "0000002b", 0), False
    sheets._words = _Board(slot, writes)  # type: ignore[assignment]
    with contextlib.suppress(_Killed):
        sheets.count(records(20, 2, MINUTE + 1))
        is_done = True
    found = taken(desk, None)
    assert [(one.worker, one.minute, one.number) for one in found] in ([], [("0000002b", MINUTE + 1, 2)])
    counted = [one.cells for one in found if one.cells]
    assert counted in ([], [audit.cells_of([event_id(20), event_id(21)])])
    assert len(counted) == 1 or not is_done


def test_a_worker_killed_with_sigkill_leaves_its_sheets_on_the_board() -> None:
    board = Board.create(1)
    pid = os.fork()
    if pid == 0:
        sheets = Sheets(Board(board.fd, 1).slots[0].sheet_words, "0000002a", 0)
        sheets.count(records(0, 50))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    [sheet] = taken(Desk(board.slots[0].sheet_words), None)
    assert sheet == Sheet("0000002a", MINUTE, 1, False, audit.cells_of(event_id(n) for n in range(50)))
