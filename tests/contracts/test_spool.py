"""One exam for the spool on a disk, on a real and on a simulated one, and for the one in memory.

What delivery relies on is examined here, on all three.  What only a disk can do wrong stands in tests/spool/test_disk_spool.py,
what a crash leaves in tests/test_crash_matrix.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Spool as Settings
from gateway.core.event import Record, bytes_max
from gateway.disk import RealDisk
from gateway.errors import SpoolFailed, SpoolFull
from gateway.spool.disk_spool import DiskSpool
from gateway.spool.store import Spool
from tests.fakes import FakeClock
from tests.memory_spool import MemorySpool, Shelf
from tests.records import made
from tests.simulated_disk import SimulatedDisk

SETTINGS: Final = Settings(bytes_max=40_000, signups_reserve_bytes=10_000, segment_bytes=8_000, rejected_bytes_max=4_000)
NOW_S: Final = 1_769_519_405
MANY: Final = 1 << 30


def record(n: int, size: int = 10) -> Record:
    return made(f"e{n}", b"u1", b"x" * size, [("ce_id", b"%d" % n), ("worker", "일꾼".encode())], NOW_S * 1000 - 60_000 + n)


def some(first: int, count: int, size: int = 10) -> list[Record]:
    return [record(n, size) for n in range(first, first + count)]


class Examinee(NamedTuple):
    """How to make a spool of a directory, again and again, on what earlier ones left."""

    make: Callable[[str], Spool]
    kill: Callable[[Spool], None]  # its process is gone, and its locks with it
    path: Callable[[str], Path]
    fill: Callable[[Spool], Any]  # until only the reserve is left


def _in_memory() -> Examinee:
    shelf: Shelf = {}

    def make(name: str) -> Spool:
        spool = MemorySpool(Path(name), shelf)
        spool.now_s, spool.rejected_max = NOW_S, 5
        return spool

    def kill(spool: Spool) -> None:
        assert isinstance(spool, MemorySpool)
        spool.kill()

    async def fill(spool: Spool) -> None:
        assert isinstance(spool, MemorySpool)
        spool.records_max = 0

    return Examinee(make, kill, Path, fill)


async def _fill(spool: Spool) -> None:
    while spool.is_open:
        await spool.append("syncs", 9, [record(1, 1_000)])


def _on_disk(disk_of: Callable[[], Any], root: Path) -> Examinee:
    def make(name: str) -> Spool:
        clock = FakeClock(now_us=NOW_S * 1_000_000)
        return DiskSpool(SETTINGS, root / name, [bytes(32)], clock.clock, disk_of(), reserved_for="signups")

    def kill(spool: Spool) -> None:
        assert isinstance(spool, DiskSpool)
        spool._log.unlock()
        spool._rejected.segments.unlock()

    return Examinee(make, kill, root.joinpath, _fill)


def simulated() -> Examinee:
    disk = SimulatedDisk()
    return _on_disk(lambda: disk, Path("/data/spool"))


@pytest.fixture(params=["memory", "simulated", "real"])
def examinee(request: pytest.FixtureRequest, tmp_path: Path) -> Examinee:
    if request.param == "real":
        return _on_disk(RealDisk, tmp_path)
    return _in_memory() if request.param == "memory" else simulated()


@pytest_asyncio.fixture(loop_scope="session")
async def spool(examinee: Examinee) -> AsyncIterator[Spool]:
    spool = examinee.make("0")
    await spool.open()
    yield spool
    await spool.close()


async def read(spool: Spool, topic: str = "syncs", partition: int = 0, bytes_wanted: int = MANY) -> list[tuple[int, str]]:
    return [(sequence, one.event_id) for sequence, one in await spool.read(topic, partition, bytes_wanted)]


async def test_an_append_is_answered_with_its_sequences(spool: Spool) -> None:
    first = await spool.append("syncs", 0, some(0, 3))
    second, third = await asyncio.gather(spool.append("syncs", 0, some(3, 2)), spool.append("syncs", 0, some(5, 1)))
    assert (len(first), first.stop, second.stop, len(third)) == (3, second.start, third.start, 1)
    assert await read(spool) == [(first.start + n, f"e{n}") for n in range(6)]


async def test_a_record_comes_back_as_it_was(spool: Spool) -> None:
    await spool.append("syncs", 0, some(0, 2))
    assert [one for _, one in await spool.read("syncs", 0, MANY)] == [record(0), record(1)]


async def test_nothing_waits_before_it_is_confirmed_and_all_of_it_after(spool: Spool) -> None:
    future = spool.append("syncs", 0, some(0, 2))
    assert (future.done(), spool.waiting()) == (False, {})
    await future
    assert spool.waiting() == {("syncs", 0): 2}


async def test_partitions_are_read_each_for_itself(spool: Spool) -> None:
    await asyncio.gather(
        *(spool.append(topic, partition, [record(n)]) for n, (topic, partition) in enumerate([("syncs", 0), ("syncs", 1), ("signups", 0)] * 2))
    )
    assert [name for _, name in await read(spool, "syncs", 1)] == ["e1", "e4"]
    assert [name for _, name in await read(spool, "signups", 0)] == ["e2", "e5"]
    assert await read(spool, "signups", 1) == []
    assert spool.waiting() == {("syncs", 0): 2, ("syncs", 1): 2, ("signups", 0): 2}


async def test_what_is_settled_is_not_read_again(spool: Spool) -> None:
    sequences = await spool.append("syncs", 0, some(0, 6))
    assert await read(spool) == await read(spool)
    spool.settle(sequences[:2])
    spool.settle(sequences[3:4])
    spool.settle(sequences[:2])
    assert [name for _, name in await read(spool)] == ["e2", "e4", "e5"]
    assert spool.waiting() == {("syncs", 0): 3}
    spool.settle(sequences)
    assert (await read(spool), spool.waiting()) == ([], {})


async def test_a_read_is_bounded_and_never_empty_while_something_waits(spool: Spool) -> None:
    sequences = await spool.append("syncs", 0, some(0, 5, 100))
    one_bytes = bytes_max([record(0, 100)])
    assert len(await read(spool, bytes_wanted=3 * one_bytes)) == 3
    assert len(await read(spool, bytes_wanted=3 * one_bytes - 1)) == 2
    assert len(await read(spool, bytes_wanted=1)) == 1
    spool.settle(sequences[:4])
    assert len(await read(spool, bytes_wanted=1)) == 1


async def test_a_kill_loses_nothing_that_was_answered(examinee: Examinee) -> None:
    spool = examinee.make("0")
    await spool.open()
    first = await spool.append("syncs", 0, some(0, 3))
    examinee.kill(spool)
    again = examinee.make("0")
    await again.open()
    assert await read(again) == [(first.start + n, f"e{n}") for n in range(3)]
    second = await again.append("syncs", 0, some(3, 2))
    assert second.start >= first.stop
    assert [name for _, name in await read(again)] == ["e0", "e1", "e2", "e3", "e4"]
    await again.close()


async def test_no_sequence_is_given_twice_even_when_nothing_waits(examinee: Examinee) -> None:
    highest = -1
    for turn in range(4):
        spool = examinee.make("0")
        await spool.open()
        sequences = await spool.append("syncs", 0, some(0, 2))
        assert sequences.start > highest
        highest = sequences.stop - 1
        spool.settle(sequences)
        assert spool.watermark == sequences.stop
        await spool.close()
        assert spool.waiting() == {}, turn


async def test_after_a_clean_end_with_nothing_left_nothing_is_replayed(examinee: Examinee) -> None:
    spool = examinee.make("0")
    await spool.open()
    spool.settle(await spool.append("syncs", 0, some(0, 2)))
    await spool.close()
    again = examinee.make("0")
    await again.open()
    assert again.waiting() == {}
    await again.close()


async def test_close_makes_durable_what_was_appended(examinee: Examinee) -> None:
    spool = examinee.make("0")
    await spool.open()
    future = spool.append("syncs", 0, some(0, 3))
    await spool.close()
    assert len(await future) == 3
    with pytest.raises(SpoolFailed):
        spool.append("syncs", 0, some(0, 1))
    assert (spool.reason, spool.is_open) == ("closed", False)
    again = examinee.make("0")
    await again.open()
    assert again.waiting() == {("syncs", 0): 3}
    await again.close()


async def test_before_it_is_open_it_is_closed_and_has_not_failed(examinee: Examinee) -> None:
    """A start that recovers a long backlog is no disk that fails."""
    spool = examinee.make("0")
    assert (spool.reason, spool.is_open, spool.takes("signups")) == ("closed", False, False)
    await spool.open()
    assert spool.reason == "ok"
    await spool.close()


async def test_frames_are_counted_once_each(spool: Spool) -> None:
    """A frame is one partition's share of a commit."""
    assert (spool.frames_synced, spool.frames_failed, spool.frames_set_aside) == (0, 0, 0)
    await spool.append("syncs", 0, some(0, 3))
    await spool.append("syncs", 0, some(3, 1))
    assert spool.frames_synced == 2
    await asyncio.gather(spool.append("syncs", 0, some(4, 1)), spool.append("syncs", 1, some(5, 1)))
    assert (spool.frames_synced, spool.frames_failed, spool.frames_set_aside) == (4, 0, 0)


async def test_one_directory_has_one_process(examinee: Examinee) -> None:
    spool = examinee.make("0")
    await spool.open()
    await spool.append("syncs", 0, some(0, 2))
    other, found = examinee.make("0"), asyncio.Event()
    other.on_found = found.set
    await other.open()
    assert (other.reason, other.is_open, other.waiting()) == ("failed", False, {})
    with pytest.raises(SpoolFailed):
        other.append("syncs", 0, some(2, 1))
    await spool.close()
    await found.wait()
    assert other.waiting() == {("syncs", 0): 2}
    while not other.is_open:
        await asyncio.sleep(0.01)
    await other.append("syncs", 0, some(2, 1))
    await other.close()


async def test_the_last_bytes_are_reserved_for_sign_ups(examinee: Examinee) -> None:
    spool = examinee.make("0")
    await spool.open()
    await examinee.fill(spool)
    assert (spool.reason, spool.is_open, spool.takes("syncs"), spool.takes("signups")) == ("full", False, False, True)
    with pytest.raises(SpoolFull):
        spool.append("syncs", 0, some(0, 1, 5_000))
    assert len(await spool.append("signups", 0, some(0, 1, 5_000))) == 1
    await spool.close()


async def test_the_watermark_is_below_all_that_waits(spool: Spool) -> None:
    first = await spool.append("syncs", 0, some(0, 2))
    second = await spool.append("syncs", 1, some(2, 2))
    assert spool.watermark == first.start
    spool.settle(second)
    assert spool.watermark == first.start
    spool.settle(first[:1])
    assert spool.watermark == first.start + 1
    spool.settle(first)
    assert spool.watermark == second.stop


async def test_a_directory_has_one_id_and_keeps_it(examinee: Examinee) -> None:
    spool, other = examinee.make("0"), examinee.make("1")
    assert (spool.spool_id, spool.watermarks()) == (0, {})
    await spool.open()
    await other.open()
    ids = (spool.spool_id, other.spool_id)
    assert 0 not in ids
    assert ids[0] != ids[1]
    sequences = await spool.append("syncs", 0, some(0, 2))
    assert spool.watermarks() == {ids[0]: sequences.start}
    examinee.kill(spool)
    again = examinee.make("0")
    await again.open()
    assert (again.spool_id, again.watermarks()) == (ids[0], {ids[0]: sequences.start})
    again.settle(sequences)
    await again.close()
    last = examinee.make("0")
    await last.open()
    assert last.watermarks() == {ids[0]: sequences.stop}
    await last.close()
    await other.close()


async def test_who_adopts_answers_for_the_gone_workers_sequences(examinee: Examinee, spool: Spool) -> None:
    gone = examinee.make("1")
    await gone.open()
    given = await gone.append("syncs", 0, some(10, 3))
    gone_id = gone.spool_id
    examinee.kill(gone)
    ours = await spool.append("syncs", 0, some(0, 2))
    assert await spool.adopt(examinee.path("1"))
    assert spool.watermarks() == {spool.spool_id: ours.start, gone_id: given.start}
    _, _, first, second, _ = [sequence for sequence, _ in await read(spool)]
    spool.settle(range(first, second))
    assert spool.watermarks() == {spool.spool_id: ours.start, gone_id: given.start + 1}
    spool.settle(range(MANY))
    assert spool.watermarks()[gone_id] == given.stop
    later = await spool.append("syncs", 0, some(20, 1))
    assert spool.watermarks() == {spool.spool_id: later.start, gone_id: given.stop}


async def test_of_ids_that_were_given_up_nobody_says_anything(examinee: Examinee) -> None:
    gone, spool = examinee.make("1"), examinee.make("0")
    await gone.open()
    await gone.append("syncs", 0, some(10, 3))
    await spool.open()
    before = await spool.append("syncs", 0, some(0, 2))
    ids = {gone.spool_id, spool.spool_id}
    examinee.kill(gone)
    assert await spool.adopt(examinee.path("1"))
    await spool.give_up_ids()
    assert spool.spool_id in spool.watermarks()
    assert not ids & spool.watermarks().keys()
    assert (await spool.append("syncs", 0, some(20, 1))).start > before.stop
    ours = spool.spool_id
    examinee.kill(spool)
    again = examinee.make("0")
    await again.open()
    assert again.spool_id == ours
    assert not ids & again.watermarks().keys()
    await again.close()


async def test_what_is_put_aside_stays_above_the_watermark(examinee: Examinee) -> None:
    """Kept apart it is below: it is nobody's to deliver any more."""
    spool = examinee.make("0")
    await spool.open()
    records = some(0, 7, 600)
    sequences = await spool.append("syncs", 0, records)
    await reject(spool, sequences[0], records[0])
    assert spool.watermarks() == {spool.spool_id: sequences[1]}
    for at in range(1, 7):
        await reject(spool, sequences[at], records[at])
    assert spool.records_aside
    assert spool.watermarks()[spool.spool_id] < sequences.stop
    await spool.close()


async def test_bytes_that_wait_are_those_of_records_that_wait(spool: Spool) -> None:
    """Where others that share a segment with them are settled, too."""
    assert spool.waiting_bytes == 0
    await spool.append("syncs", 0, some(0, 5, 100))
    half = spool.waiting_bytes
    assert 500 <= half <= spool.size_bytes
    others = await spool.append("syncs", 1, some(5, 5, 100))
    assert spool.waiting_bytes >= 1.8 * half
    spool.settle(others)
    assert 0.8 * half <= spool.waiting_bytes <= 1.2 * half
    spool.settle(range(MANY))
    assert spool.waiting_bytes == 0


async def test_the_oldest_that_waits(spool: Spool) -> None:
    assert spool.oldest_s == 0
    first = await spool.append("syncs", 0, [record(0)])
    await spool.append("syncs", 1, [record(50_000)])
    assert 59 <= spool.oldest_s <= 61
    spool.settle(first)
    assert 9 <= spool.oldest_s <= 11


async def test_a_gone_workers_records_join_behind_ours(examinee: Examinee, spool: Spool) -> None:
    gone = examinee.make("1")
    await gone.open()
    await gone.append("syncs", 0, some(10, 3))
    assert not await spool.adopt(examinee.path("1")), "it is not gone"
    examinee.kill(gone)
    first = await spool.append("syncs", 0, some(0, 2))
    assert await spool.adopt(examinee.path("1"))
    assert not await spool.adopt(examinee.path("2")), "there is no such worker"
    last = await spool.append("syncs", 0, some(20, 2))
    found = await read(spool)
    assert [name for _, name in found] == ["e0", "e1", "e10", "e11", "e12", "e20", "e21"]
    assert [sequence for sequence, _ in found] == sorted({sequence for sequence, _ in found})
    assert spool.waiting() == {("syncs", 0): 7}
    spool.settle(range(found[2][0], found[4][0]))
    assert [name for _, name in await read(spool)] == ["e0", "e1", "e12", "e20", "e21"]
    spool.settle(first)
    spool.settle(last)
    assert spool.watermark == last.stop, "what was adopted has another directory's sequences"
    spool.settle(range(found[0][0], last.stop))
    assert spool.waiting() == {}


async def test_what_was_adopted_and_settled_is_nobodys_any_more(examinee: Examinee, spool: Spool) -> None:
    gone = examinee.make("1")
    await gone.open()
    given = await gone.append("syncs", 0, some(10, 3))
    examinee.kill(gone)
    assert await spool.adopt(examinee.path("1"))
    spool.settle(range(MANY))
    await spool.close()
    again = examinee.make("1")
    await again.open()
    assert again.waiting() == {}
    assert (await again.append("syncs", 0, some(0, 1))).start >= given.stop
    await again.close()


async def reject(spool: Spool, sequence: int, one: Record) -> None:
    """Kafka refuses it; return when it is where it stays."""
    spool.reject("syncs", 0, sequence, one)
    assert sequence not in [at for at, _ in await read(spool)], "from now on"
    if isinstance(spool, DiskSpool):
        await spool._idle()


async def test_a_rejected_record_blocks_nobody(spool: Spool) -> None:
    sequences = await spool.append("syncs", 0, some(0, 4))
    await spool.append("syncs", 1, some(4, 1))
    await reject(spool, sequences[1], record(1))
    assert [name for _, name in await read(spool)] == ["e0", "e2", "e3"]
    assert (spool.waiting(), spool.records_aside) == ({("syncs", 0): 3, ("syncs", 1): 1}, 0)
    spool.settle(sequences)
    assert spool.waiting() == {("syncs", 1): 1}


async def test_a_rejected_record_that_cannot_be_kept_apart_is_skipped_and_stays(examinee: Examinee) -> None:
    spool = examinee.make("0")
    await spool.open()
    records = some(0, 7, 600)
    sequences = await spool.append("syncs", 0, records)
    asides = []
    for at in range(6):
        await reject(spool, sequences[at], records[at])
        asides.append(spool.records_aside)
    assert (asides[0], asides[-1] > 0) == (0, True)
    assert ([name for _, name in await read(spool)], spool.waiting()) == (["e6"], {("syncs", 0): 1})
    spool.settle(sequences[6:])
    assert spool.watermark == sequences[next(at for at, aside in enumerate(asides) if aside)]
    examinee.kill(spool)
    again = examinee.make("0")
    await again.open()
    assert "e5" in [name for _, name in await read(again)]
    await again.close()


async def test_what_was_rejected_is_known_from_each_start_on(examinee: Examinee, spool: Spool) -> None:
    gone = examinee.make("1")
    assert gone.rejected_bytes == 0
    await gone.open()
    assert gone.rejected_bytes == 0
    sequences = await gone.append("syncs", 0, some(0, 2, 600))
    await reject(gone, sequences[0], record(0, 600))
    once = gone.rejected_bytes
    assert once >= 600
    examinee.kill(gone)
    again = examinee.make("1")
    await again.open()
    assert again.rejected_bytes == once
    await reject(again, sequences[1], record(1, 600))
    assert once + 600 <= again.rejected_bytes <= 2 * once
    both = again.rejected_bytes
    await again.close()
    assert spool.rejected_bytes == 0
    assert await spool.adopt(examinee.path("1")), "nothing in it waits, and its rejected records are still somebody's"
    assert spool.rejected_bytes == both


acts = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 2), st.integers(1, 4), st.integers(0, 3_000)),
    st.tuples(st.just("settle"), st.integers(0, 60), st.integers(1, 20), st.just(0)),
    st.tuples(st.just("restart"), st.booleans(), st.just(0), st.just(0)),
)


@settings(max_examples=60)
@given(st.lists(acts, max_size=25))
def test_disk_and_memory_tell_the_same(script: list[tuple[str, int, int, int]]) -> None:
    """Whatever is asked of them, but for what a kill makes the disk forget: what was settled may come again."""

    async def told(examinee: Examinee) -> list[object]:
        spool = examinee.make("0")
        said: list[object] = []
        await spool.open()
        n, base = 0, -1
        for act, which, number, size in script:
            if act == "append":
                if spool.size_bytes > 20_000:
                    continue
                sequences = await spool.append("syncs", which, some(n, number, size % 500))
                n, base = n + number, sequences.start if base < 0 else base
            elif act == "settle":
                spool.settle(range(base + which, base + which + number))
            else:
                await spool.close()
                spool = examinee.make("0")
                await spool.open()
                # A segment that still holds something gives all of it back; the other settles it once more.
                spool.settle(range(spool.watermark, MANY))
            said.append((spool.waiting(), [[name for _, name in await read(spool, partition=lane)] for lane in range(3)]))
        await spool.close()
        return said

    assert asyncio.run(told(_in_memory())) == asyncio.run(told(simulated()))
