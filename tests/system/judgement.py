"""Whether what was told is so: a history against what Kafka, the spool and rejected/ hold in the end.

Pure: findings with their evidence come out.

    missing     accepted (202, or covered by ack_through: the phone forgets it), and nowhere
    refused     a copy of a request that was told "nothing happened"
    changed     key or value is not what was sent under this id
    order       one person's, at one worker: accepted before the other was ever sent there, and behind it in Kafka
    duplicate   more copies than requests that may have left one, or two of one request neither of which is a replay
    stranger    a record that nobody sent

A copy tells which request left it: `worker` and `received_us` are one request's alone.  So copies are judged by request,
not by event: that the repeat of a refused request was accepted does not explain a copy of the refused one.

    accepted     must be there          one copy, and any number that are marked `replay`
    unknown      may be there           the same
    no answer    the same; it may have reached any worker
    refused      must not be there

Order is held by intervals.  At a worker, x comes before y where the answer that accepted x was read before y was first
sent, to this worker or to nobody knows which; or where both were first accepted by one request and x stood before y.  The
`first` is of the copies with this worker's header: others' may come earlier or later.  What is still in the spool comes
after everything in Kafka.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from loadtests.recording import Fate
from tests.system.history import Event, Found, History, Send, canonical

_decode: Final = msgspec.json.Decoder().decode


class Kind(StrEnum):
    """What can be wrong."""

    MISSING = "missing"
    REFUSED = "refused"
    CHANGED = "changed"
    ORDER = "order"
    DUPLICATE = "duplicate"
    STRANGER = "stranger"


class Finding(NamedTuple):
    """One fault, and what shows it."""

    kind: Kind
    event_id: str
    evidence: str


class Judgement(NamedTuple):
    """The findings, and how much was looked at."""

    findings: list[Finding]
    sent: int  # different events
    accepted: int  # of these
    stored: int  # different events in Kafka
    in_spool: int  # accepted ones that only the spool has
    rejected: int  # accepted ones that only rejected/ has
    copies: int  # in Kafka beyond one of each, explained or not

    def __str__(self) -> str:
        says = f"{self.sent:,} sent, {self.accepted:,} accepted, {self.stored:,} in Kafka and {self.copies:,} further copies, "
        return f"{says}{self.in_spool:,} in the spool, {self.rejected:,} rejected; findings: {dict(Counter(one.kind.value for one in self.findings))}"


def judge(history: History, kafka: Iterable[Found], spool: Iterable[Found] = (), rejected: Iterable[Found] = ()) -> Judgement:
    """Whether what was told is so.

    Args:
        spool: what is still to be replayed, a worker's in the order of its sequences.
        rejected: what Kafka refused for good after it had been accepted.
    """
    in_kafka, in_spool, set_aside = _by_event(kafka), _by_event(spool), _by_event(rejected)
    tries = _tries(history.sends)
    findings = list[Finding]()
    for held, where in ((in_kafka, "Kafka"), (in_spool, "the spool"), (set_aside, "rejected/")):
        for copies in held.values():
            findings += _contents(history, copies, where)
    accepted = only_spool = only_rejected = 0
    for event_id, event in history.events.items():
        of = tries[event_id]
        there, to_come = in_kafka.get(event_id, ()), in_spool.get(event_id, ())
        if there or to_come:
            findings += _copies(event, of, [*there, *[one._replace(is_replay=True) for one in to_come]])
        promised = next((send for send, index in of if send.fates[index] is Fate.ACCEPTED), None)
        if promised is None:
            continue
        accepted += 1
        if there:
            continue
        if to_come:
            only_spool += 1
        elif event_id in set_aside:
            only_rejected += 1
        else:
            findings.append(Finding(Kind.MISSING, event_id, f"{_name(event)}: accepted by {promised}, and neither in Kafka nor in the spool nor rejected"))
    findings += _order(history, tries, in_kafka, in_spool)
    copies_beyond = sum(map(len, in_kafka.values())) - len(in_kafka)
    return Judgement(findings, len(history.events), accepted, len(in_kafka), only_spool, only_rejected, copies_beyond)


_Tries = list[tuple[Send, int]]  # requests that carried an event, and its position there


def _tries(sends: Sequence[Send]) -> dict[str, _Tries]:
    by_event = defaultdict[str, _Tries](list)
    for send in sends:
        for index, event in enumerate(send.events):
            by_event[event.event_id].append((send, index))
    return by_event


def _by_event(records: Iterable[Found]) -> dict[str, list[Found]]:
    by_event = defaultdict[str, list[Found]](list)
    for one in records:
        by_event[one.event_id].append(one)
    return dict(by_event)


def _name(event: Event) -> str:
    return f"{event.topic} {event.key} " + (f"seq {event.seq}" if event.seq is not None else f"revision {event.value.get('revision')}")


def _place(one: Found) -> str:
    return f"partition {one.partition} offset {one.offset}"


# What is in a record


def _contents(history: History, copies: Sequence[Found], where: str) -> Iterable[Finding]:
    """Of all copies under one id."""
    event = history.events.get(copies[0].event_id)
    for one in copies:
        if event is None:
            yield Finding(Kind.STRANGER, one.event_id, f"{where} has it under key {one.key!r} at {_place(one)}: nobody sent it")
        elif (one.topic, one.key) != (event.topic, event.key):
            yield Finding(Kind.CHANGED, one.event_id, f"{_name(event)}: {where} has it in {one.topic} under key {one.key!r} at {_place(one)}")
        elif _spelling(one.value) != event.content:
            says = f"{one.value.decode(errors='replace')}, sent was {event.content.decode()}"
            yield Finding(Kind.CHANGED, one.event_id, f"{_name(event)}: at {_place(one)} {where} has {says}")


def _spelling(value: bytes) -> bytes:
    """In one spelling: the order of names means nothing, 8123.0 is not 8123."""
    try:
        return canonical(_decode(value))
    except msgspec.DecodeError:
        return value


# How many there are of it


def _copies(event: Event, tries: _Tries, copies: Sequence[Found]) -> Iterable[Finding]:
    """Each copy against the requests that may have left it."""
    if len(tries) == len(copies) == 1 and tries[0][0].worker == copies[0].worker and tries[0][0].fates[tries[0][1]] is Fate.ACCEPTED:
        return  # as nearly always
    unmarked = Counter((one.worker, one.received_us) for one in copies if not one.is_replay)
    for (worker, received_us), count in unmarked.items():
        if count > 1:
            says = f"{count} copies of the request that {worker} received at {received_us}, none of them a replay"
            yield Finding(Kind.DUPLICATE, event.event_id, f"{_name(event)}: {says}")
    may_have_left = Counter(send.worker for send, index in tries if send.fates[index] in (Fate.ACCEPTED, Fate.UNKNOWN))
    refused_at = {send.worker for send, index in tries if send.fates[index] in (Fate.REFUSED, Fate.INVALID)}
    anywhere = may_have_left[""]
    for worker, requests in Counter(worker for worker, _ in {(one.worker, one.received_us) for one in copies}).items():
        excess = requests - (may_have_left[worker] if worker else 0)
        taken = min(max(excess, 0), anywhere)
        anywhere -= taken
        if excess > taken:
            kind = Kind.REFUSED if worker in refused_at or not may_have_left else Kind.DUPLICATE
            told = "; ".join(f"{send}: {send.fates[index].name.lower()}" for send, index in tries)
            yield Finding(kind, event.event_id, f"{_name(event)}: {requests} requests' copies from {worker}, which is {excess - taken} too many.  Told: {told}")


# In which order


class _Spell(NamedTuple):
    """One event's time at one worker: from when it may be stored to when it must have its place."""

    start: tuple[int, int]  # tick and position of the first request that may have brought it here
    end: tuple[int, int]  # tick at which its acceptance was read, and the position it had there
    accepted_by: int  # number of the request
    first_sent_by: int
    event_id: str
    place: tuple[int, int]  # 0 in Kafka, 1 in the spool; offset
    partition: int


def _order(history: History, tries: Mapping[str, _Tries], in_kafka: Mapping[str, Sequence[Found]], in_spool: Mapping[str, Sequence[Found]]) -> list[Finding]:
    spells = defaultdict[tuple[str, str, str], list[_Spell]](list)
    for event_id, event in history.events.items():
        for worker in {send.worker for send, index in tries[event_id] if send.fates[index] is Fate.ACCEPTED}:
            place = _first(in_kafka.get(event_id, ()), in_spool.get(event_id, ()), worker)
            if place is not None:
                spells[event.topic, event.key, worker].append(_spell(event_id, worker, tries[event_id], *place))
    found_here = list[Finding]()
    for (_, _, worker), of in spells.items():
        found_here += _overtaken(history, worker, of)
    return found_here


def _first(there: Sequence[Found], to_come: Sequence[Found], worker: str) -> tuple[int, int, int] | None:
    """(partition, where, offset) of the first copy with this worker's header; None where it has none."""
    for where, held in ((0, there), (1, to_come)):
        if places := [(one.partition, where, one.offset) for one in held if one.worker == worker]:
            return min(places)
    return None


def _spell(event_id: str, worker: str, tries: _Tries, partition: int, where: int, offset: int) -> _Spell:
    came, came_at = next((send, index) for send, index in tries if send.worker in (worker, ""))
    taken, taken_at = next((send, index) for send, index in tries if send.worker == worker and send.fates[index] is Fate.ACCEPTED)
    return _Spell((came.sent_tick, came_at), (taken.answered_tick, taken_at), taken.number, came.number, event_id, (where, offset), partition)


def _overtaken(history: History, worker: str, spells: list[_Spell]) -> list[Finding]:
    """One pass: whoever starts is compared with the furthest of those that had ended by then."""
    if len(spells) < 2:
        return []
    wrong = list[Finding]()
    by_end = sorted(spells, key=lambda spell: spell.end)
    beside = _accepted_together(by_end)
    ended, furthest = 0, None
    for spell in sorted(spells, key=lambda one: one.start):
        while ended < len(by_end) and by_end[ended].end[0] < spell.start[0]:
            furthest = _further(furthest, by_end[ended])
            ended += 1
        together = beside.get(spell.first_sent_by, ())
        before = bisect_left(together, spell.start[1], key=lambda one: one[0])
        for earlier in (furthest, together[before - 1][1] if before else None):
            if earlier is not None and (earlier.partition != spell.partition or earlier.place > spell.place):
                first, then = (f"{_name(history.events[one.event_id])} ({_where(one)})" for one in (earlier, spell))
                says = f"{first} was accepted by {history.sends[earlier.accepted_by]} before {then} was sent"
                wrong.append(Finding(Kind.ORDER, spell.event_id, f"at {worker} {says}, and stands behind it"))
                break
    return wrong


def _accepted_together(by_end: Sequence[_Spell]) -> dict[int, list[tuple[int, _Spell]]]:
    """Number of a request → its accepted events' positions, and the furthest up to each."""
    together = dict[int, list[tuple[int, _Spell]]]()
    for spell in by_end:
        of = together.setdefault(spell.accepted_by, [])
        of.append((spell.end[1], _further(of[-1][1] if of else None, spell)))
    return together


def _further(one: _Spell | None, other: _Spell) -> _Spell:
    return other if one is None or other.place > one.place else one


def _where(spell: _Spell) -> str:
    return f"partition {spell.partition} offset {spell.place[1]}" if spell.place[0] == 0 else "in the spool"
