"""firing.py: one process's arrivals in its own greenlets, and what it says of itself; as a process it is examined in test_generator.py."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import gevent
import msgspec
import pytest

from loadtests.crowd import firing, shapes
from loadtests.crowd.firing import TOGETHER_MAX, Firing, Plan, together
from loadtests.crowd.payloads import Secret, Tokens
from loadtests.crowd.users import Arrival
from loadtests.recording import Process
from loadtests.scenario import Burst, Scenario, Slo, Stream

KEY = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s"  # 32 times k


def of(people: int = 1, seconds: float = 0.2) -> Firing:
    """All come at once, now; nobody listens there."""
    scenario = Scenario("t", "w", 1, [Stream("s", "stranger", bursts=[Burst(people)])], [Slo("m", at_most=1.0)], seconds=seconds, drain_s=0.0)
    return Firing(Plan(scenario, shapes.meant(scenario), 0, 1, 1, time.time(), "http://127.0.0.1:9", Tokens(Secret(KEY), 0, ["a.member.s"])))


def left(one: Firing, folder: Path) -> Process:
    one.leave(folder)
    return msgspec.json.decode((folder / "0" / "process.json").read_bytes(), type=Process)


def test_counts_add_up_and_the_worst_stands_for_all() -> None:
    one = {"at_s": 3.0, "sent": 10.0, "late_p99_ms": 2.0, "cpu_share": 0.5}
    other = {"at_s": 3.1, "sent": 11.0, "late_p99_ms": 30.0, "cpu_share": 0.2}
    assert together([one, other]) == {"at_s": 3.1, "sent": 21.0, "late_p99_ms": 30.0, "cpu_share": 0.5}
    assert together([]) == {}


def test_people_who_did_not_go_home_are_told(tmp_path: Path) -> None:
    one = of()
    assert left(one, tmp_path).errors == []
    one.crowd.present = 2
    assert left(one, tmp_path).errors == ["2 people did not go home"]


def test_the_cpu_that_counts_is_that_while_arrivals_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of the drain, when there is little to do or a report to make; nor of the time before."""
    used_s, now_s, one = [50.0], [-1.0], of(seconds=0.2)

    def rest_until(at_s: float) -> bool:
        used_s[0] += 7.0 if at_s == 0 else 0.0  # reading the scenario, before anybody comes
        now_s[0] = at_s
        return True

    monkeypatch.setattr(one, "_clock", SimpleNamespace(now_s=lambda: now_s[0], rest_until=rest_until))
    monkeypatch.setattr(firing, "time", SimpleNamespace(process_time=lambda: used_s[0]))
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    monkeypatch.setattr(one, "_tick", lambda: None)
    monkeypatch.setattr(one, "_fire", lambda: used_s.__setitem__(0, used_s[0] + 0.1))
    monkeypatch.setattr(one, "_drain", lambda: used_s.__setitem__(0, used_s[0] + 100.0))
    one.run()
    assert left(one, tmp_path).cpu_share == pytest.approx(0.5)


def test_who_is_due_at_once_waits_for_a_few_others_and_not_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    one, spawned, arrived, ahead = of(people=5 * TOGETHER_MAX), list[int](), list[int](), list[int]()
    spawn = gevent.spawn

    def spawning(life: Callable[[Arrival], None], arrival: Arrival) -> gevent.Greenlet:
        spawned.append(arrival.number)
        return spawn(life, arrival)

    def arrive(arrival: Arrival) -> None:
        ahead.append(len(spawned) - len(arrived))
        arrived.append(arrival.number)

    monkeypatch.setattr(gevent, "spawn", spawning)
    monkeypatch.setattr(one.crowd, "arrive", arrive)
    time.sleep(0.01)  # so that all of them are due
    one._fire()
    gevent.sleep(0)
    assert arrived == list(range(5 * TOGETHER_MAX))
    assert max(ahead) == TOGETHER_MAX
