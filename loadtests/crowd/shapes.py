"""When everybody comes: a scenario's streams → sorted instants, from its seed.  Pure.

A shape is a rate in straight lines, and its arrivals a non-homogeneous Poisson process: their number is Poisson with the
area Λ under the rate; given their number they are independent, so each is a uniform draw from [0, Λ) put through the
inverse of the area so far (which is quadratic within a segment).  A burst is people whose clocks say the same, each with
its own even draw within the jitter.  A file's times are as they stand there.

    people ÷ scale.people, seconds of shapes ÷ scale.clock; a burst's instant and jitter, and a file's times, stay

Each source of each stream draws from a generator of its own, made of (seed, name of the stream, number of the source):
adding a stream moves no other one's arrivals.  The same seed means the same bytes for one version of numpy.
Source: Çinlar, "Introduction to Stochastic Processes" (1975), ch. 4: a Poisson process on the scale of Λ(t).
Units: seconds of the rehearsal's clock.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from loadtests.scenario import Burst, Scale, Scenario, Segment, Stream, instants

MEANT: Final = np.dtype([("at_s", "f8"), ("stream", "u1")])
"""An arrival; its number is its place in the order of instants (ties: of streams)."""


def meant(scenario: Scenario) -> np.ndarray:
    """All arrivals of a rehearsal, of MEANT.

    Raises:
        ScenarioError: a file of times cannot be read.
    """
    parts = [np.empty(0, MEANT)]
    for number, stream in enumerate(scenario.streams):
        for at_s in _sources(stream, scenario):
            part = np.empty(len(at_s), MEANT)
            part["at_s"], part["stream"] = at_s, number
            parts.append(part)
    joined = np.concatenate(parts)
    joined = joined[(joined["at_s"] >= 0) & (joined["at_s"] < scenario.seconds)]
    return joined[np.lexsort((joined["stream"], joined["at_s"]))]


def digest(arrivals: np.ndarray) -> str:
    """The SHA-256 that two rehearsals with the same arrivals share."""
    return hashlib.sha256(arrivals.tobytes()).hexdigest()


def share(count: int, process: int, processes: int) -> np.ndarray:
    """Which arrivals are one process's to send: each so-manieth."""
    return np.arange(process, count, processes)


def ordinals(arrivals: np.ndarray) -> np.ndarray:
    """The how-manieth of its stream each arrival is, from 0."""
    found = np.empty(len(arrivals), np.int64)
    for stream in np.unique(arrivals["stream"]):
        is_its = arrivals["stream"] == stream
        found[is_its] = np.arange(int(is_its.sum()))
    return found


def _sources(stream: Stream, scenario: Scenario) -> Iterator[np.ndarray]:
    """The instants of its shape, of each of its bursts, and of its file."""
    if stream.shape:
        yield poisson(stream.shape, scenario.scale, _generator(scenario.seed, stream.name, 0))
    for number, burst in enumerate(stream.bursts, 1):
        yield together(burst, scenario.scale, _generator(scenario.seed, stream.name, number))
    if stream.times:
        yield np.sort(instants(Path(stream.times)))


def _generator(seed: int, name: str, source: int) -> np.random.Generator:
    words = np.frombuffer(hashlib.blake2b(name.encode(), digest_size=16).digest(), "<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, source, *words.tolist()])))


def poisson(shape: Sequence[Segment], scale: Scale, generator: np.random.Generator) -> np.ndarray:
    """The instants of one shape, sorted."""
    seconds = np.array([segment.seconds for segment in shape]) / scale.clock
    first, last = (np.array([getattr(segment, end) for segment in shape]) * scale.clock / scale.people for end in ("from_per_s", "to_per_s"))
    ends = np.cumsum((first + last) / 2 * seconds)
    area = np.sort(generator.random(generator.poisson(ends[-1]))) * ends[-1]
    # The last segment takes what rounding leaves beyond its end; a segment without area takes none.
    which = np.minimum(np.searchsorted(ends, area, side="right"), len(shape) - 1)
    rest = area - np.concatenate([[0.0], ends])[which]
    began = np.concatenate([[0.0], np.cumsum(seconds)])[which]
    within: np.ndarray = began + np.minimum(_inverse(rest, first[which], (last - first)[which] / seconds[which]), seconds[which])
    return within


def _inverse(area: np.ndarray, rate: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Where `rate·t + slope·t²/2` comes to the area.  In the form that loses no digits where the slope is small."""
    root = np.sqrt(np.maximum(rate * rate + 2 * slope * area, 0.0))
    divisor = rate + root
    found: np.ndarray = np.divide(2 * area, divisor, out=np.zeros_like(area), where=divisor > 0)
    return found


def together(burst: Burst, scale: Scale, generator: np.random.Generator) -> np.ndarray:
    """The instants of one burst, sorted."""
    found: np.ndarray = burst.at_s + np.sort(generator.random(round(burst.people / scale.people))) * burst.jitter_s
    return found
