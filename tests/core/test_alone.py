"""The door of one worker while the store is away: never early, never wider than its share, in the line's order."""

import random
from typing import Final

import pytest

from gateway.core import alone
from gateway.core.alone import KNOCKED_US, AloneDoor
from gateway.core.sign import PAUSED_US, Policy, Reason, Refused, Sign, Slot
from gateway.core.waiting import Room

S: Final = 1_000_000
START_US: Final = 1_700_000_000 * S
TOKEN_US: Final = 100_000  # 10/s
POLICY: Final = Policy()
OPENS_US: Final = START_US + POLICY.hold_us + POLICY.burst_us
BUSY: Final = Reason.BUSY


def sign_of(people: int, *, is_paused: bool = False, token_us: int = TOKEN_US) -> Sign:
    """The last sign of a line; the first thirty are called."""
    room = Room.opened(POLICY, token_us, START_US)
    room.join([number.to_bytes(8, "big") for number in range(people)], START_US)
    room.tick(START_US)
    if is_paused:
        room.pause(START_US)
    return room.tick(START_US)


def door_of(sign: Sign, share: float = 0.5) -> AloneDoor:
    return AloneDoor(POLICY, sign, START_US, share)


def join(number: int) -> bytes:
    return b"p" + number.to_bytes(7, "big")


def test_nobody_passes_before_the_last_booked_turns_have() -> None:
    """The store booked hold_us and a burst ahead; other workers give those."""
    door = door_of(sign_of(100))
    assert door.knock(5, START_US) == Refused(BUSY, POLICY.hold_us + POLICY.burst_us)
    assert door.knock(5, OPENS_US - 1) == Refused(BUSY, 1)
    assert door.knock(5, OPENS_US) == Slot(0, -(-OPENS_US // S))


def test_below_one_a_second_it_opens_as_much_later() -> None:
    door = door_of(sign_of(10, token_us=4 * S))
    assert door.knock(0, START_US) == Refused(BUSY, 4 * S + POLICY.burst_us)


def test_one_at_a_time_at_its_share_and_nothing_is_made_good() -> None:
    """A quarter of 10/s: 400 ms each.  After a minute without a knock there is one pass, not 150."""
    door = door_of(sign_of(100), share=0.25)
    for at_ms, place, want in [(0, 0, None), (0, 1, 400), (399, 1, 1), (400, 1, None), (60_000, 2, None), (60_000, 3, 400), (60_401, 3, None)]:
        answer = door.knock(place, OPENS_US + at_ms * 1_000)
        assert (at_ms, answer.free_in_us if isinstance(answer, Refused) else None) == (at_ms, want and want * 1_000)


def test_a_repeat_has_the_same_slot_and_takes_no_turn() -> None:
    door = door_of(sign_of(100))
    first = door.knock(3, OPENS_US)
    assert isinstance(first, Slot)
    assert [door.knock(3, OPENS_US + second * S) for second in range(100)] == [first] * 100
    assert isinstance(door.knock(4, OPENS_US + S), Slot)
    assert door.given == {3: first.slot_s, 4: first.slot_s + 1}
    beyond = OPENS_US + 600 * S
    given = door.knock_provisional(join(1), 5, beyond)
    assert isinstance(given, Slot)
    assert door.knock_provisional(join(1), 5, beyond + S) == given


def test_the_gate_moves_on_at_the_last_rate_once_the_door_is_open() -> None:
    sign = sign_of(1_000)
    assert [door_of(sign, share).gate(OPENS_US + 60 * S) for share in (0.01, 1)] == [sign.gate + 600] * 2  # the same in each worker
    door = door_of(sign)
    assert [door.gate(START_US), door.gate(OPENS_US), door.gate(OPENS_US + TOKEN_US), door.gate(OPENS_US - 3_600 * S)] == [
        sign.gate,
        sign.gate,
        sign.gate + 1,
        sign.gate,
    ]
    now_us = OPENS_US + 10 * S
    assert door.knock(sign.gate + 100, now_us) == Refused(Reason.NOT_CALLED)
    assert isinstance(door.knock(sign.gate + 99, now_us), Slot)


def test_a_door_that_was_paused_stays_so() -> None:
    sign = sign_of(100, is_paused=True)
    door = door_of(sign)
    now_us = OPENS_US + 3_600 * S
    assert door.gate(now_us) == sign.gate
    answer = door.knock(0, now_us)
    assert isinstance(answer, Refused)
    assert (answer.reason, answer.free_in_us > 0) == (Reason.PAUSED, True)
    assert isinstance(door.knock_provisional(join(1), 0, now_us), Refused)
    assert not door.given


def test_a_door_that_is_shut_meanwhile_lets_nobody_in_until_it_is_opened() -> None:
    """By a pause or a close: the worker says which to people, to the door it is one."""
    door, now_us = door_of(sign_of(100)), OPENS_US + 10 * S
    door.is_shut = True
    assert door.knock(0, now_us) == Refused(Reason.PAUSED, PAUSED_US)
    door.is_shut = False
    assert isinstance(door.knock(0, now_us), Slot)


# Who has no place yet


def test_who_has_no_place_comes_after_all_who_have() -> None:
    sign = sign_of(100)
    door = door_of(sign)
    last_us = OPENS_US + (sign.tail - sign.gate) * TOKEN_US
    assert door.knock_provisional(join(1), 0, last_us) == Refused(Reason.NOT_CALLED)
    assert isinstance(door.knock_provisional(join(1), 0, last_us + TOKEN_US), Slot)
    assert not door.given  # no place, nothing to post


def opened(share: float = 1.0) -> tuple[AloneDoor, int]:
    """Its gate is past the line.  A lobby of thirty for the whole rate, of three for a tenth."""
    return door_of(sign_of(10), share), OPENS_US + 100 * S


def test_of_those_who_knock_the_first_who_joined_pass_first() -> None:
    door, now_us = opened(share=0.1)
    for number in range(5, 0, -1):
        assert isinstance(door.knock_provisional(join(number), number * S, OPENS_US), Refused)
    now_us = OPENS_US + TOKEN_US
    now = [door.knock_provisional(join(number), number * S, now_us) for number in (9, 8, 7, 6, 5)]
    assert now == [Refused(Reason.NOT_CALLED)] * 5
    assert isinstance(door.knock_provisional(join(3), 3 * S, now_us), Slot)


def test_who_has_gone_is_not_waited_for() -> None:
    door, now_us = opened(share=0.1)
    assert isinstance(door.knock_provisional(join(99), 0, now_us), Slot)
    for number in range(3):
        assert door.knock_provisional(join(number), number, now_us) == Refused(BUSY, S)
    assert door.knock_provisional(join(7), 7, now_us + KNOCKED_US) == Refused(Reason.NOT_CALLED)
    assert isinstance(door.knock_provisional(join(7), 7, now_us + KNOCKED_US + 1), Slot)


def test_who_passed_makes_room_for_the_next() -> None:
    """Each comes every second: 1/s from a share of a tenth, in the order of joining but for the three who may."""
    door, _ = opened(share=0.1)
    waiting = list(range(20))
    passed: list[int] = []
    for second in range(40):
        for number in sorted(waiting, reverse=True):
            if isinstance(door.knock_provisional(join(number), number, OPENS_US + second * S), Slot):
                passed.append(number)
                waiting.remove(number)
        assert len(passed) == min(second, 20)
    assert sorted(passed) == list(range(20))
    assert all(number - at <= 2 for at, number in enumerate(passed))


def test_at_the_slowest_share_one_passes_after_all() -> None:
    """A lobby is never of nobody."""
    door = door_of(sign_of(0, token_us=60 * S), share=1 / 4_096)
    assert isinstance(door.knock_provisional(join(1), 0, START_US + 3_600 * S), Slot)


# Bounds


def test_no_more_are_remembered_than_fit_and_those_who_joined_first_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "KNOCKERS_MAX", 4)
    door, now_us = opened(share=0.1)
    door._free_us = now_us + S
    for number in range(10, 20):
        door.knock_provisional(join(number), number, now_us)
    assert len(door._knockers) == 4
    assert door.knock_provisional(join(1), 1, now_us) == Refused(BUSY, S)  # came last, joined first
    assert (len(door._knockers), join(1) in door._knockers, join(13) in door._knockers) == (4, True, False)
    assert isinstance(door.knock_provisional(join(1), 1, now_us + S), Slot)
    door.knock_provisional(join(21), 21, now_us)
    assert len(door._knockers) == 4
    assert isinstance(door.knock_provisional(join(50), 50, now_us + KNOCKED_US + S), Slot)  # all others have gone, and are forgotten
    assert not door._knockers


def test_what_is_given_is_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not fit passes all the same, and may have another pass on coming again."""
    monkeypatch.setattr(alone, "GIVEN_MAX", 2)
    door = door_of(sign_of(100), share=1.0)
    for place in range(4):
        assert isinstance(door.knock(place, OPENS_US + place * TOKEN_US), Slot)
    assert list(door.given) == [0, 1]
    last_us = OPENS_US + 600 * S
    for number in range(4):
        assert isinstance(door.knock_provisional(join(number), number, last_us + number * TOKEN_US), Slot)
    assert len(door.given_joins) == 2


# Whatever happens


@pytest.mark.parametrize("workers", [1, 3, 16])
@pytest.mark.parametrize("seed", range(6))
def test_all_doors_together_are_no_wider_than_one(workers: int, seed: int) -> None:
    """In any window rate x window, and one for each worker; no place below the gate waits for a later one's share."""
    draw = random.Random(seed)
    sign = sign_of(200)
    doors = [AloneDoor(POLICY, sign, START_US + draw.randrange(S), 1 / workers) for _ in range(workers)]
    passed_us: list[int] = []
    now_us, last_us = START_US, START_US + 60 * S
    while now_us < last_us:
        now_us += draw.choice([0, 1_000, 30_000, 200_000])
        door, who = draw.choice(doors), draw.randrange(400)
        gate = door.gate(now_us)
        has_passed = who in door.given or join(who) in door.given_joins
        answer = door.knock(who, now_us) if who < 200 else door.knock_provisional(join(who), who, now_us)
        if isinstance(answer, Slot) and not has_passed:
            assert min(who, 200) < gate
            assert now_us <= answer.slot_s * S < now_us + S
            passed_us.append(now_us)
    assert passed_us
    assert passed_us[0] >= OPENS_US
    for first, from_us in enumerate(passed_us):
        for last, until_us in enumerate(passed_us[first:]):
            assert last + 1 <= (until_us - from_us) / TOKEN_US + workers
