"""The heart of the screen: when a frame is made, and where it goes."""

import asyncio
import json
import math
from pathlib import Path

import pytest

from gateway.core.pace import Reason
from gateway.core.sign import Acts
from gateway.ops.screen import LATEST_S, PERIOD_S, SOONEST_S
from gateway.probes import Asker
from tests.fakes import FakeClock, in_virtual_time
from tests.ops.test_status import _waiting
from tests.screens import Desk, FakeProbe, room


def kinds(desk: Desk) -> list[str]:
    return [entry["kind"] for entry in desk.screen.events.last(99)]


def test_each_look_is_remembered_and_posted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    sign = _waiting(Reason.CONSUMPTION)
    desk.room = room(sign)
    for _ in range(3):
        desk.second()
    assert len(desk.screen.history) == 3
    gauge = desk.board.supervisor.gauge
    frame = desk.screen.frame
    assert frame is not None
    assert frame.room is not None
    assert gauge("sluicegate_room_estimate_seconds", "p50").value == frame.room.p50_s
    assert gauge("sluicegate_room_estimate_seconds", "p90").value == frame.room.p90_s
    assert gauge("sluicegate_light", "kafka").value == 1
    assert gauge("sluicegate_probe_seconds", "kafka").value == 0.001
    assert gauge("sluicegate_supervisor_memory_bytes").value > 1e6
    desk.room = None
    desk.second()
    assert math.isnan(gauge("sluicegate_room_estimate_seconds", "p50").value)
    assert math.isnan(gauge("sluicegate_room_waiting_oldest_seconds").value)


def test_an_act_of_another_machines_operator_is_shown_too(tmp_path: Path) -> None:
    """Without its reason: that stands in the audit over there."""
    desk = Desk(tmp_path)
    sign = _waiting(Reason.CONSUMPTION)
    desk.room = room(sign, acts=Acts(1))
    desk.second()
    desk.room = room(sign, acts=Acts(2, is_paused=True))
    desk.second()
    desk.second()
    acts = [entry for entry in desk.screen.events.last(99) if entry["kind"] == "act"]
    assert [(act["version"], act["changed"], act["reason"]) for act in acts] == [(2, {"is_paused": (False, True)}, "")]
    assert "room-state" in kinds(desk)


def test_viewers_and_cores_are_posted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used_s = iter([10.0, 10.5, 10.75])
    monkeypatch.setattr("gateway.ops.screen.cpu_s", lambda: next(used_s))
    desk = Desk(tmp_path)
    desk.screen.viewers._viewers = dict.fromkeys(range(3))  # type: ignore[assignment, arg-type]
    monkeypatch.setattr(desk.screen.viewers, "send", lambda _: None)
    desk.clock.advance(1)
    desk.second()
    gauge = desk.board.supervisor.gauge
    assert (gauge("sluicegate_viewers").value, gauge("sluicegate_supervisor_cpu_ratio").value) == (3, 0.25)


def test_the_newest_hundred_missed_entries_are_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for number in range(300):
        desk.screen.happened("worker-started", worker=number)
    for last in (None, 0):
        told = json.loads(desk.screen.greeting(last).split(b"data: ")[2].split(b"\n")[0])["entries"]
        assert [entry["worker"] for entry in told] == list(range(200, 300))


def test_acts_on_disk_at_the_start_are_no_news(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.room = room(_waiting(Reason.CONSUMPTION), acts=Acts(7, is_paused=True))
    desk.second()
    assert "act" not in kinds(desk)


def run_for(desk: Desk, seconds: float, news_at_s: tuple[float, ...] = ()) -> list[float]:
    """In virtual time: the instants at which frames were made."""
    made: list[float] = []

    async def play() -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        desk.clock.advance(1)

        def look() -> None:
            made.append(round(loop.time() - began_s, 3))

        desk.screen.look = look  # type: ignore[method-assign]
        running = asyncio.create_task(desk.screen.run())
        for at_s in news_at_s:
            loop.call_at(began_s + at_s, desk.screen.has_news)
        await asyncio.sleep(seconds)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    in_virtual_time(play)()
    return made


def test_without_a_room_a_frame_a_second(tmp_path: Path) -> None:
    assert run_for(Desk(tmp_path), 3.5) == [0.0, PERIOD_S, 2 * PERIOD_S, 3 * PERIOD_S]


def test_a_frame_follows_each_sign_and_does_not_wait_for_one_for_ever(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.room = room(_waiting(Reason.CONSUMPTION))
    assert run_for(desk, 4.0, news_at_s=(0.6, 1.6, 1.7)) == [0.0, 0.6, 1.6, 1.6 + SOONEST_S, pytest.approx(1.6 + SOONEST_S + LATEST_S)]


def test_what_breaks_in_it_is_not_swallowed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    def broken() -> None:
        raise KeyError("a bug")

    async def play() -> None:
        desk.screen.look = broken  # type: ignore[method-assign]
        with pytest.raises(KeyError):
            await desk.screen.run()

    in_virtual_time(play)()


async def test_its_probes_are_asked_once_a_second_and_let_go() -> None:
    probe, naps = FakeProbe("ok"), 0

    async def nap(seconds: float) -> None:
        nonlocal naps
        naps += 1
        assert seconds == 1.0
        if naps == 3:
            raise asyncio.CancelledError

    asker = Asker(probe, FakeClock().clock, nap)
    assert asker.found.reason == "not-asked"
    with pytest.raises(asyncio.CancelledError):
        await asker.run()
    assert (asker.found.reason, probe.asked) == ("ok", 3)
    await asker.close()
    assert probe.is_closed
