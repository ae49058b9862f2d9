"""One partition's queue and its one batch in flight.

`LaneMachine` plays random mornings and keeps its own, simpler account of what was queued,
sent and stored; the laws of the file stand in its assertions.
"""

from collections.abc import Callable, Sequence
from typing import Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.event import Record
from gateway.core.lane import BATCH_HEADER_BYTES, Delivery, Lane
from gateway.core.receipt import Outcome
from gateway.core.recordbatch import FRAMING_BYTES_MAX

D, R, W, U = Outcome.DURABLE, Outcome.REFUSED, Outcome.WITHDRAWN, Outcome.UNKNOWN
STALL_S: Final = 1.0
ROOM: Final = 1_000
"""Bytes of records that fit a batch of these tests."""


def record(size: int = 100, name: str = "e") -> Record:
    """A record that takes `size` bytes of a batch."""
    return Record(name, b"k", bytes(size - FRAMING_BYTES_MAX), 0)


def lane(room: int = ROOM) -> Lane:
    return Lane("syncs.v1", 0, room + BATCH_HEADER_BYTES)


class Request:
    """One delivery, with what it was told."""

    def __init__(self, at: Lane, sizes: Sequence[int] = (100,), name: str = "e", accepted_s: float = 0.0) -> None:
        self.told: list[Sequence[Outcome]] = []
        self.delivery = Delivery(len(sizes), accepted_s, lambda outcomes, _: self.told.append(outcomes))
        at.add([record(size, f"{name}{index}") for index, size in enumerate(sizes)], self.delivery)

    @property
    def outcomes(self) -> Sequence[Outcome] | None:
        assert len(self.told) <= 1
        return self.told[0] if self.told else None


def names(batch: Sequence[Record]) -> list[str]:
    return [record.event_id for record in batch]


# Batches


def test_a_batch_is_what_fits_in_the_order_it_came() -> None:
    queue = lane(room=300)
    requests = [Request(queue, [100], str(n)) for n in range(7)]
    batches = []
    while queue.has_queue:
        batches.append(names(queue.take(0.0)))
        assert queue.acked(0) == (len(batches[-1]), 0)
    assert batches == [["00", "10", "20"], ["30", "40", "50"], ["60"]]
    assert all(request.outcomes == [D] for request in requests)
    assert queue.held_bytes == 0


def test_a_small_record_does_not_overtake_a_large_one() -> None:
    queue = lane(room=300)
    for name, size in [("a", 200), ("b", 200), ("c", 100)]:
        Request(queue, [size], name)
    assert names(queue.take(0.0)) == ["a0"]
    queue.acked(0)
    assert names(queue.take(0.0)) == ["b0", "c0"]


@pytest.mark.parametrize(("size", "want"), [(ROOM, None), (ROOM + 1, [R])])
def test_what_no_batch_could_hold_is_refused_at_once(size: int, want: list[Outcome] | None) -> None:
    queue = lane()
    request = Request(queue, [size])
    assert request.outcomes == want
    assert queue.held_bytes == (0 if want else size)
    assert queue.has_queue == (not want)


def test_a_request_with_one_record_too_large_gets_the_others_through() -> None:
    queue = lane()
    request = Request(queue, [100, ROOM + 1, 100])
    queue.take(0.0)
    queue.acked(0)
    assert request.outcomes == [D, R, D]


def test_a_bound_that_shrank_meanwhile_refuses_what_no_longer_fits() -> None:
    queue = lane()
    request = Request(queue, [200, 500, 200])
    queue.batch_bytes_max = 400 + BATCH_HEADER_BYTES
    assert names(queue.take(0.0)) == ["e0", "e2"]
    queue.acked(0)
    assert request.outcomes == [D, R, D]
    assert queue.held_bytes == 0


def test_a_request_knows_the_first_and_the_last_of_its_offsets() -> None:
    """Also where it was cut in two, and somebody else's records stand between."""
    queue = lane(room=300)
    one, two = Request(queue, [100, 100], "a"), Request(queue, [100, 100], "b")
    assert names(queue.take(0.0)) == ["a0", "a1", "b0"]
    queue.acked(7)
    assert names(queue.take(0.0)) == ["b1"]
    queue.acked(20)
    assert [(at.delivery.first_offset, at.delivery.last_offset) for at in (one, two)] == [(7, 8), (9, 20)]


def test_an_acknowledgement_without_an_offset_is_one_all_the_same() -> None:
    queue = lane()
    request = Request(queue, [100, 100])
    queue.take(0.0)
    queue.acked(-1)
    assert (request.outcomes, request.delivery.first_offset, request.delivery.last_offset) == ([D, D], -1, -1)


# What time does


def test_the_time_of_what_was_never_sent_ends_as_withdrawn() -> None:
    queue = lane()
    request = Request(queue, [100, 100])
    request.delivery.time_is_up()
    assert request.outcomes == [W, W]
    assert queue.take(1.0) == []
    assert queue.held_bytes == 0


def test_the_time_of_what_was_on_its_way_ends_as_unknown() -> None:
    """Also of what came back from a lost batch: the broker may have it all the same."""
    queue = lane(room=200)
    request = Request(queue, [100, 100, 100])
    queue.take(0.0)
    queue.lost()
    request.delivery.time_is_up()
    assert request.outcomes == [U, U, W]


def sent_whole_and_then_by_halves() -> tuple[Lane, Request]:
    """Four records: all of them sent and lost, then the first two of them once more."""
    queue = lane()
    request = Request(queue, [100] * 4)
    queue.take(0.0)
    queue.lost()
    queue.take(0.0)
    assert not queue.refused()
    assert names(queue.take(0.0)) == ["e0", "e1"]
    return queue, request


def test_what_was_sent_once_stays_unknown_though_less_of_it_is_sent_again() -> None:
    _, request = sent_whole_and_then_by_halves()
    request.delivery.time_is_up()
    assert request.outcomes == [U, U, U, U]


def test_what_was_lost_once_is_never_called_refused_though_less_of_it_is_lost_again() -> None:
    queue, request = sent_whole_and_then_by_halves()
    queue.lost()
    for durable in (0, 1, 2):  # alone each
        while len(queue.take(0.0)) > 1:
            assert not queue.refused()
        assert request.outcomes is None, durable
        queue.acked(0)
    while len(queue.take(0.0)) > 1:
        assert not queue.refused()
    assert queue.refused()
    assert request.outcomes == [D, D, D, U]


def test_half_of_a_request_may_be_durable() -> None:
    queue = lane(room=200)
    request = Request(queue, [100, 100, 100])
    queue.take(0.0)
    queue.acked(0)
    queue.take(0.0)
    request.delivery.time_is_up()
    assert request.outcomes == [D, D, U]


def test_a_late_ack_is_counted_and_changes_nothing() -> None:
    queue = lane()
    late, waiting = Request(queue, [100, 100], "a"), Request(queue, [100], "b")
    queue.take(0.0)
    late.delivery.time_is_up()
    assert queue.acked(0) == (1, 2)
    assert (late.outcomes, waiting.outcomes) == ([U, U], [D])
    assert queue.held_bytes == 0


def test_a_request_is_told_once_whatever_comes_after() -> None:
    request = Request(lane(), [100, 100])
    delivery = request.delivery
    delivery.settle(0, D)
    assert request.told == []
    delivery.settle(0, R)  # the first word counts
    delivery.time_is_up()
    delivery.time_is_up()
    delivery.settle(1, D)
    assert request.told == [[D, W]]


def test_what_nobody_waits_for_is_dropped_from_the_front() -> None:
    queue = lane()
    first, second, third = (Request(queue, [100], name) for name in "abc")
    first.delivery.time_is_up()
    second.delivery.time_is_up()
    queue.forget_settled()
    assert queue.held_bytes == 100
    assert names(queue.take(0.0)) == ["c0"]
    queue.acked(0)
    assert third.outcomes == [D]


# Failures


def test_a_lost_batch_goes_back_in_front_in_its_order() -> None:
    queue = lane(room=300)
    for name in "abcde":
        Request(queue, [100], name)
    assert names(queue.take(0.0)) == ["a0", "b0", "c0"]
    queue.lost()
    assert names(queue.take(1.0)) == ["a0", "b0", "c0"]
    queue.acked(0)
    assert names(queue.take(2.0)) == ["d0", "e0"]


def test_a_lost_batch_forgets_those_who_were_told_unknown() -> None:
    queue = lane()
    told, waiting = Request(queue, [100], "a"), Request(queue, [100], "b")
    queue.take(0.0)
    told.delivery.time_is_up()
    queue.lost()
    assert queue.held_bytes == 100
    assert names(queue.take(1.0)) == ["b0"]
    queue.acked(0)
    assert (told.outcomes, waiting.outcomes) == ([U], [D])


def test_after_a_loss_one_request_at_a_time_until_one_is_durable() -> None:
    queue = lane()
    Request(queue)
    assert queue.takes_more(0.0, STALL_S)
    queue.take(0.0)
    assert queue.takes_more(0.0, STALL_S)  # in flight, not suspect
    queue.lost()
    assert not queue.takes_more(0.0, STALL_S)  # it waits in the queue again
    queue.take(0.0)
    assert not queue.takes_more(0.0, STALL_S)  # it is in flight again
    queue.acked(0)
    assert queue.takes_more(0.0, STALL_S)


def test_a_suspect_lane_with_nothing_left_takes_one() -> None:
    queue = lane()
    request = Request(queue)
    queue.take(0.0)
    request.delivery.time_is_up()
    queue.lost()
    assert queue.takes_more(9.0, STALL_S)


@pytest.mark.parametrize(("now_s", "want"), [(5.0, True), (6.0, True), (6.001, False), (60.0, False)])
def test_a_lane_whose_batch_is_overdue_takes_no_more(now_s: float, want: bool) -> None:
    queue = lane()
    Request(queue)
    queue.take(5.0)
    assert queue.takes_more(now_s, STALL_S) == want
    assert queue.age_s(now_s) == now_s - 5.0


def test_an_idle_lane_has_no_age() -> None:
    queue = lane()
    assert queue.age_s(99.0) == 0
    Request(queue)
    assert queue.age_s(99.0) == 0
    queue.take(98.0)
    queue.acked(0)
    assert queue.age_s(99.0) == 0
    assert queue.takes_more(99.0, STALL_S)


def drive(queue: Lane, is_poison: Callable[[str], bool]) -> int:
    """Send until nothing waits, refusing every batch with poison in it; returns how many batches that took."""
    batches = 0
    while queue.has_queue:
        batch = names(queue.take(0.0))
        batches += bool(batch)
        if any(map(is_poison, batch)):
            assert queue.refused() == (len(batch) == 1)
        elif batch:
            queue.acked(0)
    return batches


@given(st.integers(1, 100), st.data())
def test_one_refused_record_is_found_and_its_neighbours_become_durable(count: int, data: st.DataObject) -> None:
    """In few batches: halving finds it, doubling catches up."""
    queue = lane(room=100 * 100)
    at = data.draw(st.integers(0, count - 1))
    requests = [Request(queue, [100], f"{n}-") for n in range(count)]
    batches = drive(queue, lambda name: name == f"{at}-0")
    assert [request.outcomes for request in requests] == [[R] if n == at else [D] for n in range(count)]
    assert queue.held_bytes == 0
    assert batches <= 4 * count.bit_length() + 2


def test_three_records_are_halved_into_two_and_one() -> None:
    queue = lane()
    for name in "abc":
        Request(queue, [100], name)
    assert names(queue.take(0.0)) == ["a0", "b0", "c0"]
    assert not queue.refused()
    assert names(queue.take(0.0)) == ["a0", "b0"]
    assert not queue.refused()
    assert names(queue.take(0.0)) == ["a0"]
    assert queue.refused()
    assert names(queue.take(0.0)) == ["b0"]
    queue.acked(0)
    assert names(queue.take(0.0)) == ["c0"]


def test_a_refused_record_nobody_waits_for_is_let_go() -> None:
    queue = lane()
    request = Request(queue)
    queue.take(0.0)
    request.delivery.time_is_up()
    assert queue.refused()
    assert request.outcomes == [U]
    assert queue.held_bytes == 0
    assert queue.take(1.0) == []


# Random mornings


class Account:
    """What the machine knows of one record, from outside."""

    def __init__(self, size: int, request: "Member", index: int, *, is_poison: bool) -> None:
        self.size = size
        self.request = request
        self.index = index
        self.is_poison = is_poison
        self.was_sent = False
        self.was_stored_in_time = False
        self.offset = -1
        self.may_be_refused = False  # too large, or refused alone


class Member:
    """What the machine knows of one request."""

    def __init__(self) -> None:
        self.records: list[Account] = []
        self.outcomes: Sequence[Outcome] | None = None
        self.delivery: Delivery

    def told(self, outcomes: Sequence[Outcome], delivery: Delivery) -> None:
        assert delivery is self.delivery
        assert self.outcomes is None, "told twice"
        self.outcomes = list(outcomes)


class LaneMachine(RuleBasedStateMachine):
    """A lane, its broker and its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.lane = lane()
        self.members: list[Member] = []
        self.by_name: dict[str, Account] = {}
        self.waiting: list[Account] = []  # queued, in the order they have to leave
        self.flying: list[Account] = []
        self.batch_records_max = 10**6
        self.stored = 0

    @rule(records=st.lists(st.tuples(st.sampled_from([50, 100, 300, 1_000, 1_001]), st.sampled_from([False] * 5 + [True])), min_size=1, max_size=4))
    def add(self, records: list[tuple[int, bool]]) -> None:
        member = Member()
        member.delivery = Delivery(len(records), self.now_s, member.told)
        self.members.append(member)
        member.records = [Account(size, member, index, is_poison=poison) for index, (size, poison) in enumerate(records)]
        added = []
        for account in member.records:
            name = str(len(self.by_name))
            self.by_name[name] = account
            added.append(record(account.size, name))
            if account.size + BATCH_HEADER_BYTES > self.lane.batch_bytes_max:
                account.may_be_refused = True
            else:
                self.waiting.append(account)
        before = self.lane.held_bytes
        assert self.lane.add(added, member.delivery) == self.lane.held_bytes - before

    @precondition(lambda self: not self.flying)
    @rule()
    def take(self) -> None:
        room = self.lane.batch_bytes_max - BATCH_HEADER_BYTES
        expected: list[Account] = []
        while self.waiting and len(expected) < self.batch_records_max:
            account = self.waiting[0]
            if account.request.outcomes is None and account.size > self.lane.batch_bytes_max - BATCH_HEADER_BYTES:
                account.may_be_refused = True
            elif account.request.outcomes is None:
                if account.size > room:
                    break
                room -= account.size
                expected.append(account)
            self.waiting.pop(0)
        taken = [self.by_name[name] for name in names(self.lane.take(self.now_s))]
        assert taken == expected
        self.flying = taken
        for account in taken:
            account.was_sent = True

    @precondition(lambda self: self.flying)
    @rule(is_lost=st.sampled_from([False, False, True]))
    def answer(self, is_lost: bool) -> None:
        batch, self.flying = self.flying, []
        still = [account for account in batch if account.request.outcomes is None]
        if is_lost:
            self.lane.lost()
            self.waiting = still + self.waiting
            assert self.lane.is_suspect
        elif any(account.is_poison for account in batch):
            if len(batch) == 1:
                batch[0].may_be_refused = True
            assert self.lane.refused() == (len(batch) == 1)
            if len(batch) > 1:
                self.waiting = still + self.waiting
                self.batch_records_max = (len(batch) + 1) // 2
        else:
            for offset, account in enumerate(batch, self.stored):
                account.was_stored_in_time = account in still
                account.offset = offset
            assert self.lane.acked(self.stored) == (len(still), len(batch) - len(still))
            self.stored += len(batch)
            assert not self.lane.is_suspect
            self.batch_records_max *= 2
        assert not self.lane.batch

    @rule(data=st.data())
    def time_is_up(self, data: st.DataObject) -> None:
        waiting = [member for member in self.members if member.outcomes is None]
        assume(waiting)
        member = data.draw(st.sampled_from(waiting))
        member.delivery.time_is_up()
        assert member.outcomes is not None

    @rule()
    def forget_settled(self) -> None:
        self.lane.forget_settled()
        while self.waiting and self.waiting[0].request.outcomes is not None:
            self.waiting.pop(0)

    @rule(room=st.sampled_from([300, 1_000, 1_000, 2_000]))
    def change_bound(self, room: int) -> None:
        self.lane.batch_bytes_max = room + BATCH_HEADER_BYTES

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def held_bytes_are_the_bytes_held(self) -> None:
        assert self.lane.held_bytes == sum(account.size for account in self.waiting + self.flying)
        assert self.lane.has_queue == bool(self.waiting)

    @invariant()
    def every_request_knows_where_its_records_are(self) -> None:
        for member in self.members:
            offsets = [account.offset for account in member.records if account.was_stored_in_time] or [-1]
            assert (member.delivery.first_offset, member.delivery.last_offset) == (min(offsets), max(offsets))

    @invariant()
    def every_outcome_has_its_reason(self) -> None:
        for member in self.members:
            assert member.delivery.is_settled == (member.outcomes is not None)
            for account, outcome in zip(member.records, member.outcomes or (), strict=False):
                match outcome:
                    case Outcome.DURABLE:
                        assert account.was_stored_in_time
                    case Outcome.WITHDRAWN:
                        assert not account.was_sent
                    case Outcome.UNKNOWN:
                        assert account.was_sent
                    case Outcome.REFUSED:
                        assert account.may_be_refused
            if member.outcomes is not None:
                assert len(member.outcomes) == len(member.records)

    def teardown(self) -> None:
        """Kafka answers again: everything that still waits gets its one outcome, and nothing is held."""
        for _ in range(10_000):
            if self.flying:
                self.answer(is_lost=False)
            elif self.lane.has_queue:
                self.take()
            else:
                break
        self.held_bytes_are_the_bytes_held()
        self.every_outcome_has_its_reason()
        assert self.lane.held_bytes == 0
        for member in self.members:
            assert member.outcomes is not None
            for account, outcome in zip(member.records, member.outcomes, strict=True):
                if account.was_stored_in_time:
                    assert outcome is D
                elif account.may_be_refused:
                    assert outcome in (R, U)


TestLane = LaneMachine.TestCase
TestLane.settings = settings(max_examples=120, stateful_step_count=40)


def test_a_record_refused_after_a_lost_send_may_be_stored() -> None:
    """Its first batch was never answered: nobody can say that nothing of it is kept."""
    queue = lane()
    first, second = Request(queue, [100], "a"), Request(queue, [100], "b")
    queue.take(0.0)
    queue.lost()
    while queue.has_queue:
        queue.take(1.0)
        queue.refused()
    assert (first.outcomes, second.outcomes) == ([U], [U])
    fresh = Request(queue, [100], "c")
    queue.take(2.0)
    assert queue.refused()
    assert fresh.outcomes == [R]


def test_a_partition_that_fails_pauses_ever_longer_until_an_ack() -> None:
    queue = lane()
    for pause_s in [0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0]:
        Request(queue)
        queue.take(10.0)
        queue.failed(10.0)
        assert queue.closed_until_s == 10.0 + pause_s
        assert not queue.takes_more(10.0 + pause_s - 0.001, STALL_S)
    queue.take(20.0)
    queue.acked(0)
    assert queue.failures == 0
    assert queue.takes_more(20.0, STALL_S)


def test_a_partition_that_is_gone_tells_who_waits() -> None:
    queue = lane()
    flying = Request(queue, [100], "a")
    queue.take(0.0)
    waiting = Request(queue, [100], "b")
    queue.give_up()
    assert (flying.outcomes, waiting.outcomes) == (None, [W])
    queue.lost()
    queue.give_up()
    assert flying.outcomes == [U]
    assert queue.held_bytes == 0
