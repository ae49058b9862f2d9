"""Rehearsals made by hand: an Observed of a few requests, people and records, whole and without a fault unless told otherwise."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np

from benchmarks.people import Walked
from loadtests.observed import RECORD, SAMPLED, Observed, Series
from loadtests.recording import CALL, FATE, Call, Fate, Process, Recording
from loadtests.result import Mark
from loadtests.scenario import Scenario, Slo

BEGAN_S: Final = 1_000_000.0  # of the epoch
DAILY, CITIZENS = 0, 1  # streams of `scenario`


def scenario(*slo: Slo, **over: Any) -> Scenario:
    """Two streams: daily (syncs), citizens (applicants)."""
    manners = {"form_s": 5.0}
    described = {
        "title": "A day by hand",
        "why": "To judge.",
        "seed": 1,
        "streams": [{"name": "daily", "kind": "sync", "bursts": [{"people": 1}]}, {"name": "citizens", "kind": "applicant", "bursts": [{"people": 1}]}],
        "slo": [{"metric": "all.p99_ms", "at_most": 500.0}],
        "seconds": 30.0,
        "drain_s": 10.0,
    }
    described["streams"][1]["manners"] = manners  # type: ignore[index]
    found = msgspec.convert(described | over, Scenario)
    return msgspec.structs.replace(found, name="by-hand", slo=list(slo)) if slo else msgspec.structs.replace(found, name="by-hand")


def call(meant_s: float, took_s: float = 0.01, **over: Any) -> tuple[Any, ...]:
    """One row of CALL: an arrival's sync, answered 202.  `late_s` nan: it is no arrival."""
    late_s = over.get("late_s", 0.0)
    row = {
        "stream": DAILY,
        "call": Call.SYNCS,
        "status": 202,
        "tries": 1,
        "arrival": 0,
        "meant_s": meant_s,
        "late_s": late_s,
        "sent_s": meant_s + (0.0 if math.isnan(late_s) else late_s),
        "done_s": meant_s + took_s,
    } | over
    return tuple(row[name] for name in CALL.names or ())


def calls_of(rows: Iterable[tuple[Any, ...]]) -> np.ndarray:
    """In the order in which they were meant."""
    found = np.array(list(rows), CALL)
    result: np.ndarray = found[np.argsort(found["meant_s"], kind="stable")]
    return result


def fate(arrival: int, told: Fate = Fate.ACCEPTED, sample: int = 0, stream: int = DAILY) -> tuple[int, int, int, int]:
    """One row of FATE."""
    return stream, arrival, sample, told


def record(arrival: int, sample: int = 0, topic: int = 0, event: str = "", offset: int = 0) -> tuple[Any, ...]:
    """One row of RECORD; its event id is the payload's, unless told otherwise."""
    return topic, 0, offset, arrival, sample, (event or f"{topic}-{arrival}-{sample}").encode(), 1.0


def series(**counts: float) -> Series:
    """Such as syncs_durable=3."""
    grown: Series = {}
    for name, value in counts.items():
        topic, _, outcome = name.partition("_")
        grown[f'sluicegate_events_total{{outcome="{outcome}",topic="{topic}"}}'] = value
    return grown


def samples(seconds: int, **columns: float | Sequence[float]) -> dict[str, list[float]]:
    """One a second, at the end of each; a number is the same all the time, what is not named is nan."""
    found = {name: [math.nan] * seconds for name in SAMPLED} | {"at_s": [second + 1.0 for second in range(seconds)]}
    for name, values in columns.items():
        found[name] = [float(values)] * seconds if isinstance(values, int | float) else [float(value) for value in values]
    return found


def person(place: int, joined_s: float, passed_s: float = 0.0, **over: Any) -> Walked:
    """By the rehearsal's clock; signed up a second after the pass.  0: it never came to that."""
    instants = {"joined_s": joined_s, "passed_s": passed_s, "released_s": passed_s, "done_s": passed_s + 1.0 if passed_s else 0.0}
    on_clock = instants | {name: value for name, value in over.items() if name.endswith("_s") and name != "estimated_s"}
    rest = {name: value for name, value in over.items() if name not in on_clock}
    if "away" in rest:
        rest["away"] = [(from_s + BEGAN_S, to_s + BEGAN_S) for from_s, to_s in rest["away"]]
    return Walked(place=place, **{name: value and value + BEGAN_S for name, value in on_clock.items()}, **rest)


def steady_line(people: int, rate: float, *, join_s: float = 0.01) -> list[Walked]:
    """All come at once; the door lets in one after the other, in order, at its rate from 1 s on."""
    return [person(place, join_s, 1.0 + place / rate) for place in range(people)]


def observed(
    calls: Iterable[tuple[Any, ...]] = (),
    fates: Iterable[tuple[Any, ...]] = (),
    records: Iterable[tuple[Any, ...]] | None = (),
    people: Sequence[Walked] = (),
    **over: Any,
) -> Observed:
    """A rehearsal of 40 s.  What is not named is as it should be: every arrival sent, the generator at ease, no ops port."""
    rows = calls_of(calls)
    arrivals = int((~np.isnan(rows["late_s"])).sum()) or 1
    generator = Process(number=0, meant=arrivals, meant_sha256="ab" * 32, sent=arrivals, began_s=BEGAN_S, cpu_share=0.4)
    fields: dict[str, Any] = {
        "scenario": scenario(),
        "run": 7,
        "began_s": BEGAN_S,
        "ended_s": 40.0,
        "recording": Recording(rows, np.array(list(fates), FATE), list(people), over.pop("processes", [generator])),
        "records": None if records is None else np.array(list(records), RECORD),
        "before": {},
        "after": {},
        "samples": samples(40),
        "marks": list[Mark](),
        "machine": {"cores": "2"},
    }
    return Observed(**(fields | over))


def healthy(seconds: int = 30, per_s: int = 10, **over: Any) -> Observed:
    """So many syncs a second, each answered 202 within 10 ms, in Kafka and counted."""
    count = seconds * per_s
    arrivals = range(count)
    return observed(
        [call(arrival / per_s, arrival=arrival) for arrival in arrivals],
        [fate(arrival) for arrival in arrivals],
        [record(arrival, offset=arrival) for arrival in arrivals],
        before=series(syncs_durable=5.0),
        after=series(syncs_durable=5.0 + count),
        **over,
    )


def frozen(from_s: float = 10.0, to_s: float = 15.0, seconds: int = 30, per_s: int = 100, **over: Any) -> Observed:
    """A server that answers nothing for a while, and then all at once.  Between the two a generator of ten users would have waited: so `sent_s` says."""
    rows = []
    for arrival in range(seconds * per_s):
        meant_s = arrival / per_s
        is_caught = from_s <= meant_s < to_s
        done_s = (to_s if is_caught else meant_s) + 0.005
        waits = is_caught and arrival >= from_s * per_s + 10
        rows.append(call(meant_s, arrival=arrival, done_s=done_s, sent_s=to_s if waits else meant_s))
    return observed(rows, [fate(number) for number in range(len(rows))], [record(number) for number in range(len(rows))], **over)


def by_name(named: Iterable[Any], key: str = "name") -> Mapping[str, Any]:
    """Checks, rows or metrics by their name."""
    return {getattr(one, key): one for one in named}


def steps(values: Sequence[float]) -> list[float]:
    """The differences between neighbours."""
    return [after - before for before, after in pairwise(values)]
