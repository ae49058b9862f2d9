"""Bitmaps of places: one bit for each, set, counted, and found by rank.

Pure.  A bitmap that is written is a bytearray, which grows; one that is counted is an integer, place p
being its bit p.  In Redis they are strings: SETBIT, BITOP, BITCOUNT, and a binary search for the rank.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise


def bits_of(bitmap: bytearray) -> int:
    """A bitmap as one integer: place p is bit p."""
    return int.from_bytes(bitmap, "little")


def mark(bitmap: bytearray, place: int) -> None:
    """Set the bit of a place."""
    index = place >> 3
    if index >= len(bitmap):
        bitmap.extend(bytes(index + 1 - len(bitmap)))
    bitmap[index] |= 1 << (place & 7)


def below(bits: int, place: int) -> int:
    """The bits of the places before this one."""
    return bits & ((1 << place) - 1)


def kth(bits: int, k: int) -> int:
    """The place of the k-th bit that is set, counted from 1; -1 if there are fewer.  Halving: the script does it with BITCOUNT."""
    if bits.bit_count() < k:
        return -1
    place, width = 0, bits.bit_length()
    while width > 1:
        half = width // 2
        low = below(bits, half)
        count = low.bit_count()
        if count >= k:
            bits, width = low, half
        else:
            bits, width, place, k = bits >> half, width - half, place + half, k - count
    return place


def places_of(bits: int, ranks: Sequence[int]) -> Iterator[int]:
    """The place after the k-th bit, for each k; 0 for k = 0."""
    base, taken = 0, 0
    for k in ranks:
        if k > taken:
            step = kth(bits, k - taken) + 1
            bits, base, taken = bits >> step, base + step, k
        yield base


def ahead_of(bits: int, start: int, end: int, steps: int) -> tuple[int, ...]:
    """How many bits are set below each of steps + 1 places from start to end, counted from start."""
    edges = [start + (end - start) * step // steps for step in range(steps + 1)]
    counts, before = [0], 0
    bits >>= start
    for left, right in pairwise(edges):
        before += below(bits, right - left).bit_count()
        bits >>= right - left
        counts.append(before)
    return tuple(counts)
