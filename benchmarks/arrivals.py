"""When requests are due in an open model, and what became of each.  Pure.

Open: arrivals do not wait for answers, as a crowd does not.  They are Poisson, from a seed, so that
two runs offer the same.  Latency runs from the moment a request was *due*, not from the one it was
sent: a generator that is late must not make the gateway look quick.

A file of tries, which the generator writes and the report reads, repeats the 20 bytes of FORM:

    stream u8 | tries u8 | status i16 | due f32 | latency f32 | late f32 | Retry-After i32 (-1: none)
"""

import random
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

FORM: Final = struct.Struct("<BBhfffi")
GAVE_UP: Final = 0  # its status: no answer within the client's patience
CLOSED: Final = -1  # the connection ended before the answer
NO_RETRY_AFTER: Final = -1


class Phase(NamedTuple):
    """So many seconds of arrivals at one rate."""

    seconds: float
    per_s: float


class Try(NamedTuple):
    """One request sent, or that should have been."""

    stream: int
    tries: int  # 1: the first of this person; more where one obeys Retry-After
    status: int
    due_s: float  # since the job began
    latency_s: float  # since it was due
    late_s: float  # of the generator: between due and the moment it was taken up
    retry_after_s: int


def due_times(phases: Sequence[Phase], seed: int) -> Iterator[float]:
    """The seconds at which requests are due: Poisson within each phase."""
    draw = random.Random(seed)
    begins_s = 0.0
    for phase in phases:
        at_s = begins_s
        while phase.per_s > 0:
            at_s += draw.expovariate(phase.per_s)
            if at_s >= begins_s + phase.seconds:
                break
            yield at_s
        begins_s += phase.seconds


def packed(tries: Iterable[Try]) -> bytes:
    """The content of a file of tries."""
    return b"".join(FORM.pack(*one) for one in tries)


def unpacked(content: bytes) -> list[Try]:
    """The tries of such a file."""
    return [Try(*fields) for fields in FORM.iter_unpack(content)]


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """How many of these (begin, end) were open at one moment, at most."""
    steps = sorted(step for begin_s, end_s in spans for step in ((begin_s, 1), (end_s, -1)))
    most = now = 0
    for _, change in steps:
        now += change
        most = max(most, now)
    return most
