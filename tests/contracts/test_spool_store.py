"""One exam for the spool on disk and the spool in memory: what delivery relies on.

How the disk's own survives the power going off is judged where it lives.
"""

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest

from gateway.core.event import Record
from gateway.errors import SpoolError, SpoolFull
from gateway.spool_store import Spool
from tests.fakes import MemorySpool
from tests.records import made

PLACE = ("syncs.v1", 0)


@pytest.fixture(params=["memory"])
def spool() -> Spool:
    return MemorySpool()


def named(*names: str, size: int = 100) -> list[Record]:
    return [made(name, size=size) for name in names]


def names(entries: Sequence[tuple[int, Record]]) -> list[str]:
    return [record.event_id for _, record in entries]


async def test_what_is_appended_is_read_in_order_with_the_sequences_told(spool: Spool) -> None:
    ranges = await asyncio.gather(*[spool.append(*PLACE, named(*pair)) for pair in ("ab", "cd", "ef")])
    entries = await spool.read(*PLACE, 10_000)
    assert names(entries) == list("abcdef")
    assert [sequence for sequence, _ in entries] == [sequence for one in ranges for sequence in one]
    assert all(before.stop <= after.start for before, after in pairwise(ranges))
    assert entries[0][1] == named("a")[0]


async def test_partitions_and_topics_are_kept_apart(spool: Spool) -> None:
    places = [("syncs.v1", 0), ("syncs.v1", 1), ("signups.v1", 0)]
    for number, place in enumerate(places):
        await spool.append(*place, named(*"abc"[: number + 1]))
    assert {place: spool.waiting().get(place, 0) for place in places} == {places[0]: 1, places[1]: 2, places[2]: 3}
    assert [names(await spool.read(*place, 10_000)) for place in places] == [["a"], ["a", "b"], ["a", "b", "c"]]
    assert await spool.read("syncs.v1", 2, 10_000) == []


async def test_nothing_waits_before_it_is_confirmed_and_all_of_it_after(spool: Spool) -> None:
    future = spool.append(*PLACE, named("a"))
    assert not future.done()
    assert spool.waiting().get(PLACE, 0) == 0
    await future
    assert spool.waiting().get(PLACE, 0) == 1


async def test_a_read_is_bounded_and_has_one_record_at_least(spool: Spool) -> None:
    await spool.append(*PLACE, named(*"abcdef", size=1_000))
    assert 1 <= len(await spool.read(*PLACE, 2_500)) <= 2
    assert names(await spool.read(*PLACE, 1)) == ["a"]


async def test_what_is_settled_is_not_read_again_in_any_order_and_however_often(spool: Spool) -> None:
    sequences = await spool.append(*PLACE, named(*"abcd"))
    spool.settle(sequences[1:3])
    assert names(await spool.read(*PLACE, 10_000)) == ["a", "d"]
    spool.settle(sequences[:2])
    spool.settle(sequences[:2])
    assert names(await spool.read(*PLACE, 10_000)) == ["d"]
    assert spool.waiting().get(PLACE, 0) == 1
    spool.settle(sequences[3:])
    assert (await spool.read(*PLACE, 10_000), spool.waiting().get(PLACE, 0)) == ([], 0)


async def test_what_is_rejected_is_skipped(spool: Spool) -> None:
    sequences = await spool.append(*PLACE, named(*"abc"))
    [_, (sequence, record), _] = await spool.read(*PLACE, 10_000)
    assert sequence == sequences[1]
    spool.reject(*PLACE, sequence, record)
    assert names(await spool.read(*PLACE, 10_000)) == ["a", "c"]
    assert spool.waiting().get(PLACE, 0) == 2


# What a test can make the one in memory do


async def test_a_full_spool_takes_nothing_and_says_so() -> None:
    spool = MemorySpool()
    spool.records_max = 2
    was_open = spool.is_open
    sequences = await spool.append(*PLACE, named("a", "b"))
    assert (was_open, spool.is_open) == (True, False)
    with pytest.raises(SpoolFull):
        spool.append(*PLACE, named("c"))
    spool.settle(sequences)
    await spool.append(*PLACE, named("c"))


@pytest.mark.parametrize("is_written", [True, False])
async def test_a_write_that_fails_fails_everything_in_it_and_may_be_there(is_written: bool) -> None:
    spool = MemorySpool()
    spool.fail_writes, spool.is_written = 1, is_written
    lost = [spool.append(*PLACE, named(name)) for name in "ab"]
    for future in lost:
        with pytest.raises(SpoolError):
            await future
    await spool.append(*PLACE, named("c"))
    assert names(await spool.read(*PLACE, 10_000)) == ["c"]
    found = spool.after_a_crash()
    assert names(await found.read(*PLACE, 10_000)) == (["a", "b", "c"] if is_written else ["c"])
    [sequence] = await found.append(*PLACE, named("d"))
    assert sequence > max(sequence for sequence, _ in await spool.read(*PLACE, 10_000))


async def test_a_write_that_hangs_ends_when_it_may() -> None:
    spool = MemorySpool()
    spool.hang()
    future = spool.append(*PLACE, named("a"))
    await asyncio.sleep(0.01)
    assert not future.done()
    spool.go_on()
    assert await future == range(1, 2)
