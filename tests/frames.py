"""What recovery finds in a segment's bytes, one frame at a time."""

from collections.abc import Iterator
from typing import NamedTuple

from gateway.core import record as form
from gateway.core.record import Gap, Run, Segment


class Found(NamedTuple):
    """A good frame."""

    place: int
    length: int
    first: int
    records: int
    topic: str
    partition: int
    oldest_ms: int


def recovered(content: bytes, segment: Segment) -> list[Found | Gap]:
    """All that is in it, in order; what is read must be there."""

    def read(offset: int, size: int) -> bytes:
        assert 0 <= offset < offset + size <= len(content), (offset, size)
        return content[offset : offset + size]

    found: list[Found | Gap] = []
    for one in form.recover(read, len(content), segment):
        found += [one] if isinstance(one, Gap) else _frames(one)
    return found


def _frames(run: Run) -> Iterator[Found]:
    ends = [*run.places[1:], run.end]
    for place, end, first, records, lane, oldest_ms in zip(run.places, ends, run.firsts, run.records, run.lanes, run.oldest_ms, strict=True):
        yield Found(place, end - place, first, records, *form.lane_of(lane), oldest_ms)
