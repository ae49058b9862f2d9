"""Cells and lines: what is kept of a minute does not depend on order, and a line that was changed proves nothing."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import audit
from gateway.core.audit import Cell, Line
from tests.minutes import event_id, line

numbers = st.lists(st.integers(0, 10_000), max_size=200)


@given(numbers, st.randoms(use_true_random=False))
def test_any_order_and_any_split_give_the_same(some: list[int], random: Any) -> None:
    ids = [event_id(n) for n in some]
    shuffled = random.sample(ids, len(ids))
    at = random.randint(0, len(ids))
    whole = audit.cells_of(ids)
    assert audit.added(audit.cells_of(shuffled[:at]), audit.cells_of(shuffled[at:])) == whole
    assert audit.acknowledged_of(whole) == len(ids)


@given(numbers)
def test_a_line_says_what_was_counted(some: list[int]) -> None:
    ids = [event_id(n) for n in some]
    minute = audit.read(audit.encoded(line(ids)))
    assert minute is not None
    assert minute.cells == audit.cells_of(ids)
    assert audit.minute_text(minute.minute) == "2026-12-18T06:00Z"


def test_a_cell_holds_a_minute_of_the_busiest_worker() -> None:
    """65,536 ids of one cell and the largest check there can be: 16 million in a minute."""
    cell = Cell(65_536, event_id(1) & ~0xFF, 65_536 * (audit.PRIME - 1))
    assert cell.check < 1 << 40
    assert audit.unpacked(audit.packed({0: cell})) == {0: cell}


def test_an_id_is_its_text_and_back() -> None:
    text = "0190a6e2-1b2c-8d3e-9f40-112233445566"
    assert audit.text_of(audit.id_of(text)) == text
    assert audit.number_of(audit.id_of(text)) == 0x66
    for wrong in ("", "e1", "0190a6e2", "x" * 32):
        with pytest.raises(ValueError):  # noqa: PT011 - which of two, does not matter
            audit.id_of(wrong)


def test_what_stands_in_place_of_a_line_says_how_many_and_not_what() -> None:
    said = line([event_id(n) for n in range(300)], uncounted=4, is_torn=True, is_last=True)
    place = audit.uncounted(said)
    assert (place.key, place.is_last, place.uncounted) == (said.key, True, 304)
    minute = audit.read(audit.encoded(place))
    assert minute is not None
    assert (minute.cells, len(audit.encoded(place)) < 500) == ({}, True)


def _one_cell_less(said: Line) -> Line:
    return msgspec.structs.replace(said, cells=base64.b64encode(base64.b64decode(said.cells)[26:]).decode())


def _one_bit_other(said: Line, byte: int) -> Line:
    data = bytearray(base64.b64decode(said.cells))
    data[byte] ^= 1
    return msgspec.structs.replace(said, cells=base64.b64encode(data).decode())


IDS = [event_id(n) for n in range(40)]


@pytest.mark.parametrize(
    "changed",
    [
        line(IDS, acknowledged=41),
        line(IDS, acknowledged=39),
        line(IDS, hash="0" * 32),
        line(IDS, cells=""),
        line(IDS, cells="AAAA"),
        line(IDS, cells="?"),
        line(IDS, minute="2026-12-18"),
        line(IDS, since="yesterday"),
        line(IDS, hash="00"),
        _one_cell_less(line(IDS)),
        _one_bit_other(line(IDS), 0),  # another cell's number
        _one_bit_other(line(IDS), 4),  # another count
        _one_bit_other(line(IDS), 12),  # another id
        line(IDS[:1], cells=audit.packed({audit.number_of(IDS[0]): Cell(1, IDS[0], audit.PRIME)}), hash=f"{IDS[0]:032x}"),
    ],
)
def test_a_line_that_contradicts_itself_is_none(changed: Line) -> None:
    assert audit.read(audit.encoded(changed)) is None


NESTED = pytest.param(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="nested")


@pytest.mark.parametrize("value", [NESTED, b"", b"{}", b"[]", b"\xff", b'{"worker": 1}', audit.encoded(line(IDS))[:-1]])
def test_what_is_no_line_is_none(value: bytes) -> None:
    assert audit.read(value) is None


def test_a_torn_line_is_read() -> None:
    """A kill may leave a cell with an id in its xor and none counted."""
    cells = {7: Cell(0, 0xAB << 64 | 7, 0)}
    torn = line([], is_torn=True, cells=audit.packed(cells), hash=f"{0xAB << 64 | 7:032x}")
    minute = audit.read(audit.encoded(torn))
    assert minute is not None
    assert minute.cells == cells
    assert audit.read(audit.encoded(msgspec.structs.replace(torn, is_torn=False))) is None
