"""Sheets of the board → lines of the audit: what is to be posted of each worker and minute.

Decided here: when a minute is over, and what is posted of a worker that did nothing or died.  Not decided here: what is
counted (sheets.py), how lines come to Kafka (auditor.py).  No I/O; the time comes in.

A minute is over when the last answer to a request of it may have been given: after the time delivery has, and as long
again as a limiter, a busy loop or two clocks that differ may take.  What is counted later all the same is another part.
Events for which it had no sheet have a line that says so, and that minute is known to be counted in part only.
From its start to its end each worker has a line for each minute, an empty one where it acknowledged nothing: so a
minute that has none is known not to have been audited.  The first is posted at the start, for the minute before: it
says who is to be heard of from now on.
"""

from collections.abc import Sequence
from typing import Final

from gateway.audit.sheets import Desk, Life, Sheet
from gateway.board import Slot
from gateway.core import audit
from gateway.core.audit import Line
from gateway.core.event import Record
from gateway.core.recordbatch import VARINT, header, sized

_MINUTES_MAX: Final = 60  # that are made up for at once: a clock that jumps a year does not make half a million lines


class _Seat:
    """One slot, and what was posted of it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.life: Life | None = None
        self.has_ended = False
        self.next_minute = 0  # the first without a line
        self.seen: set[int] = set()  # minutes from there on that have one all the same
        self.closed_before = 0
        self.told: dict[int, int] = {}  # events that had no sheet, by minute: whoever sat here, it is told once

    def is_taken(self) -> bool:
        """Whether somebody has sat down here since this was asked; then all begins anew."""
        life = self.desk.life
        if life is None or life == self.life:
            return False
        self.life, self.has_ended, self.next_minute, self.closed_before = life, False, life.since, 0
        self.seen.clear()
        return True


class Collector:
    """Sheets → lines."""

    def __init__(self, slots: Sequence[Slot], machine: str, grace_ms: int) -> None:
        """Args: slots: the workers'; machine: this one's name, for people; grace_ms: how long after its end a minute is over."""
        self.home = ""  # until it is read
        self._machine = machine
        self._grace_ms = grace_ms
        self._seats = [_Seat(Desk(slot.sheet_words)) for slot in slots]

    def look(self, now_us: int) -> list[Line]:
        """What is over by now; call it once a second."""
        over = (now_us // 1000 - self._grace_ms) // audit.MINUTE_MS
        lines: list[Line] = []
        for seat in self._seats:
            is_new = seat.is_taken()
            if seat.life is None or seat.has_ended:
                continue
            lines += [self._line(seat.life, seat.life.since - 1)] if is_new else []
            lines += self._taken(seat)
            lines += self._short(seat, seat.closed_before)
            lines += self._idle(seat, seat.closed_before)
            seat.desk.close(over)
            seat.closed_before = over
        return lines

    def ended(self, index: int, now_us: int) -> list[Line]:
        """All of the worker that sat there: its process is gone."""
        seat = self._seats[index]
        seat.is_taken()
        if seat.life is None or seat.has_ended:
            return []
        seat.has_ended = True
        seat.desk.close(None)
        minute = now_us // 1000 // audit.MINUTE_MS
        return [*self._taken(seat), *self._short(seat, None), *self._idle(seat, minute), self._line(seat.life, minute, is_last=True)]

    def left(self, index: int, now_us: int) -> list[Line]:
        """The same by one who has just come, as an orphaned worker: which minutes have lines already it cannot know, so it adds no empty ones."""
        seat = self._seats[index]
        seat.is_taken()
        if seat.life is not None:
            seat.next_minute = now_us // 1000 // audit.MINUTE_MS
        return self.ended(index, now_us)

    def end(self, now_us: int) -> list[Line]:
        """All there is: every worker is gone."""
        return [line for index in range(len(self._seats)) for line in self.ended(index, now_us)]

    def _taken(self, seat: _Seat) -> list[Line]:
        assert seat.life is not None
        sheets = seat.desk.take()
        seat.seen.update(sheet.minute for sheet in sheets)
        return [self._line(seat.life, sheet.minute, sheet) for sheet in sheets]

    def _short(self, seat: _Seat, before: int | None) -> list[Line]:
        """Of minutes before this one in which events had no sheet; None: of all."""
        assert seat.life is not None
        uncounted = seat.desk.uncounted
        more = {minute: events - seat.told.get(minute, 0) for minute, events in uncounted.items() if before is None or minute < before}
        lines = [self._line(seat.life, minute, uncounted=events) for minute, events in more.items() if events > 0]
        seat.seen |= more.keys()
        seat.told = {minute: uncounted[minute] if minute in more else seat.told.get(minute, 0) for minute in uncounted}
        return lines

    def _idle(self, seat: _Seat, before: int) -> list[Line]:
        """Empty lines for the minutes before this one that have none."""
        assert seat.life is not None
        begin = max(seat.next_minute, before - _MINUTES_MAX)
        lines = [self._line(seat.life, minute) for minute in range(begin, before) if minute not in seat.seen]
        seat.next_minute = max(seat.next_minute, before)
        seat.seen = {minute for minute in seat.seen if minute >= seat.next_minute}
        return lines

    def _line(self, life: Life, minute: int, sheet: Sheet | None = None, *, is_last: bool = False, uncounted: int = 0) -> Line:
        cells = {} if sheet is None else sheet.cells
        return Line(
            worker=life.worker if sheet is None else sheet.worker,
            minute=audit.minute_text(minute),
            part=0 if sheet is None else sheet.number,
            since=audit.minute_text(life.since),
            is_last=is_last,
            is_torn=sheet is not None and sheet.is_torn,
            acknowledged=audit.acknowledged_of(cells),
            uncounted=uncounted,
            hash=f"{audit.hash_of(cells):032x}",
            machine=self._machine,
            home=self.home,
            cells=audit.packed(cells),
        )


def record_of(line: Line) -> Record:
    """A line as Kafka stores it."""
    key, value = line.key, audit.encoded(line)
    headers = header("content-type", b"application/json")
    return Record(key.decode(), key, sized(key) + sized(value) + VARINT[1] + headers, audit.minute_of(line.minute) * audit.MINUTE_MS)
