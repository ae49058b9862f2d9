"""What a worker acknowledged in a minute, in a few kilobytes: enough to name what is missing of it.

Decided here: what is kept of an id, and the line that becomes of a minute.  Not decided here: where it is counted
(audit/sheets.py), who posts it (audit/auditor.py), what is made of it (core/reckoning.py).

    line    one part of one worker's minute of `received_us`; parts add up, a repeated part counts once
    cell    of 256: an id belongs to the one of its last two hex digits
              ids     how many
              xor     of the ids: one that is missing is what is left when all that were found are taken out
              check   sum of the ids' checks, which tells one id from the xor of several
    check   the first 64 bits of an id modulo the prime 16777213

An id is a hash, so cells fill evenly, and the order in which they are counted does not matter.  The sum of a cell's
checks stays below 2^40 for 65,536 ids, which is 16 million in a minute of one worker.

In a line the cells that are not empty stand one behind the other, in base64:

    number 1 | count 4 | check 5 | xor 16, big-endian
"""

import base64
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from struct import Struct as Layout
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

CELLS: Final = 256
PRIME: Final = 16_777_213
MINUTE_MS: Final = 60_000
_CELL: Final = Layout(">BIBI16s")


class Cell(NamedTuple):
    """What is kept of some ids."""

    ids: int = 0
    xor: int = 0
    check: int = 0


Cells = Mapping[int, Cell]
"""By their number; one that is empty is not in it."""


def check_of(event_id: int) -> int:
    """Of one id."""
    return (event_id >> 64) % PRIME


def number_of(event_id: int) -> int:
    """The cell that an id belongs to."""
    return event_id & 0xFF


def id_of(text: str) -> int:
    """An id's 128 bits.  Raises ValueError for what is no UUID."""
    digits = text.replace("-", "")
    if len(digits) != 32:
        raise ValueError(text)
    return int(digits, 16)


def text_of(event_id: int) -> str:
    """An id as headers have it."""
    h = f"{event_id:032x}"
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def cell_of(ids: Iterable[int]) -> Cell:
    """One cell's, of ids that all belong to it."""
    count = xor = check = 0
    for event_id in ids:
        count, xor, check = count + 1, xor ^ event_id, check + check_of(event_id)
    return Cell(count, xor, check)


def cells_of(ids: Iterable[int]) -> dict[int, Cell]:
    """All cells of these ids."""
    by_number: dict[int, list[int]] = {}
    for event_id in ids:
        by_number.setdefault(number_of(event_id), []).append(event_id)
    return {number: cell_of(some) for number, some in by_number.items()}


def added(one: Cells, other: Cells) -> dict[int, Cell]:
    """Both together."""
    out = dict(one)
    for number, cell in other.items():
        before = out.get(number, Cell())
        out[number] = Cell(before.ids + cell.ids, before.xor ^ cell.xor, before.check + cell.check)
    return out


def acknowledged_of(cells: Cells) -> int:
    """How many ids."""
    return sum(cell.ids for cell in cells.values())


def hash_of(cells: Cells) -> int:
    """The xor of all ids."""
    xor = 0
    for cell in cells.values():
        xor ^= cell.xor
    return xor


# Minutes


def minute_text(minute: int) -> str:
    """A minute since the epoch, as lines and people have it."""
    return datetime.fromtimestamp(minute * 60, tz=UTC).strftime("%Y-%m-%dT%H:%MZ")


def minute_of(text: str) -> int:
    """Back.  Raises ValueError."""
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp()) // 60


# Lines


class Line(Struct, frozen=True, kw_only=True):
    """The value of a record in audit.v1; its key is `worker:minute:part`, its time the beginning of the minute."""

    worker: Annotated[str, Meta(min_length=1, max_length=64, description="The name of the worker, as in the records' header `worker`.")]
    minute: Annotated[str, Meta(description="The minute of `received_us`, in UTC: 2026-12-18T06:00Z.")]
    part: Annotated[int, Meta(ge=0, description="Parts of a minute add up; a part that is there twice counts once.")]
    since: Annotated[str, Meta(description="The minute in which this worker started: from it to `is_last` each minute has a line.")]
    is_last: Annotated[bool, Meta(description="The worker has ended; no later minute of it has a line.")] = False
    is_torn: Annotated[bool, Meta(description="It was killed while it counted: one id may be in its cell by half. No client was answered for it.")] = False
    acknowledged: Annotated[int, Meta(ge=0, description="Events acknowledged: the sum of the cells' counts.")]
    uncounted: Annotated[int, Meta(ge=0, description="Acknowledged as well, and in no cell of any part: this minute cannot be judged.")] = 0
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{32}$", description="The xor of all their ids.")]
    machine: Annotated[str, Meta(description="Where it ran, for people.")]
    home: Annotated[str, Meta(description="Names the data directory in which its spool is.")]
    cells: Annotated[str, Meta(description="Base64 of the cells that are not empty, 26 bytes each: number 1, count 4, check 5, xor 16, big-endian.")] = ""

    @property
    def key(self) -> bytes:
        return f"{self.worker}:{self.minute}:{self.part}".encode()


def uncounted(line: Line) -> Line:
    """What is said where this one cannot be: how many events, and none of what they were."""
    events = line.uncounted + line.acknowledged
    return msgspec.structs.replace(line, is_torn=False, acknowledged=0, uncounted=events, hash=f"{0:032x}", cells="")


def packed(cells: Cells) -> str:
    """Cells as a line has them."""
    out = []
    for number, cell in sorted(cells.items()):
        out.append(_CELL.pack(number, cell.ids, cell.check >> 32, cell.check & 0xFFFFFFFF, cell.xor.to_bytes(16, "big")))
    return base64.b64encode(b"".join(out)).decode()


def unpacked(text: str) -> dict[int, Cell]:
    """Back.  Raises ValueError."""
    data = base64.b64decode(text, validate=True)
    if len(data) % _CELL.size:
        raise ValueError(f"{len(data)} bytes")
    cells = {}
    for number, count, high, low, xor in _CELL.iter_unpack(data):
        cells[number] = Cell(count, int.from_bytes(xor, "big"), high << 32 | low)
    return cells


encoded: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Line).decode


class Minute(NamedTuple):
    """A line that was read, and found to say the same everywhere."""

    line: Line
    minute: int
    since: int
    cells: dict[int, Cell]


def read(value: bytes) -> Minute | None:
    """None: it is no line, or its parts contradict each other, so that it proves nothing."""
    try:
        line = _decode(value)
        minute = Minute(line, minute_of(line.minute), minute_of(line.since), unpacked(line.cells))
    except (ValueError, RecursionError):  # msgspec's are
        return None
    cells = minute.cells
    is_whole = line.acknowledged == acknowledged_of(cells) and int(line.hash, 16) == hash_of(cells)
    # An empty cell has nothing; ids of a cell share their last digits, so does an odd number of them.
    return minute if is_whole and (line.is_torn or all(_may_be(number, cell) for number, cell in cells.items())) else None


def _may_be(number: int, cell: Cell) -> bool:
    return cell.ids > 0 and number_of(cell.xor) == (number if cell.ids % 2 else 0) and cell.check < cell.ids * PRIME
