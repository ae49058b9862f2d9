"""The spool's bytes: what is written is read, and of what is damaged nothing is invented and nothing good is lost."""

import random
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core import record as form
from gateway.core.event import Record
from gateway.core.record import BadFrameError, Gap, Segment
from gateway.spool.segments import Cipher
from tests import frames
from tests.frames import Found
from tests.records import made

SECRET: Final = bytes(range(32))
SEGMENT: Final = Segment(1_000, bytes(range(16)), form.key_id(SECRET))
CIPHER: Final = Cipher(form.segment_key(SECRET, SEGMENT.salt))
# first sequence, records, bytes of each value
FRAMES: Final = ((1_000, 1, 0), (1_001, 3, 40), (1_004, 1, 5_000), (1_005, 2, 1), (1_007, 4, 300))


def records(first: int, count: int, size: int) -> list[Record]:
    return [made(f"e{n}", b"u1", random.Random(n).randbytes(size), [("ce_id", b"%d" % n)], 1_769_519_405_000 + n) for n in range(first, first + count)]


def frame(first: int, count: int, size: int, segment: Segment = SEGMENT) -> bytes:
    return form.frame("syncs.v1", first % 3, first, records(first, count, size), segment.salt, CIPHER)


BYTES: Final = form.segment_header(SEGMENT) + b"".join(frame(*one) for one in FRAMES)
ENDS: Final = [len(BYTES) - sum(len(frame(*one)) for one in FRAMES[at:]) for at in range(1, len(FRAMES) + 1)]


def recovered(content: bytes) -> list[Found | Gap]:
    return frames.recovered(content, SEGMENT)


def good(content: bytes) -> Iterator[tuple[int, Record]]:
    """Every record found, opened."""
    for one in recovered(content):
        if isinstance(one, Found):
            told, found = form.opened(content[one.place : one.place + one.length], SEGMENT.salt, CIPHER)
            assert (told.first, told.records, told.partition, told.topic) == (one.first, one.records, one.partition, "syncs.v1")
            yield from enumerate(found, one.first)


def written(*frames: tuple[int, int, int]) -> list[tuple[int, Record]]:
    return [pair for first, count, size in frames for pair in enumerate(records(first, count, size), first)]


def test_what_is_written_is_read() -> None:
    assert list(good(BYTES)) == written(*FRAMES)
    assert not [one for one in recovered(BYTES) if isinstance(one, Gap)]


def test_every_prefix_gives_its_whole_frames_and_no_more() -> None:
    for length in range(form.HEADER_BYTES, len(BYTES) + 1):
        whole = [one for one, end in zip(FRAMES, ENDS, strict=True) if end <= length]
        found = recovered(BYTES[:length])
        assert [(one.first, one.records) for one in found if isinstance(one, Found)] == [(first, count) for first, count, _ in whole]
        # What is left is one gap or none, at the end.
        assert sum(isinstance(one, Gap) for one in found) == (length not in (form.HEADER_BYTES, *ENDS))
    assert list(good(BYTES[: ENDS[2] + 50])) == written(*FRAMES[:3])


def test_a_bit_that_fell_over_costs_its_frame_alone() -> None:
    for at in range(form.HEADER_BYTES, len(BYTES)):
        damaged = bytearray(BYTES)
        damaged[at] ^= 1 << at % 8
        hit = next(index for index, end in enumerate(ENDS) if at < end)
        assert [one.first for one in recovered(bytes(damaged)) if isinstance(one, Found)] == [first for index, (first, *_) in enumerate(FRAMES) if index != hit]


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(BYTES)), st.integers(0, 2_000), st.booleans()), min_size=1, max_size=5), st.integers(0, 4_000))
@example([(form.HEADER_BYTES, len(BYTES), False)], 0)
def test_whatever_is_overwritten_nothing_is_invented_and_what_was_spared_is_found(damage: list[tuple[int, int, bool]], tail: int) -> None:
    """Zeros, noise, and noise behind the end."""
    content = bytearray(BYTES)
    for start, length, is_noise in damage:
        stop = min(start + length, len(BYTES))
        content[start:stop] = random.Random(start).randbytes(max(stop - start, 0)) if is_noise else bytes(max(stop - start, 0))
    content += random.Random(tail).randbytes(tail)
    spared = [one for one, end in zip(FRAMES, ENDS, strict=True) if content[end - len(frame(*one)) : end] == frame(*one)]
    assert list(good(bytes(content))) == written(*spared)


def test_bytes_of_another_segment_on_the_same_blocks_are_no_frames() -> None:
    """What an earlier file left where this one grew."""
    other = SEGMENT._replace(salt=bytes(16))
    content = BYTES[: ENDS[1]] + frame(1_004, 1, 10, other) + frame(1_005, 1, 10, other)
    assert list(good(content)) == written(*FRAMES[:2])


def test_sequences_only_rise_and_never_beyond_what_could_have_been_written() -> None:
    again = BYTES[: ENDS[1]] + frame(1_002, 1, 10) + frame(1_500_000, 1, 10) + frame(1_004, 1, 5_000)
    assert list(good(again)) == written(*FRAMES[:3])


def test_the_next_sequence_is_behind_whatever_a_torn_tail_may_have_held() -> None:
    """Its head says it; where that is gone, its bytes do."""
    for cut in (1, len(frame(*FRAMES[-1])) - 10):
        tail = recovered(BYTES[:-cut])[-1]
        assert isinstance(tail, Gap)
        assert tail.next_sequence >= (1_011 if cut == 1 else 1_007)
    noise = recovered(BYTES[: ENDS[0]] + bytes(len(BYTES) - ENDS[0]))[-1]
    assert isinstance(noise, Gap)
    assert noise.next_sequence >= 1_011


def test_a_frame_larger_than_the_window_is_found_and_so_is_what_follows_much_damage() -> None:
    large = form.segment_header(SEGMENT) + frame(1_000, 2, 1_200_000) + bytes(3_000_000) + frame(1_002, 1, 10)
    assert [one.first for one in recovered(large) if isinstance(one, Found)] == [1_000, 1_002]
    head_gone = large[: form.HEADER_BYTES] + b"\0" + large[form.HEADER_BYTES + 1 :]
    assert [one.first for one in recovered(head_gone) if isinstance(one, Found)] == [1_002]


@pytest.mark.parametrize("size", [0, 1, 40, len(frame(*FRAMES[0])) - 1])
def test_a_part_of_a_frame_is_not_opened(size: int) -> None:
    with pytest.raises(BadFrameError):
        form.opened(frame(*FRAMES[0])[:size], SEGMENT.salt, CIPHER)


def test_a_frame_does_not_open_with_another_key_or_under_another_head() -> None:
    other = Cipher(form.segment_key(bytes(32), SEGMENT.salt))
    with pytest.raises(BadFrameError):
        form.opened(frame(*FRAMES[1]), SEGMENT.salt, other)
    # The head of one and the body of another, with every crc made to fit.
    moved = form.frame("syncs.v1", 9, 1_001, records(1_001, 3, 40), SEGMENT.salt, _Recorded(frame(*FRAMES[1])))
    with pytest.raises(BadFrameError):
        form.opened(moved, SEGMENT.salt, CIPHER)


class _Recorded(Cipher):
    """Seals nothing, and says what was sealed before."""

    def __init__(self, frame_bytes: bytes) -> None:
        self._sealed = frame_bytes[form._HEAD.size + len("syncs.v1") + 4 : -4]

    def encrypt(self, *_: object) -> bytes:
        return self._sealed


def test_names_and_steps_are_not_on_the_disk_in_the_open() -> None:
    one = made("e1", b"room:1:77", b'{"name":"Kim"}', [], 0)
    sealed = form.frame("signups.v1", 0, 1, [one], SEGMENT.salt, CIPHER)
    assert b"Kim" not in sealed
    assert b"room" not in sealed


# A segment's header and name


def test_a_header_and_a_name_say_the_same() -> None:
    header, name = form.segment_header(SEGMENT), form.segment_name(SEGMENT)
    assert len(header) == form.HEADER_BYTES
    assert form.read_segment("lost+found-7", header) == SEGMENT
    for at in range(len(header)):
        damaged = bytearray(header)
        damaged[at] ^= 1
        assert form.read_segment(name, bytes(damaged)) == SEGMENT
        assert form.read_segment("lost+found-7.spool", bytes(damaged)) is None
        assert form.read_segment(name, header[:at]) == SEGMENT


def test_names_sort_as_sequences_do() -> None:
    firsts = [0, 9, 255, 256, 10**12, 2**63]
    assert [form.segment_name(Segment(first, bytes(16), bytes(4))) for first in firsts] == sorted(
        form.segment_name(Segment(first, bytes(16), bytes(4))) for first in firsts
    )


# Sizes


@given(st.text("abc0", min_size=1, max_size=300), st.binary(max_size=400), st.binary(max_size=70_000), st.integers(0, 2**62), st.integers(1, 3))
def test_a_frame_is_no_larger_than_was_said(name: str, key: bytes, value: bytes, timestamp_ms: int, count: int) -> None:
    some = [made(name, key, value, [], timestamp_ms)] * count
    assert len(form.frame("t" * 249, 0, 0, some, SEGMENT.salt, CIPHER)) <= form.frame_bytes_max("t" * 249, some)
