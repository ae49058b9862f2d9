"""What the samples of `make bench-take` say: per arm and concurrency, in ratios to ours, against the target.

Pure.  Figures are medians over the rounds.  A ratio is the median of the ratios round by round, with its interval,
never a quotient of two medians: within a round the arms ran seconds apart, and that is what cancels the machine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from benchmarks.measure import Estimate, estimate, median
from benchmarks.report import Target, Verdict, judge
from benchmarks.table import interval, shown
from benchmarks.takers import OURS
from benchmarks.takers.loop import Answered

TARGET_CONCURRENCY: Final = 64
TARGET_BOUND: Final = 5.0
TARGET_BEYOND: Final = 10.0
HEADINGS: Final = (
    *("at once", "arm", "decisions/s", "client CPU us", "server CPU us", "p50 ms", "p99 ms"),
    "client CPU, in ours [95 %]",
)


@dataclass(frozen=True)
class Sample:
    """One arm in one round."""

    round: int
    concurrency: int
    arm: str
    answered: Answered

    @property
    def is_good(self) -> bool:
        """Whether the store granted all: what ours decides alone while the store is late costs less, and must not count."""
        return not self.answered["error"] and not self.answered["refused"]

    @property
    def client_us(self) -> float:
        """Client CPU for one decision."""
        return self.answered["client_cpu_us"] / self.answered["decisions"]

    @property
    def server_us(self) -> float:
        """Server CPU for one decision."""
        return self.answered["server_cpu_us"] / self.answered["decisions"]


@dataclass(frozen=True)
class Figures:
    """Medians over all rounds of one arm at one concurrency."""

    concurrency: int
    arm: str
    decisions_per_s: float
    client_us: float
    server_us: float
    p50_ms: float
    p99_ms: float
    rounds: int
    ratio: Estimate | None  # of its client CPU to ours; None: it is ours, or one of the two was not measured


@dataclass(frozen=True)
class Results:
    """All of it."""

    figures: tuple[Figures, ...]
    unmeasured: tuple[tuple[int, str], ...]  # concurrency and arm of which no round was good
    broken: tuple[str, ...]
    verdicts: tuple[Verdict, ...]


def order(names: Sequence[str], number: int) -> list[str]:
    """Return the arms of a round in their order: rotated every round, and backwards in every other lap."""
    at = number % len(names)
    rotated = [*names[at:], *names[:at]]
    return rotated[::-1] if number // len(names) % 2 else rotated


def build(samples: Sequence[Sample]) -> Results:
    """Read the samples once and say everything there is to say."""
    good: dict[tuple[int, str], dict[int, Sample]] = {}
    for sample in samples:
        if sample.is_good:
            good.setdefault((sample.concurrency, sample.arm), {})[sample.round] = sample
    figures = []
    for (concurrency, arm), of in good.items():
        ours = {} if arm == OURS else good.get((concurrency, OURS), {})
        figures.append(summed_up(list(of.values()), [of[number].client_us / ours[number].client_us for number in of.keys() & ours.keys()]))
    asked = dict.fromkeys((sample.concurrency, sample.arm) for sample in samples)
    return Results(
        figures=tuple(figures),
        unmeasured=tuple(where for where in asked if where not in good),
        broken=tuple(complaints(samples)),
        verdicts=tuple(verdicts(figures)),
    )


def summed_up(of: Sequence[Sample], ratios: Sequence[float]) -> Figures:
    """Sum up the rounds of one arm at one concurrency."""
    return Figures(
        concurrency=of[0].concurrency,
        arm=of[0].arm,
        decisions_per_s=median([one.answered["decisions"] / one.answered["seconds"] for one in of]),
        client_us=median([one.client_us for one in of]),
        server_us=median([one.server_us for one in of]),
        p50_ms=median([one.answered["p50_ms"] for one in of]),
        p99_ms=median([one.answered["p99_ms"] for one in of]),
        rounds=len(of),
        ratio=estimate(ratios) if ratios else None,
    )


def complaints(samples: Sequence[Sample]) -> Iterator[str]:
    """Say which arms failed, or were refused where nobody should be."""
    errors: dict[tuple[str, int, str], int] = {}
    refused: dict[tuple[str, int], int] = {}
    for sample in samples:
        where = (sample.arm, sample.concurrency)
        if error := sample.answered["error"]:
            errors[*where, error] = errors.get((*where, error), 0) + 1
        refused[where] = refused.get(where, 0) + sample.answered["refused"]
    for (arm, concurrency, error), rounds in errors.items():
        yield f"{arm}, {concurrency} at once: {rounds} rounds failed: {error}"
    for (arm, concurrency), count in refused.items():
        if count:
            yield f"{arm}, {concurrency} at once: {count} decisions were not granted by the store; their rounds are left out"


def verdicts(figures: Sequence[Figures]) -> Iterator[Verdict]:
    """Hold the ratios against the target, one for each of the others."""
    for of in figures:
        if of.concurrency != TARGET_CONCURRENCY or of.ratio is None:
            continue
        text = f"at concurrency {TARGET_CONCURRENCY}: at least {TARGET_BOUND:g} x cheaper in client CPU per decision than {of.arm} (target {TARGET_BEYOND:g} x)"
        judged = judge(Target(text, OURS, TARGET_BOUND, in_units_of=of.arm), of.ratio)
        reached = "reached" if of.ratio.median >= TARGET_BEYOND else "not reached"
        yield replace(judged, words=f"{judged.words}; {TARGET_BEYOND:g} x: {reached}")


def text(results: Results, notes: dict[str, str], settings: dict[str, object], machine: dict[str, object]) -> str:
    """Return everything, top down: table, what each arm is, target, what went wrong, machine."""
    parts = ["\n".join(rows(results)), "\n".join(f"{arm}: {note}" for arm, note in notes.items())]
    parts.append("\n".join(f"target: {verdict.text}: {interval(verdict.measured)}: {verdict.words}" for verdict in results.verdicts))
    if results.broken:
        parts.append("\n".join(["BROKEN:", *results.broken]))
    parts.append("; ".join(f"{name}: {shown(value)}" for name, value in settings.items()))
    parts.append("\n".join(f"{name}: {shown(value)}" for name, value in machine.items()))
    return "\n\n".join(part for part in parts if part)


def rows(results: Results) -> Iterator[str]:
    """Yield the table's lines."""
    unmeasured = [(str(concurrency), arm, "BROKEN", *[""] * (len(HEADINGS) - 3)) for concurrency, arm in results.unmeasured]
    cells = [HEADINGS, *(row(of) for of in results.figures), *unmeasured]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    for line in cells:
        yield "  ".join(cell.ljust(width) if column == 1 else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths, strict=True)))


def row(of: Figures) -> tuple[str, ...]:
    """Return the cells of one arm at one concurrency."""
    return (
        str(of.concurrency),
        of.arm,
        f"{of.decisions_per_s:,.0f}",
        f"{of.client_us:.1f}",
        f"{of.server_us:.1f}",
        f"{of.p50_ms:.2f}",
        f"{of.p99_ms:.2f}",
        interval(of.ratio) if of.ratio else "",
    )


def as_json(results: Results, notes: dict[str, str], settings: dict[str, object], machine: dict[str, object]) -> object:
    """Return the results as plain values."""
    return {
        "machine": machine,
        "settings": settings,
        "arms": notes,
        "figures": [asdict(of) for of in results.figures],
        "targets": [asdict(verdict) for verdict in results.verdicts],
        "broken": list(results.broken),
    }
