"""The whole front in virtual time: a scenario's people before the gateway's own rules, a million of them in minutes.

    python -m loadtests.simulate --scenario dec18 --people 1000000

The rules are the gateway's: the line (core/waiting, place, turn), its pace (core/pace), overload and buckets
(cores.py).  The people are the scenario's (plan.py).  The model is the rest:

* Steps of 100 ms.  Requests of a step are served in the order of their instants, each by a worker drawn by lot; the room
  is asked once a step, as each worker gathers what a moment brings.  A worker ticks each `tick_ms` and goes by its last sign.
* Downstream takes what the universal scalability law allows with as many sign-ups waiting as there are, and commits each second.
* A request that finds the worker's sockets full comes again after 1, 3 and 7 s, as TCP does, and is then given up.
* Three tabs are three times the looks; who sleeps or has left asks nothing; addresses are shared by a thousand phones.
* Redis away: joins get provisional tickets and their place when it is back, buckets are each worker's share, and nobody is let in
  once the booked have passed.  (The real door goes on at each worker's share of the rate: here less is given.)

Not simulated: sockets, TLS, JSON, packets lost, processes that die, more than one machine's clock.
"""

import heapq
import math
import random
from collections import Counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.core.overload import Rank
from gateway.core.pace import Counts, Meter, Orders, Pace, Reading, Reason, next_pace
from gateway.core.pace import Policy as PacePolicy
from gateway.core.place import Doorman, Hold, back_s, closed_s, hold, look, retry_after_s, share_of
from gateway.core.sign import Joined, Policy, Sign, Slot
from gateway.core.sign import Reason as Refusal
from gateway.core.turn import token_us_of
from gateway.core.waiting import Room
from loadtests.recording import NO_ANSWER, Call
from loadtests.scenario import Manners
from loadtests.simulate.calls import Calls
from loadtests.simulate.cores import ADDRESS_PHONES, KNOCKED_S, LOOKED_S, START_US, Answer, Core, How, Quotas, Request, Store, us_of
from loadtests.simulate.looks import look_all
from loadtests.simulate.plan import NEVER_S, Plan, State, outages_s
from loadtests.usl import Usl

STEP_S: Final = 0.1
STEPS_A_SECOND: Final = 10
JOINS_A_CALL: Final = 128
IMPATIENT_S: Final = 2.0
AT_ONCE_S: Final = 0.05  # who sends again whatever they are told: a round trip
AGAIN_S: Final = (1.0, 2.0, 4.0)  # a SYN without an answer
NEVER_STEP: Final = 2**31 - 1
LINE_FULL_S: Final = 30.0
REDIS_S: Final = 0.002  # a round trip, with what gathers before it
LOOKERS_RECORDED: Final = 20_000  # people whose looks are written down: a million's would fill the memory
STATUS: Final = {How.LIMITED: 429, How.OVERLOADED: 503, How.NOT_DURABLE: 503, How.UNKNOWN: 503, How.DROPPED: NO_ANSWER}
CALL: Final = {Rank.SYNC: Call.SYNCS, Rank.SIGNUP: Call.SIGNUPS, Rank.JOIN: Call.TICKETS}
REASONS: Final = list(Reason)

Ids = NDArray[np.int64]


class Worker:
    """The room as one process keeps it."""

    def __init__(self, sign: Sign, policy: Policy, workers: int) -> None:
        self.sign = sign
        self.doorman = Doorman(policy, workers)
        self.near: list[int] = []
        self.far: list[int] = []
        self.given: list[tuple[int, int]] = []
        self.knocks: list[int] = []  # people
        self.held: list[tuple[int, int, int]] = []  # a heap of (turn, place, person)
        self.signups = self.form_s = 0  # of late


class Below:
    """Downstream: sign-ups wait, and the more of them the slower."""

    def __init__(self, law: Usl | None) -> None:
        self._law = law
        self.produced = 0
        self.consumed = self.could = 0.0
        self.committed = 0

    def step(self) -> None:
        """A tenth of a second."""
        if self._law is None:
            self.consumed = self.produced
            return
        waiting = self.produced - self.consumed
        could = self._law.rate(max(waiting, 1.0)) * STEP_S
        self.could += could
        self.consumed += min(could, waiting)


class Seen:
    """What is judged."""

    def __init__(self, people: int) -> None:
        self.joined_s = np.full(people, np.nan)
        self.called_s = np.full(people, np.nan)  # told so, and there since
        self.released_s = np.full(people, np.nan)
        self.passed_s = np.full(people, np.nan)  # who slept hears of it later
        self.first_p50_s = np.full(people, np.nan)
        self.done_s = np.full(people, np.nan)
        self.knocked = np.zeros(people, np.int32)
        self.is_unknown = np.zeros(people, bool)  # of a payload: some answer did not say that nothing happened
        self.calls = Calls()
        self.looks_each = max(1, people // LOOKERS_RECORDED)  # of the people one in so many
        self.passes = self.passed_twice = self.places_twice = 0
        self.looks = self.knocks = 0
        self.counts: Counter[str] = Counter()
        self.samples: dict[str, list[float]] = {}


class Front:
    """All of it, step by step."""

    def __init__(self, plan: Plan) -> None:
        scenario, config = plan.scenario, plan.config
        self.plan, self.people, self.config = plan, plan.people, config
        self.manners: list[Manners] = [stream.manners for stream in scenario.streams]
        self.samples = [(stream.samples, stream.days_back) for stream in scenario.streams]
        self.draw = random.Random(scenario.seed)  # noqa: S311 - the same crowd every time
        self.lots = np.random.default_rng([scenario.seed, 99])
        self.kafka_out_s, self.redis_out_s = outages_s(scenario.faults, "kafka"), outages_s(scenario.faults, "redis")
        count, workers = len(self.people.meant_s), scenario.gateway.workers
        self.state = self.people.state.copy()
        self.next_s = self.people.meant_s.copy()
        self.next_step = (self.next_s / STEP_S).astype(np.int32) + 1
        self.due_s = self.people.meant_s.copy()  # of the request in hand, its retries aside
        self.sleep_s = self.people.sleep_s.copy()
        self.tries = np.zeros(count, np.int16)
        self.drops = np.zeros(count, np.int8)
        self.place = np.full(count, -1, np.int64)
        self.share = np.zeros(count)
        self.addresses = max(1, -(-count // ADDRESS_PHONES))
        self.person_at = list[int]()  # by place
        self.seen = Seen(count)
        self._open_room(workers)
        self.store = Store(scenario.gateway.records_per_s, self.kafka_out_s, self.draw)
        self.quotas = Quotas(config.limits, has_room=scenario.has_room)
        self.cores = [Core(number, workers, config, self.quotas, self.store, self.draw) for number in range(workers)]
        below = scenario.downstream
        self.below = Below(Usl.with_knee(below.per_s, below.knee, below.contention) if below else None)
        self.step = 0
        self.provisional = list[int]()  # people who joined while Redis was away
        self.joining_s: dict[int, float] = {}  # when overload and buckets had let them pass
        self.shed_signups = 0  # of this second
        self.busy_before_s = [0.0] * workers
        self.below_before = 0.0, 0.0
        self.counts_before: Counter[str] = Counter()
        self.lags_s = [0.0] * workers

    def _open_room(self, workers: int) -> None:
        room = self.config.room
        self.policy = Policy(line_max=room.line_max, poll_budget_per_s=room.poll_budget_per_s, token_us_min=token_us_of(room.ceiling_per_s))
        self.room = Room.opened(self.policy, token_us_of(room.floor_per_s), START_US)
        self.orders = Orders(room.floor_per_s, room.ceiling_per_s)
        self.pace_policy = PacePolicy(lag_target=room.lag_target)
        self.meter = Meter(takes_per_s=room.takes_per_s)
        self.reading: Reading | None = None
        self.tick_us = room.tick_ms * 1000
        first = self.room.tick(START_US)
        self.workers = [Worker(first, self.policy, workers) for _ in range(workers)]
        self.ticks_us = [START_US + self.tick_us * number // workers for number in range(workers)]

    @property
    def now_s(self) -> float:
        """The end of this step: what came within it is served."""
        return self.step * STEP_S

    @property
    def is_room_away(self) -> bool:
        """Redis does not answer."""
        return any(from_s <= self.now_s < to_s for from_s, to_s in self.redis_out_s)

    def run(self, tell: bool = False) -> Seen:
        """Until all is done, or the drain's time is over."""
        end = math.ceil((self.plan.scenario.seconds + self.plan.scenario.drain_s) * STEPS_A_SECOND)
        while self.step < end:
            self.step += 1
            self._step()
            if self.step % STEPS_A_SECOND == 0:
                self._second()
                if self._is_over():
                    break
                if tell and self.step % (30 * STEPS_A_SECOND) == 0:
                    print(self._progress(), flush=True)
        return self.seen

    def _progress(self) -> str:
        seen = self.seen
        line = f"{seen.samples['depth'][-1]:11,.0f} in line {seen.passes:11,} through" if self.plan.scenario.has_room else ""
        return f"  {self.now_s:6,.0f} s {line} {seen.counts['accepted']:11,} events accepted"

    def _is_over(self) -> bool:
        """Nobody has anything left to do."""
        return (
            bool((self.next_step == NEVER_STEP).all())
            and not self.provisional
            and not any(worker.held for worker in self.workers)
            and self.below.consumed >= self.below.produced
        )

    # A step

    def _step(self) -> None:
        now_us = us_of(self.now_s)
        ids = np.flatnonzero(self.next_step == self.step)
        ids = self._present(ids)
        state = self.state[ids]
        workers = self.lots.integers(len(self.workers), size=len(ids))
        is_line = state == State.LINE
        cheap_s = self._look(ids[is_line], workers[is_line], now_us)
        for core, spent_s in zip(self.cores, cheap_s, strict=True):
            core.is_limits_store_away = self.is_room_away
            core.begin(self.now_s - STEP_S, STEP_S, spent_s)
        joins = self._ask(ids[~is_line], workers[~is_line])
        self.lags_s = [core.end(self.now_s) for core in self.cores]
        if self.is_room_away:
            self._promise(joins)
        else:
            # Who has a provisional ticket is booked first, by the instant of joining.
            joins, self.provisional = self.provisional + joins, []
            for first in range(0, len(joins), JOINS_A_CALL):
                self._join(joins[first : first + JOINS_A_CALL], now_us)
        for number, worker in enumerate(self.workers):
            self._work(number, worker, now_us)
        self.below.step()

    def _present(self, ids: Ids) -> Ids:
        """Who has left, and who sleeps: they ask nothing."""
        people, at_s = self.people, self.next_s[ids]
        has_left = people.leave_s[ids] <= at_s
        sleeps = ~has_left & (self.sleep_s[ids] <= at_s) & (at_s < people.wake_s[ids])
        gone, asleep = ids[has_left], ids[sleeps]
        self.state[gone] = State.LEFT
        self.next_step[gone] = NEVER_STEP
        self._at(asleep, people.wake_s[asleep])
        self.sleep_s[asleep] = NEVER_S
        waiting = asleep[np.isnan(self.seen.released_s[asleep])]
        self.seen.called_s[waiting] = np.nan
        return ids[~(has_left | sleeps)]

    def _at(self, ids: Ids, at_s: NDArray[np.float64]) -> None:
        self.next_s[ids] = self.due_s[ids] = at_s
        self.next_step[ids] = np.maximum((at_s / STEP_S).astype(np.int32) + 1, self.step + 1)

    def _again(self, person: int, at_s: float) -> None:
        self.due_s[person] = at_s
        self._again_of_itself(person, at_s)

    def _again_of_itself(self, person: int, at_s: float) -> None:
        """The kernel sends it again: it is still the same request."""
        self.next_s[person] = at_s
        self.next_step[person] = max(int(at_s / STEP_S) + 1, self.step + 1)

    def _ends(self, person: int, state: State) -> None:
        self.state[person] = state
        self.next_step[person] = NEVER_STEP

    # In line

    def _look(self, ids: Ids, workers: Ids, now_us: int) -> list[float]:
        """Who waits asks, who is called knocks; returns what that takes of each worker's core."""
        spent_s = []
        for number, worker in enumerate(self.workers):
            mine = ids[workers == number]
            if not len(mine):
                spent_s.append(0.0)
                continue
            places = self.place[mine]
            told = look_all(self.policy, worker.sign, places, now_us, self.share[mine])
            waits = mine[~told.is_called]
            worker.near.extend(self.place[waits].tolist())
            self.seen.called_s[waits] = np.nan
            self._note_looks(waits, max(self.cores[number].free_s - self.now_s + STEP_S, 0.0) + LOOKED_S)
            after_s = told.poll_after_s[~told.is_called]
            after_s = np.where(self.people.impatient[waits], np.minimum(after_s, IMPATIENT_S), after_s)
            self._at(waits, self.next_s[waits] + after_s)
            looks = len(waits) + 2 * int(self.people.tabs[waits].sum())
            knocks = mine[told.is_called].tolist()
            self.seen.looks += looks
            for person in knocks:
                self._knock(person, worker, now_us)
            spent_s.append(looks * LOOKED_S + len(knocks) * KNOCKED_S)
        return spent_s

    def _note_looks(self, ids: Ids, took_s: float) -> None:
        each = self.seen.looks_each
        noted = ids if each == 1 else ids[ids % each == 0]
        self.seen.calls.looked(self.people.stream[noted], noted, self.due_s[noted], took_s)

    def _told(self, person: int, call: Call, status: int, done_s: float) -> None:
        """Write down a call, from the instant it was due."""
        due_s, tries = float(self.due_s[person]), int(self.tries[person]) + 1
        self.seen.calls.add(
            int(self.people.stream[person]), call, status, min(tries, 255), person, due_s, done_s, is_arrival=due_s == self.people.meant_s[person]
        )

    def _knock(self, person: int, worker: Worker, now_us: int) -> None:
        place, share = int(self.place[person]), float(self.share[person])
        self.seen.knocked[person] += 1
        if math.isnan(self.seen.called_s[person]):
            self.seen.called_s[person] = self.now_s
        if self.is_room_away:
            self.seen.called_s[person] = math.nan
            self._again(person, self.now_s + 1.0 + share)
            return
        refusal_s = worker.doorman.refusal_s(worker.sign, place, now_us, share)
        if refusal_s:
            worker.near.append(place)
            self._told(person, Call.PASSES, 429, self.now_s)
            self._again(person, self.now_s + self._patience_s(person, refusal_s))
        else:
            worker.knocks.append(person)
            self.next_step[person] = NEVER_STEP

    # What overload and buckets stand before

    def _ask(self, ids: Ids, workers: Ids) -> list[int]:
        """Joins, sign-ups and syncs of this step, in the order of their instants; returns who may join."""
        order = np.argsort(self.next_s[ids], kind="stable")
        joins = []
        ids, workers = ids[order], workers[order]
        asked = zip(ids.tolist(), workers.tolist(), self.state[ids].tolist(), self.next_s[ids].tolist(), strict=True)
        for person, number, state, at_s in asked:
            request = self._request(person, state)
            answer = self.cores[number].ask(request, at_s)
            if answer.how is How.ACCEPTED and state == State.JOIN:
                joins.append(person)
                self.joining_s[person] = answer.at_s
            elif answer.how is How.DROPPED:
                self._dropped(person, at_s, request.rank)
            else:
                self._ended(person, request.rank, answer, self.workers[number])
        return joins

    def _request(self, person: int, state: int) -> Request:
        share, address = float(self.people.share[person]), person % self.addresses
        if state == State.JOIN:
            return Request(Rank.JOIN, address, person, share)
        if state == State.FORM:
            return Request(Rank.SIGNUP, address, person, share)
        if state == State.STRANGER:
            return Request(Rank.SIGNUP, address, person, share, is_forged=True)
        samples, days_back = self.samples[int(self.people.stream[person])]
        member = int(self.people.member[person])
        return Request(Rank.SYNC, member % self.addresses, member, share, samples, days_back, state == State.FORGER)

    def _dropped(self, person: int, at_s: float, rank: Rank) -> None:
        """The kernel tries again by itself; then it is as a refusal without a word."""
        drops = int(self.drops[person])
        if drops < len(AGAIN_S):
            self.drops[person] = drops + 1
            self._again_of_itself(person, at_s + AGAIN_S[drops])
            return
        self.drops[person] = 0
        self._ended(person, rank, Answer(How.DROPPED, at_s, 1.0))

    def _ended(self, person: int, rank: Rank, answer: Answer, worker: Worker | None = None) -> None:
        """A request has its answer, or never will."""
        if answer.how is How.ACCEPTED:
            self._accepted(person, rank, answer, worker)
            return
        counts = self.seen.counts
        counts["refused"] += 1
        counts[f"{rank.name.lower()} {answer.how.value}{' by ' if answer.violated else ''}{answer.violated}"] += 1
        if answer.how is How.FORBIDDEN:
            self._told(person, CALL[rank], 403 if rank is Rank.SIGNUP else 401, answer.at_s)
            self._ends(person, State.REFUSED)
            return
        is_shed = answer.how is How.OVERLOADED and not answer.violated  # a limit that is ours is no overload
        counts["shed"] += is_shed
        self.shed_signups += rank is Rank.SIGNUP and is_shed
        self.seen.is_unknown[person] |= answer.how in (How.UNKNOWN, How.DROPPED)
        self._told(person, CALL[rank], STATUS[answer.how], answer.at_s)
        self._comes_again(person, rank, answer)

    def _comes_again(self, person: int, rank: Rank, answer: Answer) -> None:
        manners, tries = self.manners[self.people.stream[person]], int(self.tries[person]) + 1
        if rank is not Rank.JOIN and tries >= (manners.blind_tries if self.people.blind[person] else manners.tries):
            self.seen.counts["gave up"] += 1
            self._ends(person, State.REFUSED)
            return
        self.tries[person] = tries
        self._again(person, answer.at_s + self._patience_s(person, max(answer.retry_after_s, 1.0)))

    def _patience_s(self, person: int, told_s: float) -> float:
        """How long they wait who were told to wait so long; as users.py's `patient`."""
        if self.people.blind[person]:
            return AT_ONCE_S
        return min(told_s, IMPATIENT_S) if self.people.impatient[person] else told_s

    def _accepted(self, person: int, rank: Rank, answer: Answer, worker: Worker | None) -> None:
        seen = self.seen
        seen.done_s[person] = answer.at_s
        seen.counts["accepted"] += 1 if rank is Rank.SIGNUP else self.samples[int(self.people.stream[person])][0]
        self._told(person, CALL[rank], 202, answer.at_s)
        self._ends(person, State.DONE)
        if rank is Rank.SIGNUP:
            self.below.produced += 1
            if worker is not None and not math.isnan(seen.released_s[person]):
                worker.signups += 1
                worker.form_s += int(answer.at_s - seen.released_s[person])

    # The room

    def _promise(self, joins: list[int]) -> None:
        """Provisional tickets: nothing is known of a place yet."""
        for person in joins:
            self.seen.joined_s[person] = self.now_s
            self._told(person, Call.TICKETS, 201, self.joining_s.pop(person))
            self.next_step[person] = NEVER_STEP
        self.provisional += joins

    def _join(self, joins: list[int], now_us: int) -> None:
        worker = self.draw.choice(self.workers)
        owed = sum(person not in self.joining_s for person in joins)
        answers = self.room.join([person.to_bytes(8, "big") for person in joins], now_us, owed)
        for person, answer in zip(joins, answers, strict=True):
            if not isinstance(answer, Joined):
                self._told(person, Call.TICKETS, 503, self.joining_s.pop(person, self.now_s) + REDIS_S)
                is_closed = answer.reason is Refusal.CLOSED
                self._again(person, self.now_s + (self._patience_s(person, closed_s(self.draw.random())) if is_closed else LINE_FULL_S))
                continue
            self.seen.places_twice += answer.is_new and answer.place != len(self.person_at)
            self.person_at.append(person)
            self._joined(person, answer, worker, now_us)

    def _joined(self, person: int, answer: Joined, worker: Worker, now_us: int) -> None:
        seen, share = self.seen, share_of(answer.place)
        self.place[person], self.share[person], self.state[person] = answer.place, share, State.LINE
        is_promised = person not in self.joining_s
        if not is_promised:
            seen.joined_s[person] = self.now_s
            self._told(person, Call.TICKETS, 201, self.joining_s.pop(person) + REDIS_S)
        self.tries[person] = self.drops[person] = 0
        if answer.slot:
            seen.called_s[person] = self.now_s
            self._booked(person, answer.slot, worker)
            return
        told = look(self.policy, worker.sign, answer.place, now_us, share)
        seen.first_p50_s[person] = math.nan if is_promised else told.p50_s
        self._again(person, self.now_s + (told.poll_after_s or 1.0))

    def _work(self, number: int, worker: Worker, now_us: int) -> None:
        if not self.is_room_away:
            if worker.knocks:
                self._doors(worker, now_us)
            if now_us >= self.ticks_us[number]:
                self.ticks_us[number] = max(self.ticks_us[number] + self.tick_us, now_us - self.tick_us)
                before = worker.sign.clock
                worker.sign = self.room.tick(now_us, worker.near, worker.far, worker.given, worker.signups, worker.form_s)
                worker.near, worker.far, worker.given, worker.signups, worker.form_s = [], [], [], 0, 0
                worker.doorman.ticked()
                if worker.sign.clock != before:
                    self._end_long(worker, now_us)
        if worker.held:
            self._release(worker, now_us)

    def _doors(self, worker: Worker, now_us: int) -> None:
        asked, worker.knocks = worker.knocks, []
        self.seen.knocks += len(asked)
        places = [int(self.place[person]) for person in asked]
        for person, place, answer in zip(asked, places, self.room.door(places, now_us), strict=True):
            if isinstance(answer, Slot):
                self._booked(person, answer, worker)
                continue
            after_s = retry_after_s(self.policy, worker.sign, place, answer.free_in_us, share_of(place))
            worker.doorman.refused(place, after_s, now_us)
            self._told(person, Call.PASSES, 429, self.now_s)
            self._again(person, self.now_s + self._patience_s(person, after_s))

    def _booked(self, person: int, slot: Slot, worker: Worker) -> None:
        self._ends(person, State.HELD)
        if slot.turn:
            heapq.heappush(worker.held, (slot.turn, int(self.place[person]), person))
        else:
            self.seen.passed_twice += math.isnan(self.seen.released_s[person])  # a repeat of a pass that nobody was given

    def _release(self, worker: Worker, now_us: int) -> None:
        """All that is due before the next step, each at its own instant."""
        until_us, clock = now_us + round(STEP_S * 1_000_000), worker.sign.clock
        while worker.held and not clock.is_paused:
            turn, place, person = worker.held[0]
            due_us = max(clock.due_us(turn), now_us)
            if due_us >= until_us:
                break
            heapq.heappop(worker.held)
            if hold(self.policy, clock, turn, due_us) is Hold.LATE:
                worker.knocks.append(person)
                continue
            worker.given.append((place, turn))
            self._released(person, (due_us - START_US) / 1_000_000)

    def _released(self, person: int, at_s: float) -> None:
        """The pass.  Who is asleep finds it on waking; who has left never does."""
        seen, people = self.seen, self.people
        if not math.isnan(seen.released_s[person]):
            seen.passed_twice += 1
            return
        seen.released_s[person] = at_s
        seen.passes += 1
        begins_s = float(people.wake_s[person]) if self.sleep_s[person] <= at_s < people.wake_s[person] else at_s
        self.state[person] = State.FORM
        if people.leave_s[person] > begins_s:
            seen.passed_s[person] = begins_s
            self._told(person, Call.PASSES, 201, begins_s)
        self._again(person, begins_s + float(people.form_s[person]))

    def _end_long(self, worker: Worker, now_us: int) -> None:
        """The rate changed: who would be held for too long is told to come again, and keeps the turn."""
        clock, kept = worker.sign.clock, []
        for turn, place, person in worker.held:
            if hold(self.policy, clock, turn, now_us) is Hold.END:
                self.state[person] = State.LINE
                self._again(person, self.now_s + back_s(clock, turn, now_us, share_of(place)))
            else:
                kept.append((turn, place, person))
        heapq.heapify(kept)
        worker.held = kept

    # A second

    def _second(self) -> None:
        self._note()
        below, now_us = self.below, us_of(self.now_s)
        below.committed = int(below.consumed)
        if self.plan.scenario.has_room and not self.is_room_away:
            self._set_pace(now_us)
        self.shed_signups = 0
        for core in self.cores:
            core.second()

    def _set_pace(self, now_us: int) -> None:
        below, sign = self.below, self.room.tick(now_us)
        is_away = self.store.is_away(self.now_s)
        if self.plan.scenario.downstream is not None and not is_away:
            counts = Counts(now_us, below.produced, below.committed, sign.passes, sign.signups, sign.form_s)
            self.reading = self.meter.saw(counts) or self.reading
        stalled = is_away and any(core.is_stalled(self.now_s) for core in self.cores)
        pace: Pace = next_pace(self.pace_policy, self.orders, sign.pace, now_us, self.reading, acks_stopped=stalled, sheds=self.shed_signups > 0)
        if pace != sign.pace and self.room.set_pace(pace, sign.pace.changed_us, now_us):
            self.seen.counts["changes of the rate"] += 1

    def _note(self) -> None:
        """One sample of each of observed.SAMPLED that has a meaning here."""
        sign, seen, below, has_room = self.workers[0].sign, self.seen, self.below, self.plan.scenario.has_room
        busy_s = [core.busy_s - before for core, before in zip(self.cores, self.busy_before_s, strict=True)]
        self.busy_before_s = [core.busy_s for core in self.cores]
        acks_s = [wait_s for core in self.cores for wait_s in core.acks_s]
        counts = seen.counts - self.counts_before
        self.counts_before = seen.counts.copy()
        row = {
            "at_s": self.now_s,
            "depth": float(sign.waiting) if has_room else math.nan,
            "lobby": float(sign.called) if has_room else math.nan,
            "door_per_s": self.room.clock.rate_per_s if has_room else math.nan,
            "door_reason": float(REASONS.index(self.room.pace.reason)) if has_room else math.nan,
            "consumer_lag": float(below.produced - below.committed) if self.plan.scenario.downstream else math.nan,
            "accepted_per_s": float(counts["accepted"]),
            "refused_per_s": float(counts["refused"]),
            "shed_per_s": float(counts["shed"]),
            "ack_p99_ms": float(np.percentile(acks_s, 99)) * 1000 if acks_s else math.nan,
            "loop_lag_ms": max(self.lags_s) * 1000,
            "in_flight": float(sum(core.in_flight for core in self.cores)),
            "unacked_age_s": max(core.unacked_age_s(self.now_s) for core in self.cores),
            "workers": float(len(self.cores)),
            "gateway_cpu": sum(busy_s),
            "worker_cpu": max(busy_s),
            "downstream_per_s": below.consumed - self.below_before[0],
            "downstream_could": below.could - self.below_before[1] if self.plan.scenario.downstream else math.nan,
        }
        self.below_before = below.consumed, below.could
        for name, value in row.items():
            seen.samples.setdefault(name, []).append(value)


def play(plan: Plan, *, tell: bool = False) -> Front:
    """From the first arrival to the end."""
    front = Front(plan)
    front.run(tell)
    return front
