"""The waiting room of the front: joins, looks, knocks and passes, over the gateway's own rules of the line.

    join ─▶ a place ─▶ look ─▶ … ─▶ called: knock ─▶ held until the turn ─▶ the pass, and the form
              │                        └ refused: come again
              └ Redis is away: a provisional ticket, and the place when it is back

Decided here: what each who comes is told, and when they come again.  The line (core/waiting) is asked once a step by each
worker, as a worker gathers what a moment brings; a worker (worker.py) ticks each `tick_ms`, and goes by its last sign.  While
Redis is away the line is neither asked nor told anything: nobody knocks, and nobody is let in once the booked have passed.
"""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from gateway.core.place import look, share_of
from gateway.core.sign import Joined, Policy, Slot
from gateway.core.turn import token_us_of
from gateway.core.waiting import Room
from loadtests.recording import Call
from loadtests.simulate.cores import KNOCKED_S, LOOKED_S, START_US
from loadtests.simulate.crowd import IMPATIENT_S, STEP_S, Crowd, Ids
from loadtests.simulate.looks import look_all
from loadtests.simulate.plan import Plan, State, outages_s
from loadtests.simulate.worker import Worker

JOINS_A_CALL: Final = 128
LINE_FULL_S: Final = 30.0
REDIS_S: Final = 0.002  # a round trip, with what gathers before it


class WaitingRoom:
    """The line, each worker's side of it, and who has which place."""

    def __init__(self, plan: Plan, crowd: Crowd, draw: random.Random) -> None:
        room, workers, people = plan.config.room, plan.scenario.gateway.workers, len(plan.people.meant_s)
        self._crowd, self._people, self._seen, self._draw = crowd, plan.people, crowd.seen, draw
        self._policy = Policy(line_max=room.line_max, poll_budget_per_s=room.poll_budget_per_s, token_us_min=token_us_of(room.ceiling_per_s))
        self.line = Room.opened(self._policy, token_us_of(room.floor_per_s), START_US)
        self.redis_out_s = outages_s(plan.scenario.faults, "redis")
        self._tick_us = room.tick_ms * 1000
        first = self.line.tick(START_US)
        self.workers = [Worker[int](first, self._policy, workers) for _ in range(workers)]
        self._ticks_us = [START_US + self._tick_us * number // workers for number in range(workers)]
        self.place = np.full(people, -1, np.int64)  # by person
        self._share = np.zeros(people)
        self.person_at = list[int]()  # by place
        self._promised = list[int]()  # who joined while Redis was away

    @property
    def is_away(self) -> bool:
        """Redis does not answer."""
        return any(from_s <= self._crowd.now_s < to_s for from_s, to_s in self.redis_out_s)

    @property
    def is_over(self) -> bool:
        """Nobody waits for anything that they have been promised."""
        return not self._promised and not any(worker.held for worker in self.workers)

    # In line

    def look(self, ids: Ids, workers: Ids, waits_s: Sequence[float], now_us: int) -> list[float]:
        """Who waits asks, who is called knocks; returns what that takes of each worker's core.

        Args:
            workers: of each of them, the one they come to.
            waits_s: for each worker's core.
        """
        spent_s = []
        for number, worker in enumerate(self.workers):
            mine = ids[workers == number]
            if not len(mine):
                spent_s.append(0.0)
                continue
            told = look_all(self._policy, worker.sign, self.place[mine], now_us, self._share[mine])
            waits = mine[~told.is_called]
            worker.near.extend(self.place[waits].tolist())
            self._seen.called_s[waits] = np.nan
            self._crowd.told_places(waits, waits_s[number] + LOOKED_S)
            after_s = told.poll_after_s[~told.is_called]
            after_s = np.where(self._people.impatient[waits], np.minimum(after_s, IMPATIENT_S), after_s)
            self._crowd.come_at(waits, self._crowd.next_s[waits] + after_s)
            looks = len(waits) + 2 * int(self._people.tabs[waits].sum())
            knocks = mine[told.is_called].tolist()
            self._seen.looks += looks
            for person in knocks:
                self._knocks(person, worker, now_us)
            spent_s.append(looks * LOOKED_S + len(knocks) * KNOCKED_S)
        return spent_s

    def _knocks(self, person: int, worker: Worker[int], now_us: int) -> None:
        crowd, place, share = self._crowd, int(self.place[person]), float(self._share[person])
        self._seen.knocked[person] += 1
        if math.isnan(self._seen.called_s[person]):
            self._seen.called_s[person] = crowd.now_s
        if self.is_away:
            self._seen.called_s[person] = math.nan
            crowd.come_again(person, crowd.now_s + 1.0 + share)
            return
        refusal_s = worker.doorman.refusal_s(worker.sign, place, now_us, share)
        if refusal_s:
            worker.near.append(place)
            self._refused(person, refusal_s)
        else:
            worker.knocks.append((place, person))
            crowd.wait(person)

    def _refused(self, person: int, after_s: float) -> None:
        crowd = self._crowd
        crowd.told(person, Call.PASSES, 429, crowd.now_s)
        crowd.come_again(person, crowd.now_s + crowd.patience_s(person, after_s))

    # Joining

    def join(self, passed_s: Mapping[int, float], now_us: int) -> None:
        """Args: passed_s: who joins, and when overload and buckets had let them pass."""
        if self.is_away:
            self._promise(passed_s)
            return
        # Who has a provisional ticket is booked first, by the instant of joining.
        joins, self._promised = [*self._promised, *passed_s], []
        for first in range(0, len(joins), JOINS_A_CALL):
            self._join(joins[first : first + JOINS_A_CALL], passed_s, now_us)

    def _promise(self, passed_s: Mapping[int, float]) -> None:
        """Provisional tickets: nothing is known of a place yet."""
        for person, at_s in passed_s.items():
            self._seen.joined_s[person] = self._crowd.now_s
            self._crowd.told(person, Call.TICKETS, 201, at_s)
            self._crowd.wait(person)
        self._promised += passed_s

    def _join(self, joins: Sequence[int], passed_s: Mapping[int, float], now_us: int) -> None:
        crowd, worker = self._crowd, self._draw.choice(self.workers)
        answers = self.line.join([person.to_bytes(8, "big") for person in joins], now_us)
        for person, answer in zip(joins, answers, strict=True):
            if not isinstance(answer, Joined):
                crowd.told(person, Call.TICKETS, 503, passed_s.get(person, crowd.now_s) + REDIS_S)
                crowd.come_again(person, crowd.now_s + LINE_FULL_S)
                continue
            self._seen.places_twice += answer.is_new and answer.place != len(self.person_at)
            self.person_at.append(person)
            self._joined(person, answer, worker, passed_s.get(person), now_us)

    def _joined(self, person: int, answer: Joined, worker: Worker[int], passed_s: float | None, now_us: int) -> None:
        """Args: passed_s: None: they were told so when they were promised a place."""
        crowd, seen, share = self._crowd, self._seen, share_of(answer.place)
        self.place[person], self._share[person], crowd.state[person] = answer.place, share, State.LINE
        if passed_s is not None:
            seen.joined_s[person] = crowd.now_s
            crowd.told(person, Call.TICKETS, 201, passed_s + REDIS_S)
        crowd.tries[person] = crowd.drops[person] = 0
        if answer.slot:
            seen.called_s[person] = crowd.now_s
            self._booked(person, answer.slot, worker)
            return
        told = look(self._policy, worker.sign, answer.place, now_us, share)
        seen.first_p50_s[person] = math.nan if passed_s is None else told.p50_s
        crowd.come_again(person, crowd.now_s + (told.poll_after_s or 1.0))

    # The door

    def work(self, now_us: int) -> None:
        """Each worker asks for those who knocked, ticks when it is time, and releases whose turn it is."""
        for number, worker in enumerate(self.workers):
            if not self.is_away:
                self._ask(number, worker, now_us)
            for person, due_us in worker.release(now_us, now_us + round(STEP_S * 1_000_000)):
                self._released(person, (due_us - START_US) / 1_000_000)

    def _ask(self, number: int, worker: Worker[int], now_us: int) -> None:
        if worker.knocks:
            self._doors(worker, now_us)
        if now_us < self._ticks_us[number]:
            return
        self._ticks_us[number] = max(self._ticks_us[number] + self._tick_us, now_us - self._tick_us)
        if worker.tick(self.line, now_us):
            for person, after_s in worker.send_back(now_us):
                self._crowd.state[person] = State.LINE
                self._crowd.come_again(person, self._crowd.now_s + after_s)

    def _doors(self, worker: Worker[int], now_us: int) -> None:
        self._seen.knocks += len(worker.knocks)
        for person, answer in worker.knock(self.line, now_us):
            if isinstance(answer, Slot):
                self._booked(person, answer, worker)
            else:
                self._refused(person, answer)

    def _booked(self, person: int, slot: Slot, worker: Worker[int]) -> None:
        self._crowd.become(person, State.HELD)
        if slot.turn:
            worker.hold(slot.turn, int(self.place[person]), person)
        else:
            self._seen.passed_twice += math.isnan(self._seen.released_s[person])  # a repeat of a pass that nobody was given

    def _released(self, person: int, at_s: float) -> None:
        """The pass.  Who is asleep finds it on waking; who has left never does."""
        crowd, seen, people = self._crowd, self._seen, self._people
        if not math.isnan(seen.released_s[person]):
            seen.passed_twice += 1
            return
        seen.released_s[person] = at_s
        seen.passes += 1
        begins_s = float(people.wake_s[person]) if crowd.sleep_s[person] <= at_s < people.wake_s[person] else at_s
        crowd.state[person] = State.FORM
        if people.leave_s[person] > begins_s:
            seen.passed_s[person] = begins_s
            crowd.told(person, Call.PASSES, 201, begins_s)
        crowd.come_again(person, begins_s + float(people.form_s[person]))
