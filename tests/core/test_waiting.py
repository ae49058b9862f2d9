"""The room: a place once, head and tail never fall, and no more are let in than the rate allows, whatever happens.

The state machine plays several workers with old signs, lost and repeated calls, stalls, mass returns and clocks
that step.  loadtests/simulate has the crowds.
"""

import random
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.pace import Pace
from gateway.core.pace import Reason as Why
from gateway.core.place import Hold, hold, look
from gateway.core.sign import PASS_S, Acts, Joined, Policy, Reason, Refused, Sign, Slot
from gateway.core.turn import PERSON
from gateway.core.waiting import STEP_US_MAX, Room

S: Final = 1_000_000
START_US: Final = 1_700_000_000 * S
TOKEN_US: Final = 100_000  # 10/s: a lobby of thirty
POLICY: Final = Policy(token_us_min=TOKEN_US)


def ids(count: int, first: int = 0) -> list[bytes]:
    return [number.to_bytes(8, "big") for number in range(first, first + count)]


def room_with(people: int, token_us: int = TOKEN_US, policy: Policy = POLICY) -> Room:
    """A line of so many, the first of whom went through at once."""
    room = Room.opened(policy, token_us, START_US)
    room.join(ids(people), START_US)
    return room


def slots(answers: list[Slot | Refused]) -> list[Slot]:
    return [answer for answer in answers if isinstance(answer, Slot)]


# Joining


def test_a_known_id_gets_its_place_back() -> None:
    room = room_with(100)
    again = room.join([*ids(3, 50), *ids(1, 100), *ids(1, 50)], START_US + S)
    assert [(answer.place, answer.is_new) for answer in again if isinstance(answer, Joined)] == [
        (50, False),
        (51, False),
        (52, False),
        (100, True),
        (50, False),
    ]
    assert room.tail == 101


def test_a_quiet_day_has_no_line() -> None:
    """One joins every 100 ms at 10/s: each gets a pass with the first answer, and a repeat the same."""
    room = Room.opened(POLICY, TOKEN_US, START_US)
    for number in range(50):
        now_us = START_US + number * TOKEN_US
        joined = room.join(ids(1, number), now_us)[0]
        assert isinstance(joined, Joined)
        assert joined.slot
        assert room.clock.due_us(joined.slot.turn) <= now_us
        assert room.join(ids(1, number), now_us) == [joined._replace(is_new=False)]
    assert room.head == room.tail == 50


def test_a_few_slow_ones_make_no_line_of_everybody() -> None:
    """Half a lobby is called and does not knock: who comes still passes; one more, and they wait."""
    for slow, passes in ((15, True), (16, False)):
        room = Room.opened(POLICY, TOKEN_US, START_US)
        room.pause(START_US)
        room.join(ids(slow), START_US)
        room.resume(START_US)
        assert room.tick(START_US).head == slow
        joined = room.join(ids(1, slow), START_US)[0]
        assert isinstance(joined, Joined)
        assert (joined.slot is not None) is passes


def test_a_full_line_refuses_and_gives_no_place() -> None:
    room = Room.opened(POLICY._replace(line_max=5), TOKEN_US, START_US)
    room.pause(START_US)
    assert room.join(ids(7), START_US)[5:] == [Refused(Reason.FULL)] * 2
    assert room.tail == 5
    assert isinstance(room.join(ids(1, 4), START_US)[0], Joined)


def test_nobody_who_joins_passes_those_who_wait() -> None:
    """The door has long been free, and no tick has called them yet."""
    room = room_with(100)
    joined = room.join(ids(1, 100), START_US + 60 * S)[0]
    assert joined == Joined(100, is_new=True)
    assert room.head == 27


# The lobby


def test_a_tick_fills_the_lobby_with_live_people_and_steps_over_the_rest() -> None:
    """Who is away is stepped over, keeps the place, and stands in front on return."""
    room = room_with(200)
    first = room.tick(START_US)
    now_us = START_US
    for second in range(1, 13):  # only odd places ask; all others age out of NEAR
        now_us = START_US + second * S
        room.tick(now_us, near=range(1, 200, 2))
    assert first.head < room.head <= 200
    live = [place for place in range(1, 200, 2) if place < room.head and not room._is_through(place)]
    assert len(live) == room.lobby_size == 30
    assert slots(room.door([0, 2, 4], now_us))


def test_two_ticks_at_one_instant_are_one() -> None:
    room = room_with(500)
    for second in range(1, 30):
        now_us = START_US + second * S
        sign = room.tick(now_us, near=range(0, 500, 3), far=range(40))
        assert room.tick(now_us) == sign
        room.door(range(room.gate), now_us)
        assert room.tick(now_us) == room.tick(now_us)


def test_booked_people_count_as_lobby() -> None:
    room = room_with(500)
    head = room.tick(START_US).head
    assert head == 30
    assert len(room.booked) == 27
    sign = room.tick(START_US, near=range(500))
    assert sign.called + sign.booked == room.lobby_size
    assert sign.head == head


def test_looking_does_not_hold_the_lobby() -> None:
    """Pages left open: called, asking every second, never knocking.  The line goes on past them."""
    room = room_with(300)
    heads = []
    for second in range(1, 60):
        sign = room.tick(START_US + second * S)
        answers = {place: look(POLICY, sign, place, sign.at_us, 0.5) for place in range(300) if not room._is_through(place)}
        room.tick(
            START_US + second * S,
            near=[place for place, answer in answers.items() if answer.is_near],
            far=[place for place, answer in answers.items() if not answer.is_near],
        )
        heads.append(room.head)
    assert heads[-1] == 300


def test_joining_again_is_no_more_than_looking() -> None:
    room = room_with(300)
    for second in range(1, 60):
        room.join(ids(300), START_US + second * S)
        room.tick(START_US + second * S)
    assert room.head == 300


def test_a_clock_that_stepped_back_does_not_stop_the_windows() -> None:
    room = room_with(300)
    room.tick(START_US)
    signs = [room.tick(START_US - 3_600 * S + second * S) for second in range(150)]
    assert signs[20].head == 300
    assert (signs[0].waiting, signs[-1].waiting) == (0, 0)
    assert max(sign.waiting for sign in signs) == 300 - room.passes


def test_who_asks_as_told_is_counted_however_long_the_line() -> None:
    """The FAR windows stretch with the polls: three of them hold one and a half intervals."""
    room = room_with(300, policy=POLICY._replace(poll_budget_per_s=1))
    room.tick(START_US)
    assert room.tick(START_US + S).far_us == 550_000 * 273


def test_after_a_mass_return_the_gate_falls_to_the_first() -> None:
    room = room_with(1_000)
    now_us = START_US
    for second in range(1, 60):
        now_us = START_US + second * S
        room.tick(now_us)  # nobody asks: the head goes to the end
    assert room.head == 1_000
    room.tick(now_us, near=range(1_000))
    assert room.gate == 1_000  # the door is idle: whoever knocks first comes first
    answers = room.door(range(500, 600), now_us)
    gate = room.tick(now_us).gate
    assert gate < 40
    assert len(slots(answers)) > 20
    assert room.head == 1_000


def test_a_pause_calls_nobody() -> None:
    room = room_with(500)
    head = room.tick(START_US).head
    room.pause(START_US)
    for second in range(60):
        assert room.tick(START_US + second * S).head == head


def test_a_gap_in_the_ticks_ages_nobody() -> None:
    room = room_with(100)
    room.tick(START_US, near=range(100))
    sign = room.tick(START_US + 3_600 * S)
    assert sign.called + sign.booked >= 29
    assert sign.waiting == 100 - room.passes


def test_leaving_is_measured() -> None:
    """Half of 600 go after two minutes, silently; a minute and a half later they are missed, and later forgotten."""
    room = room_with(600, token_us=60_000_000)
    seen = []
    for second in range(600):
        there = range(600) if second < 120 else range(300)
        seen.append(room.tick(START_US + second * S, near=there).leaving_per_s)
    assert seen[119] < 1 / 2_000
    assert 1 / 600 < max(seen) <= 1 / 60
    assert seen[-1] < max(seen) / 10


# The door


def test_the_door_books_ahead_and_names_the_wait() -> None:
    """10/s: a burst of two now, then one each 100 ms up to 2.5 s; the next is told when there is one."""
    room = Room.opened(POLICY, TOKEN_US, START_US)
    room.pause(START_US)
    room.join(ids(60), START_US)
    room.resume(START_US)
    room.tick(START_US)
    answers = room.door(range(30), START_US)
    due_ms = [(room.clock.due_us(slot.turn) - START_US) // 1_000 for slot in slots(answers)]
    assert due_ms == [0, 0, *range(100, 2_501, 100)]
    assert answers[27:] == [Refused(Reason.BUSY, 100_000)] * 3
    assert room.door([27], START_US + 99_999) == [Refused(Reason.BUSY, 10)]  # a turn, at this rate
    assert len(slots(room.door([27], START_US + 100_000))) == 1


def test_a_repeat_gets_the_same_slot_before_and_after_its_turn() -> None:
    room = room_with(60)
    room.tick(START_US)
    slot = slots(room.door(range(27), START_US))[-1]
    place = next(place for place, turn in room.booked.items() if turn == slot.turn)
    assert room.door([place, place], START_US + S) == [slot, slot]
    now_us = room.clock.due_us(slot.turn)
    room._advance(now_us - S)
    room._advance(now_us)
    room.tick(now_us, given=[(place, slot.turn)])
    for after_s in (1, 60, PASS_S - 5):
        assert room.door([place], now_us + after_s * S) == [Slot(0, slot.slot_s)]
    assert slots(room.door([place], now_us + (PASS_S + 1) * S)) != [Slot(0, slot.slot_s)]


def test_who_was_not_given_the_answer_books_anew() -> None:
    """A worker stalled or died: up to a burst late it may still be given, then not."""
    room = room_with(60)
    room.tick(START_US)
    room.door(range(29), START_US)
    place, turn = list(room.booked.items())[8]
    due_us = room.clock.due_us(turn)
    assert [slot.turn for slot in slots(room.door([place], due_us + POLICY.burst_us))] == [turn]
    anew = room.door([place], due_us + POLICY.burst_us + 50)
    assert [slot.turn > turn + 10 * PERSON for slot in slots(anew)] == [True]
    room.tick(due_us + POLICY.burst_us + 60, given=[(place, turn)])  # of the turn it had before: changes nothing
    assert room.door([place], due_us + POLICY.burst_us + 100) == anew


def test_what_a_dead_worker_booked_never_counts_as_given() -> None:
    """Its trace goes when the door's clock is ten minutes on by the present rate; after a cut that is sooner."""
    room = room_with(60)
    room.tick(START_US)
    place = next(iter(room.booked))
    for second in range(1, 301):
        room.tick(START_US + second * S)
    room.set_rate(5 * TOKEN_US, START_US + 300 * S)
    room.tick(START_US + 300 * S)
    assert not room.booked
    assert [slot.turn > 0 for slot in slots(room.door([place], START_US + 300 * S))] == [True]


def test_nobody_passes_uncalled_or_unknown_or_in_a_pause() -> None:
    room = room_with(100)
    head = room.tick(START_US).head
    assert room.door([head, 99, 100, 10**9, -1], START_US) == [Refused(Reason.NOT_CALLED)] * 5
    room.pause(START_US)
    assert room.door([head - 1], START_US) == [Refused(Reason.PAUSED, 5 * S)]


def test_a_closed_room_keeps_every_place_and_gives_no_new_one() -> None:
    room = room_with(100)
    head = room.tick(START_US).head
    assert room.act(Acts(1, is_closed=True), START_US)
    assert room.door([head - 1], START_US) == [Refused(Reason.PAUSED, 5 * S)]
    assert room.join(ids(2, 99), START_US) == [Joined(99, is_new=False), Refused(Reason.CLOSED)]
    assert (room.tick(START_US + S).state, room.tail, room.head) == ("closed", 100, head)
    assert room.act(Acts(2), START_US + 60 * S)
    assert room.join(ids(1, 100), START_US + 60 * S) == [Joined(100, is_new=True)]
    assert len(slots(room.door([head - 1], START_US + 61 * S))) == 1


def test_a_provisional_ticket_of_before_it_closed_is_owed_its_place() -> None:
    room = room_with(100)
    assert room.act(Acts(1, is_closed=True), START_US)
    assert room.join(ids(3, 200), START_US, owed=2) == [Joined(100, is_new=True), Joined(101, is_new=True), Refused(Reason.CLOSED)]


@pytest.mark.parametrize("first", ["pause", "close"])
def test_neither_a_pause_nor_a_close_ends_the_other(first: str) -> None:
    room = room_with(10)
    of_first, of_other = (first == "pause", first == "close"), (first != "pause", first != "close")
    for version, (is_paused, is_closed) in enumerate((of_first, (True, True), of_other, (False, False)), start=1):
        assert room.act(Acts(version, is_paused, is_closed=is_closed), START_US + version * S)
        assert room.clock.is_paused is (version < 4)


def test_no_credit_is_banked_while_idle() -> None:
    room = room_with(100)
    now_us = START_US
    for _ in range(100):
        now_us += S // 2
        room.tick(now_us, near=range(100))
    due_us = [room.clock.due_us(slot.turn) for slot in slots(room.door(range(30), now_us))]
    assert sum(due <= now_us for due in due_us) == 2


def test_a_cut_keeps_the_booked_people_apart() -> None:
    """A fifth of the rate: 100 ms between two turns become 500."""
    room = room_with(100)
    room.tick(START_US)
    turns = sorted(slot.turn for slot in slots(room.door(range(1, 25), START_US)))
    room.set_rate(TOKEN_US * 5, START_US + S)
    due_us = [room.clock.due_us(turn) for turn in turns]
    assert all(right - left == 5 * TOKEN_US for left, right in pairwise(due for due in due_us if due > START_US + S))
    assert isinstance(room.door([40], START_US + S)[0], Refused)


def test_a_pause_keeps_what_is_owed() -> None:
    room = room_with(100)
    room.tick(START_US)
    turn = max(slot.turn for slot in slots(room.door(range(1, 25), START_US)))
    place = next(place for place, booked in room.booked.items() if booked == turn)
    left_us = room.clock.due_us(turn) - START_US - S
    room.pause(START_US + S)
    assert room.door([place], START_US + S) == [Refused(Reason.PAUSED, 5 * S)]
    room.tick(START_US + 100 * S)
    room.resume(START_US + 100 * S)
    assert room.clock.due_us(turn) == START_US + 100 * S + left_us
    assert [slot.turn for slot in slots(room.door([place], START_US + 100 * S))] == [turn]


@pytest.mark.parametrize("step_s", [-3_600, -1, 2, 3_600])
def test_a_clock_that_steps_opens_nothing_and_shuts_nothing(step_s: int) -> None:
    room = room_with(100)
    room.tick(START_US)
    turn = max(slot.turn for slot in slots(room.door(range(1, 27), START_US)))
    stepped_us = START_US + step_s * S
    room.tick(stepped_us)
    wait_us = room.clock.due_us(turn) - stepped_us
    went_on_us = STEP_US_MAX if step_s > 0 else 0
    assert 2_400_000 - went_on_us <= wait_us <= 2_600_000 - went_on_us


def test_an_emptied_room_comes_back_from_a_sign() -> None:
    """No place twice, nobody called is uncalled, still paused, and the door starts behind all that may be held."""
    old = room_with(1_000)
    old.tick(START_US)
    old.door(range(30), START_US)
    sign = old.tick(START_US + S)
    room = Room.opened(POLICY, TOKEN_US, START_US + 2 * S)
    room.recover(sign._replace(clock=sign.clock.paused(START_US + S)), 50, START_US + 2 * S)
    assert (room.tail, room.head, room.clock.is_paused) == (1_050, sign.head, True)
    room.resume(START_US + 2 * S)
    slot = slots(room.door([5], START_US + 2 * S))[0]
    assert slot.turn > max(old.booked.values())
    assert room.clock.due_us(slot.turn) - START_US - 2 * S == POLICY.hold_us


def test_a_line_nobody_remembers_begins_at_place_0_and_its_door_is_free() -> None:
    room = Room.opened(POLICY, TOKEN_US, START_US)
    assert room.recover(None, 50, START_US).tail == 0
    joined = room.join(ids(1), START_US)[0]
    assert isinstance(joined, Joined)
    assert joined.slot
    assert room.clock.due_us(joined.slot.turn) == START_US


def test_every_worker_may_raise_it_and_the_margin_is_added_once() -> None:
    """The second is no news; the third remembers more than the first did, and so more may have been given."""
    old = room_with(1_000)
    sign = old.tick(START_US)
    room = Room.opened(POLICY, TOKEN_US, START_US + S)
    first = room.recover(sign, 50, START_US + S)
    assert first.tail == 1_050
    for again in (sign, sign._replace(tail=900), None):
        assert room.recover(again, 50, START_US + S, is_lost=False) == first
    assert room.recover(sign._replace(tail=1_200), 50, START_US + S, is_lost=False).tail == 1_250


def test_the_rate_comes_back_with_the_line() -> None:
    """However long ago it was set: the one of an opened room was set by nobody."""
    old = room_with(100)
    old.set_pace(Pace(20.0, Why.CONSUMPTION, START_US, START_US), 0, START_US)
    sign = old.tick(START_US)
    room = Room.opened(POLICY, TOKEN_US, START_US + 60 * S)
    room.recover(None, 50, START_US + 60 * S)
    assert room.recover(sign, 50, START_US + 61 * S, is_lost=False).pace == sign.pace
    assert room.clock.token_us == TOKEN_US // 2
    newer = Pace(5.0, Why.FLOOR, START_US + 62 * S, START_US + 62 * S)
    assert room.set_pace(newer, START_US, START_US + 62 * S)
    assert room.recover(sign, 50, START_US + 62 * S, is_lost=False).pace == newer


def test_a_line_that_came_back_is_as_long_as_it_was_until_people_are_missed() -> None:
    """Else everybody would read a wait of nothing until all have asked; and nobody counts as one who left."""
    old = room_with(1_000)
    sign = old.tick(START_US)
    room = Room.opened(POLICY, TOKEN_US, START_US + S)
    raised = room.recover(sign, 50, START_US + S)
    assert raised.tail == 1_050
    assert raised.waiting == raised.ahead[-1] == 1_000 - sign.head  # the margin's places are nobody's until somebody asks
    for second in range(2, 60):
        later = room.tick(START_US + second * S)
    assert later.waiting == 1_000 - sign.head
    assert later.leaving_per_s < 1 / 2_000
    for second in range(60, 120):
        later = room.tick(START_US + second * S)
    assert later.waiting == 0


def test_passes_given_without_the_store_are_through_once() -> None:
    old = room_with(100)
    sign = old.tick(START_US, near=range(100))
    room = Room.opened(POLICY, TOKEN_US, START_US)
    slot_s = START_US // S - 5
    for is_lost in (True, False):
        raised = room.recover(sign, 0, START_US, [(29, slot_s), (200, slot_s)], is_lost=is_lost)
        assert (raised.passes, raised.tail) == (sign.passes + 2, 201)  # a place somebody has is taken
    assert room.door([29], START_US + S) == [Slot(0, slot_s)]
    assert not room.booked


# A present person is passed by few


@pytest.mark.parametrize("seed", range(6))
def test_who_asks_as_told_is_passed_by_at_most_a_lobby_and_a_half(seed: int) -> None:
    """With absentees, mass returns, three workers and their old signs: 1.5 lobbies of later places, 4.5 s of the rate."""
    draw = random.Random(seed)
    room = room_with(400)
    signs = [room.tick(START_US)] * 3
    asks_us = dict.fromkeys(range(400), START_US)
    stays = {place for place in range(400) if draw.random() < 0.5}
    away = {place: (draw.randrange(80), draw.randrange(10, 60)) for place in range(400) if place not in stays}
    booked: list[int] = []
    for step in range(700):
        now_us = START_US + step * S // 10
        near, far, knocks = list[int](), list[int](), list[int]()
        for place in [place for place, at_us in asks_us.items() if at_us <= now_us]:
            from_s, for_s = away.get(place, (0, 0))
            if from_s <= step / 10 < from_s + for_s:
                continue
            answer = look(POLICY, signs[draw.randrange(3)], place, now_us, draw.random())
            (near if answer.is_near else far).append(place)
            asks_us[place] = now_us + int((answer.poll_after_s or 1.0) * S)
            if answer.state == "called":
                knocks.append(place)
        for place, answer_of in zip(knocks, room.door(knocks, now_us), strict=True):
            if isinstance(answer_of, Slot):
                booked.append(place)
                del asks_us[place]
        signs[step % 3] = room.tick(now_us, near, far)
    order = sorted(booked, key=lambda place: room.slot_s[place])
    position = {place: index for index, place in enumerate(booked)}
    assert len(order) > 300
    for place in stays & position.keys():
        assert sum(other > place for other in booked[: position[place]]) <= 1.5 * room.lobby_size


# Whatever happens


class Crowd(RuleBasedStateMachine):
    """Three workers before one room.  The true time goes on; the room's clock may step."""

    @initialize()
    def open(self) -> None:
        self.true_us = START_US
        self.offset_us = 0
        self.stepped = False
        self.room = Room.opened(POLICY, TOKEN_US, START_US)
        self.fastest_us = TOKEN_US
        sign = self.room.tick(START_US)
        self.signs: list[tuple[Sign, int]] = [(sign, START_US)] * 3  # and when it came, truly
        self.held: list[dict[int, int]] = [{}, {}, {}]
        self.given: list[list[tuple[int, int]]] = [[], [], []]
        self.marks: list[list[int]] = [[], [], []]
        self.stalled: set[int] = set()
        self.places: dict[bytes, int] = {}
        self.releases: dict[tuple[int, int], int] = {}  # (place, turn) → when, truly
        self.was = (0, 0)

    @property
    def now_us(self) -> int:
        """By the room's clock."""
        return self.true_us + self.offset_us

    def _reckons(self, worker: int, true_us: int) -> int:
        """A worker's idea of the room's time."""
        sign, came_us = self.signs[worker]
        return sign.at_us + true_us - came_us

    def _answered(self, worker: int, place: int, slot: Slot) -> None:
        if slot.turn:
            self.held[worker][place] = slot.turn
        else:
            assert any(released == place for released, _ in self.releases)

    @rule(count=st.integers(1, 40), worker=st.integers(0, 2), is_lost=st.booleans(), owed=st.integers(0, 5))
    def join(self, count: int, worker: int, is_lost: bool, owed: int) -> None:
        batch = ids(count, len(self.places))
        for number, (join_id, answer) in enumerate(zip(batch, self.room.join(batch, self.now_us, owed), strict=True)):
            if self.room.acts.is_closed and number >= owed:
                assert answer == Refused(Reason.CLOSED)
                continue
            assert isinstance(answer, Joined)
            assert answer.is_new
            assert answer.place not in self.places.values()
            self.places[join_id] = answer.place
            if answer.slot and not is_lost:
                self._answered(worker, answer.place, answer.slot)

    @precondition(lambda self: self.places)
    @rule(pick=st.integers(0, 10**6), worker=st.integers(0, 2))
    def join_again(self, pick: int, worker: int) -> None:
        join_id = list(self.places)[pick % len(self.places)]
        answer = self.room.join([join_id], self.now_us)[0]
        assert isinstance(answer, Joined)
        assert (answer.place, answer.is_new) == (self.places[join_id], False)
        if answer.slot:
            self._answered(worker, answer.place, answer.slot)

    @rule(first=st.integers(0, 200), count=st.integers(1, 400), worker=st.integers(0, 2))
    def come_back(self, first: int, count: int, worker: int) -> None:
        self.marks[worker] += range(first, min(first + count, self.room.tail))

    @rule(first=st.integers(0, 300), count=st.integers(1, 100), worker=st.integers(0, 2), is_lost=st.booleans())
    def knock(self, first: int, count: int, worker: int, is_lost: bool) -> None:
        places, passes = range(first, first + count), self.room.passes
        answers = self.room.door(places, self.now_us)
        assert self.room.passes == passes or not self.room.acts.is_shut
        for place, answer in zip(places, answers, strict=True):
            if isinstance(answer, Slot):
                assert place < self.room.head
                if not is_lost:
                    self._answered(worker, place, answer)

    @rule(worker=st.integers(0, 2), is_lost=st.booleans())
    def tick(self, worker: int, is_lost: bool) -> None:
        """A lost one reached the room; the worker tells all of it again."""
        sign = self.room.tick(self.now_us, self.marks[worker], (), self.given[worker])
        assert self.room.tick(self.now_us) == sign
        if not is_lost:
            self.signs[worker] = (sign, self.true_us)
            self.marks[worker], self.given[worker] = [], []

    @rule(span_ms=st.one_of(st.integers(1, 300), st.integers(1, 5_000)))
    def wait(self, span_ms: int) -> None:
        """Ten times a second each worker looks after what it holds."""
        until_us = self.true_us + span_ms * 1_000
        while self.true_us < until_us:
            self.true_us = min(self.true_us + 100_000, until_us)
            for worker in {0, 1, 2} - self.stalled:
                self._look_after(worker)

    def _look_after(self, worker: int) -> None:
        clock = self.signs[worker][0].clock
        for place, turn in list(self.held[worker].items()):
            match hold(POLICY, clock, turn, self._reckons(worker, self.true_us)):
                case Hold.GIVE:
                    self.releases.setdefault((place, turn), self.true_us)
                    self.given[worker].append((place, turn))
                case Hold.WAIT:
                    continue
            del self.held[worker][place]

    @rule(worker=st.integers(0, 2))
    def stall_or_wake(self, worker: int) -> None:
        self.stalled ^= {worker}

    @rule(worker=st.integers(0, 2))
    def die(self, worker: int) -> None:
        """Killed: what it held and had not told is gone; it starts with the newest sign."""
        self.held[worker], self.given[worker], self.marks[worker] = {}, [], []
        self.signs[worker] = (self.room.tick(self.now_us), self.true_us)

    @rule(token_us=st.sampled_from([TOKEN_US, TOKEN_US * 2, TOKEN_US * 5]))
    def set_rate(self, token_us: int) -> None:
        self.room.set_rate(token_us, self.now_us)

    @rule(is_paused=st.booleans(), is_closed=st.sampled_from([False, False, True]))
    def operate(self, is_paused: bool, is_closed: bool) -> None:
        assert self.room.act(Acts(self.room.acts.version + 1, is_paused, is_closed=is_closed), self.now_us)
        assert self.room.clock.is_paused == (is_paused or is_closed)

    @precondition(lambda self: not self.stepped)
    @rule(step_s=st.sampled_from([-3_600, -2, 2, 5, 3_600]))
    def step_clock(self, step_s: int) -> None:
        self.stepped = True
        self.offset_us += step_s * S

    @invariant()
    def numbers_never_fall(self) -> None:
        assert 0 <= self.room.gate <= self.room.head <= self.room.tail
        assert self.was[0] <= self.room.head
        assert self.was[1] <= self.room.tail == len(self.places)
        self.was = (self.room.head, self.room.tail)
        assert self.room.passes == sum(map(self.room._is_through, self.places.values()))

    @invariant()
    def no_window_has_more_than_the_rate_and_the_burst(self) -> None:
        """As released, in whole steps of the workers: 100 ms, and a burst late at most.  A step ahead may be worth a second."""
        times_us = sorted(self.releases.values())
        slack_us = 2 * POLICY.burst_us + 100_000 + (STEP_US_MAX if self.stepped else 0)
        for first, from_us in enumerate(times_us[-60:]):
            for last, until_us in enumerate(times_us[-60:][first:]):
                assert last + 1 <= (until_us - from_us + slack_us) // self.fastest_us + 1

    def teardown(self) -> None:
        """Everybody who comes back gets through."""
        if not hasattr(self, "room"):
            return
        if self.room.clock.is_paused:
            self.room.resume(self.now_us)
        for _ in range(len(self.places) * 6 + 100):
            self.true_us += S
            sign = self.room.tick(self.now_us, near=range(self.room.tail))
            waiting = [place for place in range(sign.gate) if not self.room._is_through(place)]
            self.room.door(waiting, self.now_us)
            if self.room.passes == self.room.tail:
                break
        assert all(self.room._is_through(place) for place in self.places.values())


Crowd.TestCase.settings = settings(max_examples=250, stateful_step_count=50, deadline=None, derandomize=True)
TestCrowd = Crowd.TestCase
