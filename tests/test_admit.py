"""The state around the rules of admission."""

import contextlib
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admit import Admission
from gateway.core.admission import REQUEST_OVERHEAD_BYTES
from gateway.core.overload import End, Policy
from gateway.deliver import Deliverer
from gateway.errors import Refusal
from tests.fakes import FakeClock, new_slot


class Store:
    """What admission asks of delivery."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self.takes = True
        self.has_spool = False

    def is_open(self, kind: str) -> bool:
        assert kind in ("syncs", "signups")
        return self.takes


class Door:
    """An admission with all it looks at."""

    def __init__(self, bound: int = 100_000) -> None:
        self.clock = FakeClock()
        self.store = Store()
        self.slot = new_slot()
        self.admission = Admission(bound, cast("Deliverer", self.store), self.clock.clock, self.slot)

    def admit(self, length: int = 0, **kwargs: Any) -> int:
        return self.admission.admit("syncs", length, **kwargs)

    def refused(self, length: int = 0, **kwargs: Any) -> Refusal:
        with pytest.raises(Refusal) as caught:
            self.admit(length, **kwargs)
        return caught.value

    @property
    def gauge(self) -> float:
        self.admission.show()
        return self.slot.gauge("sluicegate_in_flight_bytes").value


def test_what_is_admitted_is_held_until_it_is_done() -> None:
    door = Door()
    cost = door.admit(1_000)
    assert cost == 1_000 + REQUEST_OVERHEAD_BYTES
    assert door.gauge == cost
    door.store.held_bytes = 500
    assert door.gauge == cost + 500
    door.admission.done(cost, End.ANSWERED, 0.0)
    assert door.gauge == 500


def test_bodies_and_records_share_one_bound() -> None:
    door = Door(bound=3 * REQUEST_OVERHEAD_BYTES)
    door.admit()
    door.store.held_bytes = REQUEST_OVERHEAD_BYTES
    cost = door.admit()
    assert door.refused().problem.code == "overloaded"
    door.admission.done(cost, End.ANSWERED, 0.0)
    assert door.refused(1).problem.code == "overloaded"
    door.admit()


def test_while_the_store_answers_nothing_nobody_passes() -> None:
    door = Door()
    door.store.takes = False
    found = door.refused()
    assert (found.problem.code, found.members) == ("not-durable", {"outcome": "none"})
    assert found.retry_after_s in range(1, 31)
    assert door.gauge == 0  # what is refused is not held
    door.store.takes = True
    door.admit()


def test_a_drain_turns_away_kept_connections_alone() -> None:
    """A new one may have waited in the queue: it is served."""
    door = Door()
    door.admission.is_draining = True
    found = door.refused(is_kept=True)
    assert (found.problem.code, found.retry_after_s) == ("draining", 1)
    door.admit(is_kept=False)


def test_every_refusal_has_a_detail_and_a_retry_after() -> None:
    door = Door(bound=1)
    door.admission.is_draining = True
    for found in (door.refused(is_kept=True), door.refused()):
        assert found.detail
        assert found.retry_after_s


def spread(door: Door) -> int:
    """The longest wait told now: the width over which the refused are spread."""
    return max(door.admission.retry_after_s() for _ in range(300))


def test_the_wait_follows_the_rate_at_which_requests_are_answered() -> None:
    """A steady 100 kB/s, then 1 MB held: about ten seconds."""
    door = Door(bound=10**9)
    for _ in range(60):
        door.admission.done(door.admit(100_000 - REQUEST_OVERHEAD_BYTES), End.ANSWERED, 0.0)
        door.clock.advance(1)
    door.store.held_bytes = 1_000_000
    door.admission.show()
    assert spread(door) in (10, 11)


def test_answers_that_stored_nothing_promise_no_rate() -> None:
    """However many 401s are answered in a second, those who wait for the store wait as long."""
    door = Door(bound=10**9)
    for _ in range(60):
        door.admission.done(door.admit(100_000 - REQUEST_OVERHEAD_BYTES), End.ANSWERED, 0.0)
        for _ in range(50):
            door.admission.done(door.admit(100_000 - REQUEST_OVERHEAD_BYTES), End.IGNORED, 0.0)
        door.clock.advance(1)
    door.store.held_bytes = 1_000_000
    door.admission.show()
    assert spread(door) in (10, 11)


@pytest.mark.parametrize(("is_shown", "want"), [(True, range(24, 27)), (False, range(7, 10))])
def test_quiet_seconds_lower_the_rate(is_shown: bool, want: range) -> None:
    """Nine of them leave 0.7 ** 9 of it, so 100 kB take 25 s; looked at only after the gap, its average counts."""
    door = Door(bound=10**9)
    for _ in range(60):
        door.admission.done(door.admit(100_000 - REQUEST_OVERHEAD_BYTES), End.ANSWERED, 0.0)
        door.clock.advance(1)
    for _ in range(9):
        if is_shown:
            door.admission.show()
        door.clock.advance(1)
    door.store.held_bytes = 100_000
    door.admission.show()
    assert spread(door) in want


def test_those_refused_in_this_second_lengthen_the_wait_of_the_next() -> None:
    door = Door(bound=200_000)
    for _ in range(60):
        door.admission.done(door.admit(100_000 - REQUEST_OVERHEAD_BYTES), End.ANSWERED, 0.0)
        door.clock.advance(1)
    door.store.held_bytes = 200_000
    before = spread(door)
    for _ in range(20):
        door.refused(100_000 - REQUEST_OVERHEAD_BYTES)
    assert spread(door) > before + 10


@given(st.lists(st.tuples(st.sampled_from(["admit", "done", "wait", "away"]), st.integers(0, 60_000)), max_size=60))
def test_the_bound_holds_and_everything_is_given_back(steps: list[tuple[str, int]]) -> None:
    door = Door(bound=100_000)
    costs: list[int] = []
    for step, number in steps:
        match step:
            case "admit":
                with contextlib.suppress(Refusal):
                    costs.append(door.admit(number))
            case "done" if costs:
                door.admission.done(costs.pop(number % len(costs)), End.ANSWERED if number % 3 else End.LOST, 0.0)
            case "wait":
                door.clock.advance(number / 1_000)
            case "away":
                door.store.takes = bool(number % 2)
        assert 0 <= sum(costs) == door.admission.bodies_bytes <= 100_000
    for cost in costs:
        door.admission.done(cost, End.ANSWERED, 0.0)
    assert door.admission.bodies_bytes == 0


# How much at once, and who first


def test_beyond_what_is_taken_at_once_syncs_are_refused_before_signups() -> None:
    door = Door(bound=10**9)
    limit = Policy().limit_start
    costs = [door.admit(token=str(n)) for n in range(int(limit))]
    found = door.refused(token="one more")
    assert (found.problem.code, found.members) == ("overloaded", {})
    assert door.slot.counter("sluicegate_overload_refused_total", "syncs").value == 1
    cost = door.admission.admit("signups", 0, "198.51.100.1")
    assert door.slot.counter("sluicegate_overload_refused_total", "signups").value == 0
    door.admission.done(cost, End.ANSWERED, door.clock.monotonic_s - 0.01)
    door.admission.done(costs.pop(), End.ANSWERED, door.clock.monotonic_s - 0.01)
    door.admit(token="one more")


def test_at_once_or_later_it_is_the_same_fate_and_counted_once() -> None:
    door = Door(bound=10**9)
    assert door.admission.is_open
    assert door.admission.turned_away_at_once("syncs", 0, "anybody") is None
    costs = [door.admit(token=str(n)) for n in range(int(Policy().limit_start))]
    for _ in range(5):  # three come for each who leaves
        door.clock.advance(0.11)
        for _ in range(20):
            door.admission.done(costs.pop(), End.ANSWERED, door.clock.monotonic_s - 0.1)
        for n in range(60):
            with contextlib.suppress(Refusal):
                costs.append(door.admit(token=str(n)))
    assert [door.admission.is_open] == [False]
    for cost in costs:
        door.admission.done(cost, End.IGNORED, 0.0)
    fates, refused = [], door.slot.counter("sluicegate_overload_refused_total", "syncs")
    for n in range(200):
        before = refused.value
        door.clock.advance(0.001)
        found = door.admission.turned_away_at_once("syncs", 0, f"Bearer {n}")
        assert refused.value == before + (found is not None)
        if found is None:
            door.admission.done(door.admit(token=f"bEARER \t{n} "), End.IGNORED, 0.0)
        else:
            later = door.refused(token=f"BEARER  {n}")
            assert (found.problem, found.detail, found.members) == (later.problem, later.detail, later.members)
            assert found.retry_after_s in range(1, 31)
        fates.append(found is None)
    assert 0 < sum(fates) < 200


def pressed(door: Door) -> None:
    """Put the bar down."""
    for n in range(int(Policy().limit_start)):
        door.admit(token=str(n))
    for _ in range(2):  # as full as it is for a tick
        door.clock.advance(0.2)
        for n in range(50):
            with contextlib.suppress(Refusal):
                door.admit(token=str(n))
    assert not door.admission.is_open


def test_what_comes_before_overload_is_said_first() -> None:
    """While Kafka takes nothing the answer says that nothing is kept; while draining it is another server's turn."""
    door = Door(bound=10**9)
    pressed(door)
    assert door.admission.turned_away_at_once("syncs", 0, "anybody") is not None
    door.store.takes = False
    assert door.admission.turned_away_at_once("syncs", 0, "anybody") is None
    door.store.takes = True
    door.admission.is_draining = True
    assert door.admission.turned_away_at_once("syncs", 0, "anybody") is None


def test_who_is_turned_away_at_once_comes_back_later_all_the_same() -> None:
    """Their bytes count as refused: everybody's Retry-After grows with them."""
    door = Door(bound=10**9)
    for _ in range(60):  # a steady 1 MB/s
        door.admission.done(door.admit(1_000_000), End.ANSWERED, door.clock.monotonic_s)
        door.clock.advance(1)
    pressed(door)
    before = spread(door)
    for n in range(200):  # 20 MB more
        door.admission.turned_away_at_once("syncs", 100_000, str(n))
    assert spread(door) > before + 5
