"""How much does it take, and how many workers for so many people?  `make capacity`.

    python -m loadtests.capacity --people 1000000 --minutes 60

Steps of open load, each so many times the one before, until two in a row do not hold: the knee is the highest step below
which all hold (p99 and share accepted).  Then the universal scalability law (usl.py) is fitted to what was achieved.

Which N.  The law is of how many are at it at once, and its λ what one of them does alone.  On one machine workers are a poor
N: there are as many as cores, two or four points for three parameters.  Offered load is none at all: it is the
question.  What really is at once is the requests in progress, and they follow from what is measured, whatever the
server's design: N = X · R, throughput times mean latency (Little's law, 1961).  Contention then shows as a curve that
flattens while N grows, coherency as one that falls.  N is computed from X, so their errors are related: the intervals are
a little too narrow.  Where overload refuses early N cannot grow and no fall is seen: then that is what is said.

Workers share nothing but Redis and Kafka (DESIGN section 16), so a fleet is as many times one machine as it has workers
of this kind: an extrapolation, said in the sentence.  It ends where Redis (92,000 decisions/s of four buckets) or
Kafka does.

Pure but for `main` and `climb`'s awaited `run_step`.  Exit codes: 0 a knee was found; 1 none; 2 the harness broke, or was
ended; 3 the generator could not keep up, or failed, before any step held.
"""

import argparse
import asyncio
import math
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from benchmarks.command import until_terminated
from loadtests import rehearse, usl
from loadtests.judge.honesty import honesty
from loadtests.judge.latency import corrected_ms, percentile_ms
from loadtests.judge.timeline import is_accepted
from loadtests.observed import Observed
from loadtests.recording import Call
from loadtests.scenario import Gateway, Scenario, Segment, Slo, Stream

RunStep = Callable[[Scenario], Awaitable[Observed]]
"""Play one step's scenario: rehearse.py's `observe`, or what a test puts in its stead."""

P99_MS_MAX: Final = 500.0  # what dec18 asks of syncs
ACCEPTED_MIN: Final = 0.99
STEPS: Final = 10
STEP_S: Final = 8.0
SETTLE_S: Final = 3.0  # before it is judged: connections are made, and overload learns for two seconds
FIRST_PER_S: Final = 200.0
FACTOR: Final = 1.6  # 200/s to 13,700/s in ten steps
BEYOND: Final = 2  # steps that do not hold, until it stops
MEMBER_EVERY_S: Final = 20.0  # a member sends no more often: what is measured is not their bucket
HEADROOM: Final = 0.3  # of what is known to hold, left for the bad minute: a worker that restarts, a rebalance


class Step(NamedTuple):
    """What one step of load showed."""

    offered_per_s: float
    achieved_per_s: float  # accepted: the goodput
    accepted_share: float
    mean_ms: float  # of the accepted
    p99_ms: float  # of the accepted, from the instant each was meant
    workers: int
    is_honest: bool = True  # the generator kept up, and had no trouble of its own

    @property
    def concurrency(self) -> float:
        """In progress on average: Little's law."""
        return self.achieved_per_s * self.mean_ms / 1000

    def holds(self, p99_ms_max: float = P99_MS_MAX) -> bool:
        """Everything is taken, in time."""
        return self.is_honest and self.p99_ms <= p99_ms_max and self.accepted_share >= ACCEPTED_MIN


class Capacity(NamedTuple):
    """What the steps say together."""

    steps: list[Step]
    knee: Step | None  # the highest that holds; None: none does
    is_ended_by_generator: bool  # nobody knows what would have come beyond
    fit: usl.Fit | None  # None: too few steps for three parameters
    samples: int  # of each request

    @property
    def per_worker_per_s(self) -> float:
        """Requests a second that one worker is known to take; nan: none."""
        return self.knee.achieved_per_s / self.knee.workers if self.knee else math.nan


# Pure


def found(steps: Sequence[Step], samples: int = 1, p99_ms_max: float = P99_MS_MAX) -> Capacity:
    """The knee, and the law behind it."""
    ordered = sorted(steps)
    count = next((number for number, step in enumerate(ordered) if not step.holds(p99_ms_max)), len(ordered))
    knee = ordered[count - 1] if count else None
    is_ended = not any(step.is_honest and not step.holds(p99_ms_max) for step in ordered)
    honest = [step for step in ordered if step.is_honest and step.achieved_per_s > 0 and step.mean_ms > 0]
    try:
        law = usl.fit([step.concurrency for step in honest], [step.achieved_per_s for step in honest])
    except (ValueError, RuntimeError):  # too few, or the search does not end
        law = None
    return Capacity(list(ordered), knee, is_ended, law, samples)


def rate_of(people: int, minutes: float, samples_each: int, samples: int) -> float:
    """Requests a second, when so many people send so many samples each within so many minutes, as evenly as they can."""
    return people * math.ceil(samples_each / samples) / (minutes * 60)


def workers_for(people: int, minutes: float, samples_each: int, capacity: Capacity, headroom: float = HEADROOM) -> int:
    """How many workers of the kind that was measured.

    By the knee, not by the law's most: at that one requests are refused and wait already.
    Raises ValueError where no step held.
    """
    if not (people > 0 and minutes > 0 and samples_each > 0 and 0 <= headroom < 1):
        raise ValueError(f"{people} people in {minutes:g} min, {samples_each} samples each, headroom {headroom:g}: want all above 0, headroom below 1")
    if capacity.knee is None:
        raise ValueError("no step held: nobody knows what one worker takes")
    needed = rate_of(people, minutes, samples_each, capacity.samples)
    return max(1, math.ceil(needed / (capacity.per_worker_per_s * (1 - headroom))))


# The climb


def scenario_of(per_s: float, workers: int, samples: int, seed: int = 1) -> Scenario:
    """One step."""
    seconds = SETTLE_S + STEP_S
    members = max(1_000, math.ceil(per_s * MEMBER_EVERY_S))
    stream = Stream("daily", "sync", [Segment(seconds, per_s, per_s)], members=members, samples=samples)
    return Scenario(
        title=f"Capacity: {per_s:,.0f} syncs a second",
        why="A step of `make capacity`.",
        seed=seed,
        streams=[stream],
        slo=[Slo("syncs.accepted_share", at_least=ACCEPTED_MIN)],
        name=f"capacity-{per_s:.0f}",
        seconds=seconds,
        drain_s=10.0,
        gateway=Gateway(workers=workers),
    )


def step_of(observed: Observed) -> Step:
    """What a step's rehearsal showed, once it had settled."""
    scenario, calls = observed.scenario, observed.recording.calls
    seconds = scenario.seconds - SETTLE_S
    calls = calls[(calls["call"] == Call.SYNCS) & (calls["meant_s"] >= SETTLE_S) & (calls["meant_s"] < scenario.seconds)]
    accepted = calls[is_accepted(calls)]
    ms = corrected_ms(accepted)
    return Step(
        offered_per_s=len(calls) / seconds,
        achieved_per_s=float((accepted["done_s"] < scenario.seconds).sum()) / seconds,
        accepted_share=len(accepted) / len(calls) if len(calls) else 0.0,
        mean_ms=float(np.mean(ms)) if len(ms) else math.nan,
        p99_ms=percentile_ms(ms, 99),
        workers=scenario.gateway.workers,
        is_honest=not honesty(observed).problems and not any(process.errors for process in observed.recording.processes),
    )


async def climb(
    run_step: RunStep, *, workers: int, samples: int, first_per_s: float = FIRST_PER_S, steps: int = STEPS, tell: Callable[[Step], None] = lambda _: None
) -> list[Step]:
    """Step by step, until BEYOND of them do not hold or the generator cannot keep up."""
    done = list[Step]()
    for number in range(steps):
        done.append(step_of(await run_step(scenario_of(first_per_s * FACTOR**number, workers, samples))))
        tell(done[-1])
        if not done[-1].is_honest or sum(not step.holds() for step in done) >= BEYOND:
            break
    return done


# What is printed

HEAD: Final = f"{'offered/s':>10} {'accepted/s':>11} {'share':>7} {'mean ms':>9} {'p99 ms':>9} {'at once':>9}  "


def row(step: Step) -> str:
    """One line of the table."""
    is_ok = "holds" if step.holds() else "does not hold" if step.is_honest else "the generator could not keep up, or failed"
    figures = f"{step.offered_per_s:10,.0f} {step.achieved_per_s:11,.0f} {step.accepted_share:7.1%} {step.mean_ms:9.1f} {step.p99_ms:9.1f}"
    return f"{figures} {step.concurrency:9.1f}  {is_ok}"


def sentences(capacity: Capacity) -> list[str]:
    """The knee, and the law."""
    said, knee, law = [], capacity.knee, capacity.fit
    if knee is None:
        said.append("No step held: begin lower (--first), or look at what limits (make rehearse).")
    else:
        of = f"{knee.workers} worker{'s' * (knee.workers > 1)}"
        said.append(f"The knee: {of} took {knee.achieved_per_s:,.0f}/s with p99 {knee.p99_ms:,.0f} ms and {knee.concurrency:.1f} requests in progress.")
    if capacity.is_ended_by_generator:
        said.append("Nothing beyond was seen, for no honest step failed: what it takes is at least that.")
    if law is None:
        said.append("Too few different steps to fit the universal scalability law to.")
        return said
    parts = (("λ", law.usl.lambda_, law.lambda_, "/s"), ("σ", law.usl.sigma, law.sigma, ""), ("κ", law.usl.kappa, law.kappa, ""))
    shown = ", ".join(f"{name} {value:.3g}{unit} [{between.low:.3g}, {between.high:.3g}]" for name, value, between, unit in parts)
    said.append(f"Universal scalability law over requests in progress: {shown}; R² {law.r2:.3f}.")
    if law.has_knee:
        at, most = law.n_peak_interval, law.x_peak_interval
        said.append(f"N* = {law.n_peak:,.1f} [{at.low:,.1f}, {at.high:,.1f}]; its most is {law.x_peak:,.0f}/s [{most.low:,.0f}, {most.high:,.0f}] (95 %).")
    else:
        most = law.x_peak_interval
        said.append(f"{law.says[:1].upper()}{law.says[1:]}. At the highest it takes {law.x_peak:,.0f}/s [{most.low:,.0f}, {most.high:,.0f}] (95 %).")
    return said


def answer(people: int, minutes: float, samples_each: int, capacity: Capacity, headroom: float) -> str:
    """How many workers."""
    try:
        workers = workers_for(people, minutes, samples_each, capacity, headroom)
    except ValueError as error:
        return f"How many workers: {error}"
    needed = rate_of(people, minutes, samples_each, capacity.samples)
    return (
        f"{people:,} people in {minutes:g} minutes, {samples_each} samples each, are {needed:,.0f} requests/s: {workers} workers, {headroom:.0%} left free. "
        f"One of them takes {capacity.per_worker_per_s:,.0f}/s here; more than were measured are an extrapolation, as long as Redis and Kafka keep up."
    )


def in_json(capacity: Capacity, asked: str, workers: int | None) -> bytes:
    """The same for programs; what is infinite or nobody knows is null."""
    steps = [step._asdict() | {"concurrency": step.concurrency} for step in capacity.steps]
    law = capacity.fit._asdict() | {"usl": capacity.fit.usl._asdict()} if capacity.fit else None
    return msgspec.json.encode(
        {"steps": steps, "knee": capacity.knee and capacity.knee._asdict(), "fit": law, "workers": workers, "says": [*sentences(capacity), asked]}
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="capacity", description="Step the load up, find the knee, and say how many workers are needed.")
    made.add_argument("--people", type=int, default=1_000_000, help="who send (default: 1,000,000)")
    made.add_argument("--minutes", type=float, default=60.0, help="within which they do (default: 60)")
    made.add_argument("--samples-each", type=int, default=1, help="samples that each sends (default: 1)")
    made.add_argument("--samples", type=int, default=1, help="samples in a request (default: 1)")
    made.add_argument("--headroom", type=float, default=HEADROOM, help=f"share left free (default: {HEADROOM})")
    made.add_argument("--workers", type=int, default=1, help="workers measured; the generator and Kafka want cores too (default: 1)")
    made.add_argument("--first", type=float, default=FIRST_PER_S, help=f"requests/s of the first step (default: {FIRST_PER_S:g})")
    made.add_argument("--steps", type=int, default=STEPS, help=f"at most (default: {STEPS}), each {FACTOR} times the one before")
    made.add_argument("--processes", type=int, default=1, help="of the generator (default: 1)")
    made.add_argument("--json", action="store_true", help="print one JSON object instead")
    return made


def report(chosen: argparse.Namespace, steps: Sequence[Step]) -> int:
    """Print what was found; returns the exit code."""
    capacity = found(steps, chosen.samples)
    said = answer(chosen.people, chosen.minutes, chosen.samples_each, capacity, chosen.headroom)
    if chosen.json:
        workers = workers_for(chosen.people, chosen.minutes, chosen.samples_each, capacity, chosen.headroom) if capacity.knee else None
        print(in_json(capacity, said, workers).decode())
    else:
        print("\n".join(["", *sentences(capacity), said]))
    if capacity.knee is not None:
        return 0
    return 3 if steps and not steps[-1].is_honest else 1


def main(arguments: Sequence[str], run_step: RunStep | None = None) -> int:
    """Climb, and print what was found; returns the exit code."""
    chosen = parser().parse_args(arguments)

    async def rehearsed(scenario: Scenario) -> Observed:
        return await rehearse.observe(scenario, argparse.Namespace(url="", processes=chosen.processes))

    def tell(step: Step) -> None:
        if not chosen.json:
            print(row(step), flush=True)

    async def climbed() -> int:
        play = run_step or rehearsed
        return report(chosen, await climb(play, workers=chosen.workers, samples=chosen.samples, first_per_s=chosen.first, steps=chosen.steps, tell=tell))

    if not chosen.json:
        print(HEAD, flush=True)
    return rehearse.kept_apart(lambda: asyncio.run(until_terminated(climbed())), "capacity")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
