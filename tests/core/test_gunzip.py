"""What a compressed body may unfold to."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.gunzip import gunzip

BYTES_MAX, RATIO_MAX = 1_000, 100


@given(st.binary(max_size=1_200), st.integers(0, 9))
def test_one_member_comes_back_unless_it_is_too_large(plain: bytes, level: int) -> None:
    assert gunzip(gzip.compress(plain, level), BYTES_MAX, 1_100) == (plain if len(plain) <= BYTES_MAX else "too-large")


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_anything_at_all_is_judged_and_bounded(head: bytes, tail: bytes) -> None:
    for body in (head, gzip.compress(head) + tail, gzip.compress(head)[: len(tail)], head + gzip.compress(tail)):
        unfolded = gunzip(body, BYTES_MAX, RATIO_MAX)
        assert unfolded in ("too-large", "not-gzip") or len(unfolded) <= BYTES_MAX


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_the_bound_itself_is_allowed(spare: int) -> None:
    plain = b"x" * 500
    expected = plain if spare >= 0 else "too-large"
    assert gunzip(gzip.compress(plain), 500 + spare, 1_100) == expected


@pytest.mark.parametrize("spare", [-1, 0])
def test_the_ratio_itself_is_allowed(spare: int) -> None:
    """50 times its compressed size is allowed where the ratio is 50, one byte more is not."""
    stored = next(
        (plain, packed) for size in range(10_000, 1, -1) for plain in [b"x" * size] for packed in [gzip.compress(plain)] if len(plain) % len(packed) == 0
    )
    plain, packed = stored
    ratio = len(plain) // len(packed)
    assert gunzip(packed, 1_000_000, ratio + spare) == (plain if spare == 0 else "too-large")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        gzip.compress(b"{}") + b"\0",
        gzip.compress(b"{}") + gzip.compress(b"{}"),
        gzip.compress(b"{}")[:-1],
        gzip.compress(b"{}")[:-8] + b"\0" * 8,  # its checksum is another's
        zlib.compress(b"{}"),
        zlib.compress(b"{}")[2:-4],  # raw deflate
    ],
    ids=["nothing", "plain", "trailing", "two-members", "cut", "checksum", "zlib", "raw"],
)
def test_what_is_not_one_complete_member(body: bytes) -> None:
    assert gunzip(body, BYTES_MAX, RATIO_MAX) == "not-gzip"


def test_a_bomb_is_never_unfolded() -> None:
    """Fifty megabytes in fifty kilobytes: no more than its bound is ever held."""
    bomb = gzip.compress(b"\0" * 50_000_000)
    tracemalloc.start()
    try:
        assert gunzip(bomb, 100_000, 1_100) == "too-large"
        assert tracemalloc.get_traced_memory()[1] < 400_000
    finally:
        tracemalloc.stop()
