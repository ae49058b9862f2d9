"""The whole front in virtual time: a scenario's people before the gateway's own rules, a million of them in minutes.

    python -m loadtests.simulate --scenario dec18 --people 1000000

    crowd.py   who comes when, and waits how long      room.py      the line: join, look, knock, the pass
    cores.py   overload, buckets, Kafka                seconds.py   downstream, the door's pace, samples
    worker.py  a process before the line               seen.py      what is judged

Here: a step, in its order, and what becomes of joins, syncs and sign-ups at overload and buckets.  The rules are the
gateway's: the line (core/waiting, place, turn), its pace (core/pace), overload and buckets (cores.py).  The people are the
scenario's (plan.py).  The model is the rest:

* Steps of 100 ms.  Requests of a step are served in the order of their instants, each by a worker drawn by lot; the room
  is asked once a step, as each worker gathers what a moment brings.  A worker ticks each `tick_ms` and goes by its last sign.
* Downstream takes what the universal scalability law allows with as many sign-ups waiting as there are, and commits each second.
* A request that finds the worker's sockets full comes again after 1, 3 and 7 s, as TCP does, and is then given up.
* Three tabs are three times the looks; who sleeps or has left asks nothing; addresses are shared by a thousand phones.
* Redis away: joins get provisional tickets and their place when it is back, buckets are each worker's share, and nobody is let in
  once the booked have passed.  (The real door goes on at each worker's share of the rate: here less is given.)

Not simulated: sockets, TLS, JSON, packets lost, processes that die, more than one machine's clock.
"""

import math
import random
from typing import Final

import numpy as np

from gateway.core.overload import Rank
from loadtests.recording import NO_ANSWER, Call
from loadtests.scenario import Manners
from loadtests.simulate.cores import ADDRESS_PHONES, Answer, Core, How, Quotas, Request, Store, us_of
from loadtests.simulate.crowd import STEP_S, Crowd, Ids
from loadtests.simulate.plan import Plan, State, outages_s
from loadtests.simulate.room import WaitingRoom
from loadtests.simulate.seconds import Below, Seconds
from loadtests.simulate.seen import Seen
from loadtests.simulate.worker import Worker
from loadtests.usl import Usl

STEPS_A_SECOND: Final = 10
AGAIN_S: Final = (1.0, 2.0, 4.0)  # a SYN without an answer
STATUS: Final = {How.LIMITED: 429, How.OVERLOADED: 503, How.NOT_DURABLE: 503, How.UNKNOWN: 503, How.DROPPED: NO_ANSWER}
CALL: Final = {Rank.SYNC: Call.SYNCS, Rank.SIGNUP: Call.SIGNUPS, Rank.JOIN: Call.TICKETS}


class Front:
    """All of it, step by step."""

    def __init__(self, plan: Plan) -> None:
        scenario, config, workers = plan.scenario, plan.config, plan.scenario.gateway.workers
        self.plan, self.people = plan, plan.people
        self.samples = [(stream.samples, stream.days_back) for stream in scenario.streams]
        self._manners: list[Manners] = [stream.manners for stream in scenario.streams]
        self._lots = np.random.default_rng([scenario.seed, 99])
        self._addresses = max(1, -(-len(self.people.meant_s) // ADDRESS_PHONES))
        draw = random.Random(scenario.seed)  # noqa: S311 - the same crowd every time
        self.seen = Seen(len(self.people.meant_s))
        self.crowd = Crowd(self.people, self.seen)
        self.room = WaitingRoom(plan, self.crowd, draw)
        store = Store(scenario.gateway.records_per_s, outages_s(scenario.faults, "kafka"), draw)
        self.quotas = Quotas(config.limits, has_room=scenario.has_room)
        self._cores = [Core(number, workers, config, self.quotas, store, draw) for number in range(workers)]
        below = scenario.downstream
        self.below = Below(Usl.with_knee(below.per_s, below.knee, below.contention) if below else None)
        self._seconds = Seconds(plan, self.room, self._cores, store, self.below, self.seen)
        self._is_shedding = False  # sign-ups, in this second
        self._lags_s = [0.0] * workers

    @property
    def now_s(self) -> float:
        """The end of this step."""
        return self.crowd.now_s

    def run(self, tell: bool = False) -> Seen:
        """Until all is done, or the drain's time is over."""
        end = math.ceil((self.plan.scenario.seconds + self.plan.scenario.drain_s) * STEPS_A_SECOND)
        while self.crowd.step < end:
            self.crowd.step += 1
            self._step()
            if self.crowd.step % STEPS_A_SECOND == 0:
                self._second()
                if self._is_over():
                    break
                if tell and self.crowd.step % (30 * STEPS_A_SECOND) == 0:
                    print(self._progress(), flush=True)
        return self.seen

    def _progress(self) -> str:
        seen = self.seen
        line = f"{seen.samples['depth'][-1]:11,.0f} in line {seen.passes:11,} through" if self.plan.scenario.has_room else ""
        return f"  {self.now_s:6,.0f} s {line} {seen.counts['accepted']:11,} events accepted"

    def _is_over(self) -> bool:
        """Nobody has anything left to do."""
        return self.crowd.is_idle and self.room.is_over and self.below.consumed >= self.below.produced

    def _step(self) -> None:
        now_us, ids = us_of(self.now_s), self.crowd.asking()
        workers = self._lots.integers(len(self._cores), size=len(ids))
        is_line = self.crowd.state[ids] == State.LINE
        waits_s = [max(core.free_s - self.now_s + STEP_S, 0.0) for core in self._cores]
        cheap_s = self.room.look(ids[is_line], workers[is_line], waits_s, now_us)
        for core, spent_s in zip(self._cores, cheap_s, strict=True):
            core.is_limits_store_away = self.room.is_away
            core.begin(self.now_s - STEP_S, STEP_S, spent_s)
        joins = self._ask(ids[~is_line], workers[~is_line])
        self._lags_s = [core.end(self.now_s) for core in self._cores]
        self.room.join(joins, now_us)
        self.room.work(now_us)
        self.below.step()

    def _second(self) -> None:
        self._seconds.passed(self.now_s, self._lags_s, is_shedding=self._is_shedding)
        self._is_shedding = False
        for core in self._cores:
            core.second()

    # What overload and buckets stand before

    def _ask(self, ids: Ids, workers: Ids) -> dict[int, float]:
        """Joins, sign-ups and syncs of this step, in the order of their instants; returns who may join, and since when."""
        crowd = self.crowd
        order = np.argsort(crowd.next_s[ids], kind="stable")
        joins = dict[int, float]()
        ids, workers = ids[order], workers[order]
        asked = zip(ids.tolist(), workers.tolist(), crowd.state[ids].tolist(), crowd.next_s[ids].tolist(), strict=True)
        for person, number, state, at_s in asked:
            request = self._request(person, state)
            answer = self._cores[number].ask(request, at_s)
            if answer.how is How.ACCEPTED and state == State.JOIN:
                joins[person] = answer.at_s
            elif answer.how is How.DROPPED:
                self._dropped(person, at_s, request.rank)
            else:
                self._ended(person, request.rank, answer, self.room.workers[number])
        return joins

    def _request(self, person: int, state: int) -> Request:
        share, address = float(self.people.share[person]), person % self._addresses
        if state == State.JOIN:
            return Request(Rank.JOIN, address, person, share)
        if state == State.FORM:
            return Request(Rank.SIGNUP, address, person, share)
        if state == State.STRANGER:
            return Request(Rank.SIGNUP, address, person, share, is_forged=True)
        samples, days_back = self.samples[int(self.people.stream[person])]
        member = int(self.people.member[person])
        return Request(Rank.SYNC, member % self._addresses, member, share, samples, days_back, state == State.FORGER)

    def _dropped(self, person: int, at_s: float, rank: Rank) -> None:
        """The kernel tries again by itself; then it is as a refusal without a word."""
        drops = int(self.crowd.drops[person])
        if drops < len(AGAIN_S):
            self.crowd.drops[person] = drops + 1
            self.crowd.sent_again(person, at_s + AGAIN_S[drops])
            return
        self.crowd.drops[person] = 0
        self._ended(person, rank, Answer(How.DROPPED, at_s, 1.0))

    def _ended(self, person: int, rank: Rank, answer: Answer, worker: Worker[int] | None = None) -> None:
        """A request has its answer, or never will."""
        if answer.how is How.ACCEPTED:
            self._accepted(person, rank, answer, worker)
            return
        counts = self.seen.counts
        counts["refused"] += 1
        counts[f"{rank.name.lower()} {answer.how.value}{' by ' if answer.violated else ''}{answer.violated}"] += 1
        if answer.how is How.FORBIDDEN:
            self.crowd.told(person, CALL[rank], 403 if rank is Rank.SIGNUP else 401, answer.at_s)
            self.crowd.become(person, State.REFUSED)
            return
        is_shed = answer.how is How.OVERLOADED and not answer.violated  # a limit that is ours is no overload
        counts["shed"] += is_shed
        self._is_shedding |= rank is Rank.SIGNUP and is_shed
        self.seen.is_unknown[person] |= answer.how in (How.UNKNOWN, How.DROPPED)
        self.crowd.told(person, CALL[rank], STATUS[answer.how], answer.at_s)
        self._comes_again(person, rank, answer)

    def _comes_again(self, person: int, rank: Rank, answer: Answer) -> None:
        crowd = self.crowd
        manners, tries = self._manners[self.people.stream[person]], int(crowd.tries[person]) + 1
        if rank is not Rank.JOIN and tries >= (manners.blind_tries if self.people.blind[person] else manners.tries):
            self.seen.counts["gave up"] += 1
            crowd.become(person, State.REFUSED)
            return
        crowd.tries[person] = tries
        crowd.come_again(person, answer.at_s + crowd.patience_s(person, max(answer.retry_after_s, 1.0)))

    def _accepted(self, person: int, rank: Rank, answer: Answer, worker: Worker[int] | None) -> None:
        seen = self.seen
        seen.done_s[person] = answer.at_s
        seen.counts["accepted"] += 1 if rank is Rank.SIGNUP else self.samples[int(self.people.stream[person])][0]
        self.crowd.told(person, CALL[rank], 202, answer.at_s)
        self.crowd.become(person, State.DONE)
        if rank is Rank.SIGNUP:
            self.below.produced += 1
            if worker is not None and not math.isnan(seen.released_s[person]):
                worker.signups += 1
                worker.form_s += int(answer.at_s - seen.released_s[person])
