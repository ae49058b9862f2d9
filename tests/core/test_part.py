"""A segment's index: packed it says the same and takes little, and what is packed is found as it was left."""

import random
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.part import ASIDE, SETTLED, WAITS, Part, Rows

# lane, records, sequences left out before it, bytes
frames = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 500), st.sampled_from((0, 0, 0, 7)), st.integers(60, 300_000)), max_size=30)
DAY_MS: Final = 1_769_519_405_000


def filled(counts: list[tuple[int, int, int, int]], first: int = 2**40) -> Part:
    part, sequence, place = Part(first), first, 64
    for lane, records, left_out, size in counts:
        sequence += left_out
        part.put(Rows([sequence], [records], [lane], [place], [DAY_MS + sequence]))
        sequence, place = sequence + records, place + size
    return part


def told(part: Part) -> tuple[object, ...]:
    index = part.index
    return (*index.columns(), bytes(index.marks), part.first, part.end, part.frames, dict(part.waiting))


@given(frames, st.data())
def test_packed_it_is_the_same(counts: list[tuple[int, int, int, int]], data: st.DataObject) -> None:
    part = filled(counts)
    for _ in range(2):  # a second time with other marks
        if part.records:
            part.index.marks[data.draw(st.integers(0, part.records - 1))] = data.draw(st.sampled_from((WAITS, SETTLED, ASIDE)))
        before, low = told(part), part.low
        oldest = part.oldest if WAITS in part.index.marks else None
        part.pack()
        assert part.is_packed
        assert (part.low, part.end) == (low, part.first + part.records)
        assert oldest is None or part.oldest == oldest
        assert part.is_packed, "neither was unpacked for that"
        assert (told(part), part.is_packed) == (before, False)


@given(frames)
def test_rows_at_once_are_rows_one_by_one(counts: list[tuple[int, int, int, int]]) -> None:
    one_by_one = filled(counts)
    if not counts:
        return
    index, starts = one_by_one.index, one_by_one.index.starts
    records = [count for _, count, _, _ in counts]
    at_once = Part(one_by_one.first)
    firsts = [one_by_one.first + start for start in starts]
    at_once.put(Rows(firsts, records, index.lanes, index.places, [DAY_MS + first for first in firsts]))
    assert told(at_once) == told(one_by_one)


def test_frames_of_one_record_take_two_bytes_each_when_packed() -> None:
    dice, count = random.Random(1), 50_000
    part = filled([(dice.randrange(12), 1, 0, dice.randrange(540, 620)) for _ in range(count)])
    part.pack()
    assert len(part._packed) < 2.2 * count
