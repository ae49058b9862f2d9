"""What every client sent and was told, and the records that were found: the two sides that judgement.py compares.

Pure.  Ids are computed from what was sent, by the recipe of docs/api.md, and never taken from the gateway.  Fates of a request
are loadtests.crowd.told's, which rehearsals are judged by too; what `ack_through` covers was accepted, whatever else was
said of it, for the phone forgets it.

Instants are sent as Kafka has them (no fraction, or six digits; `Z` for UTC): the id is one of the text.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from gateway.core.event import Record
from loadtests.crowd.sender import Answer
from loadtests.crowd.told import Told
from loadtests.recording import NO_ANSWER, Fate
from tests.recipe import python_blocks
from tests.records import stored

_NEVER: Final = 1 << 62  # the tick of an answer that did not come
_RECIPES: Final = python_blocks()
canonical: Final = msgspec.json.Encoder(order="sorted").encode
_NOT_FROM_SYNC: Final = frozenset({"samples"})


class Event(NamedTuple):
    """One thing a client means to have stored."""

    topic: str
    key: str
    value: Mapping[str, Any]
    event_id: str
    content: bytes  # the value, in one spelling
    seq: int | None  # None: a sign-up


def sync_events(topic: str, user: str, sync: Mapping[str, Any]) -> list[Event]:
    """The events of a sync's body, in order."""
    device = {name: value for name, value in sync.items() if name not in _NOT_FROM_SYNC}
    found = []
    for sample in sync["samples"]:
        value = device | sample
        found.append(Event(topic, user, value, _RECIPES["sync_event_id"](user, value), canonical(value), sample["seq"]))
    return found


def signup_event(topic: str, signup: Mapping[str, Any], key: str | None = None) -> Event:
    """An application's.  Args: key: `room:epoch:place` of its pass; None where there is no room."""
    key = key or f"signup:{signup['signup_id']}"
    return Event(topic, key, signup, _RECIPES["signup_event_id"](key, signup), canonical(signup), None)


class Found(NamedTuple):
    """One record, wherever it is held.  Offsets of a spool or of rejected/ are positions in it, in order."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    event_id: str
    worker: str
    received_us: str
    is_replay: bool


def found(topic: str, partition: int, offset: int, key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]]) -> Found:
    """Of what a consumer reads."""
    by_name = dict(headers)
    ce_id, worker, received_us = by_name.get("ce_id", b""), by_name.get("worker", b""), by_name.get("received_us", b"")
    return Found(topic, partition, offset, key.decode(), value, ce_id.decode(), worker.decode(), received_us.decode(), "replay" in by_name)


def waiting(topic: str, partition: int, pairs: Iterable[tuple[int, Record]]) -> list[Found]:
    """Of what a spool gives back: (sequence, record), the oldest first."""
    held = []
    for sequence, record in pairs:
        one = stored(record)
        held.append(found(topic, partition, sequence, one.key, one.value, one.headers))
    return held


class _Promise(msgspec.Struct):
    ack_through: int | None = None


_promise: Final = msgspec.json.Decoder(_Promise).decode


class Send:
    """One request: what it carried, and what was said of each."""

    __slots__ = ("answered_tick", "events", "fates", "number", "request_id", "sent_tick", "status", "worker")

    def __init__(self, number: int, events: Sequence[Event], sent_tick: int) -> None:
        self.number = number
        self.events = events
        self.sent_tick = sent_tick
        self.answered_tick = _NEVER
        self.status = NO_ANSWER
        self.request_id = ""
        self.worker = ""  # "": nobody knows
        self.fates = [Fate.UNKNOWN] * len(events)

    def __str__(self) -> str:
        return f"request {self.number} (status {self.status}{', ' * bool(self.request_id)}{self.request_id})"


class History:
    """All sends, in order.  One process's: what comes first is what it did first."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.sends: list[Send] = []
        self._tick = 0

    def send(self, events: Sequence[Event]) -> Send:
        """A request is about to leave."""
        self._tick += 1
        for event in events:
            self.events[event.event_id] = event
        self.sends.append(Send(len(self.sends), events, self._tick))
        return self.sends[-1]

    def answer(self, send: Send, status: int, body: bytes = b"", request_id: str = "") -> bool:
        """Its answer was read, or there will be none (status 0); whether some of it is to be sent again."""
        self._tick += 1
        told = Told(len(send.events))
        is_again = told.heard(Answer(status, {}, body, 0.0, 0.0))
        send.status, send.fates = status, told.fates
        if status > 0:
            send.answered_tick, send.request_id, send.worker = self._tick, request_id, request_id.rpartition("-")[0]
        through = ack_through(body)
        if through is not None:
            send.fates = [_as_promised(event, fate, through) for event, fate in zip(send.events, send.fates, strict=True)]
        return is_again


def ack_through(body: bytes) -> int | None:
    """What the answer lets a phone forget; None: nothing."""
    try:
        return _promise(body).ack_through
    except msgspec.DecodeError:
        return None


def _as_promised(event: Event, fate: Fate, through: int) -> Fate:
    """Who may be forgotten was accepted, whatever else was said of it; or is invalid, for good."""
    return Fate.ACCEPTED if event.seq is not None and event.seq <= through and fate is not Fate.INVALID else fate
