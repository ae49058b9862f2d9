"""The pace once a second: what the board, Kafka, the sign and the operator say, and what follows."""

import asyncio
import json
import math
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from gateway import config
from gateway.acts import ActsFile
from gateway.board import Board
from gateway.clock import Clock
from gateway.core.act import Change, Fault, Undo
from gateway.core.light import INDEX
from gateway.core.pace import Pace, Reason
from gateway.core.sign import Acts, Policy, Sign
from gateway.core.turn import token_us_of
from gateway.errors import BrokerAway, RoomAway
from gateway.lag import Progress
from gateway.pacer import REASON_INDEX, Pacer, is_jump
from gateway.room_store import Seen
from tests.fakes import FakeClock, VirtualLoop, in_virtual_time
from tests.memory_room import MemoryRoom

FLOOR: Final = 10.0
SETTINGS: Final = config.Room(name="walk", epoch=20261218, floor_per_s=FLOOR, ceiling_per_s=1_000.0, takes_per_s=200.0)
MARGIN: Final = 100


class FakeLag:
    """Kafka's progress, set by hand."""

    def __init__(self) -> None:
        self.progress: Progress | None = Progress(0, 0, 6)
        self.asked = 0
        self.hangs = False
        self.is_closed = False

    async def read(self) -> Progress:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.progress is None:
            raise BrokerAway("no contact")
        return self.progress

    async def close(self) -> None:
        self.is_closed = True


class Machine:
    """One supervisor's pacer with a board of two workers; several share a store."""

    def __init__(self, directory: Path, store: MemoryRoom | None = None, *, clock: Clock | None = None, settings: config.Room = SETTINGS, **given: Any) -> None:
        self.time = FakeClock()
        self.store = store or MemoryRoom(Policy(), token_us_of(FLOOR), self.time.now_us)
        self.lag = FakeLag()
        self.board = Board.create(workers=2)
        for slot in self.board.slots[:-1]:
            slot.gauge("sluicegate_worker_state").set(2)
            slot.gauge("sluicegate_kafka_reason").set(INDEX["ok"])
        self.directory = directory
        self.pacer = Pacer(settings, self.store, self.lag, self.board, directory, clock or self.time.clock, stall_s=1.0, timeout_s=5.0, margin=MARGIN, **given)

    async def seconds(self, count: int, each: Callable[[], None] = lambda: None) -> None:
        """So many steps, a second apart, in each of which Kafka is read and answers."""
        for _ in range(count):
            self.time.advance(1)
            self.store.now_us += 1_000_000
            each()
            self.pacer._fresh = self.lag.progress
            await self.pacer.step()

    @property
    def sign(self) -> Sign:
        assert self.pacer.state.sign is not None
        return self.pacer.state.sign

    @property
    def pace(self) -> Pace:
        assert self.store.room is not None
        return self.store.room.pace

    def is_paused(self) -> bool:
        """As the door's clock in the store says."""
        assert self.store.room is not None
        return self.store.room.clock.is_paused

    def gauge(self, name: str) -> float:
        return self.board.supervisor.gauge(f"sluicegate_room_{name}").value

    @property
    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "audit.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# The pace


async def test_a_room_is_opened_at_its_floor_and_holds_until_something_is_known(machine: Machine) -> None:
    machine.lag.progress = None
    await machine.seconds(5)
    assert (machine.pace.rate_per_s, machine.pace.reason) == (FLOOR, Reason.LAG_UNKNOWN)
    assert machine.gauge("rate_per_second") == FLOOR
    assert machine.gauge("reason") == REASON_INDEX[Reason.LAG_UNKNOWN] == 4


async def test_what_downstream_takes_sets_the_rate(machine: Machine) -> None:
    """200/s known from a rehearsal: a tenth more each second, from the first reading on."""
    progress = Progress(0, 0, 6)

    def flow() -> None:
        nonlocal progress
        machine.lag.progress = progress = Progress(progress.produced + 20, progress.consumed + 20, 6)

    await machine.seconds(12, flow)
    assert machine.pace.reason is Reason.CLIMBING
    rates = []
    for _ in range(3):
        await machine.seconds(1, flow)
        rates.append(machine.pace.rate_per_s)
    assert [round(after / before, 6) for before, after in pairwise(rates)] == [1.1, 1.1]
    assert machine.board.supervisor.counter("sluicegate_room_pace_changes_total").value >= 4
    assert machine.gauge("rate_per_second") == rates[-1]
    before = machine.pace.rate_per_s
    machine.lag.progress = None  # Kafka is not read any more: held, once what is known is too old
    await machine.seconds(4)
    assert machine.pace.rate_per_s > before
    await machine.seconds(4)
    before = machine.pace.rate_per_s
    await machine.seconds(5)
    assert (machine.pace.rate_per_s, machine.pace.reason) == (before, Reason.LAG_UNKNOWN)


async def test_a_spool_that_fills_cuts_the_rate_each_second(machine: Machine) -> None:
    await machine.seconds(2)
    await machine.pacer.say(Change("r", 800.0), "t")
    await machine.seconds(2)
    await machine.pacer.say(Change("r", None), "t")
    for slot in machine.board.slots[:-1]:
        slot.gauge("sluicegate_spool_max_bytes").set(1_000_000)
        slot.gauge("sluicegate_spool_waiting_bytes").set(700_000)
    await machine.seconds(1)
    assert (machine.pace.rate_per_s, machine.pace.reason) == (400.0, Reason.SPOOL_FILLING)
    for slot in machine.board.slots[:-1]:
        slot.gauge("sluicegate_spool_waiting_bytes").set(600_000)
    await machine.seconds(1)
    assert machine.pace.reason is not Reason.SPOOL_FILLING


async def test_stopped_acks_cut_the_rate_each_second_and_overload_a_little(machine: Machine) -> None:
    await machine.seconds(2)
    await machine.pacer.say(Change("r", 800.0), "t")
    await machine.seconds(2)
    await machine.pacer.say(Change("r", None), "t")
    refused = machine.board.slots[0].counter("sluicegate_overload_refused_total", "signups")
    await machine.seconds(1, refused.add)
    assert (machine.pace.rate_per_s, machine.pace.reason) == (640.0, Reason.OVERLOAD)
    for slot in machine.board.slots[:-1]:
        slot.gauge("sluicegate_kafka_reason").set(INDEX["connecting"])
    await machine.seconds(1)
    assert (machine.pace.rate_per_s, machine.pace.reason) == (320.0, Reason.ACKS_STOPPED)
    await machine.seconds(6)
    assert machine.pace.rate_per_s == FLOOR


async def test_two_supervisors_agree(tmp_path: Path) -> None:
    """What follows from an older pace is not taken, and the next second begins with the newer."""
    one = Machine(tmp_path / "one")
    other = Machine(tmp_path / "other", one.store)
    await one.seconds(2)
    await other.seconds(2)
    assert one.sign.pace.changed_us == one.pace.changed_us == other.pace.changed_us
    await one.pacer.say(Change("r", 50.0), "t")
    await other.seconds(1)
    assert other.pacer.state.acts == one.pacer.state.acts
    await other.pacer.say(Change("r", 60.0), "t")
    await one.seconds(2)
    assert (one.pace.rate_per_s, one.sign.pace.rate_per_s, other.store.room) == (60.0, 60.0, one.store.room)
    assert one.pacer.state.acts.told_per_s == 60.0
    # Each has the other's acts on its disk.
    assert ActsFile(tmp_path / "one", "room-walk-20261218").load() == ActsFile(tmp_path / "other", "room-walk-20261218").load()


def test_a_jump_is_a_first_commit_that_passes_over_much() -> None:
    rows = [
        (Progress(9_000, 0, 0), Progress(9_000, 9_000, 1), True),  # began at the end
        (Progress(9_000, 0, 0), Progress(9_000, 2_000, 1), False),  # may be work
        (Progress(9_000, 0, 3), Progress(9_000, 9_000, 3), False),  # committed once in a while
    ]
    for before, now, want in rows:
        assert is_jump(before, now, 2_000) is want


async def test_a_group_that_begins_at_the_end_seems_not_fast(machine: Machine) -> None:
    machine.lag.progress = Progress(90_000, 0, 0)
    await machine.seconds(20)
    machine.lag.progress = Progress(90_000, 90_000, 6)
    await machine.seconds(20)
    assert machine.pacer._reading is not None
    assert machine.pacer._reading.takes_per_s == 0.0  # it took nothing for as long as it was seen


# The operator


async def test_an_act_is_on_disk_in_the_audit_and_in_the_store(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await machine.seconds(3)
    said = await machine.pacer.say(Change("a rehearsal", 50.0), "127.0.0.1")
    assert (said.is_applied, said.is_kept, said.acts.told_per_s) == (True, True, 50.0)
    assert (machine.pace.rate_per_s, machine.pace.reason) == (50.0, Reason.TOLD)
    assert machine.sign.pace == machine.pace  # the answer shows it at once
    said = await machine.pacer.say(Change("stop", paused=True, message="곧"), "127.0.0.1")
    assert machine.is_paused()
    assert machine.sign.acts == said.acts == Acts(said.acts.version, is_paused=True, told_per_s=50.0, message="곧")
    assert ActsFile(machine.directory, "room-walk-20261218").load().acts == said.acts
    assert [line["changed"] for line in machine.audit] == [{"told_per_s": [None, 50.0]}, {"is_paused": [False, True], "message": ["", "곧"]}]
    assert machine.audit[1] | {"time": "", "changed": ""} == {
        "time": "",
        "room": "walk",
        "epoch": 20261218,
        "who": "127.0.0.1",
        "changed": "",
        "reason": "stop",
        "version": said.acts.version,
    }
    assert [r.getMessage() for r in caplog.records].count("an operator's act") == 2
    await machine.seconds(2)
    assert machine.pace.reason is Reason.PAUSED
    await machine.pacer.say(Change("go on", paused=False), "127.0.0.1")
    await machine.seconds(1)
    assert not machine.is_paused()
    assert (machine.pace.rate_per_s, machine.pace.reason) == (50.0, Reason.TOLD)


async def test_what_is_said_while_the_store_is_away_is_kept_and_applied_later(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await machine.seconds(2)
    machine.store.away = True
    await machine.seconds(3)
    said = await machine.pacer.say(Change("stop", paused=True), "t")
    assert (said.is_applied, said.is_kept) == (False, True)
    was_away = machine.pacer.state.is_away
    machine.store.away = False
    await machine.seconds(1)
    assert machine.is_paused()
    assert (was_away, machine.pacer.state.is_away) == (True, False)
    told = [r.getMessage() for r in caplog.records]
    assert (told.count("the line's store is away"), told.count("the line's store is back")) == (1, 1)


async def test_a_close_is_in_the_store_and_leaves_a_pause_as_it_was(machine: Machine) -> None:
    await machine.seconds(2)
    await machine.pacer.say(Change("stop", paused=True), "t")
    await machine.pacer.say(Change("a bug", closed=True), "t")
    assert (machine.sign.state, machine.is_paused()) == ("closed", True)
    await machine.seconds(2)
    assert (machine.pace.reason, machine.gauge("reason")) == (Reason.CLOSED, 9)
    await machine.pacer.say(Change("fixed", closed=False), "t")
    await machine.seconds(2)
    assert (machine.sign.state, machine.pace.reason) == ("paused", Reason.PAUSED)
    assert [line["changed"] for line in machine.audit] == [{"is_paused": [False, True]}, {"is_closed": [False, True]}, {"is_closed": [True, False]}]


def forms(acts: Acts) -> tuple[object, ...]:
    """All but the version."""
    return acts[1:]


async def test_the_newest_act_is_undone_and_undone_again_is_done_again(machine: Machine) -> None:
    await machine.seconds(2)
    told = await machine.pacer.say(Change("a rehearsal", 50.0), "t")
    closed = await machine.pacer.say(Change("oh", closed=True, message="m"), "t")
    wants = [told.acts, closed.acts, told.acts]
    for want in wants:
        before = machine.pacer.acts
        said = await machine.pacer.undo(Undo("again", before.version), "127.0.0.1")
        assert not isinstance(said, Fault)
        assert (said.is_applied, said.is_kept, forms(said.acts)) == (True, True, forms(want))
        assert said.acts.version > before.version
        assert machine.sign.acts == said.acts
        assert (machine.audit[-1]["undoes"], machine.audit[-1]["version"], machine.audit[-1]["who"]) == (before.version, said.acts.version, "127.0.0.1")
    assert "undoes" not in machine.audit[1]
    assert machine.audit[2]["changed"] == {"is_closed": [True, False], "message": ["m", ""]}


async def test_only_the_newest_act_is_undone_and_what_is_refused_changes_nothing(machine: Machine) -> None:
    await machine.seconds(1)
    assert isinstance(await machine.pacer.undo(Undo("r", 0), "t"), Fault)  # nothing was said yet
    first = await machine.pacer.say(Change("one", 50.0), "t")
    second = await machine.pacer.say(Change("two", 60.0), "t")
    for version in (first.acts.version, second.acts.version + 1, 0, -1):
        fault = await machine.pacer.undo(Undo("r", version), "t")
        assert isinstance(fault, Fault)
        assert (fault.pointer, str(second.acts.version) in fault.detail) == ("/undo", True)
    assert (machine.pacer.acts, len(machine.audit)) == (second.acts, 2)


async def test_an_undo_goes_back_to_what_it_was_after_a_restart_too(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    await machine.seconds(2)
    told = await machine.pacer.say(Change("one", 50.0), "t")
    closed = await machine.pacer.say(Change("two", closed=True), "t")
    machine.store.forget()
    again = Machine(tmp_path, machine.store)
    await again.seconds(1)
    assert again.sign.acts == closed.acts
    said = await again.pacer.undo(Undo("r", closed.acts.version), "t")
    assert not isinstance(said, Fault)
    assert forms(said.acts) == forms(told.acts)


async def test_another_machines_act_is_undone_where_what_was_before_it_is_known(tmp_path: Path) -> None:
    """Not by a machine that has just come: to it the act was always there, and before it may have been a pause."""
    one = Machine(tmp_path / "one")
    await one.seconds(1)
    two = Machine(tmp_path / "two", one.store)
    await two.seconds(1)
    told = await one.pacer.say(Change("one", 50.0), "t")
    await two.seconds(1)
    closed = await one.pacer.say(Change("two", closed=True), "t")
    new = Machine(tmp_path / "new", one.store)
    fault = await new.pacer.undo(Undo("r", closed.acts.version), "t")
    assert isinstance(fault, Fault)
    assert str(closed.acts.version) in fault.detail
    said = await two.pacer.undo(Undo("r", closed.acts.version), "t")  # asks the store first: it had not heard of it
    assert not isinstance(said, Fault)
    assert (said.is_applied, forms(said.acts)) == (True, forms(told.acts))


async def test_an_undo_that_comes_after_anothers_act_takes_nothing_back(tmp_path: Path) -> None:
    one = Machine(tmp_path / "one")
    await one.seconds(1)
    two = Machine(tmp_path / "two", one.store)
    two.time.advance(5)
    await two.seconds(1)
    told = await one.pacer.say(Change("one", 50.0), "t")
    newest = await two.pacer.say(Change("two", closed=True), "t")
    fault = await one.pacer.undo(Undo("r", told.acts.version), "t")
    assert isinstance(fault, Fault)
    assert str(newest.acts.version) in fault.detail
    assert one.store.room is not None
    assert one.store.room.acts == newest.acts


async def test_a_restart_and_an_empty_store_keep_a_pause(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    await machine.seconds(2)
    said = await machine.pacer.say(Change("stop", paused=True), "t")
    machine.store.forget()
    again = Machine(tmp_path, machine.store)
    await again.seconds(1)
    assert again.store.room is not None
    assert (again.is_paused(), again.store.room.acts) == (True, said.acts)
    # And of two, the larger version wins: what the store knows is newer than this disk.
    newer = said.acts._replace(version=said.acts.version + 1, is_paused=False)
    assert await again.store.act(newer)
    later = Machine(tmp_path, machine.store)
    await later.seconds(1)
    assert (later.is_paused(), later.pacer.state.acts) == (False, newer)
    assert ActsFile(tmp_path, "room-walk-20261218").load() == (newer, None)


async def test_a_store_that_forgot_is_raised_to_what_is_remembered(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "a")
    await machine.seconds(1)
    await machine.store.join([n.to_bytes(8, "big") for n in range(100)], Seen())
    await machine.seconds(1)
    sign = machine.sign
    machine.store.forget()
    await machine.seconds(1)
    assert machine.sign.tail == sign.tail + MARGIN
    assert machine.sign.head >= sign.head
    # After a restart: what a worker left on disk.
    machine.store.forget()
    again = Machine(tmp_path / "b", machine.store, remembered=sign)
    await again.seconds(1)
    assert again.sign.tail == sign.tail + MARGIN


async def test_a_full_disk_does_not_keep_the_door_open(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    await machine.seconds(2)
    shutil.rmtree(machine.directory)
    machine.directory.write_text("in the way")
    said = await machine.pacer.say(Change("stop", paused=True), "t")
    assert (said.is_applied, said.is_kept) == (True, False)
    assert machine.is_paused()
    assert "an act is missing in the audit" in caplog.text
    await machine.seconds(2)
    assert caplog.text.count("the disk of acts is away") == 1
    machine.directory.unlink()
    await machine.seconds(1)
    assert ActsFile(machine.directory, "room-walk-20261218").load().acts == said.acts


async def test_operators_at_once_are_put_in_order(machine: Machine) -> None:
    await machine.seconds(1)
    said = await asyncio.gather(*(machine.pacer.say(Change("r", float(rate)), "t") for rate in range(20, 25)))
    versions = [one.acts.version for one in said]
    assert versions == sorted(set(versions))
    assert all(one.is_applied for one in said)
    assert len(machine.audit) == 5


# The loops


class TimedRoom(MemoryRoom):
    """Its clock is the loop's, and a frozen one costs its callers a second."""

    async def set_pace(self, pace: Pace, changed_us: int) -> bool:
        self._tell_time()
        return await super().set_pace(pace, changed_us)

    async def tick(self, notes: Any, seen: Seen) -> Sign:
        self._tell_time()
        if self.away:
            await asyncio.sleep(1)
        return await super().tick(notes, seen)

    def _tell_time(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.now_us = loop.clock.now_us()


def timed(directory: Path) -> Machine:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return Machine(directory, TimedRoom(Policy(), token_us_of(FLOOR), loop.clock.now_us()), clock=loop.clock)


@in_virtual_time
async def test_a_kafka_that_hangs_does_not_delay_the_cut(tmp_path: Path) -> None:
    machine = timed(tmp_path)
    running = asyncio.create_task(machine.pacer.run())
    await asyncio.sleep(3)
    await machine.pacer.say(Change("r", 800.0), "t")
    await asyncio.sleep(2)
    await machine.pacer.say(Change("r", None), "t")
    machine.lag.hangs = True
    for slot in machine.board.slots[:-1]:
        slot.gauge("sluicegate_unacked_age_seconds").set(2.0)
    await asyncio.sleep(9)
    assert (machine.pace.rate_per_s, machine.pace.reason) == (FLOOR, Reason.ACKS_STOPPED)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await machine.pacer.close()
    assert machine.lag.is_closed
    assert machine.store.away


@in_virtual_time
async def test_a_told_rate_is_in_the_sign_within_a_second_or_so(tmp_path: Path) -> None:
    """Even while the rate changes each second by itself."""
    machine = timed(tmp_path)
    machine.lag.progress = Progress(50_000, 0, 6)
    running = asyncio.create_task(machine.pacer.run())
    await asyncio.sleep(20)
    for rate, wait_s in [(50.0, 1.1), (60.0, 1.1), (None, 1.1), (70.0, 1.1)]:
        await machine.pacer.say(Change("r", rate), "t")
        await asyncio.sleep(wait_s)
        assert rate is None or machine.pace.rate_per_s == rate
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@in_virtual_time
async def test_kafka_is_asked_each_second_and_its_lag_is_shown(tmp_path: Path) -> None:
    machine = timed(tmp_path)
    assert math.isnan(machine.gauge("consumer_lag"))
    machine.lag.progress = Progress(500, 300, 6)
    running = asyncio.create_task(machine.pacer.run())
    await asyncio.sleep(10.5)
    assert (machine.lag.asked, machine.gauge("consumer_lag"), machine.pacer.state.lag) == (11, 200, 200)
    machine.lag.progress = None
    await asyncio.sleep(2)
    assert math.isnan(machine.gauge("consumer_lag"))
    assert machine.pacer.state.lag is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@in_virtual_time
async def test_a_loop_that_dies_is_heard_of(tmp_path: Path) -> None:
    machine = timed(tmp_path)
    machine.lag.read = None  # type: ignore[method-assign,assignment]
    with pytest.raises(TypeError):
        await machine.pacer.run()


@in_virtual_time
async def test_a_store_that_is_away_ends_nothing(tmp_path: Path) -> None:
    machine = timed(tmp_path)
    machine.store.away = True
    running = asyncio.create_task(machine.pacer.run())
    await asyncio.sleep(30)
    assert not running.done()
    assert machine.pacer.state.sign is None
    with pytest.raises(RoomAway):
        await machine.store.act(Acts(1))
    machine.store.away = False
    await asyncio.sleep(3)
    assert machine.sign.pace.rate_per_s == FLOOR
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
