"""What only a spool on a disk can do wrong.  Its promises stand in tests/contracts/test_spool.py, its parts' in their files."""

import asyncio
import errno
import os
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace

from gateway.disk import RealDisk
from gateway.errors import ConfigError
from gateway.spool.commits import HANGS_S, PROBE_S
from gateway.spool.disk_spool import DiskSpool
from tests.fakes import FakeClock, in_virtual_time
from tests.simulated_disk import SimulatedDisk, SlowDisk
from tests.spools import HOME, MANY, SETTINGS, fail, names, opened, segments, some, spool_on

T = TypeVar("T")


@in_virtual_time
async def test_a_key_that_is_not_there_is_a_wrong_start() -> None:
    disk = SimulatedDisk()
    await (await opened(disk)).append("syncs", 0, some(0, 1))
    disk.kill()
    spool = DiskSpool(SETTINGS, HOME, [b"n" * 32], FakeClock().clock, disk, reserved_for="signups")
    with pytest.raises(ConfigError, match="want it back"):
        await spool.open()


@in_virtual_time
async def test_a_disk_that_fails_is_not_adopted_from() -> None:
    disk = SimulatedDisk()
    gone = await opened(disk, "1")
    await gone.append("syncs", 0, some(0, 2))
    spool = await opened(disk)
    fail(disk, ["create"])
    assert not await spool.adopt(HOME.parent / "1")
    fail(disk, [])
    assert await spool.adopt(HOME.parent / "1")
    assert await names(spool) == ["e0", "e1"]
    spool.settle(range(MANY))
    await spool._idle()
    assert len(segments(disk, "1")) == 1, "its next sequence outlives its records"
    assert HOME.parent / "1" not in disk.locks


@in_virtual_time
async def test_a_directory_whose_key_is_not_there_is_red_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    disk = SimulatedDisk()
    theirs = spool_on(disk, "1", secret=b"x" * 32)
    await theirs.open()
    await theirs.append("syncs", 0, some(0, 3))
    await theirs.close()
    spool = await opened(disk)
    assert not await spool.adopt(HOME.parent / "1")
    assert "a spool cannot be adopted" in caplog.text
    assert spool.segments_damaged == 1
    assert not await spool.adopt(HOME.parent / "1")
    assert spool.segments_damaged == 1, "it is one, however often it is asked"
    await spool.append("syncs", 0, some(0, 3))
    assert spool.failed() is None


@in_virtual_time
async def test_a_directory_that_somebody_still_has_is_adopted_when_he_is_gone() -> None:
    disk, calls = SimulatedDisk(), list[dict[tuple[str, int], int]]()
    gone = await opened(disk, "1")
    await gone.append("syncs", 0, some(0, 2))
    spool = await opened(disk)
    spool.on_found = lambda: calls.append(dict(spool.waiting()))
    unlock = disk.lock(HOME.parent / "1")
    assert unlock is not None
    spool.adopt_all([HOME.parent / "1"])
    await asyncio.sleep(3.5)
    assert spool.waiting() == {}
    unlock()
    await asyncio.sleep(1)
    assert calls[-1] == {("syncs", 0): 2}
    await spool.close()


async def test_what_was_rejected_can_be_given_back(tmp_path: Path) -> None:
    """As docs/operations.md says: moved beside the workers' directories, it is adopted and replayed like any other."""

    def made_at(name: str) -> DiskSpool:
        return DiskSpool(SETTINGS, tmp_path / name, [bytes(32)], FakeClock().clock, RealDisk(), reserved_for="signups")

    spool = made_at("0")
    await spool.open()
    kept = some(0, 3)
    first = (await spool.append("syncs", 1, kept)).start
    spool.reject("syncs", 1, first + 1, kept[1])
    spool.settle(range(MANY))
    await spool.close()
    (tmp_path / "0/rejected").rename(tmp_path / "200")
    again = made_at("0")
    await again.open()
    assert (again.waiting(), await again.adopt(tmp_path / "200")) == ({}, True)
    assert [record.event_id for _, record in await again.read("syncs", 1, MANY)] == ["e1"]
    await again.close()


@in_virtual_time
async def test_beside_one_that_still_drains_it_is_open_and_adopts_what_that_one_leaves() -> None:
    """Killed, a supervisor leaves workers that drain while another one's begin: Kafka may be away just then."""
    disk, (home, spare, third) = SimulatedDisk(), [HOME.parent / name for name in ("0", "2", "4")]

    def spool() -> DiskSpool:
        return DiskSpool(SETTINGS, home, [bytes(32)], FakeClock().clock, disk, reserved_for="signups", spares=[spare, third])

    draining, ours = spool(), spool()
    await draining.open()
    await draining.append("syncs", 0, some(0, 2))
    await ours.open()
    ours.adopt_all([home, spare])
    assert (ours.reason, ours.directory) == ("ok", spare)
    await ours.append("syncs", 0, some(2, 2))
    await draining.append("syncs", 0, some(4, 1))
    await draining.close()
    await asyncio.sleep(2)
    assert await names(ours) == ["e2", "e3", "e0", "e1", "e4"]
    disk.kill()
    after = spool()
    await after.open()
    after.adopt_all([home, spare, third])
    await asyncio.sleep(0)
    assert after.directory == home
    assert await names(after) == ["e0", "e1", "e4", "e2", "e3"]
    await after.close()


@in_virtual_time
async def test_what_kafka_refuses_beside_one_that_still_drains_is_kept_apart_when_he_is_gone() -> None:
    """Both would keep it in the directory of the seat, and only one at a time may."""
    disk, (home, spare) = SimulatedDisk(), [HOME.parent / name for name in ("0", "2")]
    draining, ours = (DiskSpool(SETTINGS, home, [bytes(32)], FakeClock().clock, disk, reserved_for="signups", spares=[spare]) for _ in range(2))
    for number, spool in enumerate((draining, ours)):
        await spool.open()
        [record] = some(number, 1)
        sequences = await spool.append("syncs", 0, [record])
        spool.reject("syncs", 0, sequences.start, record)
        await asyncio.sleep(1)
    assert [(spool.records_rejected, spool.records_aside) for spool in (draining, ours)] == [(1, 0), (0, 1)]
    await draining.close()
    await asyncio.sleep(60)
    assert (ours.records_rejected, ours.records_aside) == (1, 0)
    await ours.close()


@in_virtual_time
async def test_what_it_has_not_looked_into_itself_yet_adopts_nothing() -> None:
    """The sequences of what it adopts would be those of its own."""
    disk = SimulatedDisk()
    for name in ("0", "1"):
        await (await opened(disk, name)).append("syncs", 0, some(int(name), 1))
    fail(disk, ["lock"])
    spool = await opened(disk)
    spool.adopt_all([HOME.parent / "1"])
    await asyncio.sleep(3)
    assert spool.waiting() == {}
    fail(disk, [])
    await asyncio.sleep(3)
    assert spool.waiting() == {("syncs", 0): 2}
    assert await names(spool) == ["e0", "e1"]
    await spool.close()


@in_virtual_time
async def test_a_bug_in_the_background_is_loud() -> None:
    spool = await opened(SimulatedDisk())
    spool._log.has_room = None  # type: ignore[method-assign,assignment]
    spool.append("syncs", 0, some(0, 1))
    await spool._idle()
    assert isinstance(spool.failed(), TypeError)
    assert spool.reason == "failed"


@in_virtual_time
async def test_a_key_may_go_when_nothing_is_sealed_with_it_any_more() -> None:
    """Adoption leaves a segment without frames, for its next sequence; it wants no key."""
    disk, old, new = SimulatedDisk(), b"a" * 32, b"b" * 32

    async def opened_with(*secrets: bytes, name: str = "0") -> DiskSpool:
        disk.kill()
        spool = DiskSpool(SETTINGS, HOME.parent / name, secrets, FakeClock().clock, disk, reserved_for="signups")
        await spool.open()
        return spool

    await (await opened_with(old, name="1")).append("syncs", 0, some(0, 2))
    spool = await opened_with(old)
    assert await spool.adopt(HOME.parent / "1")
    spool.settle(range(MANY))
    await spool.close()
    spool = await opened_with(new)
    assert await spool.adopt(HOME.parent / "1")
    assert (spool.reason, spool.waiting(), spool.records_aside) == ("ok", {}, 0)


@in_virtual_time
async def test_rejected_records_whose_key_is_gone_are_told_at_the_start_and_no_crash(caplog: pytest.LogCaptureFixture) -> None:
    disk, one = SimulatedDisk(), some(0, 1)
    spool = await opened(disk)
    spool.reject("syncs", 0, (await spool.append("syncs", 0, one)).start, one[0])
    await spool._idle()
    await spool.close()
    spool = DiskSpool(SETTINGS, HOME, [b"n" * 32], FakeClock().clock, disk, reserved_for="signups")
    await spool.open()
    await spool._idle()
    assert "rejected records were sealed with a key that is not there" in caplog.text
    spool.reject("syncs", 0, (await spool.append("syncs", 0, one)).start, one[0])
    await spool._idle()
    assert (spool.failed(), spool.records_aside) == (None, 1)


@in_virtual_time
async def test_an_adoption_on_a_full_disk_leaves_one_file_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    disk = SimulatedDisk()
    await (await opened(disk, "1")).append("syncs", 0, some(0, 2))
    spool = await opened(disk)
    fail(disk, ["append"], errno.ENOSPC)
    spool.adopt_all([HOME.parent / "1"])
    await asyncio.sleep(600)
    assert len(segments(disk, "1")) == 2
    assert caplog.text.count("a spool cannot be adopted") == 1
    assert sum(op.kind == "create" and op.path == HOME.parent / "1" for op in disk.log) < 20
    fail(disk, [])
    await asyncio.sleep(61)
    assert await names(spool) == ["e0", "e1"]
    await spool.close()


@in_virtual_time
async def test_what_was_left_is_found_when_the_disk_says_it() -> None:
    class Blind(SimulatedDisk):
        is_blind = True

        def names(self, directory: Path) -> list[str]:
            if self.is_blind and directory == HOME.parent:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().names(directory)

    disk = Blind()
    await (await opened(disk, "1")).append("syncs", 0, some(0, 2))
    spool = await opened(disk)
    spool.adopt_from(HOME.parent, sorted)
    await asyncio.sleep(100)
    assert (spool.waiting(), spool.failed()) == ({}, None)
    disk.is_blind = False
    await asyncio.sleep(100)
    assert await names(spool) == ["e0", "e1"]
    await spool.close()


@in_virtual_time
async def test_a_directory_that_somebody_took_after_our_start_is_adopted_when_he_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    """Another supervisor drains beside us, and its next worker takes a spare: one that is new, then one that we had before."""
    disk, other = SimulatedDisk(), HOME.parent / "8"
    spool = await opened(disk)
    spool.adopt_from(HOME.parent, sorted)
    await asyncio.sleep(2)
    for first in (0, 2):
        locks = set(disk.locks)
        beside = await opened(disk, "8")
        disk.locks |= locks
        await beside.append("syncs", 0, some(first, 2))
        caplog.clear()
        await asyncio.sleep(200)
        assert (spool.waiting(), caplog.text) == ({}, "")
        await beside.close()
        await asyncio.sleep(100)
        assert await names(spool) == [f"e{first}", f"e{first + 1}"]
        spool.settle(range(MANY))
        await asyncio.sleep(100)
        assert other not in disk.locks
    done = len(disk.log)
    await asyncio.sleep(600)
    assert len(disk.log) == done, "nothing is written for what was adopted before"
    await spool.close()


@in_virtual_time
async def test_a_rejected_record_that_the_disk_did_not_take_is_kept_apart_when_it_does() -> None:
    disk, kept = SimulatedDisk(), some(0, 3)
    spool = await opened(disk)
    first = (await spool.append("syncs", 0, kept)).start
    spool.reject("syncs", 0, first, kept[0])
    await spool._idle()
    fail(disk, ["sync"])
    spool.reject("syncs", 0, first + 1, kept[1])
    await asyncio.sleep(60)
    assert (spool.records_rejected, spool.records_aside) == (1, 1)
    fail(disk, [])
    await asyncio.sleep(60)
    spool.reject("syncs", 0, first + 2, kept[2])
    await spool._idle()
    assert (spool.records_rejected, spool.records_aside) == (3, 0)
    fail(disk, ["sync"])
    spool.reject("syncs", 0, first + 2, kept[2])
    await asyncio.sleep(1)
    await spool.close()
    assert not disk.locks, "nobody waits for it at the end"


@in_virtual_time
async def test_what_was_rejected_before_counts_for_its_bound_after_a_restart() -> None:
    disk, settings = SimulatedDisk(), replace(SETTINGS, rejected_bytes_max=3_000)
    for life in range(2):
        spool = await opened(disk, settings=settings)
        kept = some(life, 1, 2_000)
        sequence = (await spool.append("syncs", 0, kept)).start
        spool.reject("syncs", 0, sequence, kept[0])
        await spool._idle()
        assert (spool.records_rejected, spool.records_aside) == ((1, 0), (0, 1))[life]
        await spool.close()


@in_virtual_time
async def test_what_is_adopted_while_a_segment_is_made_has_sequences_of_its_own() -> None:
    disk = SlowDisk()
    gone = await opened(disk, "1")
    await gone.append("syncs", 0, some(10, 3))
    spool = await opened(disk)
    await spool.append("syncs", 0, some(0, 1, 7_000))
    # The adoption goes first, and the append that needs a new segment has its sequences before it is done.
    adopting = asyncio.create_task(spool.adopt(HOME.parent / "1"))
    await asyncio.sleep(0)
    await asyncio.gather(adopting, spool.append("syncs", 0, some(1, 1, 7_000)))
    assert adopting.result()
    await spool.append("syncs", 0, some(2, 1))
    entries = await spool.read("syncs", 0, MANY)
    assert [one.event_id for _, one in entries] == ["e0", "e1", "e10", "e11", "e12", "e2"]
    for sequence, _ in entries:
        spool.settle(range(sequence, sequence + 1))
    assert (spool.waiting(), await names(spool)) == ({}, [])


@in_virtual_time
async def test_an_append_does_not_wait_for_a_long_adoption() -> None:
    disk = SlowDisk()
    gone = await opened(disk, "1")
    for n in range(30):  # a segment each, and so a step
        await gone.append("syncs", 0, some(100 + n, 1, 7_000))
    spool = await opened(disk)
    adopting = asyncio.create_task(spool.adopt(HOME.parent / "1"))
    await asyncio.sleep(0.1)
    await spool.append("syncs", 0, some(0, 1))
    assert not adopting.done()
    assert await adopting
    assert await names(spool) == ["e0", *(f"e{n}" for n in range(100, 130))]


@in_virtual_time
async def test_an_adoption_that_is_cut_short_lets_the_directory_go() -> None:
    disk = SlowDisk()
    gone = await opened(disk, "1")
    for n in range(9):
        await gone.append("syncs", 0, some(n, 1, 7_000))
    spool = await opened(disk)
    spool.adopt_all([HOME.parent / "1"])
    await asyncio.sleep(0.05)
    assert HOME.parent / "1" in disk.locks
    await spool.close()
    assert not disk.locks


@in_virtual_time
async def test_nothing_is_adopted_before_our_own_sequences_are_known() -> None:
    disk = SimulatedDisk()
    await (await opened(disk, "1")).append("syncs", 0, some(10, 2))
    await (await opened(disk)).append("syncs", 0, some(0, 2))
    spool = spool_on(disk)
    unlock = disk.lock(HOME)
    assert unlock is not None
    await spool.open()
    assert not await spool.adopt(HOME.parent / "1")
    unlock()
    await asyncio.sleep(2)
    assert await spool.adopt(HOME.parent / "1")
    entries = await spool.read("syncs", 0, MANY)
    assert [one.event_id for _, one in entries] == ["e0", "e1", "e10", "e11"]
    for sequence, _ in entries:
        spool.settle(range(sequence, sequence + 1))
    assert spool.waiting() == {}


@in_virtual_time
async def test_a_disk_that_hangs_keeps_nobody_who_will_not_wait() -> None:
    disk = SlowDisk()
    spool = await opened(disk)
    disk.is_hanging = True
    answer = spool.append("syncs", 0, some(0, 1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(spool.close(), 5)
    assert (answer.done(), spool.reason) == (False, "closed")


@in_virtual_time
async def test_a_disk_that_hangs_at_the_start_is_not_waited_for_and_joins_when_it_answers() -> None:
    disk = SlowDisk()
    await (await opened(disk)).append("syncs", 0, some(0, 2))
    disk.is_hanging = True
    spool, told = spool_on(disk), list[dict[tuple[str, int], int]]()
    spool.on_found = lambda: told.append(dict(spool.waiting()))
    began_s = asyncio.get_running_loop().time()
    await spool.open()
    assert asyncio.get_running_loop().time() - began_s < 3 * HANGS_S
    assert (spool.reason, spool.is_open, told) == ("failed", False, [])
    disk.is_hanging = False
    await spool._idle()
    assert (spool.reason, told) == ("ok", [{("syncs", 0): 2}])
    await spool.append("syncs", 0, some(2, 1))
    assert await names(spool) == ["e0", "e1", "e2"]


@in_virtual_time
async def test_a_long_recovery_is_waited_for_while_it_moves_on() -> None:
    disk = SlowDisk()
    spool = await opened(disk)
    for n in range(9):  # a segment each, and so a step
        await spool.append("syncs", 0, some(n, 1, 7_000))
    disk.pause_s = HANGS_S - 1
    again = await opened(disk)
    assert (again.reason, again.waiting()) == ("ok", {("syncs", 0): 9})


@in_virtual_time
async def test_a_disk_that_does_not_say_what_was_rejected_stops_no_start() -> None:
    disk = SimulatedDisk()
    spool = await opened(disk)
    [sequence] = await spool.append("syncs", 0, some(0, 1))
    spool.reject("syncs", 0, sequence, *some(0, 1))
    await spool._idle()
    fail(disk, ["size"])
    again = await opened(disk)
    assert (again.reason, again.rejected_bytes) == ("ok", 0)


@in_virtual_time
async def test_damage_in_a_directory_that_has_nothing_else_is_known_to_who_adopts_it() -> None:
    disk = SimulatedDisk()
    gone, spool = await opened(disk, "1"), await opened(disk)
    disk.create(HOME.parent / "1" / "0.damaged")
    await gone.close()
    assert await spool.adopt(HOME.parent / "1")
    assert (spool.segments_damaged, spool.waiting()) == (1, {})


@in_virtual_time
async def test_what_was_rejected_by_whoever_had_the_directory_until_now_is_known() -> None:
    """A worker that drains while its successor starts beside it."""
    disk = SimulatedDisk()
    leaving = await opened(disk)
    [sequence] = await leaving.append("syncs", 0, some(0, 1))
    later = DiskSpool(SETTINGS, HOME, [bytes(32)], FakeClock().clock, disk, reserved_for="signups")
    await later.open()
    assert later.reason == "failed"
    leaving.reject("syncs", 0, sequence, *some(0, 1))
    await leaving.close()
    await asyncio.sleep(2 * PROBE_S)
    assert (later.reason, later.rejected_bytes > 0) == ("ok", True)


@in_virtual_time
async def test_what_was_rejected_counts_once_for_who_sits_in_a_spare_directory() -> None:
    disk = SimulatedDisk()
    leaving = await opened(disk)
    [sequence] = await leaving.append("syncs", 0, some(0, 1))
    later = DiskSpool(SETTINGS, HOME, [bytes(32)], FakeClock().clock, disk, reserved_for="signups", spares=[HOME.parent / "4"])
    leaving.reject("syncs", 0, sequence, *some(0, 1))
    await leaving._idle()
    await later.open()
    [sequence] = await leaving.append("syncs", 0, some(1, 1))
    leaving.reject("syncs", 0, sequence, *some(1, 1))
    await leaving.close()
    kept_bytes = leaving.rejected_bytes
    assert (later.directory.name, await later.adopt(HOME)) == ("4", True)
    assert later.rejected_bytes == kept_bytes > 0


@in_virtual_time
async def test_what_is_kept_for_a_person_is_not_in_the_bytes_that_wait() -> None:
    spool = await opened(SimulatedDisk())
    sequences = await spool.append("syncs", 0, some(0, 3, 1_000))
    before = spool.size_bytes
    spool.reject("syncs", 0, sequences[0], some(0, 1, 1_000)[0])
    await spool._idle()
    assert (spool.records_rejected, spool.size_bytes) == (1, before)
