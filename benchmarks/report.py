"""What the samples say: per arm, per pair, against the targets; as JSON and as a table.

Pure.  Figures of an arm are medians over its rounds.  A ratio is the median of the ratios of the
pairs, with its interval, never a quotient of two medians: the pairs are what cancels the machine.
All ratios are per event, which is per request where a request carries one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.measure import Estimate, estimate, median
from benchmarks.plan import BARE, Arm, Pair, PairSample, Sample

# In more rounds than this share of an arm's, and its figures are the generator's, not its own.
BOTTLENECK_SHARE_MAX = 0.1


@dataclass(frozen=True)
class Target:
    """One promise of the issue, in ratios that hold on any machine."""

    text: str
    arm: str
    bound: float
    beyond: float | None = None  # what we would like
    in_units_of: str = ""  # another arm's ratio / ours, at least; else ours, at most


TARGETS = (
    Target("single event, everything on: at most 1.6 x bare aiohttp", "gateway", 1.6, beyond=1.25),
    Target(
        "single event: at least 2.2 x cheaper than the first thing one would write",
        "gateway",
        2.2,
        in_units_of="naive",
    ),
    Target("batches of 50: at most 0.15 x bare aiohttp per event", "gateway-50", 0.15),
)


@dataclass(frozen=True)
class ArmFigures:
    """Medians over all rounds of one arm, and sums of what should not have happened."""

    requests_per_s: float
    events_per_s: float
    cpu_us_per_request: float
    cpu_us_per_event: float
    supervisor_share: float
    p50_ms: float
    p99_ms: float
    server_busy: float
    generator_busy: float
    rounds: int
    bottleneck_rounds: int
    refused: int
    lost: int
    spooled: int


@dataclass(frozen=True)
class Verdict:
    """A target beside what was measured."""

    text: str
    measured: Estimate
    is_met: bool
    words: str


@dataclass(frozen=True)
class Report:
    """All of it."""

    arms: dict[str, ArmFigures]
    ratios: dict[str, tuple[str, Estimate]]  # arm -> reference, ratio
    verdicts: tuple[Verdict, ...]
    broken: tuple[str, ...]  # answers that were not 202
    bottlenecks: tuple[str, ...]  # arms that were really the generator


def build(measured: Sequence[tuple[Pair, PairSample]]) -> Report:
    """Read the samples once and say everything there is to say."""
    samples: dict[str, list[Sample]] = {}
    ratios: dict[str, list[float]] = {}
    references: dict[str, Arm] = {}
    for pair, both in measured:
        samples.setdefault(pair.reference.name, []).append(both.reference)
        samples.setdefault(pair.arm.name, []).append(both.arm)
        ratios.setdefault(pair.arm.name, []).append(both.ratio)
        references[pair.arm.name] = pair.reference
    arms = {name: figures(taken) for name, taken in samples.items()}
    to_bare = {name: found for name, found in ratios.items() if references[name] == BARE}
    return Report(
        arms=arms,
        ratios={name: (references[name].name, estimate(found)) for name, found in ratios.items()},
        verdicts=tuple(verdicts(to_bare)),
        broken=tuple(complaints(samples)),
        bottlenecks=tuple(
            f"{name}: the load generator was the bottleneck in {of.bottleneck_rounds} of {of.rounds} rounds"
            for name, of in arms.items()
            if of.bottleneck_rounds > BOTTLENECK_SHARE_MAX * of.rounds
        ),
    )


def figures(taken: Sequence[Sample]) -> ArmFigures:
    """Sum up one arm."""
    return ArmFigures(
        requests_per_s=median([one.requests / one.seconds for one in taken]),
        events_per_s=median([one.requests * one.events / one.seconds for one in taken]),
        cpu_us_per_request=median([one.cpu_us_per_request for one in taken]),
        cpu_us_per_event=median([one.cpu_us_per_event for one in taken]),
        supervisor_share=median([one.supervisor_cpu_us / one.cpu_us for one in taken]),
        p50_ms=median([one.p50_ms for one in taken]),
        p99_ms=median([one.p99_ms for one in taken]),
        server_busy=median([one.server_busy for one in taken]),
        generator_busy=median([one.generator_busy for one in taken]),
        rounds=len(taken),
        bottleneck_rounds=sum(one.was_generator_bottleneck for one in taken),
        refused=sum(sum(one.refused.values()) for one in taken),
        lost=sum(one.lost for one in taken),
        spooled=sum(one.spooled for one in taken),
    )


def complaints(samples: dict[str, list[Sample]]) -> list[str]:
    """Say which arms answered something other than 202, or nothing."""
    found = []
    for name, taken in samples.items():
        of = figures(taken)
        if of.refused or of.lost:
            statuses = sorted({status for one in taken for status in one.refused})
            errors = sorted({one.error for one in taken if one.error})
            found.append(f"{name}: {of.refused} answers other than were wanted {statuses}, {of.lost} never answered {errors}")
    return found


def verdicts(ratios: dict[str, list[float]]) -> list[Verdict]:
    """Hold what was measured against the targets; a target without its arms is left out."""
    found = []
    for target in TARGETS:
        if target.arm not in ratios or (target.in_units_of and target.in_units_of not in ratios):
            continue
        values = ratios[target.arm]
        if target.in_units_of:
            # Round by round: both were measured within seconds of each other.
            values = [other / ours for other, ours in zip(ratios[target.in_units_of], values, strict=True)]
        found.append(judge(target, estimate(values)))
    return found


def judge(target: Target, measured: Estimate) -> Verdict:
    """Say in words whether a target is met, and how surely."""
    at_least = bool(target.in_units_of)
    is_met = measured.median >= target.bound if at_least else measured.median <= target.bound
    is_close = measured.low < target.bound < measured.high
    words = "met" if is_met else "MISSED"
    if is_close:
        words += ", but the interval holds the bound: run more pairs to be sure"
    elif target.beyond is not None and is_met:
        reached = measured.median <= target.beyond
        words += f"; beyond ({target.beyond:g}): {'reached' if reached else 'not reached'}"
    return Verdict(target.text, measured, is_met, words)


def as_json(report: Report, settings: dict[str, object], machine: dict[str, object]) -> object:
    """Return the report as plain values."""
    return {
        "machine": machine,
        "settings": settings,
        "arms": {name: asdict(of) for name, of in report.arms.items()},
        "ratios": {name: {"reference": reference, **asdict(ratio)} for name, (reference, ratio) in report.ratios.items()},
        "targets": [asdict(verdict) for verdict in report.verdicts],
        "broken": list(report.broken),
        "bottlenecks": list(report.bottlenecks),
    }
