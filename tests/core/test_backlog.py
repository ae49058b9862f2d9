"""What waits, told against a list of every record."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.backlog import Backlog
from gateway.core.part import Part

LANES: Final = (("syncs", 0), ("syncs", 1), ("signups", 0))


def filled(*counts: tuple[int, int], first: int = 100, parts: int = 1) -> Backlog:
    """Frames of (lane, records), shared out to so many parts."""
    backlog, sequence = Backlog(), first
    for number in range(parts):
        part = Part(sequence)
        backlog.add(part)
        for at, (lane, count) in enumerate(counts[number::parts]):
            backlog.put(part, sequence, count, LANES[lane], 64 + at * 1_000, sequence * 1_000)
            sequence += count
        part.size = 64 + len(counts[number::parts]) * 1_000
    return backlog


def test_frames_of_a_lane_come_oldest_first_with_where_they_stand() -> None:
    backlog = filled((0, 2), (1, 1), (0, 3))
    assert [(spot.place, spot.length_max, spot.sequences) for spot in backlog.spots(LANES[0])] == [
        (64, 1_000, range(100, 102)),
        (2_064, 1_000, range(103, 106)),
    ]
    assert list(backlog.spots(("unknown", 0))) == []


def test_a_segment_is_done_when_it_is_sealed_and_nothing_in_it_is_left() -> None:
    backlog = filled((0, 2), (1, 2))
    [part] = backlog.parts
    backlog.settle(range(100, 104))
    assert backlog.drop_done() == []
    part.is_sealed = True
    assert backlog.drop_done() == [part]
    assert backlog.parts == []


def test_what_is_put_aside_is_not_replayed_and_keeps_its_segment() -> None:
    backlog = filled((0, 2), (0, 2))
    backlog.parts[0].is_sealed = True
    assert backlog.put_aside(range(100, 102)) == 2
    assert backlog.put_aside(range(100, 102)) == 0
    assert ([spot.sequences.start for spot in backlog.spots(LANES[0])], backlog.waiting()) == ([102], {LANES[0]: 2})
    backlog.settle(range(102, 104))
    assert backlog.drop_done() == []
    assert backlog.watermark(backlog.parts, 104) == 100
    backlog.settle(range(100, 102))
    assert len(backlog.drop_done()) == 1


def test_sequences_that_are_missing_count_as_settled() -> None:
    backlog, part = Backlog(), Part(10)
    backlog.add(part)
    backlog.put(part, 15, 2, LANES[0], 64, 0)
    assert (backlog.waiting(), backlog.watermark([part], 17)) == ({LANES[0]: 2}, 15)
    assert backlog.settle(range(1_000)) == 2
    assert backlog.watermark([part], 17) == 17


def test_the_oldest_that_waits() -> None:
    backlog = filled((0, 1), (1, 1), (2, 1))
    assert backlog.oldest_s() == 100
    backlog.settle(range(100, 102))
    assert backlog.oldest_s() == 102
    backlog.settle(range(102, 103))
    assert backlog.oldest_s() is None


def test_of_many_segments_few_indexes_are_unpacked_and_all_are_read() -> None:
    backlog = filled(*[(at % 3, 2) for at in range(120)], parts=40)
    for part in backlog.parts[:-1]:
        part.is_sealed = True

    def unpacked() -> int:
        return sum(not part.is_packed for part in backlog.parts)

    for lane in LANES:
        found = [one for spot in backlog.spots(lane) for one in spot.sequences]
        assert len(found) == 80
        assert found == sorted(found)
        assert unpacked() <= 9
    for sequence in range(100, 340):
        assert backlog.settle(range(sequence, sequence + 1)) == 1
        assert unpacked() <= 9
    assert (backlog.waiting(), backlog.watermark(backlog.parts, 340), backlog.oldest_s()) == ({}, 340, None)
    assert len(backlog.drop_done()) == 39
    assert (unpacked(), backlog.parts[0].is_sealed) == (1, False)


def test_the_segment_that_is_written_to_is_never_packed() -> None:
    backlog = filled(*[(0, 1)] * 40, parts=40)
    for part in backlog.parts[:-1]:
        part.is_sealed = True
    assert len([*backlog.spots(LANES[0])]) == 40
    [*_, last] = backlog.parts
    assert not last.is_packed
    backlog.put(last, 140, 1, LANES[0], 1_064, 0)
    assert backlog.waiting() == {LANES[0]: 41}


frames = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=1, max_size=12)
ranges = st.lists(st.tuples(st.booleans(), st.integers(90, 150), st.integers(0, 12)), max_size=12)


@given(frames, st.integers(1, 3), ranges)
def test_it_knows_what_a_list_of_all_records_knows(counts: list[tuple[int, int]], parts: int, marks: list[tuple[bool, int, int]]) -> None:
    backlog = filled(*counts, parts=parts)
    lanes = [lane for number in range(parts) for lane, count in counts[number::parts] for _ in range(count)]
    state = dict.fromkeys(range(100, 100 + len(lanes)), "waits")
    for is_settled, start, length in marks:
        sequences = range(start, start + length)
        waited = [one for one in sequences if state.get(one) == "waits"]
        assert (backlog.settle if is_settled else backlog.put_aside)(sequences) == len(waited)
        state |= dict.fromkeys([one for one in sequences if one in state] if is_settled else waited, "settled" if is_settled else "aside")
        left = [one for one, how in state.items() if how == "waits"]
        assert sum(backlog.waiting().values()) == len(left)
        for lane in LANES:
            found = [one for spot in backlog.spots(lane) for one, waits in zip(spot.sequences, backlog.waits(spot), strict=True) if waits]
            assert found == [one for one in left if LANES[lanes[one - 100]] == lane]
            assert backlog.waiting().get(lane, 0) == len(found)
        assert backlog.watermark(backlog.parts, 999) == min([one for one, how in state.items() if how != "settled"], default=999)
