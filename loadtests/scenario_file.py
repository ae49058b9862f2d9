"""A TOML file → a Scenario, or one clear sentence about what is wrong with it; and back.

Checked here is what types cannot say: names that stand twice, a metric or phase that does not exist, people who would come
after the end, more of them than can be sent.  What `save` has written is read as the same scenario: that is how the
generator's processes hear of it.
"""

import difflib
import math
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import tomli_w

from loadtests.scenario import WHOLE, Scenario, ScenarioError, Slo, Stream, expected, instants

SCENARIOS: Final = Path(__file__).parent / "scenarios"
CALLS: Final = frozenset({"syncs", "signups", "tickets", "place", "passes", WHOLE})
RESERVED: Final = CALLS | {"line", "door", "downstream", "gateway", "recovery", "spool"}
"""What metrics begin with (slo.py): a stream of that name would be measured as something else."""

ARRIVALS_MAX: Final = 20_000_000  # more than an hour of all that one core sends; their calls are a gigabyte
BEYOND_MAX: Final = 1.01  # of `seconds`: what a shape's rounded segments may come to, and is cut
DEPTH_MAX: Final = 32  # of tables in tables; who writes them out again calls itself for each


def load(name: str, metrics: frozenset[str] | None) -> Scenario:
    """Read one of SCENARIOS by name, or any file by its path.

    Args:
        metrics: those there are; None: nobody judges here, as in the generator.

    Raises:
        ScenarioError: there is none, it is no TOML, a field is unknown or out of bounds, a metric or phase does not exist,
            more come than can be sent, or after the end.
    """
    path = Path(name) if name.endswith(".toml") else SCENARIOS / f"{name}.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        _refuse_unreadable(document)
        found = msgspec.convert(document, Scenario)
    except FileNotFoundError:
        known = ", ".join(sorted(one.stem for one in SCENARIOS.glob("*.toml")))
        raise ScenarioError(f"{name}: no such scenario; there are {known}, or name a .toml file") from None
    except RecursionError:
        raise ScenarioError(f"{path}: is nested too deeply") from None
    except (OSError, ValueError) as exc:  # no file, no UTF-8, no TOML, no Scenario
        raise ScenarioError(f"{path}: {exc}") from None
    missing = [stream for stream in found.streams if stream.times and not (path.parent / stream.times).is_file()]
    if missing:
        raise ScenarioError(f"{path}: {'; '.join(f'stream {stream.name}: {stream.times} is not there' for stream in missing)}")
    # Whole paths, so that a copy of the scenario elsewhere finds them too.
    streams = [msgspec.structs.replace(stream, times=str((path.parent / stream.times).resolve())) if stream.times else stream for stream in found.streams]
    found = msgspec.structs.replace(found, name=path.stem, streams=streams)
    try:
        problems = list(_problems(found, metrics))
    except ScenarioError as error:  # a file of times
        raise ScenarioError(f"{path}: {error}") from None
    if problems:
        raise ScenarioError(f"{path}: {'; '.join(problems)}")
    return found


def save(scenario: Scenario, path: Path) -> None:
    """As a file that `load` reads: for the generator's processes."""
    path.write_text(tomli_w.dumps(msgspec.to_builtins(msgspec.structs.replace(scenario, name=""))), encoding="utf-8")


# What is wrong


def _refuse_unreadable(document: dict[str, Any]) -> None:
    """Raises ValueError: a number that is none stands in it (types' bounds let nan through), or it is nested too deeply."""
    left: list[tuple[str, int, Any]] = [("", 0, document)]
    while left:
        where, depth, value = left.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{where.lstrip('.')}: want a finite number, not {value}")
        if depth > DEPTH_MAX:
            raise ValueError("is nested too deeply")
        if isinstance(value, dict):
            left += [(f"{where}.{key}", depth + 1, inner) for key, inner in value.items()]
        elif isinstance(value, list):
            left += [(f"{where}[{number}]", depth + 1, inner) for number, inner in enumerate(value)]


def _problems(scenario: Scenario, metrics: frozenset[str] | None) -> Iterator[str]:
    """What types cannot say."""
    phases = [phase.name for phase in scenario.phases]
    for what, names in (("phases", phases), ("streams", [stream.name for stream in scenario.streams])):
        if len(set(names)) < len(names):
            yield f"{what}: a name stands twice"
    end_s = scenario.seconds + scenario.drain_s
    yield from (f"phase {phase.name}: want from_s < to_s <= seconds + drain_s" for phase in scenario.phases if not phase.from_s < phase.to_s <= end_s)
    yield from (f"fault {fault.what}: comes after the end" for fault in scenario.faults if max(fault.instants_s()) > end_s)
    known = None if metrics is None else metrics | of_streams(scenario, metrics)
    for slo in scenario.slo:
        yield from _slo_problems(slo, known, phases)
    if WHOLE in phases:
        yield f"phase {WHOLE}: is the whole time's name already"
    yield from (f"gateway.settings.{name}: want a table" for name, table in scenario.gateway.settings.items() if not isinstance(table, dict))
    for stream in scenario.streams:
        yield from _stream_problems(stream)
        yield from _beyond(stream, scenario)
    if not (people := expected(scenario)) <= ARRIVALS_MAX:
        yield f"{people:,.0f} arrivals: want {ARRIVALS_MAX:,} at most; make [scale] people larger"


def of_streams(scenario: Scenario, metrics: frozenset[str]) -> frozenset[str]:
    """What is measured of all calls is measured of each stream too: `all.p99_ms`, so `daily.p99_ms`."""
    stats = [metric.removeprefix("all.") for metric in metrics if metric.startswith("all.")]
    return frozenset(f"{stream.name}.{stat}" for stream in scenario.streams for stat in stats)


def _slo_problems(slo: Slo, metrics: frozenset[str] | None, phases: Sequence[str]) -> Iterator[str]:
    if metrics is not None and slo.metric not in metrics:
        yield f"slo: no metric is called {slo.metric!r}{_nearest(slo.metric, metrics)}"
    if slo.at_most is None and slo.at_least is None:
        yield f"slo {slo.metric}: want at_most, at_least or both"
    if slo.at_most is not None and slo.at_least is not None and slo.at_least > slo.at_most:
        yield f"slo {slo.metric}: nothing is at least {slo.at_least:g} and at most {slo.at_most:g}"
    if slo.phase != WHOLE and slo.phase not in phases:
        yield f"slo {slo.metric}: no phase is called {slo.phase!r}"


def _stream_problems(stream: Stream) -> Iterator[str]:
    manners = stream.manners
    if stream.name in RESERVED:
        yield f"stream {stream.name}: metrics are called so already; take another name than {', '.join(sorted(RESERVED))}"
    if not (stream.shape or stream.bursts or stream.times):
        yield f"stream {stream.name}: want a shape, bursts or times"
    if manners.impatient + manners.leaves + manners.sleeps + manners.tabs + manners.blind > 1 + 1e-9:
        yield f"stream {stream.name}: the shares of manners come to more than 1"


def _beyond(stream: Stream, scenario: Scenario) -> Iterator[str]:
    """Who would come after the end, and never be sent."""
    end_s, late = scenario.seconds, f"and people come for {scenario.seconds:g} s"
    if (shape_s := sum(segment.seconds for segment in stream.shape) / scenario.scale.clock) > BEYOND_MAX * end_s:
        yield f"stream {stream.name}: its shape lasts {shape_s:g} s, {late}"
    for burst in stream.bursts:
        if burst.at_s >= end_s or burst.at_s + burst.jitter_s > BEYOND_MAX * end_s:
            yield f"stream {stream.name}: a burst lasts until {burst.at_s + burst.jitter_s:g} s, {late}"
    last_s = float(instants(Path(stream.times)).max(initial=0.0)) if stream.times else 0.0
    if last_s > BEYOND_MAX * end_s:
        yield f"stream {stream.name}: {stream.times} has somebody come at {last_s:g} s, {late}"


def _nearest(wanted: str, known: frozenset[str]) -> str:
    close = difflib.get_close_matches(wanted, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(known))}"
