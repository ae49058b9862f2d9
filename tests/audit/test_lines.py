"""From its start to its end a worker has a line for each minute, whatever it did and however it ended."""

import json

import pytest
from jsonschema import Draft202012Validator

from gateway.audit.lines import Collector, record_of
from gateway.audit.sheets import SHEETS, Sheets
from gateway.board import Board
from gateway.core import audit
from gateway.core.audit import Line
from tests.audit.test_sheets import records
from tests.minutes import event_id, line
from tests.records import stored
from tests.test_docs import schema_file

GRACE_MS = 15_000
MINUTE = 29_000_000
START_US = MINUTE * 60_000_000


class Machine:
    """A board, its collector, and a clock."""

    def __init__(self, workers: int = 1) -> None:
        self.board = Board.create(workers)
        self.collector = Collector(self.board.slots[:workers], "gw-1", GRACE_MS)
        self.collector.home = "home"
        self.lines: list[Line] = []

    def sit(self, name: str, after_s: float = 0, index: int = 0) -> Sheets:
        return Sheets(self.board.slots[index].sheet_words, name, START_US + round(after_s * 1e6))

    def look(self, *after_s: float) -> None:
        for one in after_s:
            self.lines += self.collector.look(START_US + round(one * 1e6))

    def ended(self, after_s: float, index: int = 0) -> None:
        self.lines += self.collector.ended(index, START_US + round(after_s * 1e6))

    def said(self) -> list[tuple[str, int, int, bool]]:
        """(worker, minute from the start, acknowledged, is it the last) of all lines since this was asked."""
        lines, self.lines = self.lines, []
        return [(one.worker, audit.minute_of(one.minute) - MINUTE, one.acknowledged, one.is_last) for one in lines]


def test_a_minute_is_posted_when_its_last_answer_may_have_been_given() -> None:
    machine = Machine()
    sheets = machine.sit("0000002a")
    sheets.count(records(0, 5))
    machine.look(1, 60, 74)
    sheets.count(records(5, 2))
    assert machine.said() == [("0000002a", -1, 0, False)]
    machine.look(75, 76)
    assert machine.said() == [("0000002a", 0, 7, False)]
    machine.look(77, 134)
    assert machine.said() == []


def test_a_minute_without_anything_has_an_empty_line() -> None:
    machine = Machine()
    sheets = machine.sit("0000002a", 30)
    sheets.count(records(0, 1, MINUTE + 2))
    machine.look(*range(31, 257))
    assert machine.said() == [
        ("0000002a", -1, 0, False),
        ("0000002a", 0, 0, False),
        ("0000002a", 1, 0, False),
        ("0000002a", 2, 1, False),
        ("0000002a", 3, 0, False),
    ]


def test_what_is_counted_late_is_another_part() -> None:
    machine = Machine()
    sheets = machine.sit("0000002a")
    sheets.count(records(0, 1))
    machine.look(75, 76)
    sheets.count(records(1, 2))
    machine.look(77, 78)
    parts = {one.part for one in machine.lines if one.part}
    assert machine.said() == [("0000002a", -1, 0, False), ("0000002a", 0, 1, False), ("0000002a", 0, 2, False)]
    assert len(parts) == 2


def test_a_killed_worker_is_posted_at_once_and_its_successor_begins_anew() -> None:
    machine = Machine()
    machine.sit("0000002a").count(records(0, 3))
    machine.look(1)
    assert machine.said() == [("0000002a", -1, 0, False)]
    machine.ended(2)
    assert machine.said() == [("0000002a", 0, 3, False), ("0000002a", 0, 0, True)]
    machine.ended(3)
    machine.look(3)
    assert machine.said() == []
    machine.sit("0000002b", 4).count(records(3, 1))
    machine.look(75, 76)
    assert machine.said() == [("0000002b", -1, 0, False), ("0000002b", 0, 1, False)]


def test_lives_that_are_shorter_than_a_look_have_lines_too() -> None:
    machine = Machine()
    for life in range(30):
        machine.sit(f"{life:08x}", life).count(records(life, 1))
        machine.ended(life + 0.5)
    said = machine.said()
    assert [acknowledged for _, _, acknowledged, _ in said] == [1, 0] * 30
    assert len({one[0] for one in said}) == 30


def test_a_worker_that_never_started_has_none() -> None:
    machine = Machine(workers=2)
    machine.look(1, 100)
    machine.ended(101)
    assert machine.said() == []


def test_an_orphan_vouches_for_what_stands_on_the_board_alone() -> None:
    """What the supervisor had taken may have died with it: an empty line would call those minutes audited."""
    machine = Machine()
    sheets = machine.sit("0000002a")
    for minute in range(4):
        sheets.count(records(minute, 1, MINUTE + minute))
        machine.look(*range(60 * minute + 20, 60 * minute + 60))
    machine.lines.clear()
    alone = Collector(machine.board.slots[:1], "gw-1", 0)
    machine.lines += alone.left(0, START_US + 300_000_000)
    assert machine.said() == [("0000002a", 3, 1, False), ("0000002a", 5, 0, True)]


def test_what_had_no_sheet_is_told_once_with_its_minute() -> None:
    machine = Machine()
    sheets = machine.sit("0000002a")
    machine.look(1)
    for minute in range(-SHEETS, 2):
        sheets.count(records(0, 3, MINUTE + minute))
    machine.lines.clear()
    machine.look(75, 76)
    assert [(audit.minute_of(one.minute) - MINUTE, one.acknowledged, one.uncounted) for one in machine.lines if one.minute == audit.minute_text(MINUTE)] == [
        (0, 0, 3)
    ]
    machine.lines.clear()
    machine.look(77, 78)
    assert machine.said() == []
    machine.ended(79)
    assert [(audit.minute_of(one.minute) - MINUTE, one.uncounted, one.is_last) for one in machine.lines] == [(1, 3, False), (1, 0, True)]
    machine.lines.clear()
    machine.sit("0000002b", 80)
    machine.look(81, 200, 201)
    assert [one.uncounted for one in machine.lines] == [0, 0]


def test_workers_do_not_share_lines() -> None:
    machine = Machine(workers=2)
    machine.sit("0000002a").count(records(0, 1))
    machine.sit("0000002b", index=1).count(records(1, 2))
    machine.ended(5, index=1)
    assert machine.said() == [("0000002b", 0, 2, False), ("0000002b", 0, 0, True)]
    machine.lines += machine.collector.end(START_US + 6_000_000)
    assert machine.said() == [("0000002a", 0, 1, False), ("0000002a", 0, 0, True)]


def test_a_clock_that_jumps_makes_an_hour_of_lines_and_no_year() -> None:
    machine = Machine()
    machine.sit("0000002a")
    machine.look(1, 365 * 86_400, 365 * 86_400 + 1)
    assert len(machine.said()) == 61


def test_a_clock_that_steps_back_loses_no_count() -> None:
    machine = Machine()
    sheets = machine.sit("0000002a", 600)
    sheets.count(records(0, 1, MINUTE + 10))
    machine.look(601)
    sheets.count(records(1, 1, MINUTE))
    machine.look(5, 80, 81)
    machine.ended(90)
    assert sum(acknowledged for _, _, acknowledged, _ in machine.said()) == 2


@pytest.mark.parametrize("count", [0, 1, 3_000])
def test_a_line_is_a_record_of_the_minutes_beginning(count: int) -> None:
    said = line([event_id(n) for n in range(count)])
    one = stored(record_of(said))
    assert one.key == b"3fa94c21:2026-12-18T06:00Z:1"
    assert one.timestamp_ms == audit.minute_of("2026-12-18T06:00Z") * 60_000
    minute = audit.read(one.value)
    assert minute is not None
    assert minute.line == said
    Draft202012Validator(schema_file("audit-line-v1")).validate(json.loads(one.value))
    assert len(one.value) < 9_500
