"""A rehearsal's result: what verdict.py finds and report.py shows; `result.json` is this, whole.

Nothing in it needs anything else to be read: a report is made from it, and a later rehearsal is compared with it.
All times are seconds of the rehearsal's clock, all latencies milliseconds.
"""

from enum import IntEnum
from typing import Final

from msgspec import Struct

EVIDENCE_MAX: Final = 5  # of one check: enough to look into; its count says how many there are


class Verdict(IntEnum):
    """The exit codes."""

    PASS = 0
    MISSED = 1  # an SLO
    BROKE = 2  # the harness, or what it was told
    GENERATOR = 3  # it could not keep up: nothing can be said of the gateway, never a pass
    LOST = 4  # something was lost, doubled or unfair


class SloRow(Struct, frozen=True):
    """A bound and what was measured."""

    phase: str
    metric: str
    says: str  # what the metric is, in words
    bound: str  # "≤ 500 ms"
    measured: float  # nan: nothing to measure
    shown: str  # "312 ms"
    is_met: bool


class Check(Struct, frozen=True):
    """Something that must never be, counted: a row of the ledgers' reconciliation, or of fairness."""

    name: str
    says: str
    count: int  # 0: as it should be
    evidence: list[str] = []  # EVIDENCE_MAX at most, by name


class LedgerRow(Struct, frozen=True):
    """One figure in the three ledgers; None: this ledger does not know it."""

    what: str  # "sign-ups accepted"
    generator: int | None
    gateway: int | None
    kafka: int | None


class Curve(Struct, frozen=True):
    """Latencies of one call over the whole rehearsal, from HdrHistograms of 3 digits."""

    call: str  # "POST /v1/syncs"
    count: int
    percentiles: list[float]  # 50, 90, 95, 99, 99.9, 100 and what lies between
    corrected_ms: list[float]  # from the instant it was meant or due
    uncorrected_ms: list[float]  # from its first byte: what a generator that waits would have said


class HeatMap(Struct, frozen=True):
    """How many answers had which latency when (corrected)."""

    call: str
    from_s: list[float]  # columns
    above_ms: list[float]  # rows; the last one has no end
    counts: list[list[int]]  # by column


class Mark(Struct, frozen=True):
    """A fault, as it was done."""

    what: str
    from_s: float
    to_s: float


class Bottleneck(Struct, frozen=True):
    """One of those that may limit, and how near to its bound it came."""

    what: str  # "the gateway's cores"
    share: float  # of its bound, in its worst ten seconds
    at_s: float  # when that was
    says: str


class Honesty(Struct, frozen=True):
    """Whether the generator may be believed."""

    meant: int
    sent: int
    late_p99_ms: float
    cpu_share: float  # of one core, the busiest process
    problems: list[str]  # empty: yes
    tries: int = 1  # of the whole rehearsal: a second one was made where the first could not keep up


class Waits(Struct, frozen=True):
    """What the line was like, of those who got through."""

    people: int
    passed: int
    left: int
    wait_p50_s: float
    wait_p99_s: float
    estimate_error_p50: float  # |first estimate - wait| / wait
    overtaken_worst_s: float  # in seconds of the door's rate
    called_to_pass_p99_s: float
    door_used: float  # passes / (rate x time), while two lobbies of live people wait
    most_in_1s: float  # passes released / (rate x 1 s + burst), at worst
    most_in_10s: float
    drain_deepest_minute: float  # of the door's rate, in the minute with the most people in line


class Result(Struct, frozen=True):
    """All of it."""

    name: str
    title: str
    why: str
    began: str  # RFC 3339
    seed: int
    meant_sha256: str
    scale: str  # "one of 200 people, arrivals 120 times as fast"
    verdict: Verdict
    reasons: list[str]  # the first screen's sentences, the gravest first
    seconds: float
    drained_s: float
    machine: dict[str, str]
    phases: list[tuple[str, float, float]]
    marks: list[Mark]
    slo: list[SloRow]
    checks: list[Check]
    ledger: list[LedgerRow]
    timeline: dict[str, list[float]]  # columns of equal length, one value a second; "at_s" first; nan where unknown
    curves: list[Curve]
    heat: list[HeatMap]
    waits: Waits | None
    bottlenecks: list[Bottleneck]
    honesty: Honesty
    is_simulated: bool = False  # in virtual time, over the gateway's pure functions
