"""What is missing of a minute is told to the unit, by name where it can be, and never told where it is not."""

from collections.abc import Sequence
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import audit
from gateway.core.audit import Cell
from gateway.core.reckoning import Judged, Place, judge, together
from tests.minutes import event_id

KAFKA, SPOOL, REJECTED = Place.KAFKA, Place.SPOOL, Place.REJECTED


def in_kafka(ids: Sequence[int]) -> list[tuple[int, int]]:
    return [(one, KAFKA) for one in ids]


def of_cell(number: int, count: int, first: int = 0) -> list[int]:
    """So many ids of one cell."""
    return list(islice((one for n in range(first * 1_000_000, (first + 1) * 1_000_000) if audit.number_of(one := event_id(n)) == number), count))


@given(st.integers(0, 400), st.integers(0, 10_000_000))
def test_all_that_was_acknowledged_is_found(count: int, first: int) -> None:
    ids = [event_id(first + n) for n in range(count)]
    assert judge(audit.cells_of(ids), in_kafka(ids[::-1])) == Judged(acknowledged=count, found=count)


@given(st.sets(st.integers(0, 299), max_size=8), st.sets(st.integers(300, 399), max_size=8))
def test_few_missing_and_few_never_acknowledged_are_told_apart(missing: set[int], unacknowledged: set[int]) -> None:
    """To the unit and by name, wherever no cell has two of the missing, or more than it can tell beside one."""
    ids = [event_id(n) for n in range(300)]
    found = [event_id(n) for n in range(300) if n not in missing] + [event_id(n) for n in unacknowledged]
    told = judge(audit.cells_of(ids), in_kafka(found))
    assert told.acknowledged == 300 == told.found + told.missing + told.undetermined
    if told.undetermined == 0 and told.missing == len(told.names):
        assert set(told.names) == {event_id(n) for n in missing}
        assert told.unacknowledged == len(unacknowledged)
    assert set(told.names) <= {event_id(n) for n in missing}
    assert told.missing <= len(missing)
    cells = [audit.number_of(event_id(n)) for n in missing]
    if len(set(cells)) == len(cells) and not {audit.number_of(event_id(n)) for n in unacknowledged} & set(cells):
        assert set(told.names) == {event_id(n) for n in missing}


@pytest.mark.parametrize("missing", range(3))
@pytest.mark.parametrize("extras", range(6))
def test_one_cell(missing: int, extras: int) -> None:
    """Up to one missing with up to two extras, and up to four extras, are told; beyond that nothing wrong is."""
    ids, more = of_cell(5, 40), of_cell(5, extras, first=1)
    told = judge(audit.cells_of(ids), in_kafka(ids[missing:] + more))
    assert told.acknowledged == 40 == told.found + told.missing + told.undetermined
    if (missing == 0 and extras <= 4) or (missing == 1 and extras <= 2):
        assert told == Judged(acknowledged=40, found=40 - missing, missing=missing, unacknowledged=extras, names=tuple(ids[:missing]))
    else:
        assert told.names == ()
        assert told.missing == max(missing - extras, 0)
        assert bool(told.undetermined) == (extras >= missing)


def test_many_missing_are_counted_and_most_are_named() -> None:
    ids = [event_id(n) for n in range(20_000)]
    told = judge(audit.cells_of(ids), in_kafka(ids[50:]))
    assert (told.acknowledged, told.found, told.missing) == (20_000, 19_950, 50)
    assert set(told.names) <= set(ids[:50])
    assert len(told.names) >= 35


def test_all_missing_is_all_missing() -> None:
    ids = [event_id(n) for n in range(5_000)]
    told = judge(audit.cells_of(ids), [])
    assert (told.acknowledged, told.found, told.missing, told.undetermined) == (5_000, 0, 5_000, 0)


def test_records_nobody_acknowledged_are_no_loss() -> None:
    ids = [event_id(n) for n in range(300)]
    assert judge({}, in_kafka(ids)).missing == 0
    told = judge(audit.cells_of(ids), in_kafka([*ids, *(event_id(n) for n in range(1_000, 1_200))]))
    assert (told.found, told.missing, told.unacknowledged) == (300, 0, 200)


def test_more_extras_than_can_be_told_are_undetermined_in_their_cell_alone() -> None:
    ids, more = [event_id(n) for n in range(2_000)], of_cell(9, 12, first=1)
    told = judge(audit.cells_of(ids), in_kafka(ids + more))
    in_cell = sum(audit.number_of(one) == 9 for one in ids)
    assert told == Judged(acknowledged=2_000, found=2_000 - in_cell, undetermined=in_cell, unacknowledged=12)


def test_where_it_was_found_is_told() -> None:
    ids = [event_id(n) for n in range(60)]
    places = [KAFKA, SPOOL, REJECTED]
    told = judge(audit.cells_of(ids), [(one, places[n % 3]) for n, one in enumerate(ids[:-1])])
    assert told == Judged(acknowledged=60, found=20, spooled=20, rejected=19, missing=1, names=(ids[-1],))


def test_an_id_that_two_requests_brought_counts_twice() -> None:
    ids = [event_id(n) for n in range(60)]
    cells = audit.cells_of([*ids, ids[0]])
    assert judge(cells, in_kafka([*ids, ids[0]])) == Judged(acknowledged=61, found=61)
    assert judge(cells, in_kafka(ids)) == Judged(acknowledged=61, found=60, missing=1, names=(ids[0],))


@pytest.mark.parametrize("step", ["first half", "both halves"])
def test_a_kill_in_the_middle_of_counting_is_no_loss(step: str) -> None:
    ids = [event_id(n) for n in range(500)]
    torn = event_id(1_000)
    written = torn if step == "both halves" else torn >> 64 << 64
    number, cells = audit.number_of(torn), audit.cells_of(ids)
    before = cells.get(number, Cell())
    cells[number] = Cell(before.ids, before.xor ^ written, before.check)
    found = in_kafka([*ids, torn])
    assert judge(cells, found, is_torn=True) == Judged(acknowledged=500, found=500, unacknowledged=1)
    assert judge(cells, found).missing == 0
    assert judge(cells, found[1:], is_torn=True).names == (ids[0],)


def test_what_has_not_the_form_of_an_id_is_counted_and_not_named() -> None:
    [one] = of_cell(5, 1)
    for other in (one ^ 1 << 76, one ^ 1 << 62, one ^ 1):
        assert judge({5: Cell(1, other, audit.check_of(other))}, []) == Judged(acknowledged=1, missing=1)


def test_a_search_that_would_take_minutes_is_not_begun() -> None:
    ids, more = of_cell(5, 720), of_cell(5, 4, first=1)
    assert judge(audit.cells_of(ids), in_kafka([*ids, *more])) == Judged(acknowledged=720, undetermined=720, unacknowledged=4)
    few = ids[:100]
    assert judge(audit.cells_of(few), in_kafka([*few, *more])) == Judged(acknowledged=100, found=100, unacknowledged=4)


def test_sums() -> None:
    assert together([]) == Judged()
    both = together([Judged(acknowledged=2, found=1, missing=1, names=(7,)), Judged(acknowledged=3, found=2, missing=1, names=(8,))])
    assert both == Judged(acknowledged=5, found=3, missing=2, names=(7, 8))
