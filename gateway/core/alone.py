"""The door of one worker while the line's store is away.

Pure.  What is decided here holds from the last turns that the store booked until it answers again.
Every worker lets in its share of the last rate, one at a time; the shares of all workers there may be
are no more than the rate, so the door is never wider, and narrower where fewer run.

    the gate moves on at the last rate, the same in each worker, from the last sign's
    behind the highest tail seen stand the provisional tickets, first come first: of those that
    knocked here of late the ones who joined earliest

A door that the operator shut, by a pause or by closing the room, lets nobody in here either.

What is given is remembered, to be posted when the store is back (a provisional ticket gets a place then,
which is through); a worker that dies first takes that with it, and its people may be let in twice.
"""

from typing import Final

from gateway.core.sign import PAUSED_US, Policy, Reason, Refused, Sign, Slot

KNOCKED_US: Final = 20_000_000  # whoever has not knocked for so long has gone: four times what they are told to wait
POSTING_US: Final = 1_000_000  # it takes less
LOOK_EVERY_US: Final = 200_000  # who is among the first is counted anew: sorting thousands at each knock would fill a core
FEW: Final = 64  # are counted at each knock
NEVER_US: Final = 2**62
KNOCKERS_MAX: Final = 4_096  # provisional ones remembered; those who joined later are told to come again
GIVEN_MAX: Final = 100_000  # passes given and not posted; half an hour of 50/s


class AloneDoor:
    """One worker's door from one outage's beginning to its end.

    Args:
        sign: the last one.
        from_us: the room's time at which the store was found away.
        share: of the rate, this worker's.
        stagger: in [0, 1), of each worker another: else all of them would begin with somebody at the same instant.
    """

    def __init__(self, policy: Policy, sign: Sign, from_us: int, share: float, stagger: float = 0.0) -> None:
        assert 0 < share <= 1, share
        assert 0 <= stagger < 1, stagger
        self._sign = sign
        self._token_us = round(sign.clock.token_us / share)
        # The store's last turns were booked so far ahead, and are still being given.
        self._opens_us = from_us + policy.hold_at_us(sign.clock.token_us) + policy.burst_us
        self.is_posting = False  # what was given: meanwhile nobody gets anything
        self.is_shut = sign.clock.is_paused
        self._free_us = self._opens_us + int(self._token_us * stagger)
        self._lobby = max(1, policy.lobby_us // self._token_us)
        self._knockers: dict[bytes, tuple[int, int]] = {}  # join → (joined, last knocked)
        self._last_us = NEVER_US  # who joined until then is among the first
        self._counted_us = from_us
        self.given: dict[int, int] = {}  # place → the slot's second
        self.given_joins: dict[bytes, int] = {}  # the same of provisional tickets

    def gate(self, now_us: int) -> int:
        """Places below it may knock; may exceed the tail: then provisional tickets may."""
        sign = self._sign
        if self.is_shut:
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
        if (slot_s := self.given_joins.get(join)) is not None:
            return Slot(0, slot_s)
        if not self._is_among_the_first(join, joined_us, now_us) or self.gate(now_us) <= self._sign.tail:
            return Refused(Reason.NOT_CALLED)
        answer = self._pass(now_us)
        if isinstance(answer, Slot):
            self._knockers.pop(join, None)
            if len(self.given_joins) < GIVEN_MAX:
                self.given_joins[join] = answer.slot_s
        return answer

    def _pass(self, now_us: int) -> Slot | Refused:
        if self.is_shut:
            return Refused(Reason.PAUSED, PAUSED_US)
        if self.is_posting:
            return Refused(Reason.BUSY, POSTING_US)
        if now_us < self._free_us:
            return Refused(Reason.BUSY, self._free_us - now_us)
        # No burst and nothing made good: what was not used is gone.
        self._free_us = now_us + self._token_us
        return Slot(0, -(-now_us // 1_000_000))

    def _is_among_the_first(self, join: bytes, joined_us: int, now_us: int) -> bool:
        """Of those who knocked of late; refused ones are remembered too."""
        knockers = self._knockers
        if join not in knockers and len(knockers) >= KNOCKERS_MAX:
            self._count(now_us)
            if len(knockers) >= KNOCKERS_MAX:
                last = max(knockers, key=knockers.__getitem__) if joined_us <= self._last_us else None
                if last is None or joined_us >= knockers[last][0]:
                    return False
                del knockers[last]
        knockers[join] = (joined_us, now_us)
        self._count(now_us)
        return joined_us <= self._last_us

    def _count(self, now_us: int) -> None:
        """Forget who has gone, and see up to when the first ones joined; of many only five times a second."""
        if len(self._knockers) > FEW and 0 <= now_us - self._counted_us < LOOK_EVERY_US:
            return
        self._counted_us = now_us
        for gone in [one for one, (_, knocked_us) in self._knockers.items() if now_us - knocked_us > KNOCKED_US]:
            del self._knockers[gone]
        present = sorted(joined for joined, _ in self._knockers.values())
        self._last_us = present[self._lobby - 1] if len(present) >= self._lobby else NEVER_US
