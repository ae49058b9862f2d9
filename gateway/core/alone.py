"""The door of one worker while the line's store is away.

Pure.  What is decided here holds from the last turns that the store booked until it answers again.
Every worker lets in its share of the last rate, one at a time; the shares of all workers there may be
are no more than the rate, so the door is never wider, and narrower where fewer run.

    the gate moves on at the last rate, the same in each worker, from the last sign's
    behind the highest tail seen stand the provisional tickets, first come first: of those that
    knocked here of late the ones who joined earliest

What is given is remembered, to be posted when the store is back; a worker that dies first takes that
with it, and its people may be let in twice.
"""

from bisect import bisect_left
from typing import Final

from gateway.core.sign import Policy, Reason, Refused, Sign, Slot

KNOCKED_US: Final = 60_000_000  # whoever has not knocked for so long has gone: the longest Retry-After
KNOCKERS_MAX: Final = 4_096  # provisional ones remembered; those who joined later are told to come again
GIVEN_MAX: Final = 100_000  # passes given and not posted; half an hour of 50/s


class AloneDoor:
    """One worker's door from one outage's beginning to its end.

    Args:
        sign: the last one.
        from_us: the room's time at which the store was found away.
        share: of the rate, this worker's.
    """

    def __init__(self, policy: Policy, sign: Sign, from_us: int, share: float) -> None:
        assert 0 < share <= 1, share
        self._sign = sign
        self._token_us = round(sign.clock.token_us / share)
        # The store's last turns were booked so far ahead, and are still being given.
        self._opens_us = from_us + policy.hold_at_us(sign.clock.token_us) + policy.burst_us
        self._free_us = self._opens_us
        self._lobby = max(1, policy.lobby_us // self._token_us)
        self._knockers: dict[bytes, tuple[int, int]] = {}  # join → (joined, last knocked)
        self.given: dict[int, int] = {}  # place → the slot's second
        self._given_joins: dict[bytes, int] = {}

    def gate(self, now_us: int) -> int:
        """Places below it may knock; may exceed the tail: then provisional tickets may."""
        sign = self._sign
        if sign.clock.is_paused:
            return sign.gate
        return sign.gate + max(0, now_us - self._opens_us) // sign.clock.token_us

    def knock(self, place: int, now_us: int) -> Slot | Refused:
        """For who has a place; the same slot for a repeat."""
        if (slot_s := self.given.get(place)) is not None:
            return Slot(0, slot_s)
        if place >= self.gate(now_us):
            return Refused(Reason.NOT_CALLED)
        answer = self._pass(now_us)
        if isinstance(answer, Slot) and len(self.given) < GIVEN_MAX:
            self.given[place] = answer.slot_s
        return answer

    def knock_provisional(self, join: bytes, joined_us: int, now_us: int) -> Slot | Refused:
        """For who has none."""
        if (slot_s := self._given_joins.get(join)) is not None:
            return Slot(0, slot_s)
        if not self._is_among_the_first(join, joined_us, now_us) or self.gate(now_us) <= self._sign.tail:
            return Refused(Reason.NOT_CALLED)
        answer = self._pass(now_us)
        if isinstance(answer, Slot):
            self._knockers.pop(join, None)
            if len(self._given_joins) < GIVEN_MAX:
                self._given_joins[join] = answer.slot_s
        return answer

    def _pass(self, now_us: int) -> Slot | Refused:
        if self._sign.clock.is_paused:
            return Refused(Reason.PAUSED, KNOCKED_US // 12)
        if now_us < self._free_us:
            return Refused(Reason.BUSY, self._free_us - now_us)
        # No burst and nothing made good: what was not used is gone.
        self._free_us = now_us + self._token_us
        return Slot(0, -(-now_us // 1_000_000))

    def _is_among_the_first(self, join: bytes, joined_us: int, now_us: int) -> bool:
        knockers = self._knockers
        if join not in knockers and len(knockers) >= KNOCKERS_MAX:
            for gone in [one for one, (_, knocked_us) in knockers.items() if now_us - knocked_us > KNOCKED_US]:
                del knockers[gone]
            if len(knockers) >= KNOCKERS_MAX:
                last = max(knockers, key=knockers.__getitem__)
                if joined_us >= knockers[last][0]:
                    return False
                del knockers[last]
        knockers[join] = (joined_us, now_us)
        present = sorted(joined for joined, knocked_us in knockers.values() if now_us - knocked_us <= KNOCKED_US)
        return bisect_left(present, joined_us) < self._lobby
