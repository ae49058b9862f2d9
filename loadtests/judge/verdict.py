"""All that was seen → what is to be said of it, and the exit code.

Pure.  The gravest first:

    BROKE      the harness itself failed, or nobody answered it: nothing is known
    LOST       something was lost, doubled or unfair: that is so however the generator fared
    GENERATOR  it could not keep up: whatever else was measured says nothing of the gateway
    MISSED     a bound
    PASS       nothing was lost, every bound held
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from http import HTTPStatus

import numpy as np

from loadtests.judge import fairness, ledger, slo, waits
from loadtests.judge.bottleneck import bottlenecks
from loadtests.judge.honesty import honesty
from loadtests.judge.latency import curves, heat_maps
from loadtests.judge.slo import Figures
from loadtests.judge.timeline import is_unanswered, timeline
from loadtests.observed import Observed
from loadtests.recording import Call, Process
from loadtests.result import Check, Honesty, Result, SloRow, Verdict
from loadtests.scenario import WHOLE, Scale


def judge(observed: Observed) -> Result:
    """The whole result."""
    figures, scenario = Figures.of(observed), observed.scenario
    checks = ledger.checks(observed, figures.payloads)
    if figures.line is not None:
        checks += fairness.checks(observed, figures.line, figures.overtaken_s)
    fared = honesty(observed)
    rows = [slo.row(figures, one) for one in scenario.slo]
    broken = list(_broken(observed))
    calls = observed.recording.calls
    return Result(
        name=scenario.name,
        title=scenario.title,
        why=scenario.why,
        began=datetime.fromtimestamp(observed.began_s, UTC).isoformat(timespec="seconds"),
        seed=scenario.seed,
        meant_sha256=meant_sha256(observed.recording.processes),
        scale=scale_in_words(scenario.scale),
        verdict=_verdict(broken, checks, fared, is_met=not observed.died and all(row.is_met for row in rows)),
        reasons=list(_reasons(observed, broken, checks, fared, rows)),
        seconds=scenario.seconds,
        drained_s=max(observed.ended_s - scenario.seconds, 0.0),
        machine=observed.machine,
        phases=[(phase.name, phase.from_s, phase.to_s) for phase in scenario.phases],
        marks=observed.marks,
        slo=rows,
        checks=checks,
        ledger=ledger.rows(observed, figures.payloads),
        timeline=timeline(observed, figures.line),
        curves=curves(calls),
        heat=heat_maps(calls, observed.ended_s),
        waits=None if figures.line is None else waits.all_of(figures.line, figures.overtaken_s),
        bottlenecks=bottlenecks(observed, figures.line),
        honesty=fared,
    )


def _verdict(broken: Sequence[str], checks: Sequence[Check], fared: Honesty, *, is_met: bool) -> Verdict:
    if broken:
        return Verdict.BROKE
    if any(check.count for check in checks):
        return Verdict.LOST
    if fared.problems:
        return Verdict.GENERATOR
    return Verdict.PASS if is_met else Verdict.MISSED


# In words


def _reasons(observed: Observed, broken: Sequence[str], checks: Sequence[Check], fared: Honesty, rows: Sequence[SloRow]) -> Iterator[str]:
    yield from broken
    yield from (found_in_words(check) for check in checks if check.count)
    if observed.in_spool:
        yield f"{observed.in_spool:,} records still waited on the gateway's disk when Kafka was read"
    if observed.died:
        yield f"The gateway did not answer at the end: {observed.died}"
    yield from (_sentence(problem) for problem in fared.problems)
    missed = [row for row in rows if not row.is_met]
    yield from map(missed_in_words, missed)
    if broken or fared.problems:
        return
    if not any(check.count for check in checks):
        yield _kept_in_words(observed, checks, is_all=not missed and not observed.died)


def _kept_in_words(observed: Observed, checks: Sequence[Check], *, is_all: bool) -> str:
    """What was looked for and not found, and what nobody could look for."""
    names = [check.name for check in checks]
    said = []
    if observed.records is None:
        said.append("Kafka was not read, so nobody can say whether anything was lost")
    elif any(name.endswith(ledger.DURABLE) for name in names):
        said.append("Nothing was lost")
    else:
        said.append("Nothing was sent that could be lost")
    if any(one.joined_s for one in observed.recording.people):
        kept = {"overtaken": fairness.OVERTAKING in names, "let in beyond the door's rate": any(name.startswith(fairness.DOOR) for name in names)}
        if unfair := " or ".join(what for what, is_checked in kept.items() if is_checked):
            said[-1] += f"{', ' if observed.records is not None else '; '}nobody was {unfair}"
        else:
            said.append("nobody knows the door's rate, so none can say whether it was kept or anybody was overtaken")
    return "; ".join([*said, "every bound held"] if is_all else said)


def found_in_words(check: Check) -> str:
    """Such as "3 of 12,044: accepted syncs that are not in Kafka"."""
    what, _, all_ = check.says.rpartition(", of ")
    what = what or all_
    return f"{check.count:,}{f' of {all_}:' if what != all_ else ''} {what[:1].lower()}{what[1:]}"


def missed_in_words(row: SloRow) -> str:
    """Such as "Sign-ups: p99 from the instant a request was meant in phase opening was 812 ms, bound ≤ 500 ms"."""
    phase = "" if row.phase == WHOLE else f" in phase {row.phase}"
    measured = "could not be measured" if math.isnan(row.measured) else f"was {row.shown}"
    return f"{_sentence(row.says)}{phase} {measured}, bound {row.bound}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _broken(observed: Observed) -> Iterator[str]:
    """Of the harness, or what it was pointed at: nothing was rehearsed."""
    processes, calls = observed.recording.processes, observed.recording.calls
    for one in processes:
        yield from (f"Process {one.number} of the generator failed: {error}" for error in one.errors)
    if len({one.meant_sha256 for one in processes}) > 1:
        digests = ", ".join(f"{one.number}: {one.meant_sha256[:8]}" for one in sorted(processes, key=lambda one: one.number))
        yield f"The processes of the generator drew different arrivals (SHA-256 of process {digests}), so each may have sent another's or nobody's"
    if not sum(one.meant for one in processes):
        yield "No arrival was meant to come: there is nothing to judge"
    elif len(calls) and is_unanswered(calls).all():
        where = f" at {url}" if (url := observed.machine.get("url")) else ""
        yield f"Nobody answered{where}: none of {len(calls):,} requests had an answer; is the gateway there?"
    else:
        yield from _nobody_joined(observed)


def _nobody_joined(observed: Observed) -> Iterator[str]:
    """Of a scenario whose line nobody got into nothing is known of the line."""
    calls = observed.recording.calls
    applicants = [number for number, stream in enumerate(observed.scenario.streams) if stream.kind == "applicant"]
    joins = calls[(calls["call"] == Call.TICKETS) & np.isin(calls["stream"], applicants)]
    # Let in on a provisional ticket: no place, and through all the same.
    if not observed.scenario.has_room or not len(joins) or any(one.joined_s or one.passed_s for one in observed.recording.people):
        return
    counts = Counter(max(status, 0) for status in joins["status"].tolist()).most_common()
    told = ", ".join(f"{count:,} {'join was' if count == 1 else 'joins were'} {f'answered {status}' if status else 'not answered'}" for status, count in counts)
    room = observed.scenario.gateway.settings["room"]["name"]
    asks = f": is the room called {room!r} there?" if any(status == HTTPStatus.NOT_FOUND for status, _ in counts) else ""
    yield f"Nobody joined the line; {told}{asks}"


def scale_in_words(scale: Scale) -> str:
    """Such as "one of 200 people, arrivals 120 times as fast"."""
    people = "everybody" if scale.people == 1 else f"one of {scale.people:g} people"
    clock = "arrivals as fast as they are" if scale.clock == 1 else f"arrivals {scale.clock:g} times as fast"
    return f"{people}, {clock}"


def meant_sha256(processes: Sequence[Process]) -> str:
    """Of all processes' instants: the same for the same scenario, seed and number of processes."""
    ordered = sorted(processes, key=lambda one: one.number)
    if len({one.meant_sha256 for one in ordered}) == 1:
        return ordered[0].meant_sha256
    return hashlib.sha256("".join(one.meant_sha256 for one in ordered).encode()).hexdigest()
