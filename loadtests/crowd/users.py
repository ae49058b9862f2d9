"""What each arrival does: joins and waits, signs up, sends steps, or tries without a pass or with a forged token.

    applicant   with a line: one Phone (examples/phone.py) a tab, and what its owner does besides obeying
                without: signs up at once
    sync, stranger, forger   one payload, sent again as their manners say

Each request is a CALL, each payload that was sent a FATE at its end; somebody who never came to sign up leaves none.
Draws come from (seed, arrival), so they are the same in whatever process.  After the rehearsal's end nobody asks anything
more; what is under way is waited for.  Instants are seconds of the rehearsal's clock, but in Walked: of the epoch.
"""

import math
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from benchmarks.people import NEVER, Walked, instant_s, note
from examples.phone import RETRY_S, Known, Phone
from loadtests.crowd.book import Book
from loadtests.crowd.payloads import Payloads
from loadtests.crowd.sender import Answer
from loadtests.crowd.told import Told
from loadtests.recording import Call
from loadtests.scenario import Manners, Scenario

IMPATIENT_S: Final = 2.0
TABS: Final = 3
BACKOFF_S_MAX: Final = 300.0  # docs/api.md: without a Retry-After 1 s, then twice as long each time, up to this
FORM_SIGMA: Final = 0.4
ERRORS_MAX: Final = 20  # told of the harness itself; the rest would say the same
_CALLS: Final = {"signups": Call.SIGNUPS, "tickets": Call.TICKETS, "place": Call.PLACE, "passes": Call.PASSES}

Manner = Literal["obeys", "impatient", "leaves", "sleeps", "tabs", "blind"]


class Arrival(NamedTuple):
    """Somebody who comes."""

    number: int
    stream: int
    ordinal: int  # within the stream
    meant_s: float


class Habits(NamedTuple):
    """What somebody does besides."""

    manner: Manner
    form_s: float
    leaves_after_s: float = NEVER  # since coming
    away_from_s: float = NEVER
    away_s: float = 0.0


class Sends(Protocol):
    """sender.Sender, or what a test puts in its stead."""

    def send(self, content: bytes) -> Answer:
        """One request and its answer."""


class Clock(Protocol):
    """The rehearsal's."""

    def now_s(self) -> float:
        """Since the first second of arrivals."""

    def rest_until(self, at_s: float) -> bool:
        """Wait; false: the rehearsal is over, go home."""

    def together(self, lives: Sequence[Callable[[], None]]) -> None:
        """Live them at once, to the last one's end."""


def habits(seed: int, arrival: int, manners: Manners) -> Habits:
    """Whatever a person is like, drawn from (seed, arrival)."""
    draw = random.Random(seed << 32 | arrival)  # noqa: S311 - the same for the same seed is what is wanted
    lot, within, sleep, form = draw.random(), draw.random(), draw.random(), draw.gauss(0.0, 1.0)
    form_s = manners.form_s * math.exp(FORM_SIGMA * form - FORM_SIGMA**2 / 2)
    at_s = within * manners.within_s
    drawn: tuple[tuple[float, Habits], ...] = (
        (manners.impatient, Habits("impatient", form_s)),
        (manners.leaves, Habits("leaves", form_s, leaves_after_s=at_s)),
        (manners.sleeps, Habits("sleeps", form_s, away_from_s=at_s, away_s=manners.sleep_s[0] + sleep * (manners.sleep_s[1] - manners.sleep_s[0]))),
        (manners.tabs, Habits("tabs", form_s)),
        (manners.blind, Habits("blind", form_s)),
    )
    for share, found in drawn:
        if lot < share:
            return found
        lot -= share
    return Habits("obeys", form_s)


def retry_after_s(answer: Answer, tries: int) -> float:
    """How long somebody who obeys waits."""
    try:
        return float(answer.headers["Retry-After"])
    except (KeyError, ValueError):
        return RETRY_S if answer.status in (429, 503) else min(2.0 ** (tries - 1), BACKOFF_S_MAX) * random.uniform(0.5, 1.0)  # noqa: S311


# All of them


class Crowd:
    """The people of one process, and what they share."""

    def __init__(self, scenario: Scenario, payloads: Payloads, sender: Sends, clock: Clock) -> None:
        self.scenario, self.payloads, self.sender, self.clock = scenario, payloads, sender, clock
        self.room = str(scenario.gateway.settings.get("room", {}).get("name", ""))
        self.book = Book()
        self.people: list[Walked] = []
        self.taken_up = self.present = self.waiting = 0
        self.answered = self.refused = 0
        self.errors: list[str] = []
        self.on_call: Callable[[Call, Answer, float], None] | None = None

    def arrive(self, arrival: Arrival) -> None:
        """One arrival, from coming to going home."""
        self.taken_up += 1
        self.present += 1
        try:
            _LIVES[self.scenario.streams[arrival.stream].kind](self, arrival)
        except Exception as error:  # noqa: BLE001 - one person's trouble must not end the crowd; it is told
            if len(self.errors) < ERRORS_MAX:
                self.errors.append(f"arrival {arrival.number}: {error!r}")
        finally:
            self.present -= 1

    def call(self, arrival: Arrival, call: Call, content: bytes, due_s: float, *, tries: int = 1, is_arrival: bool = False) -> Answer:
        """One request, written down."""
        late_s = self.clock.now_s() - due_s if is_arrival else math.nan
        answer = self.sender.send(content)
        self.book.calls.add(arrival.stream, call, answer.status, min(tries, 255), arrival.number, due_s, late_s, answer.sent_s, answer.done_s)
        self.answered += answer.status > 0
        self.refused += answer.status >= 400
        if self.on_call is not None:
            self.on_call(call, answer, due_s)
        return answer

    def manners(self, arrival: Arrival) -> Manners:
        """Of its stream."""
        return self.scenario.streams[arrival.stream].manners

    def habits(self, arrival: Arrival) -> Habits:
        """Its own."""
        return habits(self.scenario.seed, arrival.number, self.manners(arrival))


# One payload


def _deliver(crowd: Crowd, arrival: Arrival, call: Call, content: bytes, samples: int = 1) -> None:
    """Send a payload, and again as their manners say; then its fate is known."""
    told, due_s, tries = Told(samples), arrival.meant_s, 1
    while True:
        answer = crowd.call(arrival, call, content, due_s, tries=tries, is_arrival=tries == 1)
        if not told.heard(answer):
            break
        due_s = answer.done_s + _again_after_s(crowd, arrival, answer, tries)
        if due_s == NEVER or not crowd.clock.rest_until(due_s):
            break
        tries += 1
    for sample, fate in enumerate(told.fates):
        crowd.book.fate(arrival.stream, arrival.number, sample, fate)


def _again_after_s(crowd: Crowd, arrival: Arrival, answer: Answer, tries: int) -> float:
    """How long until the same is sent again; NEVER: they give up."""
    manners, habit = crowd.manners(arrival), crowd.habits(arrival)
    if tries >= tries_max(manners, habit):
        return NEVER
    wait_s = patient(habit, retry_after_s(answer, tries))
    return NEVER if answer.done_s + wait_s >= arrival.meant_s + habit.leaves_after_s else wait_s


def tries_max(manners: Manners, habit: Habits) -> int:
    """How often in all one payload is sent."""
    return manners.blind_tries if habit.manner == "blind" else manners.tries


def patient(habit: Habits, wait_s: float) -> float:
    """How long they wait who were told to wait so long."""
    if habit.manner == "blind":
        return 0.0
    return min(wait_s, IMPATIENT_S) if habit.manner == "impatient" else wait_s


def _sync(crowd: Crowd, arrival: Arrival, *, is_forged: bool = False) -> None:
    content = crowd.payloads.sync(arrival.stream, arrival.number, arrival.ordinal, is_forged=is_forged)
    _deliver(crowd, arrival, Call.SYNCS, content, crowd.scenario.streams[arrival.stream].samples)


def _sign_up(crowd: Crowd, arrival: Arrival) -> None:
    """Without a pass."""
    form = crowd.payloads.application(arrival.number)
    _deliver(crowd, arrival, Call.SIGNUPS, crowd.payloads.ask("POST", "/v1/signups", arrival.number, {}, form))


# One applicant in line


def _apply(crowd: Crowd, arrival: Arrival) -> None:
    if crowd.room:
        Applicant(crowd, arrival).live()
    else:
        _sign_up(crowd, arrival)


class Applicant:
    """Somebody in line, with one tab or three: one place, one application."""

    def __init__(self, crowd: Crowd, arrival: Arrival) -> None:
        self._crowd, self._arrival = crowd, arrival
        self._habit, self._manners = crowd.habits(arrival), crowd.manners(arrival)
        self._join_id, self._form = str(uuid.uuid4()), crowd.payloads.application(arrival.number)
        self._leaves_s = arrival.meant_s + self._habit.leaves_after_s
        self._away_from_s = arrival.meant_s + self._habit.away_from_s
        self._told: Told | None = None  # of the application, once it is sent
        self._through: Phone | None = None  # the tab that has the pass, and signs up
        self._is_gone = False
        self._passes: set[str] = set()  # those released so far: a repeat is the same text
        self.walked = Walked(stream=arrival.stream, arrival=arrival.number)

    def live(self) -> None:
        """From coming to going home."""
        crowd = self._crowd
        crowd.people.append(self.walked)
        crowd.waiting += 1
        tabs = range(TABS if self._habit.manner == "tabs" else 1)
        crowd.clock.together([partial(self._ask_on, is_first=tab == 0) for tab in tabs])
        crowd.waiting -= not self.walked.passed_s
        if self._told is not None:
            crowd.book.fate(self._arrival.stream, self._arrival.number, 0, self._told.fates[0])

    def _ask_on(self, *, is_first: bool) -> None:
        """One tab."""
        clock, phone = self._crowd.clock, Phone(self._crowd.room, Known(self._join_id, self._form))
        due_s, tries, is_arrival = self._arrival.meant_s, 1, is_first
        while not (phone.is_over or self._is_gone or self._through not in (None, phone)):
            if clock.now_s() >= self._leaves_s:
                self._is_gone, self.walked.left_s = True, time.time()
                return
            if clock.now_s() >= self._away_from_s:
                if not self._sleep():
                    return
                due_s = clock.now_s()
            path = phone.ask().path
            wait_s, is_refused = self._step(phone, due_s, tries, is_arrival=is_arrival)
            is_arrival = False
            tries = tries + 1 if is_refused and phone.ask().path == path else 1
            due_s = clock.now_s() + wait_s
            if not clock.rest_until(min(due_s, self._leaves_s)):
                return
        self.walked.failed = self.walked.failed or phone.known.failed

    def _sleep(self) -> bool:
        """The phone is away: it asks nothing, and whoever was called is not there."""
        walked, from_s = self.walked, time.time()
        self._away_from_s = NEVER
        is_on = self._crowd.clock.rest_until(self._crowd.clock.now_s() + self._habit.away_s)
        walked.away, walked.called_s = [*walked.away, (from_s, time.time())], 0.0
        return is_on

    def _step(self, phone: Phone, due_s: float, tries: int, *, is_arrival: bool) -> tuple[float, bool]:
        """One request and its answer: how long to wait before the next, and whether it was refused or not answered."""
        ask, had_pass = phone.ask(), bool(phone.known.pass_text)
        call = _CALLS[ask.path.rpartition("/")[2]]
        self.walked.knocks += call is Call.PASSES
        content = self._crowd.payloads.ask(ask.method, ask.path, self._arrival.number, ask.headers, ask.body)
        answer = self._crowd.call(self._arrival, call, content, due_s, tries=tries, is_arrival=is_arrival)
        body = read(answer.body)
        wait_s = phone.heard(answer.status, answer.headers, body) if answer.status > 0 else phone.missed()
        self._note(phone)
        if had_pass:
            self._heard_of_application(answer, tries)
        elif phone.known.pass_text:
            self._passed(phone, body)
            return self._habit.form_s, False
        return self._waits_s(wait_s, answer.status, tries), not 200 <= answer.status < 300

    def _note(self, phone: Phone) -> None:
        """As people.py does; a second tab that has not yet heard of the call does not take it back."""
        called_s = self.walked.called_s if self._habit.manner == "tabs" else 0.0
        note(phone, self.walked)
        self.walked.called_s = self.walked.called_s or called_s

    def _heard_of_application(self, answer: Answer, tries: int) -> None:
        self._told = self._told or Told(1)
        if self._told.heard(answer) and tries >= tries_max(self._manners, self._habit):
            self._is_gone = True

    def _passed(self, phone: Phone, body: Mapping[str, Any]) -> None:
        """The first pass's instants stay; the door's judgement wants every later pass too.  A second tab is given the same one."""
        if phone.known.pass_text in self._passes:
            return
        self._passes.add(phone.known.pass_text)
        walked, now_s = self.walked, time.time()
        released_s = instant_s(body["released_at"]) if "released_at" in body else now_s
        if not walked.released_s:
            self._crowd.waiting -= 1
            walked.passed_s, walked.released_s = now_s, released_s
        else:
            walked.released_again = [*walked.released_again, released_s]
        self._through = self._through or phone  # where two tabs were told at once the first one signs up

    def _waits_s(self, wait_s: float, status: int, tries: int) -> float:
        """In line the blind go on as they are told, once they have tried often enough."""
        if self._habit.manner == "blind":
            return 0.0 if not 200 <= status < 300 and tries < self._manners.blind_tries else wait_s
        return patient(self._habit, wait_s)


def read(body: bytes) -> Mapping[str, Any]:
    """An answer's JSON object; empty where it is none."""
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


_LIVES: Final[Mapping[str, Callable[[Crowd, Arrival], None]]] = {
    "applicant": _apply,
    "sync": _sync,
    "stranger": _sign_up,
    "forger": partial(_sync, is_forged=True),
}
