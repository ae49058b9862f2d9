"""What a worker answers from its memory: the place, the wait, when to ask again, who may knock at the store.

Pure: no clock, no store, no await.  All is computed from the last sign (waiting.Sign) and the ticket; no
question makes a round trip.  `now_us` is the worker's reckoning of the room's time: the sign's, and what
went by since on a clock that does not step.

    n people ahead = the lobby in front, and who is there between head and place
    p90 = n / rate: nobody leaves          p50: they leave as fast as of late
    asks again after a third of n / rate_max, 1-4 s near the turn; never by the present rate: after a cut, a pause
    or a close people would be asleep when they are called

Not decided here: who is called and who is let in (waiting.py).  Seconds told to people are floats and whole
seconds; the door's time is turns.
"""

import math
from bisect import bisect_right
from enum import Enum
from itertools import islice
from typing import Final, Literal, NamedTuple

from gateway.core.sign import BOUNDS, LOBBY_BOUNDS, PAUSED_US, Policy, Sign
from gateway.core.turn import DoorClock

FRESH_US: Final = 1_000_000  # a sign up to this age stands as it is: two ticks
MOVED_ON_US_MAX: Final = 10_000_000  # an older one's gate goes on for so long; then somebody else's guess is as good
NEAR_TURN_S: Final = 12.0  # from here on a third of the wait is 4 s, one NEAR window
RETRY_S_MAX: Final = 60  # who is told more is not live when the door is free
SENT_ON_S: Final = 1.5  # of the rate, between two ticks, of all workers: what the door can book then, and half as much again
CLOSED_S: Final = 300  # who may not join comes back so long after, give or take half: all apps of a million people are 3,300 joins a second then
REFUSED_MAX: Final = 65_536  # remembered Retry-Afters: a minute of 1,000/s; the oldest are forgotten, and may ask too early once

State = Literal["waiting", "called", "paused", "closed"]


class Answer(NamedTuple):
    """What somebody in line is told.  `poll_after_s` 0: knock now."""

    state: State
    ahead: int
    p50_s: float
    p90_s: float
    poll_after_s: float
    is_near: bool  # how the next tick notes who looked: as live, or only as there


class Hold(Enum):
    """What becomes of an answer that is held."""

    WAIT = "wait"
    GIVE = "give"
    LATE = "late"  # this worker stalled: not given, but knocked again, which books anew
    END = "end"  # 429 with back_s: the door was shut or slowed, and nobody waits so long with an open request; the turn is kept


def share_of(place: int) -> float:
    """A number in [0, 1) that is the same for this place on every worker: spreads what would come at once.

    Steps of the golden ratio: neighbours in line are far apart, and any run of places is even.  Nothing is hidden by it.
    """
    return (place * _GOLDEN & _MASK) / 2**53


_GOLDEN: Final = 0x13C6EF372FE94F  # 2**53 times the golden ratio's fraction, odd
_MASK: Final = 2**53 - 1


# The line


def gate_at(sign: Sign, now_us: int) -> int:
    """The gate by now: an old sign's is moved on at its last speed, not past the line."""
    old_us = min(now_us - sign.at_us, MOVED_ON_US_MAX)
    if old_us <= FRESH_US or sign.clock.is_paused:
        return sign.gate
    return min(sign.gate + int(sign.gate_per_s * (old_us - FRESH_US) / 1_000_000), max(sign.tail, sign.gate))


def people_ahead(sign: Sign, place: int) -> int:
    """Who is booked, the live ones who are called, and who is there from the head to this place."""
    ahead = sign.booked + _called_before(sign, place)
    return ahead + _there_below(sign, place) - _there_below(sign, sign.head) if place > sign.head else ahead


def people_in_line(sign: Sign) -> int:
    """Who is there now: as counted at most a second ago, who joined since, and without who is through since."""
    return max(sign.waiting + max(sign.tail - sign.ahead_to, 0) - max(sign.passes - sign.passes_counted, 0), 0)


def _called_before(sign: Sign, place: int) -> int:
    """Live people below the head and this place: a straight line between each 16th of them.

    From the first on: after a mass return the line to it would be long, and those in front told a wait that is not.
    """
    index = bisect_right(sign.called_places, place) - 1
    if index < 0:
        return 0
    if index == LOBBY_BOUNDS:
        return sign.called
    left, right = sign.called_places[index], sign.called_places[index + 1]
    return int(sign.called * (index + (place - left) / (right - left)) / LOBBY_BOUNDS)


def _there_below(sign: Sign, place: int) -> int:
    """From the sign's 65 counts; those who joined since are all there."""
    if place <= sign.ahead_from:
        return 0
    if place >= sign.ahead_to:
        return sign.ahead[-1] + place - sign.ahead_to
    step, rest = divmod((place - sign.ahead_from) * BOUNDS, sign.ahead_to - sign.ahead_from)
    left, right = sign.ahead[step], sign.ahead[step + 1]
    return left + (right - left) * rest // (sign.ahead_to - sign.ahead_from)


def wait_s(sign: Sign, ahead: int) -> tuple[float, float]:
    """p50 and p90 of the wait behind so many.

    Those who are counted were there within a minute; as many of them as leave in a minute have gone by now.
    """
    leaving, rate = sign.leaving_per_s, sign.clock.rate_per_s
    p90_s = ahead / rate
    if leaving < 1e-9:
        return p90_s, p90_s
    staying = ahead / (1 + 60 * leaving)
    return math.log1p(leaving * staying / rate) / leaving, p90_s


def poll_after_s(policy: Policy, sign: Sign, ahead: int, share: float) -> float:
    """When to ask again, if the door opened as wide as it ever may."""
    soonest_s = ahead * policy.token_us_min / 1_000_000
    if soonest_s < NEAR_TURN_S:
        after_s = min(max(soonest_s - policy.lobby_us / 1_000_000 + 0.25, 1.0), 4.0)
    else:
        after_s = min(max(soonest_s / 3, 2.0), float(policy.poll_s_longest(sign.waiting)))
    return after_s * (0.85 + 0.15 * share)


def look(policy: Policy, sign: Sign, place: int, now_us: int, share: float) -> Answer:
    """Where am I?"""
    gate = gate_at(sign, now_us)
    state = sign.state
    if place < gate and state == "open":
        # Only a knock holds the lobby: a page left open would fill it for good.
        return Answer("called", 0, 0.0, 0.0, 0.0, is_near=False)
    ahead = people_ahead(sign, place)
    p50_s, p90_s = wait_s(sign, ahead)
    after_s = poll_after_s(policy, sign, ahead, share)
    return Answer("waiting" if state == "open" else state, ahead, p50_s, p90_s, after_s, is_near=True)


def closed_s(share: float) -> int:
    """When somebody comes again whom a closed room gave no place: nothing is lost by coming late but the order."""
    return math.ceil(CLOSED_S * (0.5 + share))


# The door


def retry_after_s(policy: Policy, sign: Sign, place: int, free_in_us: int, share: float) -> int:
    """After a refusal: when the door is free, and those in front have knocked.

    Clamped first, then spread: the other way round a big lobby is told exactly a minute, all of it.
    """
    rate = max(sign.clock.rate_per_s, 250_000 / policy.token_us_min)
    wanted_s = min(float(RETRY_S_MAX), free_in_us / 1_000_000 + _called_before(sign, place) / rate)
    return max(1, math.ceil(wanted_s * (0.9 + 0.2 * share)))


def hold(policy: Policy, clock: DoorClock, turn: int, now_us: int) -> Hold:
    """Whether a held answer is given now, by the clock of the newest sign.

    Asked again with each sign and when its turn is due.  Turn 0 is a repeat of what was given, and is not held.
    """
    now_turn = clock.turn_at(now_us)
    if turn <= now_turn:
        return Hold.LATE if now_turn - turn > clock.turns_in(policy.burst_us) else Hold.GIVE
    if clock.is_paused or clock.due_us(turn) - now_us > policy.hold_at_us(clock.token_us) + policy.burst_us:
        return Hold.END
    return Hold.WAIT


def back_s(clock: DoorClock, turn: int, now_us: int, share: float) -> int:
    """When somebody whose hold has ended knocks again: a little before the turn, since who comes after it books anew."""
    wait_us = PAUSED_US if clock.is_paused else clock.due_us(turn) - now_us
    return max(1, min(RETRY_S_MAX, int(wait_us / 1_000_000 - 1.5 * share)))


class Doorman:
    """Which knocks one worker sends on to the store; the rest are answered here, and marked as seen all the same."""

    def __init__(self, policy: Policy, workers: int) -> None:
        assert workers >= 1, workers
        self._policy = policy
        self._workers = workers
        self._sent_on: set[int] = set()  # places; who knocks again and again counts once a tick
        self._not_before_us: dict[int, int] = {}  # by place, the oldest refusal first

    def __len__(self) -> int:
        """How many refusals are remembered."""
        return len(self._not_before_us)

    def refusal_s(self, sign: Sign, place: int, now_us: int, share: float) -> float:
        """0: this knock goes to the store.  Else the Retry-After of a refusal from memory."""
        answer = look(self._policy, sign, place, now_us, share)
        if answer.state in {"paused", "closed"}:
            return float(retry_after_s(self._policy, sign, place, PAUSED_US, share))
        if answer.state == "waiting":
            return answer.poll_after_s
        early_us = self._not_before_us.get(place, 0) - now_us
        if early_us > RETRY_S_MAX * 1_100_000:  # the room's clock stepped back
            early_us = 0
        if early_us > 0:
            return float(-(-early_us // 1_000_000))
        if len(self._sent_on) >= max(1.0, SENT_ON_S * sign.clock.rate_per_s / self._workers):
            return float(retry_after_s(self._policy, sign, place, 0, share))
        self._sent_on.add(place)
        return 0.0

    def refused(self, place: int, after_s: float, now_us: int) -> None:
        """The store said no: whoever comes back before that is told so from memory."""
        self._not_before_us.pop(place, None)
        if len(self._not_before_us) >= REFUSED_MAX:
            for oldest in list(islice(self._not_before_us, REFUSED_MAX // 4)):
                del self._not_before_us[oldest]
        self._not_before_us[place] = now_us + int(after_s * 1_000_000)

    def ticked(self) -> None:
        """The store noted what went on; the next knocks may be sent on."""
        self._sent_on.clear()
