"""All that was seen → what is to be said of it, and the exit code.

Pure.  The gravest first:

    BROKE      the harness itself failed: nothing is known
    LOST       something was lost, doubled or unfair: that is so however the generator fared
    GENERATOR  it could not keep up: whatever else was measured says nothing of the gateway
    MISSED     a bound
    PASS       nothing was lost, every bound held
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np

from loadtests.judge import fairness, ledger, line, slo
from loadtests.judge.bottleneck import bottlenecks
from loadtests.judge.honesty import honesty
from loadtests.judge.latency import curves, heat_maps
from loadtests.judge.slo import Figures
from loadtests.judge.timeline import timeline
from loadtests.observed import Observed
from loadtests.recording import Process
from loadtests.result import Check, Honesty, Result, SloRow, Verdict, Waits
from loadtests.scenario import WHOLE, Scale


def judge(observed: Observed) -> Result:
    """The whole result."""
    figures, scenario = Figures.of(observed), observed.scenario
    checks = ledger.checks(observed, figures.payloads)
    if figures.line is not None:
        checks += fairness.checks(observed, figures.line, figures.overtaken_s)
    fared = honesty(observed)
    rows = [slo.row(figures, one) for one in scenario.slo]
    broken = list(_broken(observed.recording.processes))
    calls = observed.recording.calls
    return Result(
        name=scenario.name,
        title=scenario.title,
        why=scenario.why,
        began=datetime.fromtimestamp(observed.began_s, UTC).isoformat(timespec="seconds"),
        seed=scenario.seed,
        meant_sha256=meant_sha256(observed.recording.processes),
        scale=scale_in_words(scenario.scale),
        verdict=_verdict(broken, checks, fared, rows),
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
        waits=None if figures.line is None else waits(figures, figures.line),
        bottlenecks=bottlenecks(observed, figures.line),
        honesty=fared,
    )


def exit_code(result: Result) -> int:
    """0 pass, 1 missed, 2 broke, 3 the generator could not keep up, 4 lost."""
    return int(result.verdict)


def _verdict(broken: Sequence[str], checks: Sequence[Check], fared: Honesty, rows: Sequence[SloRow]) -> Verdict:
    if broken:
        return Verdict.BROKE
    if any(check.count for check in checks):
        return Verdict.LOST
    if fared.problems:
        return Verdict.GENERATOR
    return Verdict.PASS if all(row.is_met for row in rows) else Verdict.MISSED


# In words


def _reasons(observed: Observed, broken: Sequence[str], checks: Sequence[Check], fared: Honesty, rows: Sequence[SloRow]) -> Iterator[str]:
    yield from broken
    yield from (found_in_words(check) for check in checks if check.count)
    yield from (_sentence(problem) for problem in fared.problems)
    missed = [row for row in rows if not row.is_met]
    yield from map(missed_in_words, missed)
    if broken or fared.problems:
        return
    if not any(check.count for check in checks):
        yield _kept_in_words(observed, is_all=not missed)


def _kept_in_words(observed: Observed, *, is_all: bool) -> str:
    """What was not found, and by whom nobody could look for it."""
    bounds = "; every bound held" if is_all else ""
    if observed.records is None:
        return f"Kafka was not read, so nobody can say whether anything was lost{bounds}"
    unfair = "" if not any(one.joined_s for one in observed.recording.people) else ", nobody was overtaken or let in beyond the door's rate"
    return f"Nothing was lost{unfair}{bounds}"


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


def _broken(processes: Sequence[Process]) -> Iterator[str]:
    """Of the harness."""
    for one in processes:
        yield from (f"Process {one.number} of the generator failed: {error}" for error in one.errors)
    if not sum(one.meant for one in processes):
        yield "No arrival was meant to come: there is nothing to judge"


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


# The line


def waits(figures: Figures, of: line.Line) -> Waits:
    """Over the whole rehearsal; nan: nothing to measure."""
    span = (-math.inf, math.inf)
    return Waits(
        people=int((~np.isnan(of.joined_s) | ~np.isnan(of.passed_s)).sum()),  # let in on a provisional ticket: no place
        passed=int((~np.isnan(of.passed_s)).sum()),
        left=int((~np.isnan(of.left_s)).sum()),
        wait_p50_s=slo.wait_s(of, span, 50),
        wait_p99_s=slo.wait_s(of, span, 99),
        estimate_error_p50=slo.estimate_error(of, span),
        overtaken_worst_s=float(figures.overtaken_s.max()),
        called_to_pass_p99_s=slo.called_to_pass_s(of, span),
        door_used=line.used(of, (0.0, of.end_s)),
        most_in_1s=line.most_in(of, 1.0, span).share,
        most_in_10s=line.most_in(of, 10.0, span).share,
        drain_deepest_minute=line.deepest_minute(of, (0.0, of.end_s)),
    )
