"""What follows from the figures of the operators' screen: tables, promises, and words where a figure needs them.

Pure.  Instants are seconds since the epoch of one machine's clock, which Redis, gateway and viewers share here.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from benchmarks.bench_line import Found
from benchmarks.measure import estimate, median, percentile
from benchmarks.overload_report import Verdict
from benchmarks.screen.truth import Truth
from benchmarks.screen.viewers import Done
from benchmarks.table import interval

TOLD_S_MAX: Final = 3.0
GREEN_S_MAX: Final = 10.0
VIEWERS_CPU_MAX: Final = 0.080  # s/s of the supervisor, beyond what it uses with nobody looking
WORKERS_CPU_MAX: Final = 0.010  # s/s of all workers together: their own ticks vary by as much
FRAME_BYTES_MAX: Final = 4_096
SLOPE_KB_MAX: Final = 50.0  # a minute, beyond the gateway nobody looks at: a shift of twelve hours ends 36 MB higher
STALE_S_MAX: Final = 2.0
TICK_S: Final = 0.25
LEVER_S_MAX: Final = 1.0
_SAMPLE_S: Final = 0.01

__all__ = ["Found"]  # of bench_line: tables, promises, remarks


def _middle_and_worst(values: Sequence[float], form: str = ".2f") -> str:
    return f"{median(values):{form}} / {max(values):{form}}"


# a


class Round(NamedTuple):
    """One fault, in seconds."""

    frame_s: float  # until a frame shows light and bottleneck
    readyz_s: float  # until /readyz agrees
    green_s: float  # from the repair until both are green

    @property
    def told_s(self) -> float:
        """Until both say so."""
        return max(self.frame_s, self.readyz_s)


LIGHTS_HEADINGS: Final = ("fault", "a frame names it", "/readyz agrees", "green after repair")


def lights_cells(name: str, rounds: Sequence[Round]) -> tuple[str, ...]:
    """A line of the table."""
    kinds: tuple[Callable[[Round], float], ...] = (lambda one: one.frame_s, lambda one: one.readyz_s, lambda one: one.green_s)
    return (name, *(_middle_and_worst([of(one) for one in rounds]) for of in kinds))


def lights_verdicts(rounds: Sequence[Round]) -> list[Verdict]:
    """Judged by the worst of all faults."""
    told_s, green_s = max(one.told_s for one in rounds), max(one.green_s for one in rounds)
    return [
        Verdict(f"a: light, bottleneck and /readyz say so within {TOLD_S_MAX:g} s of each fault", f"{told_s:.2f} s at worst", told_s <= TOLD_S_MAX, ""),
        Verdict(f"a: all is green within {GREEN_S_MAX:g} s of repair", f"{green_s:.2f} s at worst", green_s <= GREEN_S_MAX, ""),
    ]


# b


class Costs(NamedTuple):
    """One round: nobody looks, a thousand do, a thousand look at the other stream."""

    idle: Done
    watched: Done
    peer: Done

    @property
    def idle_s(self) -> float:
        """Of the supervisor, as all of these a second."""
        return self.idle["root_cpu_s"] / self.idle["seconds"]

    @property
    def watched_s(self) -> float:
        """Likewise."""
        return self.watched["root_cpu_s"] / self.watched["seconds"]

    @property
    def peer_s(self) -> float:
        """Of the one process of the other stream."""
        return self.peer["root_cpu_s"] / self.peer["seconds"]

    @property
    def workers_s(self) -> float:
        """What all workers use more while a thousand look."""
        return self.watched["others_cpu_s"] / self.watched["seconds"] - self.idle["others_cpu_s"] / self.idle["seconds"]

    @property
    def share(self) -> float:
        """What the viewers cost here in units of what they cost there."""
        return (self.watched_s - self.idle_s) / self.peer_s


COSTS_HEADINGS: Final = ("process", "nobody looks", "1,000 look", "more")


def cost_cells(rounds: Sequence[Costs]) -> list[tuple[str, ...]]:
    """The lines of the table."""

    def one(values: Sequence[float]) -> str:
        return interval(estimate(values))

    idle_workers = [each.idle["others_cpu_s"] / each.idle["seconds"] for each in rounds]
    watched_workers = [each.watched["others_cpu_s"] / each.watched["seconds"] for each in rounds]
    return [
        ("supervisor", one([each.idle_s for each in rounds]), one([each.watched_s for each in rounds]), one([each.watched_s - each.idle_s for each in rounds])),
        ("its workers", one(idle_workers), one(watched_workers), one([each.workers_s for each in rounds])),
        ("a loop per viewer", "", one([each.peer_s for each in rounds]), ""),
        ("ours / a loop per viewer", "", "", one([each.share for each in rounds])),
    ]


def cost_verdicts(rounds: Sequence[Costs], frame_bytes: int, void: str) -> list[Verdict]:
    """By the medians; frames by every single one."""
    more, workers = median([one.watched_s - one.idle_s for one in rounds]), median([one.workers_s for one in rounds])
    missed = sum(one.watched["gaps"] + one.watched["lost"] for one in rounds)
    least, most = min(one.watched["frames"][0] for one in rounds), max(one.watched["frames"][1] for one in rounds)
    return [
        Verdict(f"b: 1,000 viewers cost the supervisor at most {VIEWERS_CPU_MAX:.3f} CPU s/s", f"{more:.3f}", more <= VIEWERS_CPU_MAX, void),
        Verdict(f"b: and its workers nothing, within {WORKERS_CPU_MAX:.3f}", f"{workers:+.4f}", workers <= WORKERS_CPU_MAX, void),
        Verdict(f"b: a frame is at most {FRAME_BYTES_MAX:,} bytes", f"{frame_bytes:,}", frame_bytes <= FRAME_BYTES_MAX, ""),
        Verdict("b: every viewer gets every frame", f"{missed} missed; {least} to {most} in a round", missed == 0 and least > 0, void),
    ]


# c


class Memory(NamedTuple):
    """What was left of coming and going."""

    samples: Sequence[tuple[float, float, float]]  # minutes, kB, kB where nobody looks
    descriptors: int  # before
    left_open: int  # more, in the end

    @property
    def slopes_kb(self) -> tuple[float, float]:
        """A minute, from the first tenth on: by then all are there."""
        rest = self.samples[1:]
        return slope([(at, kb) for at, kb, _ in rest]), slope([(at, kb) for at, _, kb in rest])


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares."""
    mean_x, mean_y = sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def memory_lines(of: Memory) -> Iterator[str]:
    """Each tenth, and the slope."""
    yield "c: resident memory of the supervisor in kB"
    yield "minutes         " + " ".join(f"{at:9.1f}" for at, _, _ in of.samples)
    yield "viewers come    " + " ".join(f"{kb:9,.0f}" for _, kb, _ in of.samples)
    yield "nobody looks    " + " ".join(f"{kb:9,.0f}" for _, _, kb in of.samples)
    watched, alone = of.slopes_kb
    yield f"from the first tenth on {watched:+.0f} kB/min, and {alone:+.0f} kB/min where nobody looks; descriptors {of.descriptors}, {of.left_open:+d} in the end"


def memory_verdicts(of: Memory, void: str) -> list[Verdict]:
    """Flat, and all closed."""
    watched, alone = of.slopes_kb
    text = f"c: viewers who come and go add at most {SLOPE_KB_MAX:g} kB/min"
    return [
        Verdict(text, f"{watched - alone:+.0f} kB/min", watched - alone <= SLOPE_KB_MAX, void),
        Verdict("c: no descriptor is left open", f"{of.left_open:+d}", of.left_open <= 0, ""),
    ]


# d


class Shown(NamedTuple):
    """One frame's depth."""

    arrived_s: float
    sign_s: float  # the instant it tells of
    depth: int


def shown_of(arrived_s: float, frame: dict[str, Any]) -> Shown:
    """Of a frame that knows its room."""
    return Shown(arrived_s, (frame["at_ms"] - frame["room"]["sign_age_ms"]) / 1_000, frame["room"]["depth"])


def ages_s(shown: Sequence[Shown], begin_s: float, end_s: float) -> list[float]:
    """How old what a viewer sees is, every ten milliseconds; in order."""
    arrivals = [one.arrived_s for one in shown]
    instants = (begin_s + step * _SAMPLE_S for step in range(int((end_s - begin_s) / _SAMPLE_S)))
    return sorted(at_s - shown[index - 1].sign_s for at_s in instants if (index := bisect_right(arrivals, at_s)))


def off_by(one: Shown, truths: Sequence[Truth], within_s: float) -> int | None:
    """People between what is shown and the nearest that was true so close to its instant; None: nobody looked then."""
    first, last = depth_at(truths, one.sign_s - within_s), depth_at(truths, one.sign_s + within_s)
    if first is None or last is None:
        return None
    between = truths[bisect_left(truths, one.sign_s - within_s, key=_at) : bisect_right(truths, one.sign_s + within_s, key=_at)]
    depths = [first, last, *(truth.depth for truth in between)]
    return round(max(min(depths) - one.depth, one.depth - max(depths), 0))


def off_at(one: Shown, truths: Sequence[Truth]) -> int | None:
    """The same of the instant itself."""
    depth = depth_at(truths, one.sign_s)
    return None if depth is None else round(abs(depth - one.depth))


def depth_at(truths: Sequence[Truth], at_s: float) -> float | None:
    """On a line between the two looks around an instant."""
    after = bisect_left(truths, at_s, key=_at)
    if not 0 < after < len(truths):
        return None
    left, right = truths[after - 1], truths[after]
    return left.depth + (right.depth - left.depth) * (at_s - left.at_s) / (right.at_s - left.at_s)


def _at(one: Truth) -> float:
    return one.at_s


class Off(NamedTuple):
    """Differences of all frames of a time."""

    near: list[int]  # to the nearest within a tick; in order
    exact: list[int]  # at the instant; in order
    worst: Shown | None
    share: float  # the worst near one, of what was shown


def off(shown: Sequence[Shown], truths: Sequence[Truth], begin_s: float, end_s: float) -> Off:
    """Of frames whose instant lies in this time."""
    inside = [one for one in shown if begin_s <= one.sign_s < end_s]
    near = [(found, one) for one in inside if (found := off_by(one, truths, TICK_S)) is not None]
    exact = sorted(found for one in inside if (found := off_at(one, truths)) is not None)
    most, worst = max(near, key=lambda pair: pair[0], default=(0, None))
    return Off(sorted(found for found, _ in near), exact, worst, most / max(worst.depth, 1) if worst else 0.0)


AGES_HEADINGS: Final = ("time", "frames", "stale p50/p99/worst s", "±1 tick p50/p99/worst", "at the instant p50/p99/worst")


def age_cells(name: str, shown: Sequence[Shown], truths: Sequence[Truth], begin_s: float, end_s: float) -> tuple[str, ...]:
    """A line of the table."""
    ages, found = ages_s(shown, begin_s, end_s), off(shown, truths, begin_s, end_s)
    return (name, f"{len(found.near)}", _three(ages, ".2f"), _three(found.near, ".0f"), _three(found.exact, ".0f"))


def _three(ordered: Sequence[float], form: str) -> str:
    return " / ".join(f"{percentile(ordered, share):{form}}" for share in (0.5, 0.99, 1.0))


def moved_in_a_tick(truths: Sequence[Truth]) -> float:
    """Joins and passes of a tick, on average."""
    first, last = truths[0], truths[-1]
    return (last.tail - first.tail + last.passes - first.passes) / max(last.at_s - first.at_s, 1e-9) * TICK_S


def line_verdicts(shown: Sequence[Shown], truths: Sequence[Truth], begin_s: float, end_s: float, void: str) -> list[Verdict]:
    """Of all the time."""
    stale_s, found = percentile(ages_s(shown, begin_s, end_s), 0.99), off(shown, truths, begin_s, end_s)
    most = found.near[-1] if found.near else 0
    return [
        Verdict(f"d: staleness p99 at most {STALE_S_MAX:g} s", f"{stale_s:.2f} s", stale_s <= STALE_S_MAX, void),
        Verdict("d: the depth shown is Redis' own of its instant, give or take a tick", f"{most} people off at worst", bool(found.near) and most == 0, void),
    ]


def depth_remarks(shown: Sequence[Shown], truths: Sequence[Truth], begin_s: float, end_s: float) -> list[str]:
    """Where it is off most, and what a tick moves."""
    found = off(shown, truths, begin_s, end_s)
    right = sum(one == 0 for one in found.near) / max(len(found.near), 1)
    said = [f"d: {right:.1%} of {len(found.near)} frames are right within a tick, in which {moved_in_a_tick(truths):.0f} people join or pass on average"]
    if found.worst and found.near[-1]:
        at_s, tick = found.worst.sign_s, found.near[-1]
        around = [f"{one.depth:,}" for one in truths if at_s - 1.5 <= one.at_s <= at_s + 0.5][::5]
        said.append(
            f"d: the worst, {tick} people ({found.share:.2%}), {at_s - truths[0].at_s:.1f} s in: {found.worst.depth:,} is shown; Redis had {' '.join(around)}"
        )
    return said


# e

LEVER_HEADINGS: Final = ("by", "every worker", "before it was heard", "after")


def lever_cells(name: str, seconds: Sequence[float], heard_s: Sequence[float]) -> tuple[str, ...]:
    """A line of the table."""
    after_s = [all_s - before_s for all_s, before_s in zip(seconds, heard_s, strict=True)]
    return (name, *(_middle_and_worst(some, ".3f") for some in (seconds, heard_s, after_s)))


def lever_verdicts(name: str, seconds: Sequence[float]) -> list[Verdict]:
    """By the worst."""
    return [Verdict(f"e: {name}: every worker within {LEVER_S_MAX:g} s", f"{max(seconds):.3f} s at worst", max(seconds) <= LEVER_S_MAX, "")]
