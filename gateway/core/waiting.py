"""The waiting room: who has which place, who is called, and who goes through the door when.

Pure: no clock, no store, no await, no random; `now_us` comes in.  This is the law that the scripts
in lua/ are held equal to; all that they decide is integers below 2**53.  Only the rate of leaving
and the speed of the gate are floats (+ - * / alone), and nobody is let in by them.

    places  0 ............ gate ...... head ................ tail
            through, called, absent |  called   |  in line  |  next to give
                              knock | after a mass return: called before, now wait again

* Called is who stands below `head`; head and tail never fall.  A tick moves head on until the lobby is full.
* The lobby holds who is called, live and not through, and those whose turn is booked but has not come.
* Live is who was seen in one of the last two NEAR windows (4 s); in line (`there`), in one of the last
  three FAR windows (30 s or more).  Nobody loses a place by not being seen: who returns stands in front.
* The crowd gate: head has passed everybody after a mass return and never falls.  So `gate`, which the workers go
  by, falls to the first one and a half lobbies.  Only while the door is busy: else it would starve the door.
* The door is a GCRA on the clock of turn.py.  It books up to `hold_us` ahead; the worker holds the answer until
  the turn has come, gives it, and says so with its next tick.  A repeat gets the same turn again, and so the
  same pass.  Who was booked and not given the answer in time (the worker stalled or died, the door was
  paused) books anew: those turns have gone by, and to make them good at once would open the door wider.

Each call is atomic and may come from any worker, twice, or late.  Not decided here: what a worker answers
from memory (place.py), the rate (pace.py), what an operator may do, tickets and passes (ticket.py).
Chosen by loadtests/simulate, which prints the figures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.core.bits import ahead_of, below, bits_of, kth, mark, places_of
from gateway.core.pace import Pace
from gateway.core.sign import BOUNDS, LOBBY_BOUNDS, PASS_S, PAUSED_US, Acts, Joined, Policy, Reason, Refused, Sign, Slot
from gateway.core.turn import PERSON, DoorClock, token_us_of

STEP_US_MAX: Final = 1_000_000  # between two calls; two ticks' worth.  A longer gap is a clock that stepped, or a store that was away
COUNT_EVERY_US: Final = 1_000_000  # estimates need no more, and counting a million bits is most of a tick's work
LEAVING_MAX_PER_S: Final = 1 / 60  # faster, and the estimate would promise what nobody has seen
LEAVING_GUESS_PER_S: Final = 1 / 2_400  # before anything is known: a third leave in a quarter of an hour
GUESS_S: Final = 60.0  # how many seconds of looking the guess is worth
LEAVING_MEMORY_S: Final = 90.0  # the FAR windows: a shorter memory would see them turn
SPEED_MEMORY_S: Final = 10.0  # as long as a worker goes by it


@dataclass(slots=True)
class Counts:
    """What was last counted, once a second."""

    at_us: int
    tail: int = 0
    passes: int = 0
    gate: int = 0
    there: int = 0
    left: float = 0.0  # people who left, of late
    watched_s: float = 0.0  # person-seconds in which they did
    gate_per_s: float = 0.0
    ahead_from: int = 0
    ahead_to: int = 0
    ahead: tuple[int, ...] = (0,) * (BOUNDS + 1)


@dataclass(slots=True)
class Room:
    """All that is shared of one line."""

    policy: Policy
    clock: DoorClock
    pace: Pace
    now_us: int  # of the last call
    acts: Acts = field(default_factory=Acts)
    tat_turn: int = 0  # the next turn that is free
    tail: int = 0
    head: int = 0
    gate: int = 0
    passes: int = 0  # people through; who books anew is counted once
    signups: int = 0  # of them, whose application is durable
    form_s: int = 0  # seconds they took for it, all together
    near: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    far: tuple[bytearray, bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray(), bytearray()))
    near_since_us: int = 0
    far_since_us: int = 0
    through: bytearray = field(default_factory=bytearray)
    slot_s: dict[int, int] = field(default_factory=dict)  # by place; in Redis 4 bytes each, in chunks that expire after 15 min
    booked: dict[int, int] = field(default_factory=dict)  # place → turn, of those not given yet; in Redis a sorted set
    joined: dict[bytes, int] = field(default_factory=dict)  # keyed hash of the join id → place
    counts: Counts = field(default_factory=lambda: Counts(0))

    @classmethod
    def opened(cls, policy: Policy, token_us: int, now_us: int) -> "Room":
        """An empty one; its clock is past turn 0, which means `given`."""
        clock = DoorClock(PERSON, now_us, token_us)
        pace = Pace.opening(clock.rate_per_s, now_us)._replace(changed_us=0)  # nobody set it: what any sign remembers is newer
        return cls(policy, clock, pace, now_us, near_since_us=now_us, far_since_us=now_us, counts=Counts(now_us))

    @property
    def lobby_size(self) -> int:
        """How many are called at a time."""
        return max(1, -(-self.policy.lobby_us // self.clock.token_us))

    @property
    def far_us(self) -> int:
        """The FAR window: with the longest poll, else who asks as told would fall out of the count."""
        return max(self.policy.far_us, 550_000 * self.policy.poll_s_longest(self.counts.there))

    # The calls

    def join(self, ids: Sequence[bytes], now_us: int, owed: int = 0) -> list[Joined | Refused]:
        """A place for each; a known id gets its own back.

        Args:
            owed: so many, the first of them, have a provisional ticket: a room that closed since gives them their places.
        """
        self._advance(now_us)
        waiting = self._called_and_live() if self.head >= self.tail else 0  # else nobody new goes through at once
        answers: list[Joined | Refused] = []
        for number, join_id in enumerate(ids):
            place = self.joined.get(join_id)
            if place is not None:
                self._seen(place, is_near=place >= self.gate)
                answers.append(Joined(place, is_new=False, slot=self._again(place)))
            elif self.acts.is_closed and number >= owed:
                answers.append(Refused(Reason.CLOSED))
            elif self.tail - self.head >= self.policy.line_max:
                answers.append(Refused(Reason.FULL))
            else:
                place = self.joined[join_id] = self.tail
                self.tail += 1
                self._seen(place, is_near=True)
                answers.append(Joined(place, is_new=True, slot=self._at_once(place, waiting)))
        return answers

    def tick(
        self, now_us: int, near: Iterable[int] = (), far: Iterable[int] = (), given: Iterable[tuple[int, int]] = (), signups: int = 0, form_s: int = 0
    ) -> Sign:
        """Note who was seen since the worker's last tick, call people, and write the sign.

        Args:
            near: who knocked, or looked from the gate on (while paused: from anywhere).
            far: who looked from below the gate: they are told to knock, and hold the lobby only if they do.
            given: whose held answers the worker gave, and the turn of each: it may have been booked anew since.
            signups: applications that became durable here since, and the seconds since the slots of their passes.
        """
        self._advance(now_us)
        has_turned = self._rotate()
        self.signups += signups
        self.form_s += form_s
        for place in near:
            self._seen(place, is_near=True)
        for place in far:
            self._seen(place, is_near=False)
        for place, turn in given:
            if self.booked.get(place) == turn:
                del self.booked[place]
        self._forget_booked()
        # Who left is gone when a window is: a count of before would show them for a second more.
        if has_turned or now_us - self.counts.at_us >= COUNT_EVERY_US:
            self._count()
        live = self._live()
        booked = self._owed_turns() // PERSON
        if not self.clock.is_paused:
            # Who is called while the door is shut could not knock, would leave the lobby, and the line would walk past them all.
            self._call(live, booked)
        return self._sign(below(live, self.head), booked)

    def door(self, places: Iterable[int], now_us: int) -> list[Slot | Refused]:
        """Through, and when; or not."""
        self._advance(now_us)
        return [self._knock(place) for place in places]

    def set_pace(self, pace: Pace, changed_us: int, now_us: int) -> bool:
        """A rate and its reason from now on, unless somebody else set one since `changed_us`; whether it is so."""
        self._advance(now_us)
        if self.pace.changed_us != changed_us:
            return False
        self.pace = pace
        self.set_rate(token_us_of(pace.rate_per_s), now_us)
        return True

    def act(self, acts: Acts, now_us: int) -> bool:
        """What the operator says, unless something newer was said; whether it is so."""
        self._advance(now_us)
        if acts.version <= self.acts.version:
            return False
        self.acts = acts
        if acts.is_shut:
            self.pause(now_us)
        elif self.clock.is_paused:
            self.resume(now_us)
        return True

    def set_rate(self, token_us: int, now_us: int) -> None:
        """From now on; who is booked stays booked, so many people apart."""
        self._advance(now_us)
        self.clock = self.clock.with_rate(token_us, now_us)

    def pause(self, now_us: int) -> None:
        """Nobody is let in, not even who is booked."""
        self._advance(now_us)
        self.clock = self.clock.paused(now_us)

    def resume(self, now_us: int) -> None:
        """The booked ones first, as far apart as they were."""
        self._advance(now_us)
        self.clock = self.clock.resumed(now_us)

    def recover(self, sign: Sign | None, margin: int, now_us: int, given: Sequence[tuple[int, int]] = (), *, is_lost: bool = True) -> Sign:
        """The store came back older or empty: raise it to the newest sign a worker remembers.

        Harmless where nothing was forgotten.  A line that nobody remembers is a new one, and begins at place 0.

        Args:
            sign: the worker's newest; None: it has just started.
            margin: places that may have been given since.  Only where the sign or `given` is ahead of the line, or the
                line was lost: not for each worker that calls.  The door then starts behind all that may be held somewhere.
            given: (place, slot_s) of passes given without the store: through, and not to be booked again.
            is_lost: the first call since the store was restarted, replaced or emptied.
        """
        self._advance(now_us)
        newest = max([self.tail, sign.tail if sign else 0, *(place + 1 for place, _ in given)])
        is_lost = is_lost and (sign is not None or newest > 0)
        self.tail = newest + margin if is_lost or newest > self.tail else newest
        if sign:
            self.head, self.gate = max(self.head, sign.head), max(self.gate, sign.gate)
            self.passes, self.signups, self.form_s = max(self.passes, sign.passes), max(self.signups, sign.signups), max(self.form_s, sign.form_s)
        for place, slot_s in given:
            self._gave(place, slot_s)
        self._set_door(sign, is_lost=is_lost)
        if is_lost:
            self._suppose_all_there(newest)
        return self._sign(below(self._live(), self.head), self._owed_turns() // PERSON)

    def _gave(self, place: int, slot_s: int) -> None:
        self.passes += not self._is_through(place)
        mark(self.through, place)
        self.slot_s[place] = slot_s
        self.booked.pop(place, None)

    def _suppose_all_there(self, newest: int) -> None:
        """Until they are missed: else the line would seem empty, and every wait short, until all have asked again.

        Not of the margin: hardly anybody has one of its places, and who has will ask.
        """
        for place in range(self.head, newest):
            mark(self.far[0], place)
        self.counts = Counts(self.now_us, self.tail, self.passes, self.gate)
        self._count()
        self.counts.left = 0.0

    def _set_door(self, sign: Sign | None, *, is_lost: bool) -> None:
        """Rate, pause and turns, as the newest of what the store and the sign say."""
        turn, is_paused = self.clock.turn_at(self.now_us), self.clock.is_paused
        if sign and sign.pace.changed_us >= self.pace.changed_us:
            self.pace, self.clock = sign.pace, self.clock.with_rate(sign.clock.token_us, self.now_us)
        if sign and sign.acts.version >= self.acts.version:
            self.acts, is_paused = sign.acts, sign.clock.is_paused
        sign_turn = sign.clock.turn_at(sign.at_us) if sign else 0
        if is_lost or sign_turn > turn:
            turn = max(turn, sign_turn)
            self.tat_turn = max(self.tat_turn, turn + self._ahead_turns_max())
        self.clock = DoorClock(turn, self.now_us, self.clock.token_us, is_paused)

    # Time

    def _advance(self, now_us: int) -> None:
        """A clock that stepped takes nothing with it: neither the door's clock nor the windows of presence."""
        gap_us = now_us - self.now_us
        surplus_us = gap_us - min(max(gap_us, 0), STEP_US_MAX)
        if surplus_us:
            self.clock = self.clock.shifted(surplus_us)
            self.near_since_us += surplus_us
            self.far_since_us += surplus_us
            self.counts.at_us += surplus_us
        self.now_us = now_us

    def _rotate(self) -> bool:
        """At most once a tick: a gap in the ticks ages nobody.  Whether somebody may have left the line by it."""
        if self.now_us - self.near_since_us >= self.policy.near_us:
            self.near = (bytearray(), self.near[0])
            self.near_since_us = self.now_us
        if self.now_us - self.far_since_us >= self.far_us:
            self.far = (bytearray(), self.far[0], self.far[1])
            self.far_since_us = self.now_us
            return True
        return False

    # Presence

    def _seen(self, place: int, *, is_near: bool) -> None:
        if not 0 <= place < self.tail:
            return  # a ticket from before the store lost its last second: recover() comes first
        if is_near:
            mark(self.near[0], place)
        mark(self.far[0], place)

    def _live(self) -> int:
        near = bits_of(self.near[0]) | bits_of(self.near[1])
        return near ^ (near & bits_of(self.through))

    def _called_and_live(self) -> int:
        return below(self._live(), self.head).bit_count()

    # The door

    def _burst_turns(self) -> int:
        """Behind the first of a burst, who is let in anyway."""
        return max(0, self.clock.turns_in(self.policy.burst_us) - PERSON)

    def _ahead_turns_max(self) -> int:
        return self._burst_turns() + self.clock.turns_in(self.policy.hold_at_us(self.clock.token_us))

    def _owed_turns(self) -> int:
        return max(0, self.tat_turn - self.clock.turn_at(self.now_us))

    def _is_through(self, place: int) -> bool:
        index = place >> 3
        return index < len(self.through) and bool(self.through[index] & 1 << (place & 7))

    def _again(self, place: int) -> Slot | None:
        """The slot there is, while its pass is good, if it was given or may still be."""
        slot_s = self.slot_s.get(place)
        if slot_s is None or self.now_us >= (slot_s + PASS_S) * 1_000_000:
            return None
        turn = self.booked.get(place)
        if turn is None:
            return Slot(0, slot_s)
        if self.clock.is_paused or self.clock.turn_at(self.now_us) - turn > self.clock.turns_in(self.policy.burst_us):
            return None
        return Slot(turn, slot_s)

    def _at_once(self, place: int, waiting: int) -> Slot | None:
        """The quiet day: everyone before is called, the lobby at most half full, and the door has a turn.

        The lobby need not be empty: a few who are slow would make a line of everybody.
        """
        if self.head < place or 2 * waiting > self.lobby_size or self.clock.is_paused:
            return None
        slot = self._book(place)
        if isinstance(slot, Refused):
            return None
        self.head = place + 1
        return slot

    def _knock(self, place: int) -> Slot | Refused:
        self._seen(place, is_near=True)
        if not 0 <= place < self.head:
            return Refused(Reason.NOT_CALLED)
        slot = self._again(place)
        if slot:
            return slot
        if self.clock.is_paused:
            return Refused(Reason.PAUSED, PAUSED_US)
        return self._book(place)

    def _book(self, place: int) -> Slot | Refused:
        now_turn = self.clock.turn_at(self.now_us)
        burst_turns = self._burst_turns()
        turn = max(self.tat_turn, now_turn)  # what was not used is gone
        over = turn - now_turn - self._ahead_turns_max()
        if over > 0:
            return Refused(Reason.BUSY, self.clock.span_us(over))
        self.tat_turn = turn + PERSON
        slot_turn = max(now_turn, turn - burst_turns)
        slot_s = -(-self.clock.due_us(slot_turn) // 1_000_000)
        self.passes += not self._is_through(place)
        mark(self.through, place)
        self.slot_s[place] = slot_s
        self.booked[place] = slot_turn
        return Slot(slot_turn, slot_s)

    def _forget_booked(self) -> None:
        """Whom a worker had booked that died: no trace of the slot may stay, else it would count as given."""
        over = self.clock.turn_at(self.now_us) - self.clock.turns_in(PASS_S * 1_000_000)
        for place in [place for place, turn in self.booked.items() if turn < over]:
            del self.booked[place], self.slot_s[place]

    # The lobby

    def _call(self, live: int, booked: int) -> None:
        """Move head on until the lobby is full, and put the gate."""
        want = max(0, self.lobby_size - booked)
        if below(live, self.head).bit_count() < want:
            last = kth(live, want)
            self.head = self.tail if last < 0 else last + 1
        called = below(live, self.head)
        is_crowd = booked and called.bit_count() > self.lobby_size * self.policy.crowd_percent // 100
        self.gate = kth(called, max(1, self.lobby_size - booked)) + 1 if is_crowd else self.head

    # The sign

    def _count(self) -> None:
        """Who is there, how fast they leave and how fast the gate moves."""
        counts, now_us = self.counts, self.now_us
        seconds = (now_us - counts.at_us) / 1_000_000
        far = bits_of(self.far[0]) | bits_of(self.far[1]) | bits_of(self.far[2])
        there_bits = far ^ (far & bits_of(self.through))
        there = there_bits.bit_count()
        left = self.tail - counts.tail - (self.passes - counts.passes) - (there - counts.there)
        fade = LEAVING_MEMORY_S / (LEAVING_MEMORY_S + seconds)
        moved = max(0, self.gate - counts.gate)
        ahead = ahead_of(there_bits, self.head, self.tail, BOUNDS)
        self.counts = Counts(
            now_us,
            self.tail,
            self.passes,
            self.gate,
            there,
            counts.left * fade + left,
            counts.watched_s * fade + there * seconds,
            (counts.gate_per_s * SPEED_MEMORY_S + moved) / (SPEED_MEMORY_S + seconds),
            self.head,
            self.tail,
            ahead,
        )

    def _sign(self, called: int, booked: int) -> Sign:
        counts, count = self.counts, called.bit_count()
        guess = GUESS_S * counts.there
        leaving = (counts.left + guess * LEAVING_GUESS_PER_S) / max(counts.watched_s + guess, 1.0)
        return Sign(
            self.now_us,
            self.clock,
            self.gate,
            self.head,
            self.tail,
            count,
            booked,
            tuple(places_of(called, [min(1, count), *(count * step // LOBBY_BOUNDS for step in range(1, LOBBY_BOUNDS + 1))])),
            counts.there,
            counts.ahead_from,
            counts.ahead_to,
            counts.ahead,
            min(max(leaving, 0.0), LEAVING_MAX_PER_S),
            counts.gate_per_s,
            self.far_us,
            self.passes,
            self.signups,
            self.form_s,
            self.acts,
            self.pace,
            counts.passes,
        )
