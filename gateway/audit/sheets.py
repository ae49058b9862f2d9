"""Sheets: the part of the board where a worker counts what it acknowledged, a sheet for each minute.

Decided here: where each word stands, who writes it, and when a sheet changes hands.  Not decided here: what a cell
is (core/audit.py), what becomes of a sheet (auditor.py).  All words are u64.

    slot     name | since | given || (minute | uncounted) × 16 || sheet | sheet | …
    sheet    number | closed | freed | name | minute | busy || first half of xor × 256 | second × 256 | tally × 256

    name         of the worker, its 8 hex digits behind a 1; 0: nobody yet
    since        the minute in which it started
    given        sheets that were begun in this slot: the number of the last one, which becomes the line's `part`
    uncounted    events of this minute for which no sheet was free; a minute has its place by its number, and takes it over
    number       of this sheet; the worker's, as all but:
    closed       the supervisor's: sheet `number` is to be written to no more
    freed        the supervisor's: it has what stands here, the sheet may be used again
    busy         1 while records are counted: it stays where a kill comes in between
    tally        count × 2^40 + check

A sheet is free while `freed` = `number`.  The worker looks at `closed` each time it counts, and the supervisor
takes a sheet a look after it closed it: by then nobody writes there.  What a worker has to count for a minute that is
closed goes into another sheet, which is another part of that minute's line.

A worker that is killed leaves its sheets as they are, and its successor takes others.  Killed while it counts, one id
is in its cell by half: in the first half of xor, or in both and not in the tally, for that is the order of writes.  No
client was answered for its request, because all of that is counted before the answer is written.

It costs 0.65 µs an event in a request of fifty, up to 1.8 where a single one is counted alone.  Three cells an id, as an invertible Bloom filter has
them, would name more of many missing and cost twice as much.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from gateway import logs
from gateway.core.audit import CELLS, MINUTE_MS, PRIME, Cell
from gateway.core.event import Record

SHEETS: Final = 8  # the minute that runs, the one before until its last answer is given, and those of predecessors: a kill uses up one
_NAME, _SINCE, _GIVEN, _UNCOUNTED = range(4)
_UNCOUNTED_MINUTES: Final = 16  # the supervisor looks each second, and tells a minute's soon after its end
_HEAD: Final = _UNCOUNTED + 2 * _UNCOUNTED_MINUTES
_NUMBER, _CLOSED, _FREED, _OWNER, _MINUTE, _BUSY, _CELLS = range(7)
_SHEET: Final = _CELLS + 3 * CELLS
WORDS: Final = _HEAD + SHEETS * _SHEET
_NAME_MARK: Final = 1 << 32
_COUNT: Final = 1 << 40
_EMPTY: Final = memoryview(bytes(8 * 3 * CELLS)).cast("Q")
_halves: Final = Struct(">QQ").iter_unpack


class Sheets:
    """A worker's side."""

    def __init__(self, words: "memoryview[int]", name: str, now_us: int) -> None:
        """Args: words: its slot's; name: as in its records, 8 hex digits."""
        self._words = words
        self._owner = int(name, 16) | _NAME_MARK
        self._is_said = False
        self._open: dict[int, _Open] = {}  # by minute
        words[_NAME] = 0  # no moment with one's name and another's time
        words[_SINCE] = now_us // 1000 // MINUTE_MS
        words[_NAME] = self._owner

    def count(self, records: Sequence[Record]) -> None:
        """Acknowledged.  The answers may be written when this has returned."""
        minutes = {record.timestamp_ms // MINUTE_MS for record in records}
        for minute in minutes:
            self._count(minute, records if len(minutes) == 1 else [record for record in records if record.timestamp_ms // MINUTE_MS == minute])

    def _count(self, minute: int, records: Sequence[Record]) -> None:
        words = self._words
        sheet = self._open.get(minute)
        if sheet is None or words[sheet.closed] == sheet.number:
            sheet = self._begin(minute)
            if sheet is None:
                self._not_counted(minute, len(records))
                return
        _, _, busy, firsts, seconds, tallies = sheet
        words[busy] = 1
        # One loop for each event there is: three words of the board, and little else.
        for first, second in _halves(bytes.fromhex("".join([record.event_id for record in records]).replace("-", ""))):
            cell = second & 0xFF
            firsts[cell] ^= first
            seconds[cell] ^= second
            tallies[cell] += first % PRIME + _COUNT
        words[busy] = 0

    def _not_counted(self, minute: int, events: int) -> None:
        words, at = self._words, _UNCOUNTED + minute % _UNCOUNTED_MINUTES * 2
        if words[at] != minute:
            words[at + 1] = 0
            words[at] = minute
        words[at + 1] += events

    def _begin(self, minute: int) -> "_Open | None":
        """A free sheet, now this minute's; None where there is none."""
        words = self._words
        self._open = {other: sheet for other, sheet in self._open.items() if words[sheet.closed] != sheet.number}
        at = next((at for at in _places() if words[at + _FREED] == words[at + _NUMBER]), None)
        if at is None:
            if not self._is_said:
                logs.error("no sheet is free: what is acknowledged is not counted for the audit")
            self._is_said = True
            return None
        number = words[_GIVEN] = words[_GIVEN] + 1
        words[at + _CELLS : at + _SHEET] = _EMPTY
        words[at + _OWNER], words[at + _MINUTE] = self._owner, minute
        words[at + _BUSY] = 0
        words[at + _NUMBER] = number  # last: until then the sheet is free, whenever a kill comes
        firsts, seconds, tallies = (words[begin : begin + CELLS] for begin in range(at + _CELLS, at + _SHEET, CELLS))
        sheet = self._open[minute] = _Open(number, at + _CLOSED, at + _BUSY, firsts, seconds, tallies)
        return sheet


class _Open(NamedTuple):
    """A sheet that is written to: its number, where two of its words are, and its cells' words."""

    number: int
    closed: int
    busy: int
    firsts: "memoryview[int]"
    seconds: "memoryview[int]"
    tallies: "memoryview[int]"


class Sheet(NamedTuple):
    """One that was taken."""

    worker: str
    minute: int
    number: int
    is_torn: bool
    cells: dict[int, Cell]


class Life(NamedTuple):
    """Who counts in a slot."""

    worker: str
    since: int  # minute


class Desk:
    """The supervisor's side of one slot."""

    def __init__(self, words: "memoryview[int]") -> None:
        self._words = words

    @property
    def life(self) -> Life | None:
        """Whose slot it is; None: nobody's yet."""
        name = self._words[_NAME]
        return Life(_text(name), self._words[_SINCE]) if name else None

    @property
    def uncounted(self) -> dict[int, int]:
        """Events for which no sheet was free, by minute: all of late, told or not."""
        words = self._words
        return {words[at]: words[at + 1] for at in range(_UNCOUNTED, _HEAD, 2) if words[at + 1]}

    def close(self, before: int | None) -> None:
        """No more into the sheets of minutes before this one; None: into none, their worker is gone."""
        words = self._words
        for at in _places():
            if words[at + _NUMBER] != words[at + _FREED] and (before is None or words[at + _MINUTE] < before):
                words[at + _CLOSED] = words[at + _NUMBER]

    def take(self) -> list[Sheet]:
        """What was closed; call it when whoever writes has had the time to see that."""
        words, taken = self._words, []
        for at in _places():
            number = words[at + _NUMBER]
            if number == words[at + _CLOSED] != words[at + _FREED]:
                taken.append(Sheet(_text(words[at + _OWNER]), words[at + _MINUTE], number, words[at + _BUSY] != 0, _cells(words, at + _CELLS)))
                words[at + _FREED] = number
        return taken


def _places() -> range:
    return range(_HEAD, WORDS, _SHEET)


def _text(name: int) -> str:
    return f"{name ^ _NAME_MARK:08x}"


def _cells(words: "memoryview[int]", at: int) -> dict[int, Cell]:
    cells = {}
    for number in range(CELLS):
        first, second, tally = words[at + number], words[at + CELLS + number], words[at + 2 * CELLS + number]
        if first or second or tally:
            cells[number] = Cell(tally // _COUNT, first << 64 | second, tally % _COUNT)
    return cells
