"""A lane with a spool: what is copied when, what the replay sends, and that order and promises survive all of it.

`SpooledMachine` plays random mornings of a lane, a broker and a disk.  It knows of the lane only what
a phone, Kafka and the disk would: what was told, what is stored where, and in which order.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.event import Record
from gateway.core.lane import BATCH_HEADER_BYTES, Copy, Delivery, Lane, ranges
from gateway.core.receipt import Outcome
from tests.records import made, stored

D, S, R, W, U = Outcome.DURABLE, Outcome.SPOOLED, Outcome.REFUSED, Outcome.WITHDRAWN, Outcome.UNKNOWN
STALL_S: Final = 1.0
HEDGE_S: Final = 0.25
ROOM: Final = 1_000
NEVER: Final = -1.0
"""Nothing was accepted by then, so nothing is due."""


class Request:
    """One delivery, with what it was told."""

    def __init__(self, at: Lane, *names: str, accepted_s: float = 0.0, size: int = 100) -> None:
        self.told: list[Sequence[Outcome]] = []
        self.delivery = Delivery(len(names), accepted_s, lambda outcomes, _: self.told.append(outcomes))
        at.add([made(name, size=size) for name in names], self.delivery)

    @property
    def outcomes(self) -> Sequence[Outcome] | None:
        assert len(self.told) <= 1
        return self.told[0] if self.told else None


class Disk:
    """What a spool has of one lane."""

    def __init__(self) -> None:
        self.entries: dict[int, Record] = {}
        self.next = 1

    def take(self, records: Iterable[Record]) -> range:
        """An append that is on disk now."""
        first = self.next
        for record in records:
            self.entries[self.next] = record
            self.next += 1
        return range(first, self.next)

    def hand_over(self, lane: Lane) -> list[str]:
        """Settle and reject what the lane says; returns the names settled."""
        settled = [self.entries.pop(sequence) for sequences in lane.done for sequence in sequences if sequence in self.entries]
        for sequence, record in lane.rejected:
            assert self.entries.pop(sequence) is record
        lane.done, lane.rejected = [], []
        return names(settled)

    @property
    def names(self) -> list[str]:
        return names(self.entries.values())


def names(records: Iterable[Record]) -> list[str]:
    return [record.event_id for record in records]


def lane(room: int = ROOM, *, is_spooling: bool = False) -> Lane:
    return Lane("syncs.v1", 0, room + BATCH_HEADER_BYTES, is_spooling=is_spooling)


def records_of(copy: Copy) -> list[Record]:
    return [record for run in copy.runs for record in run.records]


def append(queue: Lane, due_s: float = 99.0) -> Copy:
    """Begin the append that is due."""
    runs = queue.to_copy(due_s)
    assert runs
    return queue.appending(runs, 0.0)


def copied(queue: Lane, disk: Disk, due_s: float = 99.0) -> None:
    """An append that begins and ends."""
    copy = append(queue, due_s)
    queue.copied(copy, disk.take(records_of(copy)))


def replay(queue: Lane, disk: Disk) -> list[str]:
    return names(queue.replays(list(disk.entries.items()), len(disk.entries), 0.0))


# Insurance


def test_what_waited_too_long_is_copied_in_order_and_no_more() -> None:
    """In flight or queued; what came later waits on."""
    queue, disk = lane(room=100), Disk()
    requests = [Request(queue, name, accepted_s=n / 10) for n, name in enumerate("abc")]
    queue.take(0.0)
    assert queue.to_copy(NEVER) == []
    copied(queue, disk, due_s=0.1)
    assert disk.names == ["a", "b"]
    assert [request.outcomes for request in requests] == [[S], [S], None]
    assert queue.to_copy(0.1) == []  # nothing is written twice


def test_nobody_is_told_before_it_is_on_disk() -> None:
    queue, disk = lane(), Disk()
    request = Request(queue, "a")
    copy = append(queue)
    assert request.outcomes is None
    queue.copied(copy, disk.take(records_of(copy)))
    assert request.outcomes == [S]


def test_an_insured_batch_stays_in_flight_and_its_late_ack_cancels_the_copies() -> None:
    queue, disk = lane(room=200), Disk()
    for name in "abc":
        Request(queue, name)
    queue.take(0.0)
    copied(queue, disk)
    assert (names(run.records[0] for run in queue.batch), queue.held_bytes) == (["a", "b"], 300)
    assert queue.acked(0) == (0, 2)
    assert disk.hand_over(queue) == ["a", "b"]
    assert names(queue.take(1.0)) == ["c"]  # told already, and sent all the same: nobody else will
    queue.acked(0)
    assert disk.hand_over(queue) == ["c"]
    assert (disk.entries, queue.held_bytes) == ({}, 0)


def test_an_ack_before_the_copy_is_on_disk_wins_and_the_copy_is_settled_when_it_is() -> None:
    queue, disk = lane(), Disk()
    request = Request(queue, "a", "b")
    later = Request(queue, "c")
    queue.take(0.0)
    copy = append(queue)
    queue.acked(0)
    assert [request.outcomes, later.outcomes] == [[D, D], [D]]
    assert queue.done == []  # nothing can be called back
    queue.copied(copy, disk.take(records_of(copy)))
    assert disk.hand_over(queue) == ["a", "b", "c"]


def test_one_append_at_a_time() -> None:
    """Would the first fail and a second succeed, the spool would have the later one first."""
    queue, disk = lane(), Disk()
    Request(queue, "a")
    copy = append(queue)
    Request(queue, "b")
    assert queue.to_copy(99.0) == []
    queue.not_copied(copy)
    copied(queue, disk)
    assert disk.names == ["a", "b"]


def test_a_record_that_may_be_on_disk_is_never_called_withdrawn() -> None:
    queue = lane()
    request = Request(queue, "a")
    copy = append(queue)
    queue.not_copied(copy)
    request.delivery.time_is_up()
    assert request.outcomes == [U]


def test_what_nobody_waits_for_is_not_copied() -> None:
    """It was told that nothing was kept."""
    queue, disk = lane(), Disk()
    gone = Request(queue, "a")
    Request(queue, "b")
    gone.delivery.time_is_up()
    assert gone.outcomes == [W]
    copied(queue, disk)
    assert disk.names == ["b"]


def test_an_append_that_was_given_up_is_settled_should_it_end_one_day() -> None:
    queue, disk = lane(), Disk()
    request = Request(queue, "a")
    copy = append(queue)
    sequences = disk.take(records_of(copy))
    request.delivery.time_is_up()
    queue.not_copied(copy)
    assert (request.outcomes, queue.held_bytes) == ([U], 0)
    queue.copied(copy, sequences)
    assert disk.hand_over(queue) == ["a"]


def test_a_batch_cut_in_two_keeps_what_is_on_disk_apart() -> None:
    queue, disk = lane(room=300), Disk()
    Request(queue, "z")
    request = Request(queue, "a", "b", "c")
    copied(queue, disk)
    assert request.outcomes == [S, S, S]
    assert names(queue.take(0.0)) == ["z", "a", "b"]
    queue.acked(0)
    assert disk.hand_over(queue) == ["z", "a", "b"]
    assert names(queue.take(0.0)) == ["c"]
    queue.acked(0)
    assert disk.hand_over(queue) == ["c"]


def test_a_request_larger_than_one_append_is_told_when_both_are_on_disk() -> None:
    """And neither part is written twice."""
    queue, disk = lane(room=1_000_000), Disk()
    request = Request(queue, "a", "b", size=600_000)
    copied(queue, disk)
    assert (disk.names, request.outcomes) == (["a"], None)
    copied(queue, disk)
    assert (disk.names, request.outcomes) == (["a", "b"], [S, S])


@pytest.mark.parametrize("is_on_disk", [True, False])
def test_a_record_refused_for_good_goes_to_rejected_only_where_its_request_was_told_spooled(is_on_disk: bool) -> None:
    queue, disk = lane(), Disk()
    request = Request(queue, "a")
    queue.take(0.0)
    copy = append(queue)
    if is_on_disk:
        queue.copied(copy, disk.take(records_of(copy)))
    assert queue.refused()
    assert names(record for _, record in queue.rejected) == (["a"] if is_on_disk else [])
    assert request.outcomes == ([S] if is_on_disk else [U])  # the copy that was begun is there after a kill
    if not is_on_disk:
        queue.copied(copy, disk.take(records_of(copy)))
    disk.hand_over(queue)
    assert (disk.entries, queue.held_bytes) == ({}, 0)


# Spooling


def test_a_failed_batch_is_copied_and_leaves_memory_for_the_replay() -> None:
    queue, disk = lane(room=200), Disk()
    requests = [Request(queue, name) for name in "abc"]
    queue.take(0.0)
    queue.lost()
    queue.spool_first()
    copied(queue, disk, NEVER)
    assert (disk.names, queue.held_bytes, queue.has_queue) == (["a", "b", "c"], 0, False)
    assert [request.outcomes for request in requests] == [[S]] * 3
    assert not queue.flows(3)
    assert replay(queue, disk) == ["a"]  # the header takes a few bytes of the room for two
    queue.acked(0)
    assert disk.hand_over(queue) == ["a"]


def test_what_has_a_copy_is_not_written_twice() -> None:
    queue, disk = lane(), Disk()
    Request(queue, "a", accepted_s=0.0)
    Request(queue, "b", accepted_s=1.0)
    queue.take(1.0)
    copied(queue, disk, 0.5)
    queue.lost()
    queue.spool_first()
    assert queue.held_bytes == 100  # of the one without a copy
    copied(queue, disk, NEVER)
    assert disk.names == ["a", "b"]


def test_a_batch_in_flight_stays_there_when_the_lane_turns() -> None:
    """The bound of bytes was reached: its ack settles its copies, and only then the replay begins."""
    queue, disk = lane(room=200), Disk()
    for name in "abc":
        Request(queue, name)
    queue.take(0.0)
    queue.spool_first()
    copied(queue, disk, NEVER)
    assert (disk.names, queue.held_bytes) == (["a", "b", "c"], 200)
    assert queue.acked(0) == (0, 2)
    assert disk.hand_over(queue) == ["a", "b"]
    assert replay(queue, disk) == ["c"]


def test_new_records_are_appended_at_once_and_with_a_batch_left_they_wait_for_its_ack() -> None:
    queue, disk = lane(), Disk()
    Request(queue, "a")
    queue.spool_first()
    assert not queue.takes_more(0.0, STALL_S)
    copied(queue, disk, NEVER)
    replay(queue, disk)
    assert queue.is_closing
    assert queue.takes_more(0.0, STALL_S)
    waiting = Request(queue, "b", accepted_s=5.0)
    assert queue.to_copy(4.9) == []
    queue.acked(0)
    disk.hand_over(queue)
    assert queue.flows(len(disk.entries))
    assert names(queue.take(5.1)) == ["b"]
    queue.acked(0)
    assert waiting.outcomes == [D]


def test_the_wait_for_the_last_batch_is_no_longer_than_any_other() -> None:
    queue, disk = lane(), Disk()
    Request(queue, "a")
    queue.spool_first()
    copied(queue, disk, NEVER)
    replay(queue, disk)
    late = Request(queue, "b", accepted_s=5.0)
    Request(queue, "c", accepted_s=5.1)
    copied(queue, disk, 5.0)
    assert late.outcomes == [S]
    assert not queue.is_closing
    copied(queue, disk, 5.0)  # now more than a batch is left: the others follow at once
    assert disk.names == ["a", "b", "c"]


def test_a_long_backlog_closes_nothing() -> None:
    queue, disk = lane(room=250), Disk()
    Request(queue, *"abcdef")
    queue.spool_first()
    copied(queue, disk, NEVER)
    assert replay(queue, disk) == ["a", "b"]
    assert not queue.is_closing


def test_a_replay_that_fails_is_read_again_from_the_disk() -> None:
    queue, disk = lane(), Disk()
    Request(queue, "a", "b")
    queue.spool_first()
    copied(queue, disk, NEVER)
    assert replay(queue, disk) == ["a", "b"]
    queue.failed(0.0)
    assert (queue.has_queue, queue.is_closing, queue.age_s(9.0)) == (False, False, 0.0)
    assert replay(queue, disk) == ["a", "b"]
    queue.acked(0)
    disk.hand_over(queue)
    assert queue.flows(len(disk.entries))


def test_a_replayed_record_says_so_and_keeps_its_id() -> None:
    queue = lane(is_spooling=True)
    record = made("a", b"user", b"{}", [("ce_id", b"1")])
    [sent] = queue.replays([(7, record)], 1, 0.0)
    assert (sent.event_id, sent.key) == ("a", b"user")
    assert stored(sent) == stored(record)._replace(headers=(("ce_id", b"1"), ("replay", b"true")))


def test_a_refused_record_of_the_replay_is_found_and_set_apart() -> None:
    queue, disk = lane(room=2_000), Disk()
    Request(queue, *"abcdefg")
    queue.spool_first()
    copied(queue, disk, NEVER)
    sent, rejected = [], []
    while disk.entries:
        batch = replay(queue, disk)
        if "d" in batch:
            queue.refused()
            rejected += names(record for _, record in queue.rejected)
        else:
            queue.acked(0)
            sent += batch
        disk.hand_over(queue)
    assert (sent, rejected) == (list("abcefg"), ["d"])
    assert queue.flows(0)


def test_where_the_append_fails_memory_goes_on_behind_what_is_on_disk() -> None:
    queue, disk = lane(), Disk()
    Request(queue, "a")
    queue.spool_first()
    copied(queue, disk, NEVER)
    failed = Request(queue, "b")
    queue.not_copied(append(queue, NEVER))
    assert not queue.flows(len(disk.entries))
    assert replay(queue, disk) == ["a"]
    queue.acked(0)
    disk.hand_over(queue)
    assert queue.flows(len(disk.entries))
    assert names(queue.take(0.0)) == ["b"]
    queue.acked(0)
    assert failed.outcomes == [D]


def test_nothing_flows_while_an_append_may_still_succeed() -> None:
    queue, disk = lane(), Disk()
    Request(queue, "a")
    queue.spool_first()
    copy = append(queue, NEVER)
    assert not queue.flows(0)
    queue.copied(copy, disk.take(records_of(copy)))
    assert not queue.flows(1)
    queue.replays(list(disk.entries.items()), 1, 0.0)
    assert not queue.flows(0)  # its batch is in flight


def test_records_of_an_earlier_life_go_first() -> None:
    queue, disk = lane(is_spooling=True), Disk()
    disk.entries, disk.next = {5: made("old", size=100)}, 6
    Request(queue, "new")
    copied(queue, disk, NEVER)
    assert replay(queue, disk) == ["old", "new"]


def test_one_append_is_bounded() -> None:
    queue, disk = lane(room=10**6), Disk()
    for n in range(30):
        Request(queue, str(n), size=100_000)
    queue.spool_first()
    sizes = []
    while queue.to_copy(NEVER):
        before = len(disk.entries)
        copied(queue, disk, NEVER)
        sizes.append(len(disk.entries) - before)
    assert sizes == [10, 10, 10]


@given(st.sets(st.integers(0, 60)))
def test_ranges_are_the_same_numbers(numbers: set[int]) -> None:
    found = ranges(sorted(numbers))
    assert [n for one in found for n in one] == sorted(numbers)
    assert all(a.stop < b.start for a, b in pairwise(found))


# Random mornings


class Account:
    """What the world knows of one record."""

    def __init__(self, member: "Member", index: int, size: int, *, is_poison: bool) -> None:
        self.member = member
        self.index = index
        self.size = size
        self.is_poison = is_poison
        self.was_acked = self.was_on_disk = self.was_written = self.was_sent = self.was_rejected = False
        self.sent_from_memory = 0
        self.is_the_replays = False  # on disk while its lane spooled
        self.offset = self.sequence = -1

    @property
    def told(self) -> Outcome | None:
        outcomes = self.member.outcomes
        return None if outcomes is None else outcomes[self.index]


class Member:
    """One request."""

    def __init__(self) -> None:
        self.outcomes: Sequence[Outcome] | None = None
        self.delivery: Delivery
        self.offsets = range(0)  # as it was told
        self.last_sequence = -1

    def told(self, outcomes: Sequence[Outcome], delivery: Delivery) -> None:
        assert self.outcomes is None, "told twice"
        self.outcomes = list(outcomes)
        self.offsets = range(delivery.first_offset, delivery.last_offset + 1)
        self.last_sequence = delivery.last_sequence


class SpooledMachine(RuleBasedStateMachine):
    """A lane, its requests, a broker that stores and may not say so, and a disk that may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.lane = lane(room=600)  # small, so that requests are cut in two
        self.disk = Disk()
        self.members: list[Member] = []
        self.accounts: dict[str, Account] = {}  # in the order accepted
        self.kafka: list[str] = []
        self.flying: list[str] = []
        self.is_from_disk = False
        self.appends: list[tuple[Copy, list[Record]]] = []  # begun and not ended, those given up included
        self.is_spool_open = True

    # The phones

    @rule(records=st.lists(st.tuples(st.sampled_from([50, 100, 200, 600]), st.sampled_from([False] * 9 + [True])), min_size=1, max_size=4))
    def add(self, records: list[tuple[int, bool]]) -> None:
        member = Member()
        self.members.append(member)
        member.delivery = Delivery(len(records), self.now_s, member.told)
        added = []
        for index, (size, is_poison) in enumerate(records):
            name = str(len(self.accounts))
            self.accounts[name] = Account(member, index, size, is_poison=is_poison)
            added.append(made(name, size=size))
        self.lane.add(added, member.delivery)
        if self.lane.is_spooling:
            self.copy()

    @precondition(lambda self: any(member.outcomes is None for member in self.members))
    @rule(data=st.data())
    def time_is_up(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from([member for member in self.members if member.outcomes is None]))
        member.delivery.time_is_up()
        assert member.outcomes is not None

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.2, 0.3]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    # The disk

    @rule()
    def copy(self) -> None:
        runs = self.lane.to_copy(self.now_s - HEDGE_S)
        if not runs or not self.is_spool_open:
            return
        for run in runs:
            assert not run.delivery.is_settled, "written though nobody was promised it"
            for record in run.records:
                assert not self.accounts[record.event_id].was_on_disk, "written twice"
        copy = self.lane.appending(runs, self.now_s)
        self.appends.append((copy, records_of(copy)))

    @precondition(lambda self: self.appends)
    @rule(how=st.sampled_from(["on disk", "on disk", "on disk", "lost", "lost and there"]))
    def end_append(self, how: str) -> None:
        copy, records = self.appends.pop(0)
        was_given_up = copy is not self.lane.copying
        if how == "on disk":
            for sequence, record in enumerate(records, self.disk.next):
                account = self.accounts[record.event_id]
                account.sequence = sequence
                account.was_on_disk = account.was_written = True
                account.is_the_replays = self.lane.is_spooling and not was_given_up
            self.lane.copied(copy, self.disk.take(records))
        else:
            for record in records:
                self.accounts[record.event_id].was_written |= how == "lost and there"
            self.lane.not_copied(copy)
        self.hand_over()
        if self.lane.is_spooling:
            self.copy()

    @precondition(lambda self: self.lane.copying is not None)
    @rule()
    def give_append_up(self) -> None:
        """Its records were accepted before it began: their time is up."""
        copy = self.lane.copying
        assert copy is not None
        for run in copy.runs:
            run.delivery.time_is_up()
        for record in records_of(copy):
            self.accounts[record.event_id].was_written = True  # or may be, one day
        self.lane.not_copied(copy)

    @rule(is_open=st.booleans())
    def open_spool(self, is_open: bool) -> None:
        self.is_spool_open = is_open

    # Kafka

    @precondition(lambda self: not self.flying)
    @rule()
    def send(self) -> None:
        left = len(self.disk.entries)
        self.is_from_disk = not self.lane.flows(left)
        if self.is_from_disk:
            if left:
                self.flying = names(self.lane.replays(list(self.disk.entries.items())[:5], left, self.now_s))
                assert self.flying == self.disk.names[: len(self.flying)]
                assert self.flying
        else:
            assert not any(self.accounts[name].is_the_replays for name in self.disk.names), "it flows past what the replay has"
            self.flying = names(self.lane.take(self.now_s))
            for name in self.flying:
                account = self.accounts[name]
                assert not account.is_the_replays, "sent again from memory"
                account.sent_from_memory += 1
        for name in self.flying:
            self.accounts[name].was_sent = True

    @precondition(lambda self: self.flying)
    @rule(how=st.sampled_from(["acked", "acked", "lost", "lost and stored", "failed"]), turns=st.booleans())
    def answer(self, how: str, turns: bool) -> None:
        batch, self.flying = self.flying, []
        has_poison = any(self.accounts[name].is_poison for name in batch)
        if how == "acked" and has_poison:
            if self.lane.refused():
                [name] = batch
                self.accounts[name].was_rejected = True
        elif how == "acked":
            self.lane.acked(len(self.kafka))
            for offset, name in enumerate(batch, len(self.kafka)):
                self.accounts[name].was_acked = True
                self.accounts[name].offset = offset
            self.kafka += batch
        else:
            if how == "lost and stored" and not has_poison:
                self.kafka += batch
            self.lane.failed(self.now_s) if how == "failed" else self.lane.lost()
            if turns:
                self.turn()
        self.hand_over()

    @rule()
    def turn(self) -> None:
        """Another batch failed, or too many bytes are held."""
        if self.is_spool_open:
            self.lane.spool_first()
            for name in self.disk.names:
                self.accounts[name].is_the_replays = name not in self.flying or self.is_from_disk
            self.copy()

    @rule()
    def forget_settled(self) -> None:
        self.lane.forget_settled()

    def hand_over(self) -> None:
        for _, record in self.lane.rejected:
            assert self.accounts[record.event_id].was_rejected
        for name in self.disk.hand_over(self.lane):
            account = self.accounts[name]
            assert account.was_acked or account.was_rejected or account.told in (U, R), f"{name} is settled, and nobody has it"

    # What holds at every instant

    @invariant()
    def nothing_promised_is_lost_if_the_power_goes_off_now(self) -> None:
        on_disk = set(self.disk.names)
        for name, account in self.accounts.items():
            match account.told:
                case Outcome.DURABLE:
                    assert account.was_acked
                case Outcome.SPOOLED:
                    assert account.was_on_disk
                    assert account.was_acked or account.was_rejected or name in on_disk
                case Outcome.WITHDRAWN:
                    assert not account.was_sent
                    assert not account.was_written
                case Outcome.REFUSED:
                    assert account.is_poison
                    assert name not in self.kafka

    @invariant()
    def who_was_told_that_it_is_kept_was_told_where(self) -> None:
        """The last sequence is that of a record of its own, and none that was spooled stands behind it."""
        for account in self.accounts.values():
            if account.told is D:
                assert account.offset in account.member.offsets
            elif account.told is S:
                assert account.sequence <= account.member.last_sequence
                assert account.member.last_sequence in [one.sequence for one in self.accounts.values() if one.member is account.member]

    @invariant()
    def first_occurrences_of_what_was_promised_are_in_the_order_accepted(self) -> None:
        first = [name for name in dict.fromkeys(self.kafka) if self.accounts[name].told in (D, S)]
        assert first == sorted(first, key=int)

    @invariant()
    def held_bytes_are_the_bytes_in_memory(self) -> None:
        runs = [*self.lane.batch, *self.lane._queue]
        held = Counter(record.event_id for run in runs for record in run.records)
        assert max(held.values(), default=1) == 1
        assert self.lane.held_bytes == sum(self.accounts[name].size for name in held)
        for name, account in self.accounts.items():
            if account.told is None and not account.member.delivery.is_settled and not account.was_acked and not account.was_rejected:
                assert name in held or name in self.disk.names, "it waits, and nobody has it"

    @invariant()
    def who_spools_sends_nothing_from_memory(self) -> None:
        if self.lane.replay:
            assert self.lane.is_spooling
            assert not self.lane.batch
            assert not self.lane.flows(len(self.disk.entries))

    def teardown(self) -> None:
        """Kafka and the disk answer again: everyone is told, all that was promised is stored, nothing is kept."""
        self.is_spool_open = True
        for _ in range(10_000):
            if self.appends:
                self.end_append("on disk")
            elif self.flying:
                self.answer("acked", turns=False)
            elif self.lane.has_queue or self.disk.entries:
                self.send()
            else:
                break
            self.nothing_promised_is_lost_if_the_power_goes_off_now()
            self.first_occurrences_of_what_was_promised_are_in_the_order_accepted()
            self.held_bytes_are_the_bytes_in_memory()
        assert (self.lane.held_bytes, self.disk.entries, self.lane.copying) == (0, {}, None)
        assert self.lane.flows(0)
        for name, account in self.accounts.items():
            assert account.told is not None
            if account.told in (D, S):
                assert name in self.kafka or (account.was_rejected and account.is_poison)


TestSpooled = SpooledMachine.TestCase
TestSpooled.settings = settings(max_examples=200, stateful_step_count=50)
