"""The waiting room as one worker keeps it: its last sign, who was seen, whose answer is held.

    join ──▶ Gathering ─▶ store       look ──▶ the last sign, nothing else
    knock ─▶ Doorman ─▶ Gathering ─▶ store ─▶ Holds, until the turn ─▶ pass
    tick, every `tick_ms`: who was seen, whose answer was given ─▶ store ─▶ the next sign

Decided here: when the store is asked, what is kept for it meanwhile, and what holds without it.  Not
decided here: who has which place and who is let in (core/waiting.py, in the store), what is said of a
place (core/place.py), the door while the store is away (core/alone.py), HTTP (rooms.py).

Time is the store's: the sign's, and what has gone by since on a clock that does not step.

When the store is away (a call failed): places are told from the last sign, a join gets a provisional
ticket, the door runs at this worker's share.  What the operator says meanwhile comes from the supervisor (`said`): a
closed room hands out no tickets, and a door that is shut lets nobody in.  When it is back: what was given meanwhile is
posted before anything else is asked.  When it is back and knows less: it is raised to what is remembered here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from gateway import config, logs
from gateway.board import Slot as BoardSlot
from gateway.clock import Clock
from gateway.config import Config
from gateway.core import place as told
from gateway.core.alone import AloneDoor
from gateway.core.place import Answer, Doorman, Hold, share_of
from gateway.core.sign import PASS_S, Acts, Joined, Policy, Reason, Refused, Sign, Slot
from gateway.core.ticket import Key, Office, Pass, Provisional, Ticket
from gateway.core.turn import token_us_of
from gateway.core.waiting import Room
from gateway.errors import Behind, ConfigError, RoomAway
from gateway.gathering import Gathering
from gateway.holds import Holds
from gateway.keys import Keys, unbase64url
from gateway.redis_room import RedisRoom
from gateway.room_store import CALL_MAX, SEEN_MAX, Notes, RoomStore, Seen
from gateway.sightings import Sightings
from gateway.signfile import SignFile

T = TypeVar("T")

JOINS_WAITING_MAX: Final = 20_000  # joins that wait for the store: a fifth of a second of what it takes
STILL_AWAY: Final = "the line's store is away"
KNOCKS_WAITING_MAX: Final = 4_096
KNOCKS_AGAIN_MAX: Final = 3  # of one request, each after a hold that this worker overslept
MARGIN: Final = 45_000  # places that may have been given in the time a store loses (2 s and a tick) at 20,000/s
PASSED_MAX: Final = 65_536  # ten minutes of 100/s, 0.1 kB each
PROMISED_EACH: Final = 16  # a sixteenth of the places shows how good estimates are
PROMISED_MAX: Final = 10_000  # who leaves, or is let in by another worker, stays in it until it is full
SLOWER: Final = 0.98  # of the rate before: less is the noise of counters
SLOWED_S: Final = 120.0  # so long after the door was slowed a longer estimate has that reason: two of the longest polls
GIVEN_MAX: Final = 125  # told with one tick, which leaves as much for who was seen; four ticks a second, more where more wait
FILE_EVERY_S: Final = 1.0
GIVE_UP_S: Final = 0.5  # until a call without an answer is given up, and the store counts as away


class Through(NamedTuple):
    """Let in."""

    pass_text: str
    expires_us: int
    released_us: int  # the room's time: what the door's rate is judged by


class Wait(NamedTuple):
    """Come again."""

    retry_after_s: int
    answer: Answer | None  # None: provisional, nothing is known of the place


class Came(NamedTuple):
    """Who has joined; with a slot, `enter` lets them in at once."""

    ticket: Ticket | Provisional
    is_new: bool
    slot: Slot | None = None


class NoEntry(Enum):
    """Why nobody joins."""

    FULL = "line-full"
    CLOSED = "room-closed"


def policy_of(settings: config.Room) -> Policy:
    """The line's numbers, as far as an operator sets them."""
    return Policy(line_max=settings.line_max, poll_budget_per_s=settings.poll_budget_per_s, token_us_min=token_us_of(settings.ceiling_per_s))


class WaitingRoom:
    """One room in one worker.

    Args:
        office: makes and reads tickets and passes; another one after the keys were reloaded.
        files: where the newest sign is kept for the worker after this one.
        workers: how many share this machine's door.
        stagger: see AloneDoor.
    """

    def __init__(
        self, settings: config.Room, store: RoomStore, office: Office, files: SignFile, clock: Clock, slot: BoardSlot, workers: int, stagger: float = 0.0
    ) -> None:
        self.settings = settings
        self.policy = policy_of(settings)
        self.revoked = frozenset(settings.revoked)
        self.office = office
        self._store = store
        self._files = files
        self._clock = clock
        self._share = 1 / max(settings.fleet_workers_max, workers)
        self._stagger = stagger
        self._said = Acts()
        now_us = clock.now_us()
        remembered = files.newest()
        self._remembered = remembered  # what recover() is told; None: nothing, ever
        self.sign = remembered or Room.opened(self.policy, token_us_of(settings.floor_per_s), now_us).tick(now_us)
        self._signed_s = clock.monotonic_s() - max(0, now_us - self.sign.at_us) / 1e6  # one from disk is as old as it is
        self._seen = Seen(self.sign.tail, self.sign.head) if remembered else Seen()
        self._sightings = Sightings(self.policy)
        self._given: list[tuple[int, int]] = []
        self._signups = self._form_s = 0
        self._workers = workers
        self._doorman = Doorman(self.policy, workers)
        self._holds = Holds(self.policy, self.now_us)
        self._joins: Gathering[tuple[bool, int, bytes], Joined | Refused] = Gathering(self._ask_joins, CALL_MAX, JOINS_WAITING_MAX)
        self._knocks: Gathering[int, Slot | Refused] = Gathering(self._ask_door, CALL_MAX, KNOCKS_WAITING_MAX)
        self._owners: Gathering[tuple[str, str], str] = Gathering(store.owners, CALL_MAX, KNOCKS_WAITING_MAX)
        self._knocking: dict[int, asyncio.Task[Through | Wait]] = {}
        self._recovering = asyncio.Lock()
        self._ticking = asyncio.Lock()
        self._is_closing = False
        self._alone: AloneDoor | None = None
        self._filed_s = 0.0
        self._filing: asyncio.Future[None] | None = None
        self._slowed_s = -SLOWED_S
        self._away_s = 0.0
        self._joined = slot.counters_by("sluicegate_room_joins_total")
        self._looked = slot.counter("sluicegate_room_looks_total")
        self._knocked = slot.counters_by("sluicegate_room_knocks_total")
        self._ticked = slot.counters_by("sluicegate_room_ticks_total")
        self._away_seconds = slot.counter("sluicegate_room_away_seconds_total")
        self._held = slot.gauge("sluicegate_room_held")
        self._is_alone = slot.gauge("sluicegate_room_away")
        self._waited = slot.histogram("sluicegate_room_wait_seconds")
        self._missed = slot.histogram("sluicegate_room_estimate_error_seconds")
        self._passed: dict[int, int] = {}  # place → slot_s of passes given here
        self._promised: dict[int, tuple[float, float]] = {}  # of some places: when their first estimate was told, and the wait

    def said(self, acts: Acts) -> None:
        """What the operator said, past the store: it holds here too while the store is away."""
        if acts.version >= self._said.version:
            self._said = acts
        self._obey()

    def reload(self, settings: config.Room) -> None:
        """Other settings of the same line; refusals that were remembered go, and are asked for again."""
        self.settings, self.policy, self.revoked = settings, policy_of(settings), frozenset(settings.revoked)
        self._doorman = Doorman(self.policy, self._workers)

    # Time

    def now_us(self) -> int:
        """The room's time, by this worker's reckoning."""
        return self._room_us(self._clock.monotonic_s())

    def _room_us(self, now_s: float) -> int:
        return self.sign.at_us + int((now_s - self._signed_s) * 1_000_000)

    @property
    def sign_age_ms(self) -> int:
        """How old the sign is."""
        return int((self._clock.monotonic_s() - self._signed_s) * 1000)

    @property
    def slowed_by(self) -> str:
        """Why estimates have risen of late: a Reason, "paused", "closed"; empty where they have not."""
        if self._clock.monotonic_s() - self._slowed_s > SLOWED_S:
            return ""
        return self.sign.reason

    @property
    def is_away(self) -> bool:
        """Whether the store does not answer."""
        return self._alone is not None

    # What is asked

    async def join(self, join: bytes) -> Came | NoEntry:
        """A place for this join hash; the same one for a repeat."""
        joined_us = self._clock.now_us()
        try:
            answer = await self._join(join, joined_us)
        except RoomAway:
            if self.sign.acts.is_closed:
                self._joined["closed"].add()
                return NoEntry.CLOSED
            self._joined["provisional"].add()
            return Came(Provisional(join, joined_us), is_new=True)
        if isinstance(answer, Refused):
            no_entry = NoEntry(answer.reason.value)
            self._joined["closed" if no_entry is NoEntry.CLOSED else "full"].add()
            return no_entry
        self._joined["new" if answer.is_new else "known"].add()
        return Came(Ticket(answer.place, joined_us), answer.is_new, answer.slot)

    async def enter(self, came: Came) -> Through | None:
        """On a quiet day: through at once.  None: as anybody, with a knock."""
        if came.slot is None or not isinstance(came.ticket, Ticket) or len(self._holds) >= self.settings.held_max:
            return None
        through = await self._held_until(came.ticket.place, came.slot)
        return through if isinstance(through, Through) else None

    async def placed(self, ticket: Ticket | Provisional) -> Ticket | Provisional:
        """The ticket, or the place that a provisional one has by now."""
        if isinstance(ticket, Ticket) or self.is_away:
            return ticket
        try:
            answer = await self._join(ticket.join, ticket.joined_us, is_owed=True)
        except RoomAway:
            return ticket
        return ticket if isinstance(answer, Refused) else Ticket(answer.place, ticket.joined_us)

    def look(self, ticket: Ticket) -> Answer:
        """Where somebody is.  No round trip."""
        self._looked.add()
        now_s, place = self._clock.monotonic_s(), ticket.place
        now_us = self._room_us(now_s)
        answer = told.look(self.policy, self.sign, place, now_us, share_of(place))
        if self._alone is not None and answer.state == "waiting" and place < self._alone.gate(now_us):
            return Answer("called", 0, 0.0, 0.0, 0.0, is_near=False)
        self._sightings.saw(place, now_s, is_near=answer.is_near)
        if place % PROMISED_EACH == 0 and place not in self._promised and answer.p50_s:
            if len(self._promised) >= PROMISED_MAX:
                del self._promised[next(iter(self._promised))]
            self._promised[place] = now_s, answer.p50_s
        return answer

    @property
    def provisional_may_knock(self) -> bool:
        """The store is away, and the gate of the door here is behind the last place given."""
        return self._alone is not None and self._alone.gate(self.now_us()) > self.sign.tail

    def look_ahead(self, place: int) -> Answer:
        """What somebody would be told at this place; nobody was seen."""
        return told.look(self.policy, self.sign, place, self.now_us(), 1.0)

    async def knock(self, ticket: Ticket | Provisional) -> Through | Wait:
        """Through the door, after a hold of seconds at most; or when to come again."""
        ticket = await self.placed(ticket)
        if isinstance(ticket, Ticket) and (knocking := self._knocking.get(ticket.place)) is not None:
            self._knocked["repeated"].add()
            return await asyncio.shield(knocking)
        if isinstance(ticket, Ticket) and (slot_s := self._passed.get(ticket.place)) and self.now_us() < (slot_s + PASS_S) * 1_000_000:
            # Neither a trip nor a turn of the doorman's: who is through and knocks on could else keep the others out.
            self._knocked["again"].add()
            return self._through(ticket.place, slot_s)
        if self._alone is not None:
            return self._knock_alone(self._alone, ticket)
        if isinstance(ticket, Provisional):
            return Wait(self._retry_s(0, 1_000_000), None)
        place = ticket.place
        self._sightings.saw(place, self._clock.monotonic_s(), is_near=True)
        refusal_s = self._doorman.refusal_s(self.sign, place, self.now_us(), share_of(place))
        if not refusal_s and len(self._knocking) >= self.settings.held_max:
            refusal_s = 1.0
        if refusal_s:
            self._knocked["early"].add()
            return self._wait(place, max(1, int(-(-refusal_s // 1))))
        knocking = self._knocking[place] = asyncio.get_running_loop().create_task(self._at_the_door(ticket))
        knocking.add_done_callback(lambda _: self._knocking.pop(place, None))
        # Shielded: who hangs up while held is let in all the same, and gets the same pass when coming again.
        return await asyncio.shield(knocking)

    def signed_up(self, holder: Pass) -> None:
        """An application with this pass is durable."""
        self._signups += 1
        slot_us = holder.expires_us - PASS_S * 1_000_000
        self._form_s += max(0, min(PASS_S, (self._clock.now_us() - slot_us) // 1_000_000))

    async def owner(self, holder: Pass, signup_id: str) -> str | None:
        """Whose pass this is; None where nobody can say just now: downstream holds the same rule."""
        if self.is_away:
            return None
        try:
            return await self._owners.enter((holder.name, signup_id))
        except RoomAway:
            return None

    # The door

    async def _at_the_door(self, ticket: Ticket) -> Through | Wait:
        place = ticket.place
        for _ in range(KNOCKS_AGAIN_MAX):
            try:
                answer = await self._knocks.enter(place)
            except RoomAway:
                return self._wait(place, self._retry_s(place, 1_000_000))
            if isinstance(answer, Refused):
                self._knocked["refused"].add()
                after_s = self._retry_s(place, answer.free_in_us)
                self._doorman.refused(place, after_s, self.now_us())
                return self._wait(place, after_s)
            through = await self._held_until(place, answer)
            if through is not Hold.LATE:
                assert not isinstance(through, Hold)
                if isinstance(through, Through) and answer.turn:
                    self._measure(ticket)
                return through
            self._knocked["late"].add()
        return self._wait(place, self._retry_s(place, 1_000_000))

    async def _held_until(self, place: int, slot: Slot) -> "Through | Wait | Hold":
        """The pass, at its turn and not before; LATE where this worker overslept it."""
        if slot.turn:
            self._held.set(len(self._holds) + 1)
            verdict = await self._holds.until(slot.turn, self.sign.clock)
            if verdict is Hold.LATE:
                return Hold.LATE
            if verdict is Hold.END:
                self._knocked["ended"].add()
                return self._wait(place, told.back_s(self.sign.clock, slot.turn, self.now_us(), share_of(place)))
            self._given.append((place, slot.turn))
            self._knocked["given"].add()
        else:
            self._knocked["again"].add()
        self._passes(place, slot.slot_s)
        return self._through(place, slot.slot_s)

    def _measure(self, ticket: Ticket) -> None:
        """How long somebody waited, and how wrong the first estimate was."""
        self._waited.observe(max(0.0, (self._clock.now_us() - ticket.joined_us) / 1e6))
        if (promised := self._promised.pop(ticket.place, None)) is not None:
            told_s, wait_s = promised
            self._missed.observe(abs(self._clock.monotonic_s() - told_s - wait_s))

    def _passes(self, place: int, slot_s: int) -> None:
        """Somebody has a pass from here; the oldest is forgotten, and asked for again."""
        if len(self._passed) >= PASSED_MAX:
            del self._passed[next(iter(self._passed))]
        self._passed[place] = slot_s

    def _through(self, holder: int | bytes, slot_s: int) -> Through:
        return Through(self.office.pass_for(holder, slot_s * 1_000_000), (slot_s + PASS_S) * 1_000_000, self.now_us())

    def _wait(self, place: int, retry_after_s: int) -> Wait:
        return Wait(retry_after_s, told.look(self.policy, self.sign, place, self.now_us(), share_of(place)))

    def _retry_s(self, place: int, free_in_us: int) -> int:
        return told.retry_after_s(self.policy, self.sign, place, free_in_us, share_of(place))

    def _knock_alone(self, door: AloneDoor, ticket: Ticket | Provisional) -> Through | Wait:
        now_us = self.now_us()
        if isinstance(ticket, Ticket):
            holder: int | bytes = ticket.place
            answer = door.knock(ticket.place, now_us)
        else:
            holder = ticket.join
            answer = door.knock_provisional(ticket.join, ticket.joined_us, now_us)
        if isinstance(answer, Slot):
            self._knocked["alone"].add()
            return self._through(holder, answer.slot_s)
        self._knocked["early"].add()
        after_s = self._retry_s(ticket.place if isinstance(ticket, Ticket) else 0, max(answer.free_in_us, 5_000_000))
        return self._wait(ticket.place, after_s) if isinstance(ticket, Ticket) else Wait(after_s, None)

    # The store

    async def _join(self, join: bytes, joined_us: int, *, is_owed: bool = False) -> Joined | Refused:
        if self.is_away:
            raise RoomAway(STILL_AWAY)
        return await self._joins.enter((not is_owed, joined_us, join))

    async def _ask_joins(self, items: Sequence[tuple[bool, int, bytes]]) -> Sequence[Joined | Refused]:
        """In the order of joining: provisional tickets are older than who joins now, and a room that closed since owes them places."""
        order = sorted(range(len(items)), key=lambda index: items[index][:2])
        ids, owed = [items[index][2] for index in order], sum(not is_new for is_new, _, _ in items)
        answers = await self._asked(lambda: self._store.join(ids, self._seen, owed))
        told_to: list[Joined | Refused] = [Refused(Reason.FULL)] * len(items)
        for index, answer in zip(order, answers, strict=True):
            told_to[index] = answer
        tail = max([answer.place + 1 for answer in answers if isinstance(answer, Joined)], default=0)
        self._seen = self._seen._replace(tail=max(self._seen.tail, tail))
        return told_to

    async def _ask_door(self, places: Sequence[int]) -> Sequence[Slot | Refused]:
        return await self._asked(lambda: self._store.door(places, self._seen))

    async def _asked(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the store answers, raised first where it has forgotten.  Raises RoomAway, after which it counts as away."""
        if self.is_away:
            raise RoomAway(STILL_AWAY)  # who waited behind the call that failed: first the tick posts what was given meanwhile
        try:
            try:
                return await call()
            except Behind:
                await self._recover()
                return await call()  # nothing was done the first time
        except RoomAway as away:
            self._went(str(away))
            raise

    async def _recover(self) -> None:
        """Raise the store to what this worker remembers, and post what it gave without it."""
        async with self._recovering:
            given = list(self._alone.given.items()) if self._alone is not None else []
            remembered = self._remembered
            if remembered is not None or self._seen.tail:  # places may have been given since that sign, or before the first
                sign = remembered or self.sign
                remembered = sign._replace(tail=max(sign.tail, self._seen.tail), head=max(sign.head, self._seen.head))
                if self._said.version > sign.acts.version:
                    remembered = remembered.obeying(self._said, sign.at_us)
            sign = await self._store.recover(remembered, MARGIN, given[:SEEN_MAX])
            for first in range(SEEN_MAX, len(given), SEEN_MAX):
                sign = await self._store.recover(sign, MARGIN, given[first : first + SEEN_MAX])
            logs.warning("the line's store is raised", tail=sign.tail, head=sign.head, posted=len(given))
            self._took(sign)

    # The tick

    async def run(self) -> None:
        """Tick for ever; the caller makes it a task and cancels it."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            async with self._ticking:
                is_behind = not self._is_closing and await self._tick()
            if is_behind:
                continue
            due_s = max(due_s + self.settings.tick_ms / 1000, loop.time())
            await asyncio.sleep(due_s - loop.time())

    async def _tick(self) -> bool:
        """One call; whether more people were seen than one call may tell."""
        given, self._given = self._given[:GIVEN_MAX], self._given[GIVEN_MAX:]
        near, far = self._sightings.taken(SEEN_MAX - len(given))
        is_behind = bool(self._sightings or self._given)  # not who comes while the store is asked: they are the next tick's
        signups, form_s = self._signups, self._form_s
        self._signups = self._form_s = 0
        try:
            await self._post()
            sign = await self._asked(lambda: self._store.tick(Notes(near, far, given, signups, form_s), self._seen))
        except RoomAway as away:
            self._went(str(away))
            self._ticked["failed"].add()
            self._is_alone.set(1)
            self._sightings.put_back(near, far)
            self._given = given + self._given
            self._signups += signups
            self._form_s += form_s
            return False
        self._ticked["done"].add()
        self._is_alone.set(0)
        self._took(sign)
        self._doorman.ticked()
        self._file()
        return is_behind

    def _took(self, sign: Sign) -> None:
        if sign.clock.rate_per_s < self.sign.clock.rate_per_s * SLOWER or sign.clock.is_paused:
            self._slowed_s = self._clock.monotonic_s()
        self.sign = self._remembered = sign
        self._signed_s = self._clock.monotonic_s()
        self._seen = Seen(max(self._seen.tail, sign.tail), max(self._seen.head, sign.head))
        self._holds.moved(sign.clock)
        self._held.set(len(self._holds))
        self._obey()  # the store may have forgotten what was said, until the supervisor says it again

    def _obey(self) -> None:
        """Under the newest acts, wherever they were said.

        A shut door at once.  One that is opened only while the store is away: else its clock goes on when the store says
        so, and by one that was ahead of it answers would be given before their turns.
        """
        if self._said.version > self.sign.acts.version and (self._alone is not None or self._said.is_shut):
            self.sign = self.sign.obeying(self._said, self.now_us())
            self._holds.moved(self.sign.clock)
        if self._alone is not None:
            self._alone.is_shut = self.sign.clock.is_paused

    def _went(self, why: str) -> None:
        if self._alone is None:
            logs.warning("the line's store is away", reason=why, consequence="joins are provisional, the door runs at each worker's share")
            self._alone = AloneDoor(self.policy, self.sign, self.now_us(), self._share, self._stagger)
            self._obey()
            self._away_s = self._clock.monotonic_s()
            return
        now_s = self._clock.monotonic_s()
        if (whole_s := int(now_s - self._away_s)) > 0:
            self._away_seconds.add(whole_s)
            self._away_s += whole_s

    async def _post(self) -> None:
        """After an outage: what this worker gave meanwhile, all of it, before the store decides again."""
        if self._alone is not None:
            door = self._alone
            posted = len(door.given)
            await self._recover()  # is it there?
            door.is_posting = True  # else there would always be somebody more to post
            try:
                if posted < len(door.given):
                    await self._recover()
                await self._post_joins(list(door.given_joins.items()))
            finally:
                door.is_posting = False
            logs.info("the line's store is back", given_alone=len(door.given) + len(door.given_joins))
            self._alone = None

    async def _post_joins(self, given: Sequence[tuple[bytes, int]]) -> None:
        """Who was let in on a provisional ticket gets a place, which is through: else they would be called like anybody."""
        for first in range(0, len(given), CALL_MAX):
            some = given[first : first + CALL_MAX]
            answers = await self._store.join([join for join, _ in some], self._seen, len(some))
            places = [(answer.place, slot_s) for answer, (_, slot_s) in zip(answers, some, strict=True) if isinstance(answer, Joined)]
            self._took(await self._store.recover(self._remembered, MARGIN, places))

    def _file(self) -> None:
        """Keep the newest sign for whoever starts here next.  A disk that fails, or hangs, costs only that."""
        now_s = self._clock.monotonic_s()
        if now_s - self._filed_s >= FILE_EVERY_S and (self._filing is None or self._filing.done()):
            self._filed_s = now_s
            self._filing = asyncio.get_running_loop().run_in_executor(None, self._files.write, self._remembered or self.sign)

    async def close(self) -> None:
        """Hold nobody any longer, and tell the store a last time whose answer was given."""
        self._holds.close()
        self._is_closing = True
        async with self._ticking:
            while (self._given or self._signups) and not self.is_away:
                await self._tick()
        await self._store.close()


def store_of(config: Config) -> RedisRoom | None:
    """The shared state of the configured room; None where there is none.  Makes no contact yet."""
    settings = config.room
    if not settings.name:
        return None
    url = config.redis.room_url or config.redis.url
    return RedisRoom(url, settings.name, settings.epoch, policy_of(settings), token_us_of(settings.floor_per_s), give_up_s=GIVE_UP_S)


def office(settings: config.Room, keys: Keys, limits_secret: bytes) -> Office:
    """Raises ConfigError: the keys file has no good key for tickets.

    Args: limits_secret: join hashes are keyed by what follows from it, so it stays as long as the line does.
    """
    join_secret = blake2b(limits_secret, digest_size=32, person=b"join").digest()
    try:
        return Office(settings.name, settings.epoch, [Key(key.kid, unbase64url(key.key)) for key in keys.tickets], join_secret)
    except ValueError as exc:
        raise ConfigError(f"keys file: {exc}") from exc


def files_in(directory: Path, settings: config.Room, worker: int) -> SignFile:
    """The sign files of this room and epoch."""
    return SignFile(directory, f"room-{settings.name}-{settings.epoch}", worker)
