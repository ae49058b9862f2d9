"""book.py: what was written is what is read, across chunks."""

import numpy as np
import pytest

from loadtests.crowd import book
from loadtests.recording import CALL, FATE, Fate


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 40])
def test_rows_come_back_in_order_across_chunks(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "_CHUNK_ROWS", 8)
    rows = book.Rows(CALL)
    written = [(1, 2, -1, 255, number, number / 3, 0.5, 1e9 + number, 2e9) for number in range(count)]
    for row in written:
        rows.add(*row)
    assert len(rows) == count
    for first in {0, count // 2, count}:
        assert rows.since(first).tolist() == np.array(written[first:], CALL).tolist()


def test_fates_are_counted() -> None:
    kept = book.Book()
    kept.fate(1, 70_000, 3, Fate.UNKNOWN)
    assert kept.fates.since(0).tolist() == np.array([(1, 70_000, 3, 3)], FATE).tolist()
    assert kept.by_fate == {Fate.ACCEPTED: 0, Fate.REFUSED: 0, Fate.UNKNOWN: 1, Fate.INVALID: 0}


def test_a_dtype_that_no_struct_packs_is_refused() -> None:
    with pytest.raises(KeyError):
        book.form(np.dtype([("name", "S4")]))
