"""Three ledgers, to the unit: what the generator was told, what the gateway counted, what Kafka holds; and whether they agree.

Pure.  A payload is (topic, arrival, sample): the generator knows what it was told of each, Kafka has records that name it,
and the gateway counts events by outcome.

    told 202        must be in Kafka.  One that is not: lost
    told refused    must not be there: a refusal says that nothing happened
    not told        may be there or not: counted and shown, never a fault.  The client asks again, and the id tells
    several copies  of one event id: at least once, recognisable.  Shown, never a fault
    two event ids   for one payload: consumers cannot tell that it is one.  A fault

An event is durable in Kafka or on the gateway's disk ("spooled"), which has handed over what it holds when Kafka is read.

The gateway's count of durable events may exceed what the generator was told, by answers that were lost on their way and
by repeats; it may never fall short, not by one: an event is counted before it is answered, on a board that outlives the
worker (DESIGN 11), so who heard 202 was counted.  Hence >= and no slack.  Of a gateway that is not ours the count is shown
and not judged: others may talk to it, it may be started anew, and one of several may be all that is scraped.

Nor may Kafka hold fewer records than the gateway counted durable.  Records, not event ids: a repeat of what was answered
and not heard is acknowledged and counted again under the same id, and leaves a copy.  A duplicate within one request is
neither sent nor counted.  So each that is counted is one acknowledged record, and Kafka was read after the count: durable
<= records, to the unit.  It may hold more: a send that nobody acknowledged in time, or whose worker died before it counted.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from loadtests.judge.timeline import is_accepted, is_unanswered
from loadtests.observed import Observed, total
from loadtests.recording import FATE, Call, Fate
from loadtests.result import EVIDENCE_MAX, Check, LedgerRow
from loadtests.scenario import Kind

DURABLE: Final = "accepted means durable"  # the end of a check's name
TOPICS: Final = (("syncs", "sync", Call.SYNCS), ("signups", "sign-up", Call.SIGNUPS))  # label of the gateway's counters, one of them, its call
_TOPIC_OF: Final[dict[Kind, int]] = {"sync": 0, "forger": 0, "applicant": 1, "stranger": 1}
_GRAVEST: Final = (Fate.ACCEPTED, Fate.UNKNOWN, Fate.REFUSED, Fate.INVALID)  # of several fates of one payload this one is true
_EVENTS: Final = "sluicegate_events_total"
_KEPT: Final = ("durable", "spooled")


@dataclass(frozen=True)
class Payloads:
    """One topic's, each payload once.  A key is arrival << 8 | sample."""

    topic: int
    keys: np.ndarray  # in order
    fates: np.ndarray  # of Fate, as many
    streams: np.ndarray  # as many
    unfinished: np.ndarray  # arrivals who were still at it in the end: a request was sent and there is no fate
    unfinished_streams: np.ndarray  # as many
    answered: np.ndarray  # arrivals who had any answer, in order
    accepted_s: dict[int, float]  # arrival → when its first 2xx had come
    records: np.ndarray | None  # of RECORD, this topic's

    @property
    def is_empty(self) -> bool:
        """Nothing of this topic is in any ledger."""
        return not len(self.keys) and not len(self.unfinished) and (self.records is None or not len(self.records))

    def told(self, *fates: Fate) -> np.ndarray:
        """Keys of those with one of these fates."""
        result: np.ndarray = self.keys[np.isin(self.fates, fates)]
        return result

    @cached_property
    def stored(self) -> np.ndarray:
        """Keys in Kafka, each once, in order."""
        assert self.records is not None, "nobody lets us read Kafka"
        return distinct(keys_of(self.records))

    def count_stored(self, keys: np.ndarray) -> int | None:
        """How many of them are in Kafka; None: nobody knows."""
        return None if self.records is None else int(is_among(keys, self.stored).sum())


def keys_of(rows: np.ndarray) -> np.ndarray:
    """Of FATEs or RECORDs of one topic."""
    result: np.ndarray = rows["arrival"].astype(np.int64) << 8 | rows["sample"]
    return result


def distinct(values: np.ndarray) -> np.ndarray:
    """Each once, in order.  np.unique counts a million of them by hash, which takes five times as long."""
    ordered = np.sort(values)
    result: np.ndarray = ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered
    return result


def is_among(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Which of them `ordered` has.  As np.isin, which orders anew each time."""
    if not len(ordered):
        return np.zeros(len(values), dtype=bool)
    result: np.ndarray = ordered[np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)] == values
    return result


def payloads(observed: Observed) -> list[Payloads]:
    """Of each topic."""
    return [_payloads(observed, topic) for topic in range(len(TOPICS))]


def _payloads(observed: Observed, topic: int) -> Payloads:
    calls, fates = observed.recording.calls, observed.recording.fates
    ours = [number for number, stream in enumerate(observed.scenario.streams) if _TOPIC_OF[stream.kind] == topic]
    mine = calls[calls["call"] == TOPICS[topic][2]]
    accepted = mine[is_accepted(mine)]
    accepted = accepted[np.argsort(-accepted["done_s"], kind="stable")]  # the first one is written last
    told = _each_once(fates[np.isin(fates["stream"], ours)])
    at_it = mine[~is_among(mine["arrival"], distinct(told["arrival"]))]
    unfinished, first = np.unique(at_it["arrival"], return_index=True)
    return Payloads(
        topic=topic,
        keys=keys_of(told),
        fates=told["fate"],
        streams=told["stream"],
        unfinished=unfinished,
        unfinished_streams=at_it["stream"][first],
        answered=distinct(mine["arrival"][~is_unanswered(mine)]),
        accepted_s=dict(zip(accepted["arrival"].tolist(), accepted["done_s"].tolist(), strict=True)),
        records=None if observed.records is None else observed.records[observed.records["topic"] == topic],
    )


def _each_once(fates: np.ndarray) -> np.ndarray:
    """In order of their keys, each payload with the gravest of its fates."""
    if not len(fates):
        return np.empty(0, FATE)
    rank = np.zeros(max(Fate) + 1, dtype=np.int64)
    rank[list(_GRAVEST)] = range(len(_GRAVEST))
    ordered = fates[np.lexsort((rank[fates["fate"]], keys_of(fates)))]
    keys = keys_of(ordered)
    result: np.ndarray = ordered[np.concatenate([[True], keys[1:] != keys[:-1]])]
    return result


def counted(observed: Observed, name: str, **labels: tuple[str, ...]) -> int | None:
    """How much the gateway's counter grew, over all series whose labels have one of these values; None: nobody lets us scrape."""
    if not observed.before or not observed.after:
        return None
    return round(total(observed.after, name, **labels) - total(observed.before, name, **labels))


# Checks


def checks(observed: Observed, both: Sequence[Payloads]) -> list[Check]:
    """Of both topics (payloads); those that need a ledger nobody has are left out."""
    found = list[Check]()
    for of in both:
        if of.is_empty:
            continue
        if of.records is not None:
            found += [_missing(observed, of), _kept(observed, of), _two_ids(observed, of, of.records), _unsent(observed, of)]
        if observed.is_ours:
            found += _miscounted(observed, of)
    return found


def _missing(observed: Observed, of: Payloads) -> Check:
    accepted = of.told(Fate.ACCEPTED)
    missing = accepted[~is_among(accepted, of.stored)]
    one = TOPICS[of.topic][1]
    evidence = (f"{_name(observed, of, key)}: 202{_at(of.accepted_s.get(key >> 8))}, not in Kafka" for key in _few(missing))
    return Check(f"{one}s: {DURABLE}", f"Accepted {one}s that are not in Kafka, of {len(accepted):,}", len(missing), list(evidence))


def _kept(observed: Observed, of: Payloads) -> Check:
    refused = of.told(Fate.REFUSED, Fate.INVALID)
    kept = refused[is_among(refused, of.stored)]
    one = TOPICS[of.topic][1]
    evidence = (f"{_name(observed, of, key)}: refused, {_where(of, key)}" for key in _few(kept))
    return Check(f"{one}s: refused means nothing happened", f"Refused {one}s that are in Kafka all the same, of {len(refused):,}", len(kept), list(evidence))


def _two_ids(observed: Observed, of: Payloads, records: np.ndarray) -> Check:
    keys = keys_of(records)
    order = np.argsort(keys, kind="stable")
    keys, events = keys[order], records["event"][order]
    # Records of one payload stand side by side: where all have one id, each has its neighbour's.
    twice = distinct(keys[1:][(keys[1:] == keys[:-1]) & (events[1:] != events[:-1])])
    one = TOPICS[of.topic][1]
    evidence = []
    for key in _few(twice):
        ids = sorted({event.decode() for event in events[keys == key].tolist()})
        evidence.append(f"{_name(observed, of, key)}: {len(ids)} event ids, {ids[0]} and {ids[1]}")
    return Check(
        f"{one}s: one payload, one event id", f"Different {one}s in Kafka that have more than one event id, of {len(of.stored):,}", len(twice), evidence
    )


def _unsent(observed: Observed, of: Payloads) -> Check:
    stored = of.stored
    # All that is sent by who was still at it in the end is unknown.
    strange = stored[~is_among(stored, of.keys) & ~is_among(stored >> 8, of.unfinished)]
    one = TOPICS[of.topic][1]
    evidence = [f"{_name(observed, of, key)}: never sent, {_where(of, key)}" for key in _few(strange)]
    return Check(f"{one}s: nothing comes from nowhere", f"Different {one}s in Kafka that nobody sent, of {len(stored):,}", len(strange), evidence)


def _miscounted(observed: Observed, of: Payloads) -> Iterator[Check]:
    """The gateway's count against both other ledgers, where it counts for nobody else."""
    label, one, _ = TOPICS[of.topic]
    durable, accepted = counted(observed, _EVENTS, topic=(label,), outcome=_KEPT), len(of.told(Fate.ACCEPTED))
    if durable is not None:
        short = max(0, accepted - durable)
        evidence = [f"{accepted:,} were accepted, the gateway counted {durable:,} durable"] if short else []
        yield Check(f"{one}s: what is accepted is counted", f"Accepted {one}s that the gateway did not count, of {accepted:,}", short, evidence)
    if durable is not None and of.records is not None:
        missing = max(0, durable - len(of.records))
        evidence = [f"the gateway counted {durable:,} durable, Kafka holds {len(of.records):,} records, copies among them"] if missing else []
        says = f"{one[:1].upper()}{one[1:]}s counted as durable beyond the records in Kafka, of {durable:,}"
        yield Check(f"{one}s: counted as durable means in Kafka", says, missing, evidence)


def _few(keys: np.ndarray) -> list[int]:
    few: list[int] = keys[:EVIDENCE_MAX].tolist()
    return few


def _name(observed: Observed, of: Payloads, key: int) -> str:
    """Such as "sync 4711.2 of stream daily"."""
    index = int(np.searchsorted(of.keys, key))
    is_known = index < len(of.keys) and of.keys[index] == key
    stream = f" of stream {observed.scenario.streams[of.streams[index]].name}" if is_known else ""
    return f"{TOPICS[of.topic][1]} {key >> 8}.{key & 0xFF}{stream}"


def _at(at_s: float | None) -> str:
    return "" if at_s is None else f" at {at_s:.3f} s"


def _where(of: Payloads, key: int) -> str:
    assert of.records is not None
    record = of.records[keys_of(of.records) == key][0]
    return f"in Kafka at partition {record['partition']}, offset {record['offset']}, since {record['at_s']:.3f} s"


# The table


def rows(observed: Observed, both: Sequence[Payloads]) -> list[LedgerRow]:
    """What each ledger says of both topics (payloads), side by side."""
    found = list[LedgerRow]()
    for of, (label, one, _) in zip(both, TOPICS, strict=True):
        if not of.is_empty:
            found += _topic_rows(observed, of, label, f"{one}s")
    found += (_answered_row(observed, call) for call in Call if (observed.recording.calls["call"] == call).any())
    return [*found, *_line_rows(observed)]


def _topic_rows(observed: Observed, of: Payloads, label: str, many: str) -> Iterator[LedgerRow]:
    def events(*outcomes: str) -> int | None:
        return counted(observed, _EVENTS, topic=(label,), outcome=outcomes)

    yield LedgerRow(f"{many} sent", len(of.keys), None, None)
    for what, fate, outcomes in (
        ("accepted", Fate.ACCEPTED, _KEPT),
        ("refused", Fate.REFUSED, ("refused", "withdrawn", "limited", "shed")),
        ("invalid", Fate.INVALID, ("invalid",)),
        ("unknown, which may be in Kafka or not", Fate.UNKNOWN, ("unknown",)),
    ):
        keys = of.told(fate)
        yield LedgerRow(f"{many} {what}", len(keys), events(*outcomes), of.count_stored(keys))
    if spooled := events("spooled"):
        yield LedgerRow(f"{many} answered from the gateway's disk (of the accepted)", None, spooled, None)
    unknown = of.told(Fate.UNKNOWN)
    never = unknown[~is_among(unknown >> 8, of.answered)]
    yield LedgerRow(f"{many} never answered (of the unknown)", len(never), None, of.count_stored(never))
    if len(of.unfinished):
        yield LedgerRow(f"requests of {many} that were under way at the end", len(of.unfinished), None, None)
    if of.records is not None:
        events_stored = len(distinct(of.records["event"]))
        yield LedgerRow(f"{many}: different payloads", None, None, len(of.stored))
        yield LedgerRow(f"{many}: different event ids", None, None, events_stored)
        yield LedgerRow(f"{many}: further copies, recognisable by their id", None, None, len(of.records) - events_stored)


def _answered_row(observed: Observed, call: Call) -> LedgerRow:
    calls = observed.recording.calls
    answered = int((~is_unanswered(calls[calls["call"] == call])).sum())
    return LedgerRow(f"answers to {call.name.lower()}", answered, counted(observed, "sluicegate_requests_total", route=(call.name.lower(),)), None)


def _line_rows(observed: Observed) -> Iterable[LedgerRow]:
    people = observed.recording.people
    if not any(one.joined_s for one in people):
        return
    joined, passed = sum(bool(one.joined_s or one.passed_s) for one in people), sum(bool(one.passed_s) for one in people)
    # Without Redis one may be let in on a provisional ticket, and never have a place.
    yield LedgerRow("people who joined", joined, counted(observed, "sluicegate_room_joins_total", result=("new", "provisional")), None)
    # A turn that two workers told the same person of (tabs, a lost answer) is given by both.
    yield LedgerRow("passes given", passed, counted(observed, "sluicegate_room_knocks_total", result=("given", "alone")), None)
