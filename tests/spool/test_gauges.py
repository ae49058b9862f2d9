"""What a worker's slot says of its spool."""

import asyncio
import errno
from pathlib import Path

import pytest

from gateway.board import Board, Slot
from gateway.config import Spool as Settings
from gateway.core.event import Record
from gateway.core.light import INDEX, REASONS
from gateway.errors import SpoolFailed
from gateway.spool.commits import PROBE_S
from gateway.spool.disk_spool import DiskSpool
from gateway.spool.gauges import Held, SpoolGauges, reason_of
from gateway.spool.store import Reason
from tests.fakes import FakeClock, in_virtual_time
from tests.memory_spool import MemorySpool
from tests.records import made
from tests.simulated_disk import SimulatedDisk
from tests.spools import HOME, MANY, segments, some
from tests.spools import opened as on_disk

NOW_S = 1_769_519_405


def records(count: int, age_s: int = 60) -> list[Record]:
    return [made(f"e{n}", b"u1", b"{}", [], (NOW_S - age_s) * 1000) for n in range(count)]


def opened(**switches: object) -> MemorySpool:
    spool = MemorySpool()
    spool.now_s = NOW_S
    for name, value in switches.items():
        setattr(spool, name, value)
    spool.recover()
    return spool


def shown(slot: Slot) -> dict[str, float]:
    names = ("bytes", "waiting_bytes", "max_bytes", "records", "oldest_seconds", "aside_records", "damaged_segments", "rejected_bytes")
    return {name: slot.gauge(f"sluicegate_spool_{name}").value for name in names}


def reason(slot: Slot) -> str:
    code = REASONS[int(slot.gauge("sluicegate_spool_reason").value)]
    assert slot.gauge("sluicegate_spool_light").value == code.colour
    return code.code


EVERYTHING = Held(waiting=9, aside=9, damaged=9, rejected_bytes=9)


@pytest.mark.parametrize(
    ("state", "held", "wanted"),
    [
        ("closed", Held(), "not-asked"),
        ("closed", EVERYTHING, "not-asked"),
        ("failed", Held(), "spool-failed"),
        ("failed", EVERYTHING, "spool-failed"),
        ("full", Held(), "spool-full"),
        ("full", EVERYTHING, "spool-full"),
        ("ok", EVERYTHING, "spool-aside"),
        ("ok", Held(aside=1), "spool-aside"),
        ("ok", Held(damaged=1, rejected_bytes=1, waiting=1), "spool-aside"),
        ("ok", Held(rejected_bytes=1, waiting=1), "spool-rejected"),
        ("ok", Held(waiting=1), "spool-used"),
        ("ok", Held(), "spool-ok"),
    ],
)
def test_the_worst_thing_is_the_reason(state: Reason, held: Held, wanted: str) -> None:
    assert reason_of(state, held) == wanted
    assert wanted in INDEX


async def test_the_figures_of_a_spool_stand_on_the_slot() -> None:
    slot, spool = Board.create(1).slots[0], opened(rejected_max=0)
    gauges = SpoolGauges(spool, 40_000, slot)
    gauges.show()
    nothing = dict.fromkeys(shown(slot), 0) | {"max_bytes": 40_000}
    assert (reason(slot), shown(slot)) == ("spool-ok", nothing)
    kept = records(3)
    sequences = await spool.append("syncs", 0, kept)
    gauges.show()
    assert shown(slot) == nothing | {"bytes": spool.size_bytes, "waiting_bytes": spool.waiting_bytes, "records": 3, "oldest_seconds": 60}
    spool.reject("syncs", 0, sequences[1], kept[1])
    gauges.show()
    assert (reason(slot), shown(slot)["records"], shown(slot)["aside_records"]) == ("spool-aside", 2, 1)
    spool.records_max = 3
    gauges.show()
    assert reason(slot) == "spool-full"
    spool.is_broken = True
    gauges.show()
    assert reason(slot) == "spool-failed"
    await spool.close()
    gauges.show()
    assert reason(slot) == "not-asked"


async def test_insurance_that_is_gone_at_the_next_look_is_no_news() -> None:
    slot, spool = Board.create(1).slots[0], opened()
    gauges = SpoolGauges(spool, 40_000, slot)
    for _ in range(3):
        sequences = await spool.append("syncs", 0, records(2))
        gauges.show()
        assert reason(slot) == "spool-ok"
        spool.settle(sequences)
        gauges.show()
        assert reason(slot) == "spool-ok"
    await spool.append("syncs", 0, records(2))
    gauges.show()
    gauges.show()
    assert reason(slot) == "spool-used"


def test_without_a_spool_it_is_grey_and_takes_nothing() -> None:
    slot = Board.create(1).slots[0]
    SpoolGauges(None, 40_000, slot).show()
    assert (reason(slot), shown(slot)["max_bytes"]) == ("no-spool", 0)


async def test_frames_are_counted_over_the_lives_of_a_worker() -> None:
    slot = Board.create(1).slots[0]
    for _ in range(2):
        spool = opened()
        gauges = SpoolGauges(spool, 40_000, slot)
        await spool.append("syncs", 0, records(2))
        spool.fail_writes = 1
        with pytest.raises(SpoolFailed):
            await spool.append("syncs", 0, records(1))
        gauges.show()
        gauges.show()
    frames = slot.counters_by("sluicegate_spool_frames_total")
    assert (frames["synced"].value, frames["failed"].value, slot.counter("sluicegate_spool_set_aside_total").value) == (2, 2, 0)


@in_virtual_time
async def test_a_disk_that_fails_and_comes_back_is_seen() -> None:
    """The real spool, on a disk that is away for a while."""
    slot, disk = Board.create(1).slots[0], SimulatedDisk()
    settings = Settings(bytes_max=40_000, signups_reserve_bytes=10_000, segment_bytes=8_000)
    spool = DiskSpool(settings, Path("/spool/0"), [b"k" * 32], FakeClock().clock, disk, reserved_for="signups")
    gauges = SpoolGauges(spool, settings.bytes_max, slot)
    gauges.show()
    assert reason(slot) == "not-asked"
    await spool.open()
    gauges.show()
    assert reason(slot) == "spool-ok"
    disk.faults = lambda kind: errno.ENOSPC if kind in ("append", "create") else 0
    with pytest.raises(SpoolFailed):
        await spool.append("syncs", 0, records(1))
    gauges.show()
    assert (reason(slot), slot.counter("sluicegate_spool_frames_total", "failed").value) == ("spool-failed", 1)
    disk.faults = lambda _: 0
    await asyncio.sleep(2 * PROBE_S)
    await spool.append("syncs", 0, records(1))
    gauges.show()
    gauges.show()
    assert (reason(slot), shown(slot)["records"], slot.counter("sluicegate_spool_frames_total", "synced").value) == ("spool-used", 1, 1)
    await spool.close()


async def test_what_was_rejected_is_lit_amber_until_a_person_has_taken_it() -> None:
    slot, disk = Board.create(1).slots[0], SimulatedDisk()
    spool = await on_disk(disk)
    [sequence] = await spool.append("syncs", 0, some(0, 1))
    spool.reject("syncs", 0, sequence, *some(0, 1))
    await spool._idle()
    for found in (spool, await on_disk(disk)):
        SpoolGauges(found, 40_000, slot).show()
        assert (reason(slot), shown(slot)["rejected_bytes"] > 0, shown(slot)["records"]) == ("spool-rejected", True, 0)
    disk.directories[HOME / "rejected"].clear()
    SpoolGauges(await on_disk(disk), 40_000, slot).show()
    assert reason(slot) == "spool-ok"


async def test_damage_is_lit_red_from_each_start_on() -> None:
    """While its segment drains, and when that is kept for a person."""
    slot, disk = Board.create(1).slots[0], SimulatedDisk()
    spool = await on_disk(disk)
    for n in range(2):
        await spool.append("syncs", 0, some(n, 1))
    [name] = segments(disk)
    disk.inodes[disk.directories[HOME][name]][150] ^= 1
    found = await on_disk(disk)
    SpoolGauges(found, 40_000, slot).show()
    assert (reason(slot), shown(slot)["damaged_segments"], shown(slot)["aside_records"]) == ("spool-aside", 1, 0)
    await found.append("syncs", 0, some(2, 1))
    found.settle(range(MANY))
    await found._idle()
    assert [one for one in disk.names(HOME) if one.endswith(".damaged")]
    for later in (found, await on_disk(disk)):
        SpoolGauges(later, 40_000, slot).show()
        assert (reason(slot), shown(slot)["damaged_segments"]) == ("spool-aside", 1)
