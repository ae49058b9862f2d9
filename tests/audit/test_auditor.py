"""Lines reach Kafka, however long it is away and whoever is killed meanwhile: a script in virtual time."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from gateway.audit import auditor as module
from gateway.audit import files
from gateway.audit.auditor import Auditor, leave_lines
from gateway.audit.sheets import Sheets
from gateway.board import Board
from gateway.clock import SYSTEM
from gateway.config import Deliver
from gateway.core import audit
from gateway.core.audit import Line
from gateway.disk import RealDisk
from gateway.errors import BrokerAway
from gateway.kafka import Topic
from tests.audit.test_files import unreadable
from tests.audit.test_sheets import records
from tests.fakes import FakeBroker, VirtualLoop, count, in_virtual_time
from tests.minutes import event_id, line
from tests.simulated_disk import SimulatedDisk

AUDIT: Final = Topic("audit.v1", 3, copies=3, in_sync_min=2, batch_bytes_max=1_000_000)
DATA: Final = Path("/data")


class World:
    """An auditor that runs, and what it has to do with."""

    def __init__(self, disk: SimulatedDisk | None = None, *topics: Topic) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self._clock = loop.clock
        self.board = Board.create(1)
        self.broker = FakeBroker(*(topics or (AUDIT,)))
        self.disk = disk or SimulatedDisk()
        self.auditor = Auditor(Deliver(), self.board, self.broker, self.disk, DATA, loop.clock, "gw-1", "07" * 8)
        self.task = asyncio.create_task(self.auditor.run())

    def sit(self, name: str) -> Sheets:
        return Sheets(self.board.slots[0].sheet_words, name, self._clock.now_us())

    def acknowledge(self, sheets: Sheets, first: int, many: int) -> None:
        sheets.count(records(first, many, self._clock.now_us() // 60_000_000))

    async def killed(self) -> None:
        """The supervisor is gone, and nothing more was done by it."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def posted(self) -> list[Line]:
        found = [audit.read(one.value) for _, one in self.broker.log("audit.v1")]
        return [one.line for one in found if one is not None]

    def acknowledged(self) -> int:
        return sum(one.acknowledged for one in {one.key: one for one in self.posted()}.values())

    @property
    def now_us(self) -> int:
        return self._clock.now_us()

    def counted(self, result: str) -> int:
        return count(self.board.supervisor, "sluicegate_audit_lines_total", result)

    @property
    def waiting(self) -> float:
        return self.board.supervisor.gauge("sluicegate_audit_lines_waiting").value

    def files(self) -> list[str]:
        return [name for name in self.disk.names(DATA / "audit") if name != "home"]


@asynccontextmanager
async def world(disk: SimulatedDisk | None = None, *topics: Topic) -> AsyncIterator[World]:
    made = World(disk, *topics)
    await asyncio.sleep(0.1)
    try:
        yield made
        assert not made.task.done()
    finally:
        await made.killed()
        await made.auditor.close()
        assert made.broker.is_closed


@asynccontextmanager
async def successor_of(w: World) -> AsyncIterator[World]:
    """`w` is killed, and another one starts on its disk."""
    await w.killed()
    async with world(w.disk) as successor:
        yield successor
    w.task = asyncio.create_task(asyncio.sleep(60))  # in its end `world` wants one that runs


@in_virtual_time
async def test_each_minute_is_posted_and_nothing_is_left_on_disk() -> None:
    async with world() as w:
        sheets = w.sit("0000002a")
        for minute in range(5):
            w.acknowledge(sheets, minute * 10, 10)
            await asyncio.sleep(60)
        await asyncio.sleep(30)
        assert w.acknowledged() == 50
        assert {(one.machine, one.home) for one in w.posted()} == {("gw-1", "07" * 8)}
        assert w.counted("posted") == len(w.posted())
        assert (w.waiting, w.files()) == (0, [])


@in_virtual_time
async def test_a_worker_that_ended_is_posted_within_a_second_or_two() -> None:
    async with world() as w:
        w.acknowledge(w.sit("0000002a"), 0, 10)
        w.auditor.worker_ended(0)
        await asyncio.sleep(2.5)
        assert w.acknowledged() == 10
        assert [one.is_last for one in w.posted()].count(True) == 1


@pytest.mark.parametrize("how", ["pause", "kill"])
@in_virtual_time
async def test_kafka_away_for_half_an_hour_costs_no_line(how: str) -> None:
    async with world() as w:
        sheets = w.sit("0000002a")
        getattr(w.broker, how)()
        for minute in range(30):
            w.acknowledge(sheets, minute * 10, 10)
            await asyncio.sleep(60)
        assert w.waiting >= 29
        assert w.files() != []
        w.broker.resume() if how == "pause" else w.broker.revive()
        await asyncio.sleep(60)
        assert w.acknowledged() == 300
        assert (w.waiting, w.files()) == (0, [])


@in_virtual_time
async def test_a_supervisor_that_is_killed_leaves_its_lines_to_the_next() -> None:
    async with world() as w:
        w.broker.kill()
        w.acknowledge(w.sit("0000002a"), 0, 10)
        await asyncio.sleep(120)
        async with successor_of(w) as successor:
            await asyncio.sleep(5)
            assert successor.acknowledged() == 10
            assert successor.files() == []


@in_virtual_time
async def test_a_line_that_was_cut_off_by_the_end_is_no_line() -> None:
    disk = SimulatedDisk()
    async with world(disk) as w:
        w.broker.kill()
        w.acknowledge(w.sit("0000002a"), 0, 10)
        await asyncio.sleep(180)
    cut = 0
    for name in w.files():
        file = disk.inodes[disk.directories[DATA / "audit"][name]]
        if b'"acknowledged":10,' not in file:
            del file[-5:]
            cut += 1
    assert cut > 1
    async with world(disk) as w:
        await asyncio.sleep(5)
        assert w.acknowledged() == 10
        assert w.files() == []


@in_virtual_time
async def test_workers_that_outlive_their_supervisor_leave_their_lines_to_the_next() -> None:
    """Also while that one runs already: they drain for a while."""
    async with world() as w:
        sheets = w.sit("0000002a")
        await asyncio.sleep(80)
        w.acknowledge(sheets, 0, 10)
        async with successor_of(w) as successor:
            successor.acknowledge(successor.sit("0000002b"), 100, 5)
            await asyncio.sleep(10)
            w.acknowledge(sheets, 10, 10)
            for again in range(2):  # the second has nothing new to say
                leave_lines(w.disk, DATA, w.board.slots[0], "gw-1", successor.now_us + again, "08" * 8)
            await asyncio.sleep(90)
            assert successor.acknowledged() == 25
            assert successor.files() == []
            assert [one.worker for one in successor.posted() if one.is_last] == ["0000002a"] * 2
            successor.auditor.worker_ended(0)
            await asyncio.sleep(5)
            assert successor.files() == []


@in_virtual_time
async def test_the_end_posts_what_there_is() -> None:
    async with world() as w:
        sheets = w.sit("0000002a")
        await asyncio.sleep(80)
        w.acknowledge(sheets, 0, 10)
    assert w.acknowledged() == 10
    assert w.posted()[-1].is_last or any(one.is_last for one in w.posted())


@in_virtual_time
async def test_the_end_does_not_wait_for_a_kafka_that_is_frozen() -> None:
    disk = SimulatedDisk()
    loop = asyncio.get_running_loop()
    async with world(disk) as w:
        sheets = w.sit("0000002a")
        await asyncio.sleep(80)
        w.broker.pause()
        w.acknowledge(sheets, 0, 10)
        ends_s = loop.time()
    assert loop.time() - ends_s <= 2.0
    async with world(disk) as w:
        await asyncio.sleep(5)
        assert w.acknowledged() == 10


@in_virtual_time
async def test_an_ack_that_is_lost_makes_a_part_twice_and_not_another_part() -> None:
    async with world() as w:
        w.broker.lose_acks = 2
        w.acknowledge(w.sit("0000002a"), 0, 10)
        w.auditor.worker_ended(0)
        await asyncio.sleep(20)
        assert len(w.posted()) > 2
        assert w.acknowledged() == 10


@in_virtual_time
async def test_a_topic_that_does_not_exist_is_said_once_and_used_when_it_does(caplog: pytest.LogCaptureFixture) -> None:
    other = Topic("other", 1, copies=1, in_sync_min=1, batch_bytes_max=1_000_000)
    async with world(None, other) as w:
        w.acknowledge(w.sit("0000002a"), 0, 10)
        await asyncio.sleep(600)
        assert [one.message for one in caplog.records].count("lines of the audit cannot be posted") == 1
        w.broker.put_topic(AUDIT)
        await asyncio.sleep(20)
        assert w.acknowledged() == 10


@in_virtual_time
async def test_a_line_that_kafka_refuses_for_good_holds_up_no_other() -> None:
    async with world() as w:
        w.broker.refuse = lambda one: one.key.startswith(b"0000002a") and one.key.endswith(b":0")
        w.acknowledge(w.sit("0000002a"), 0, 10)
        w.auditor.worker_ended(0)
        await asyncio.sleep(20)
        assert (w.acknowledged(), w.counted("refused"), w.waiting) == (10, 1, 0)


@in_virtual_time
async def test_a_refused_line_leaves_its_place_and_the_number_of_its_events() -> None:
    async with world() as w:
        w.broker.refuse = lambda one: len(one.body) > 3_000
        w.acknowledge(w.sit("0000002a"), 0, 500)
        w.auditor.worker_ended(0)
        await asyncio.sleep(20)
        assert (w.acknowledged(), w.counted("refused"), w.waiting) == (0, 1, 0)
        assert [(one.part, one.uncounted) for one in w.posted() if one.uncounted] == [(1, 500)]


@in_virtual_time
async def test_a_dropped_line_leaves_its_place_and_the_number_of_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a killed worker: the small line that tells its end fits, and would make the minute look idle."""
    monkeypatch.setattr(module, "LINES_BYTES_MAX", 20_000)
    async with world() as w:
        sheets = w.sit("0000002a")
        w.broker.kill()
        for minute in range(4):
            w.acknowledge(sheets, minute * 500, 500)
            await asyncio.sleep(60)
        w.acknowledge(sheets, 5_000, 500)
        await asyncio.sleep(2)
        w.auditor.worker_ended(0)
        await asyncio.sleep(2)
        w.broker.revive()
        await asyncio.sleep(60)
        [last] = {one.key: one for one in w.posted() if one.is_last}.values()
        whole = {one.key: one for one in w.posted()}.values()
        assert sum(one.uncounted for one in whole if one.minute == last.minute) == 500
        assert sum(one.acknowledged + one.uncounted for one in whole) == 2_500
        assert 0 < w.acknowledged() < 2_500


@in_virtual_time
async def test_a_file_that_cannot_be_read_is_said_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """The files behind it are posted meanwhile."""
    disk = SimulatedDisk()
    for n in range(2):
        files.put_lines(disk, DATA, f"1-{n}", [line([event_id(n)], worker=f"{n:08x}")])
    unreadable(disk, "1-0.lines")
    async with world(disk) as w:
        await asyncio.sleep(1_000)
        assert [one.worker for one in w.posted()] == ["00000001"]
        assert [(one.message, one.__dict__["fields"]) for one in caplog.records] == [("a file of the audit's lines cannot be read", {"file": "1-0.lines"})]
        disk.unreadable = {}
        await asyncio.sleep(40)
        assert [one.worker for one in w.posted()] == ["00000001", "00000000"]
        assert w.files() == []


@in_virtual_time
async def test_without_a_disk_lines_are_posted_all_the_same() -> None:
    disk = SimulatedDisk()
    disk.faults = lambda kind: errno.EROFS if kind in ("create", "make_directory", "append", "sync") else 0
    async with world(disk) as w:
        w.acknowledge(w.sit("0000002a"), 0, 10)
        await asyncio.sleep(120)
        assert w.acknowledged() == 10


@in_virtual_time
async def test_too_many_lines_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINES_BYTES_MAX", 20_000)
    async with world() as w:
        w.broker.kill()
        sheets = w.sit("0000002a")
        for minute in range(45):
            w.acknowledge(sheets, minute * 10, 10)
            await asyncio.sleep(60)
        dropped = w.counted("dropped")
        assert dropped > 0
        assert sum(len(w.disk.inodes[inode]) for inode in w.disk.directories[DATA / "audit"].values()) <= 25_000
        assert len(w.files()) > 2
        w.broker.revive()
        await asyncio.sleep(30)
        assert len({one.key for one in w.posted()}) + dropped >= 44
        assert w.files() == []
        await asyncio.sleep(90)
        assert w.counted("dropped") == dropped


async def _never(_: object) -> None:
    await asyncio.Event().wait()


@in_virtual_time
async def test_a_disk_that_hangs_holds_up_no_line_and_no_sheet() -> None:
    async with world() as w:
        sheets = w.sit("0000002a")
        await asyncio.sleep(3)
        run = w.disk.run
        w.disk.run = _never  # type: ignore[method-assign,assignment]
        for minute in range(20):
            w.acknowledge(sheets, minute * 10, 10)
            await asyncio.sleep(60)
        await asyncio.sleep(30)
        assert (w.acknowledged(), w.waiting) == (200, 0)
        assert count(w.board.supervisor, "sluicegate_audit_uncounted_total") == 0
        w.disk.run = run  # type: ignore[method-assign]


@in_virtual_time
async def test_a_disk_that_hangs_from_the_start_or_at_the_end_holds_up_neither() -> None:
    disk = SimulatedDisk()
    disk.run = _never  # type: ignore[method-assign,assignment]
    async with world(disk) as w:
        w.acknowledge(w.sit("0000002a"), 0, 10)
        await asyncio.sleep(120)
        assert w.acknowledged() == 10
        w.broker.pause()
        w.acknowledge(w.sit("0000002b"), 10, 10)
        ends_s = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - ends_s <= 5.0


@in_virtual_time
async def test_a_disk_that_comes_back_takes_what_waits_and_gives_its_name() -> None:
    """Until then lines have the drawn one, and never none."""
    disk = SimulatedDisk()
    disk.faults = lambda kind: errno.ENOSPC if kind == "append" else 0
    async with world(disk) as w:
        w.broker.kill()
        w.acknowledge(w.sit("0000002a"), 0, 10)
        await asyncio.sleep(120)
        assert not [name for name in w.files() if name.endswith(".lines")]
        disk.faults = lambda _: 0
        await asyncio.sleep(31)
        assert len(w.files()) > 0
        assert files.home_of(disk, DATA) == "07" * 8
        w.broker.revive()
        await asyncio.sleep(30)
        assert (w.acknowledged(), {one.home for one in w.posted()}) == (10, {"07" * 8})
        assert [name for name in w.files() if name.endswith(".lines")] == []


@in_virtual_time
async def test_a_disk_that_was_full_for_long_is_left_without_drafts() -> None:
    async with world() as w:
        w.broker.kill()
        sheets = w.sit("0000002a")
        w.disk.faults = lambda kind: errno.ENOSPC if kind == "append" else 0
        for minute in range(40):
            w.acknowledge(sheets, minute * 100, 100)
            await asyncio.sleep(60)
        assert w.files() == []
        w.disk.faults = lambda _: 0
        w.broker.revive()
        await asyncio.sleep(300)
        assert (w.acknowledged(), w.waiting, w.files()) == (4_000, 0, [])


@in_virtual_time
async def test_drafts_of_killed_writers_are_removed_at_the_start() -> None:
    """Not one that was begun minutes ago: an orphaned worker may be at it."""
    disk = SimulatedDisk()
    disk.make_directory(DATA / "audit")
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    young = f"{loop.clock.now_us() - 60_000_000}-0000002a.lines.draft"
    for name in (young, f"{loop.clock.now_us() - 3_600_000_000}-7.lines.draft"):
        disk.create(DATA / "audit" / name).append(b"{")
    async with world(disk) as w:
        assert w.files() == [young]


@in_virtual_time
async def test_a_file_that_could_not_be_removed_is_removed_later_and_not_read_again() -> None:
    async with world() as w:
        w.broker.kill()
        w.acknowledge(w.sit("0000002a"), 0, 10)
        await asyncio.sleep(120)
        w.disk.faults = lambda kind: errno.EROFS if kind == "unlink" else 0
        w.broker.revive()
        await asyncio.sleep(100)
        assert len(w.files()) > 0
        assert len({one.key for one in w.posted()}) == len(w.posted())
        w.disk.faults = lambda _: 0
        await asyncio.sleep(5)
        assert w.files() == []


@in_virtual_time
async def test_a_name_that_is_there_is_kept() -> None:
    disk = SimulatedDisk()
    files.named_home(disk, DATA, "09" * 8)
    async with world(disk) as w:
        w.acknowledge(w.sit("0000002a"), 0, 10)
        await asyncio.sleep(80)
        assert {one.home for one in w.posted()} == {"09" * 8}


@in_virtual_time
async def test_what_another_process_is_still_writing_is_left_to_it() -> None:
    async with world() as w:
        await asyncio.sleep(2)
        draft = w.disk.create(DATA / "audit" / "1795000000000000-000000aa.lines.draft")
        await asyncio.sleep(31)
        draft.append(audit.encoded(line([event_id(1)], worker="000000aa")) + b"\n")
        w.disk.rename(DATA / "audit" / "1795000000000000-000000aa.lines.draft", DATA / "audit" / "1795000000000000-000000aa.lines")
        await asyncio.sleep(31)
        assert [one.worker for one in w.posted()] == ["000000aa"]
        assert w.files() == []


@in_virtual_time
async def test_what_is_found_waits_on_disk_while_too_much_waits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as w:
        w.broker.kill()
        w.acknowledge(w.sit("0000002a"), 0, 10)
        await asyncio.sleep(80)
        monkeypatch.setattr(module, "LINES_BYTES_MAX", 4_000)
        for n in range(30):
            files.put_lines(w.disk, DATA, f"1-{n}", [line([event_id(n)], worker=f"{n:08x}")])
        await asyncio.sleep(40)
        assert w.waiting < 20
        w.broker.revive()
        await asyncio.sleep(300)
        assert {one.worker for one in w.posted()} >= {f"{n:08x}" for n in range(30)}
        assert w.files() == []


def test_lines_are_found_in_the_disks_thread_and_queued_in_the_loop(tmp_path: Path) -> None:
    """A debugging loop refuses to be touched from another thread."""

    async def play() -> None:
        broker, disk = FakeBroker(AUDIT), RealDisk()
        files.put_lines(disk, tmp_path, "1-0", [line([event_id(1)])])
        auditor = Auditor(Deliver(), Board.create(1), broker, disk, tmp_path, SYSTEM, "gw-1", "07" * 8)
        running = asyncio.create_task(auditor.run())
        async with asyncio.timeout(30):
            while not broker.log("audit.v1"):
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await auditor.close()

    asyncio.run(play(), debug=True)


@in_virtual_time
async def test_a_minute_is_left_open_until_deliveries_of_it_have_ended() -> None:
    """What is acknowledged ten seconds after deliver.timeout_ms is in the minute's one part."""
    async with world() as w:
        sheets = w.sit("0000002a")
        minute = w.now_us // 60_000_000
        sheets.count(records(0, 1, minute))
        await asyncio.sleep(((minute + 1) * 60_000_000 - w.now_us) / 1e6 + Deliver().timeout_ms / 1000 + 9)
        sheets.count(records(1, 1, minute))
        await asyncio.sleep(60)
        assert [one.acknowledged for one in w.posted() if one.acknowledged] == [2]


@in_virtual_time
async def test_a_bug_in_the_background_is_loud() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    w = World()
    w.broker.connect = fail  # type: ignore[method-assign,assignment]
    w.acknowledge(w.sit("0000002a"), 0, 1)
    w.auditor.worker_ended(0)
    with pytest.raises(ZeroDivisionError):
        await w.task
    with pytest.raises(BrokerAway):
        await w.broker.send("audit.v1", 0, [])
