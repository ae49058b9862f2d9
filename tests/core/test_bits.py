"""Bitmaps of places against plain sets."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.bits import ahead_of, below, bits_of, kth, mark, places_of

places = st.sets(st.integers(0, 300), max_size=60)


def bits(marked: set[int]) -> int:
    bitmap = bytearray()
    for place in marked:
        mark(bitmap, place)
    return bits_of(bitmap)


@given(places, st.integers(0, 310))
def test_what_is_marked_is_counted(marked: set[int], place: int) -> None:
    assert bits(marked).bit_count() == len(marked)
    assert below(bits(marked), place).bit_count() == sum(other < place for other in marked)


@given(places, st.integers(1, 70))
def test_the_kth_is_the_kth_in_order(marked: set[int], k: int) -> None:
    assert kth(bits(marked), k) == (sorted(marked)[k - 1] if k <= len(marked) else -1)


@given(places, st.lists(st.integers(0, 60), max_size=10))
def test_several_ranks_at_once(marked: set[int], ranks: list[int]) -> None:
    ranks = sorted(min(rank, len(marked)) for rank in ranks)
    assert list(places_of(bits(marked), ranks)) == [sorted(marked)[rank - 1] + 1 if rank else 0 for rank in ranks]


@given(places, st.integers(0, 200), st.integers(0, 200), st.integers(1, 9))
def test_counts_at_even_steps(marked: set[int], start: int, length: int, steps: int) -> None:
    edges = [start + length * step // steps for step in range(steps + 1)]
    assert ahead_of(bits(marked), start, start + length, steps) == tuple(sum(start <= place < edge for place in marked) for edge in edges)
