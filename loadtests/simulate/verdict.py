"""What virtual time saw, as a rehearsal's Observed: judged by the same verdict.py and shown by the same report.

Decided here: which bounds have a meaning in virtual time (no latency: a model's milliseconds are nobody's), and two
checks that only a simulation can make: that no bucket ever gave more than burst and rate allow, and that nobody passed
twice.  There is no Kafka to read and no counter to scrape, so there is one ledger, and nothing is said of what was
lost.  A scenario of which no bound has a meaning here is BROKE: nothing was judged, so nothing was passed.
"""

import math
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.people import Walked
from loadtests.judge import verdict
from loadtests.observed import SAMPLED, Observed
from loadtests.recording import FATE, Fate, Process, Recording
from loadtests.result import EVIDENCE_MAX, Check, Mark, Result, Verdict
from loadtests.scenario import Scenario, Slo
from loadtests.simulate.cores import START_US, Paid
from loadtests.simulate.front import Front
from loadtests.simulate.plan import State
from ratelimit.bucket import Limit
from ratelimit.policy import Policy

BEGAN_S: Final = START_US / 1_000_000
OF_ALL: Final = frozenset({"gateway.shed_share"})  # of all calls together


def judged(front: Front, seconds: float) -> Result:
    """The result.  Args: seconds: that the simulation took."""
    scenario = front.plan.scenario
    kept = [slo for slo in scenario.slo if _has_meaning(slo, is_sampled=front.seen.looks_each > 1, scenario=scenario)]
    left_out = sorted({slo.metric for slo in scenario.slo if slo not in kept})
    result = verdict.judge(observed(front, msgspec.structs.replace(scenario, slo=kept), seconds))
    checks = [*result.checks, *_checks(front)]
    found = Verdict.LOST if any(check.count for check in checks) and result.verdict is not Verdict.BROKE else result.verdict
    reasons = [reason for reason in result.reasons if not reason.startswith("Kafka was not read")]
    reasons[:0] = [verdict.found_in_words(check) for check in checks[len(result.checks) :] if check.count]
    if not kept:
        found, nothing = Verdict.BROKE, "No bound of this scenario has a meaning in virtual time: there is nothing to judge"
        reasons.insert(0, nothing)
    return msgspec.structs.replace(
        result, checks=checks, verdict=found, reasons=[*reasons, *_said(front, seconds, left_out)], curves=[], heat=[], is_simulated=True
    )


def _has_meaning(slo: Slo, *, is_sampled: bool, scenario: Scenario) -> bool:
    """Nothing that is milliseconds of a process; and where only some looks are written down, nothing that counts them."""
    of, _, stat = slo.metric.partition(".")
    if stat.endswith("_ms"):
        return False
    applicants = {stream.name for stream in scenario.streams if stream.kind == "applicant"}
    counts_looks = slo.metric in OF_ALL or of in {"all", *applicants} or (of == "place" and stat == "per_s")
    return not (is_sampled and counts_looks)


def _said(front: Front, seconds: float, left_out: list[str]) -> list[str]:
    seen, scenario = front.seen, front.plan.scenario
    people = len(front.people.meant_s)
    model = "the gateway's own rules for line, pace, overload and buckets, a model of everything else"
    said = [f"Simulated: {people:,} arrivals over {front.now_s:,.0f} s in {seconds:,.0f} s, {scenario.gateway.workers} workers; {model}"]
    if front.plan.grown != 1:
        grew = "arrivals, members, door, downstream and Kafka grew alike, the buckets of users, addresses and passes did not"
        said.append(f"The city is {front.plan.grown:,.4g} times the scenario's: {grew}")
    if seen.looks:
        of = "" if seen.looks_each == 1 else f", of which one person's in {seen.looks_each} are written down"
        said.append(f"{seen.looks:,} looks at the place{of}; {seen.knocks:,} knocks reached the store for {seen.passes:,} passes")
    refused = ", ".join(f"{name} {count:,}" for name, count in sorted(seen.counts.items()) if " " in name and name not in ("gave up", "changes of the rate"))
    if refused:
        said.append(f"Refused: {refused}; given up: {seen.counts['gave up']:,}")
    if left_out:
        said.append(f"No meaning in virtual time, so not judged: {', '.join(left_out)}")
    return said


# As a rehearsal would have it


def observed(front: Front, scenario: Scenario, seconds: float) -> Observed:
    """The columns that nobody samples here are nan."""
    people, seen = front.people, front.seen
    samples = dict(seen.samples)
    missing = [math.nan] * len(samples["at_s"])
    samples |= {name: missing for name in SAMPLED if name not in samples}
    sent = int((people.meant_s <= front.now_s).sum())
    process = Process(0, len(people.meant_s), front.plan.meant_sha256, sent, BEGAN_S, 0.0)
    machine = {"virtual": "no server ran", "workers": str(scenario.gateway.workers), "simulated in": f"{seconds:.0f} s"}
    recording = Recording(seen.calls.whole(), _fates(front), _walked(front), [process])
    marks = [Mark(fault.what, at_s, at_s + fault.for_s) for fault in scenario.faults for at_s in fault.instants_s()]
    return Observed(scenario, 0, BEGAN_S, front.now_s, recording, None, {}, {}, samples, marks, machine)


def _fates(front: Front) -> np.ndarray:
    """Of every payload that nobody will send again."""
    state, stream = front.crowd.state, front.people.stream
    samples = np.array([front.samples[number][0] if one.kind in ("sync", "forger") else 1 for number, one in enumerate(front.plan.scenario.streams)])
    told = np.flatnonzero((state == State.DONE) | (state == State.REFUSED))
    each = samples[stream[told]]
    rows = np.zeros(int(each.sum()), FATE)
    owner = np.repeat(told, each)
    rows["stream"], rows["arrival"] = stream[owner], owner
    rows["sample"] = np.arange(len(owner)) - np.repeat(np.cumsum(each) - each, each)
    refused = np.where(front.seen.is_unknown[owner], Fate.UNKNOWN, Fate.REFUSED)
    rows["fate"] = np.where(state[owner] == State.DONE, Fate.ACCEPTED, refused)
    return rows


def _walked(front: Front) -> list[Walked]:
    """Of all applicants."""
    people, seen, state = front.people, front.seen, front.crowd.state
    is_applicant = np.array([stream.kind == "applicant" for stream in front.plan.scenario.streams])[people.stream]
    wanted = np.flatnonzero(is_applicant)
    instants = {
        "joined_s": seen.joined_s,
        "called_s": seen.called_s,
        "passed_s": seen.passed_s,
        "released_s": seen.released_s,
        "left_s": np.where(state == State.LEFT, people.leave_s, np.nan),
        "done_s": seen.done_s,
    }
    columns: dict[str, list[Any]] = {name: np.where(np.isnan(at_s), 0.0, at_s + BEGAN_S)[wanted].tolist() for name, at_s in instants.items()}
    columns |= {"place": front.room.place[wanted].tolist(), "knocks": seen.knocked[wanted].tolist()}
    columns |= {"estimated_s": np.where(np.isnan(seen.first_p50_s), -1.0, seen.first_p50_s)[wanted].tolist()}
    columns |= {"stream": people.stream[wanted].tolist(), "arrival": wanted.tolist()}
    has_slept = (front.crowd.sleep_s != people.sleep_s)[wanted].tolist()
    spans = zip((people.sleep_s + BEGAN_S)[wanted].tolist(), (people.wake_s + BEGAN_S)[wanted].tolist(), strict=True)
    columns |= {"away": [[span] if slept else [] for slept, span in zip(has_slept, spans, strict=True)]}
    return [Walked(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


# What only a simulation can see


def _checks(front: Front) -> list[Check]:
    seen, checks = front.seen, list[Check]()
    if seen.passes:
        checks.append(Check("a pass is given once", "People given two passes", seen.passed_twice))
        checks.append(Check("places are given in order", "Places given twice, or out of order", seen.places_twice))
    for kind, paid in front.quotas.paid.items():
        policy = front.quotas.policies.get(kind)
        if policy is not None and paid.at_us:
            checks.append(_buckets(kind, policy, paid, may_be_alone=bool(front.room.redis_out_s)))
    return checks


def _buckets(kind: str, policy: Policy, paid: Paid, *, may_be_alone: bool) -> Check:
    """While Redis is away buckets are shared out, and may together give as much again (DESIGN section 8)."""
    at_us, who_of = np.array(paid.at_us), {"address": np.array(paid.address), "user": np.array(paid.who), "pass": np.array(paid.who)}
    found, evidence = 0, list[str]()
    for rule in policy.rules:
        limit = rule.limit if not may_be_alone else Limit(max(rule.limit.token_us // 2, 1), 2 * rule.limit.burst)
        whose = who_of.get(rule.name, np.zeros(len(at_us), np.int64))
        for one, over in beyond(at_us, whose, limit):
            found += over
            evidence.append(f"{kind} by {rule.name} {one}: {over} more than burst {limit.burst} and a token each {limit.token_us} µs allow")
    return Check(
        f"no bucket of {kind} gives more than it may", f"Requests ({kind}) that a bucket let pass beyond its burst and rate", found, evidence[:EVIDENCE_MAX]
    )


def beyond(at_us: NDArray[np.int64], whose: NDArray[np.int64], limit: Limit) -> list[tuple[int, int]]:
    """(whose bucket, how many too many in its worst window).

    A window from the i-th to the j-th passes j - i + 1 and may pass burst + (t_j - t_i) / token: in all windows at once, the
    largest difference of k - t_k / token.  A bucket that passed no more than its burst in all cannot be beyond.
    """
    names, counts = np.unique(whose, return_counts=True)
    found = []
    for name in names[counts > limit.burst].tolist():
        times = np.sort(at_us[whose == name])
        level = np.arange(len(times)) * limit.token_us - (times - times[0])
        most = int((level - np.minimum.accumulate(level)).max()) // limit.token_us + 1
        if most > limit.burst:
            found.append((name, most - limit.burst))
    return found
