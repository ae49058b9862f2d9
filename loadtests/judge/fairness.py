"""Was anybody lost, doubled or unfairly overtaken, did the door ever open wider than its rate?  Checks: a count must be 0.

Pure.  Bounds are generous: what breaks one is a fault of the gateway and no bad luck, for the exit code is LOST.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from loadtests.judge.line import Line, most_in
from loadtests.observed import Observed
from loadtests.recording import Call
from loadtests.result import EVIDENCE_MAX, Check, Mark
from loadtests.scenario import WHOLE

WINDOWS_S: Final = (1.0, 10.0)
OVERTAKING: Final = "nobody who is there is overtaken for long"
DOOR: Final = "the door keeps its rate in any"  # so many seconds
HAD_TIME_S: Final = 30.0  # of presence, once it was their turn: near it a phone asks every four seconds
FORMS: Final = 4.0  # a form of the mean length takes that much longer in one of 4,000 cases (log-normal, σ 0.4)
SIGNED_UP_S: Final = 60.0  # then so long to get it accepted, asking again as told

OVERTAKEN_S: Final = 15.0
"""Seconds of the door's rate.  waiting_room.md: 1.7 as a rule, 3.8 after mass returns, 10.5 where a gateway's ticks stop for
10 s; half of the worst again, so that only a broken order breaks it."""
OVERTAKEN_MORE_S: Final = {
    "redis": 15.0,  # provisional tickets are booked within about a poll, and workers move gates of their own meanwhile
    "kafka": 5.0,  # the door is cut, and its rate comes back by steps
    "worker": 5.0,  # a new worker has no sign until its first tick, and its people come back as after a lost network
}
"""Beside the length of the longest fault, for the worst kind among them."""


def checks(observed: Observed, line: Line, overtaken_s: np.ndarray) -> list[Check]:
    """All that can be made: where nobody knows the door's rate, none that is reckoned in it.

    Args:
        overtaken_s: of each person (line.overtaken_s); nan of all: a door that never opened overtakes nobody, a rate unknown says nothing.
    """
    found = [_twice(line), _moved(line), _lost(observed, line)]
    if not np.isnan(overtaken_s).all():
        found.append(_overtaken(observed, line, overtaken_s))
    return found if line.allowed is None else [*found, *_too_wide(observed, line)]


def overtaken_bound_s(marks: Sequence[Mark]) -> float:
    """What may be, with these faults."""
    longest_s = max((mark.to_s - mark.from_s for mark in marks), default=0.0)
    more_s = max((more_s for kind, more_s in OVERTAKEN_MORE_S.items() for mark in marks if mark.what.lower().startswith(kind)), default=0.0)
    return OVERTAKEN_S + longest_s + more_s


def _twice(line: Line) -> Check:
    given = Counter(line.place[line.place >= 0].tolist())
    twice = [(place, count) for place, count in sorted(given.items()) if count > 1]
    evidence = [f"place {place}: {count} people" for place, count in twice[:EVIDENCE_MAX]]
    return Check("a place is given once", f"Places given to more than one person, of {len(given):,}", len(twice), evidence)


def _moved(line: Line) -> Check:
    moved = [number for number, one in enumerate(line.people) if one.has_moved]
    joined = int((~np.isnan(line.joined_s)).sum())
    return Check("a place is kept", f"People who were moved to another place, of {joined:,}", len(moved), [_name(line, one) for one in moved[:EVIDENCE_MAX]])


def lost(observed: Observed, line: Line) -> np.ndarray:
    """Who stayed, had time, and got nothing: refused for good, not let in though later places were, or let in and never signed up.

    Whoever sent the application as often as the scenario has them try has given up, which is no fault of the line: signups.delivered_share
    says how many, and the ledgers what they were told.
    """
    stayed = ~np.isnan(line.joined_s) & np.isnan(line.left_s) & np.isnan(line.done_s)
    failed = np.array([bool(one.failed) for one in line.people])
    forms_s = [stream.manners.form_s for stream in observed.scenario.streams if stream.kind == "applicant"]
    late_s = line.end_s - line.passed_s >= FORMS * max(forms_s, default=0.0) + SIGNED_UP_S
    result: np.ndarray = stayed & (failed | (late_s & ~_gave_up(observed, line)) | _is_stuck(observed, line))
    return result


def _gave_up(observed: Observed, line: Line) -> np.ndarray:
    """Who sent the application at least as often as one of their stream does."""
    calls = observed.recording.calls
    sent = calls[calls["call"] == Call.SIGNUPS]
    tries_max = np.array([min(stream.manners.tries, stream.manners.blind_tries) for stream in observed.scenario.streams])
    arrivals = set(sent["arrival"][sent["tries"] >= tries_max[sent["stream"]]].tolist())
    return np.array([one.arrival in arrivals for one in line.people])


def _is_stuck(observed: Observed, line: Line) -> np.ndarray:
    """No pass, though it was their turn HAD_TIME_S of presence ago, and the longest fault's length beside: a later place got one."""
    longest_s = max((mark.to_s - mark.from_s for mark in observed.marks), default=0.0)
    passed = np.flatnonzero(~np.isnan(line.released_s) & (line.place >= 0))
    result = np.zeros(len(line.people), dtype=bool)
    if not len(passed):
        return result
    passed = passed[np.argsort(line.place[passed])]
    places = line.place[passed]
    # The first release among this place and all later ones.
    turn_s = np.minimum.accumulate(line.released_s[passed][::-1])[::-1]
    for person in np.flatnonzero(np.isnan(line.passed_s) & ~np.isnan(line.joined_s) & (line.place >= 0)):
        later = int(np.searchsorted(places, line.place[person], side="right"))
        if later < len(places):
            present_s = sum(max(0.0, until_s - max(from_s, turn_s[later])) for from_s, until_s in line.spans[person])
            result[person] = present_s >= HAD_TIME_S + longest_s
    return result


def _lost(observed: Observed, line: Line) -> Check:
    found = np.flatnonzero(lost(observed, line))
    joined = int((~np.isnan(line.joined_s)).sum())
    evidence = [f"{_name(line, int(one))}: {_why(line, int(one))}" for one in found[:EVIDENCE_MAX]]
    return Check("nobody who stays is lost", f"People who stayed, had time, and got nothing, of {joined:,}", len(found), evidence)


def _why(line: Line, person: int) -> str:
    if failed := line.people[person].failed:
        return failed
    if math.isnan(line.passed_s[person]):
        return f"joined at {line.joined_s[person]:.3f} s, never let in, though later places were"
    return f"let in at {line.passed_s[person]:.3f} s, sign-up never accepted"


def _overtaken(observed: Observed, line: Line, overtaken_s: np.ndarray) -> Check:
    bound_s = overtaken_bound_s(observed.marks)
    joined = int((~np.isnan(line.joined_s)).sum())
    found = np.flatnonzero(overtaken_s > bound_s + 1e-6)  # a sum of many
    worst = found[np.argsort(-overtaken_s[found], kind="stable")][:EVIDENCE_MAX]
    evidence = [f"{_name(line, int(one))}: by {overtaken_s[one]:.1f} s" for one in worst]
    says = f"People overtaken by more than {bound_s:.0f} s of the door's rate while they were there, of {joined:,}"
    return Check(OVERTAKING, says, len(found), evidence)


def _too_wide(observed: Observed, line: Line) -> list[Check]:
    found = []
    whole = observed.scenario.within(WHOLE)
    for window_s in WINDOWS_S:
        worst = most_in(line, window_s, (-math.inf, max(whole[1], line.end_s)))
        evidence = [f"{worst.passes} passes within {window_s:g} s from {worst.from_s:.3f} s, the bound is {worst.bound:.1f}"] if worst.beyond else []
        says = f"Passes released beyond the door's rate in the worst {window_s:g} s"
        found.append(Check(f"{DOOR} {window_s:g} s", says, worst.beyond, evidence))
    return found


def _name(line: Line, person: int) -> str:
    place = int(line.place[person])
    return f"place {place}" if place >= 0 else f"person {person}"
