"""Results as rehearsals leave them, made up: one for each verdict, long ones, hostile ones.

The morning is a small model, so that its columns agree with each other: arrivals, a line with a door, a downstream that
is slower the more waits for it.
"""

import math
import random
from typing import Any, Final

import msgspec

from loadtests.observed import SAMPLED
from loadtests.result import Bottleneck, Check, Curve, HeatMap, Honesty, LedgerRow, Mark, Result, SloRow, Verdict, Waits

HOSTILE: Final = "<script>alert(1)</script><img src=x onerror='alert(2)'>\"&amp; $TITLE \x00\ud800"
PERCENTILES: Final = [50.0, 55.0, 60.0, 65.0, 70.0, 75.0, 80.0, 85.0, 90.0, 92.5, 95.0, 97.5, 99.0, 99.5, 99.9, 99.95, 99.99, 100.0]
ABOVE_MS: Final = [0.0, *(10 ** (step / 4) for step in range(17))]  # 1 ms to 10 s
FIELDS: Final = {name for kind in (Result, SloRow, Check, LedgerRow, Curve, HeatMap, Mark, Bottleneck, Honesty) for name in kind.__struct_fields__}
PAUSED: Final = (120.0, 130.0)


def passed(*, has_line: bool = True, seconds: int = 540) -> Result:
    """dec18 as it should be."""
    return Result(
        name="dec18" if has_line else "dec18-nogate",
        title="18 December: the opening morning, with the line" if has_line else "18 December: the same morning without a line",
        why="A million people want to sign up within ten hours, 40 % of them in the first half hour, the first minute ten times the mean. What stands "
        "behind becomes slower the more it is asked. The line must drain at what downstream takes, however long it is.",
        began="2026-11-23T02:14:07Z",
        seed=18,
        meant_sha256="9f2c5b0a7d1e4c83a6b9f0d2e5c7184b3a6d9f2c5b0a7d1e4c83a6b9f0d2e5c7",
        scale="one of 200 people, arrivals 120 times as fast; timers and human delays as they are",
        verdict=Verdict.PASS,
        reasons=["9 of 9 objectives met; 14,153 arrivals sent, none lost; 4,873 of 5,000 people through the door, 127 left by themselves."],
        seconds=seconds - 240.0,
        drained_s=seconds - 31.4,
        machine={"processor": "2 × Xeon 2.8 GHz", "memory": "8 GB", "system": "Linux 6.1", "Python": "3.11.7", "locust": "2.42", "commit": "828a170"},
        phases=[("first-half-hour", 0.0, 15.0), ("morning", 15.0, seconds - 240.0), ("drain", seconds - 240.0, float(seconds))],
        marks=[],
        slo=_objectives(),
        checks=_checks(),
        ledger=_ledger(),
        timeline=morning(seconds, has_line=has_line),
        curves=[_curve("POST /v1/syncs", 9_153, 1.0), _curve("POST /v1/signups", 4_873, 1.6), _curve("GET /v1/rooms/signup/place", 101_422, 0.5)],
        heat=[_heat("POST /v1/syncs", seconds), _heat("POST /v1/signups", seconds)],
        waits=Waits(5_000, 4_873, 127, 131.2, 262.9, 0.11, 3.4, 4.1, 0.981, 0.94, 0.99, 0.973) if has_line else None,
        bottlenecks=_bottlenecks(),
        honesty=Honesty(14_153, 14_153, 3.1, 0.41, []),
    )


def missed() -> Result:
    """The morning without a line: downstream collapses."""
    slo = _objectives()
    slo[1] = msgspec.structs.replace(slo[1], measured=8_210.0, shown="8.21 s", is_met=False)
    slo[4] = msgspec.structs.replace(slo[4], measured=3.9, shown="3.9/s", is_met=False)
    return msgspec.structs.replace(
        passed(has_line=False),
        verdict=Verdict.MISSED,
        reasons=["morning: downstream.per_s was 3.9/s, want ≥ 10/s", "whole rehearsal: signups.p99_ms was 8.21 s, want ≤ 800 ms"],
        slo=slo,
    )


def with_faults() -> Result:
    """Redis paused for ten seconds, and workers killed again and again; nothing is known meanwhile."""
    found = passed()
    columns = {name: list(values) for name, values in found.timeline.items()}
    for second in range(int(PAUSED[0]), int(PAUSED[1])):
        for name in ("depth", "lobby", "door_per_s", "redis_ms", "redis_cpu"):
            columns[name][second] = math.nan
        columns["syncs_p99_ms"][second] = 1_900.0
    columns["depth"][125] = 700.0  # alone between two gaps
    kills = [Mark("worker.kill", 200.0 + 20 * number, 200.0 + 20 * number) for number in range(6)]
    return msgspec.structs.replace(found, name="redis-failover", timeline=columns, marks=[Mark("redis.pause", *PAUSED), *kills])


def generator() -> Result:
    """It was held back."""
    return msgspec.structs.replace(
        passed(),
        verdict=Verdict.GENERATOR,
        reasons=["13,022 of 14,153 arrivals were sent (92 %, want at least 99 %)", "arrivals started 311 ms late at p99, want at most 20 ms"],
        honesty=Honesty(14_153, 13_022, 311.0, 0.97, ["sent 92 % of what was meant", "late by 311 ms at p99", "97 % of a core"], tries=2),
    )


def lost() -> Result:
    """One accepted event is not in Kafka."""
    checks = _checks()
    checks[0] = msgspec.structs.replace(
        checks[0], count=2, evidence=["sign-up 0190a6f0-0000-7000-8000-00000000002a: 202 at 0:47, not in Kafka", "sync 77 sample 0: 202 at 3:09"]
    )
    ledger = _ledger()
    ledger[0] = msgspec.structs.replace(ledger[0], kafka=4_872)
    reasons = ["2 payloads were answered 202 and are not in Kafka"]
    return msgspec.structs.replace(passed(), verdict=Verdict.LOST, reasons=reasons, checks=checks, ledger=ledger)


def broke() -> Result:
    """Nothing came of it."""
    return Result(
        name="dec18",
        title="",
        why="",
        began="2026-11-23T02:14:07Z",
        seed=18,
        meant_sha256="",
        scale="",
        verdict=Verdict.BROKE,
        reasons=["Kafka did not start within 60 s"],
        seconds=300.0,
        drained_s=math.nan,
        machine={},
        phases=[],
        marks=[],
        slo=[],
        checks=[],
        ledger=[],
        timeline={},
        curves=[],
        heat=[],
        waits=None,
        bottlenecks=[],
        honesty=Honesty(0, 0, math.nan, math.nan, []),
    )


def simulated() -> Result:
    """A million phones in virtual time: no cores, no Kafka, no generator that could be late."""
    found = passed(seconds=1_440)
    columns = {name: values for name, values in found.timeline.items() if not name.endswith("_cpu") and "syncs" not in name}
    return msgspec.structs.replace(
        found,
        name="million",
        title="A million phones, in virtual time",
        scale="1,000,000 people, one gateway of four workers",
        is_simulated=True,
        timeline=columns,
    )


def long(seconds: int = 3_600) -> Result:
    """An hour, with everything a page may have to hold."""
    marks = [Mark("worker.kill", at, at + 2.5) for at in range(100, seconds, 60)] + [Mark("kafka.pause", 900.0, 960.0)]
    calls = ["POST /v1/syncs", "POST /v1/signups", "POST tickets", "GET place", "POST passes"]
    return msgspec.structs.replace(
        passed(seconds=seconds),
        name="soak",
        marks=marks,
        curves=[_curve(call, 100_000, 1.0 + number / 3) for number, call in enumerate(calls)],
        heat=[_heat(call, seconds) for call in calls],
    )


def hostile() -> Result:
    """Every text wants out of its element."""
    found = with_faults()
    waits, honesty = found.waits, msgspec.structs.replace(found.honesty, problems=[HOSTILE])
    poisoned = _poisoned(msgspec.to_builtins(msgspec.structs.replace(found, waits=None)))
    return msgspec.structs.replace(msgspec.convert(poisoned, Result), waits=waits, honesty=honesty, verdict=Verdict.LOST, timeline=found.timeline)


def _poisoned(value: Any) -> Any:
    """The same with HOSTILE for each text but that of bounds, which is read."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, dict):
        return {(name if name in FIELDS else HOSTILE): _poisoned(one) for name, one in value.items()}
    return [_poisoned(one) for one in value] if isinstance(value, list | tuple) else value


def morning(seconds: int, *, has_line: bool = True) -> dict[str, list[float]]:
    """A second at a time."""
    dice, ends = random.Random(18), seconds - 240
    names = [*SAMPLED, "meant", "sent", "answered", "accepted", "refused", "errors", "unanswered", "joins", "passes", "live", "signups_accepted"]
    columns: dict[str, list[float]] = {
        name: [] for name in dict.fromkeys([*names, *(f"{one}_p{share}_ms" for one in ("syncs", "signups") for share in (50, 99))])
    }
    depth, forms, lag = 0.0, 0.0, 0.0
    for second in range(seconds):
        came = (130.0 if second < 15 else 10.5 * 300 / ends) if second < ends else 0.0
        came *= dice.uniform(0.85, 1.15)
        syncs = 30 * dice.uniform(0.8, 1.2) if second < ends else 0.0
        depth += came
        rate = 20.0 if has_line else math.inf
        passes = min(rate, depth)
        depth -= passes
        forms += passes - (sent := forms / 15)
        could = 20 * min(1.0, lag / 60 + 0.2) if lag <= 200 else 20 / (1 + ((lag - 200) / 150) ** 1.3)
        lag = max(lag + sent - (took := min(could, lag + sent)), 0.0)
        quick = 9 * dice.uniform(0.9, 1.3) + (lag / 4 if lag > 300 else 0)
        columns["at_s"].append(float(second))
        _note(columns, depth=depth if has_line else math.nan, lobby=min(40.0, depth) if has_line else math.nan, live=depth * 0.9 if has_line else math.nan)
        _note(
            columns,
            door_per_s=rate if has_line else math.nan,
            passes=passes if has_line else math.nan,
            joins=came if has_line else math.nan,
            meant=came + syncs,
        )
        _note(
            columns,
            sent=came + syncs + depth / 6 + sent,
            answered=came + syncs + depth / 6 + sent,
            accepted=syncs + sent + depth / 6,
            refused=depth / 40,
            errors=0.0,
            unanswered=0.0,
        )
        _note(columns, signups_accepted=sent, downstream_per_s=took, downstream_could=could, consumer_lag=lag, shed_per_s=0.0, accepted_per_s=sent + syncs)
        is_due = second < ends
        _note(columns, syncs_p50_ms=quick if is_due else math.nan, syncs_p99_ms=quick * dice.uniform(3, 9) if is_due else math.nan)
        _note(columns, signups_p50_ms=quick * 1.4 if sent > 0.05 else math.nan, signups_p99_ms=quick * dice.uniform(4, 12) if sent > 0.05 else math.nan)
        _note(
            columns,
            worker_cpu=min(1.0, 0.1 + (came + depth / 6) / 400),
            redis_cpu=0.06 * dice.uniform(0.5, 1.5),
            kafka_cpu=0.2 * dice.uniform(0.5, 1.5),
            generator_cpu=0.2 + came / 500,
        )
        _note(
            columns,
            loop_lag_ms=dice.uniform(0.5, 4),
            ack_p99_ms=quick,
            in_flight=float(dice.randint(0, 9)),
            workers=2.0,
            redis_ms=dice.uniform(0.1, 0.6),
            gateway_cpu=0.4,
        )
    return {name: values or [math.nan] * seconds for name, values in columns.items()}


def _note(columns: dict[str, list[float]], **values: float) -> None:
    for name, value in values.items():
        columns[name].append(value)


def _objectives() -> list[SloRow]:
    return [
        SloRow("all", "syncs.p99_ms", "syncs, p99 from the instant each was due", "≤ 500 ms", 118.0, "118 ms", is_met=True),
        SloRow("all", "signups.p99_ms", "sign-ups, p99 from the instant each was due", "≤ 800 ms", 204.0, "204 ms", is_met=True),
        SloRow("all", "signups.accepted_share", "sign-ups accepted in the end, of those with a pass", "≥ 98 %", 0.9994, "99.9 %", is_met=True),
        SloRow("all", "downstream.used", "of what downstream could have taken, what it took", "≥ 85 %", 0.94, "94 %", is_met=True),
        SloRow("morning", "downstream.per_s", "sign-ups that downstream consumed", "≥ 10/s", 18.7, "18.7/s", is_met=True),
        SloRow("morning", "line.drain_deepest_minute", "passes in the deepest minute, of the door's rate", "≥ 95 %", 0.973, "97.3 %", is_met=True),
        SloRow("morning", "line.estimate_error_p50", "first estimate off by, median", "≤ 25 %", 0.11, "11 %", is_met=True),
        SloRow("drain", "syncs.p99_ms", "syncs, p99 from the instant each was due", "≤ 500 ms", 96.0, "96 ms", is_met=True),
        SloRow("drain", "line.wait_p99_s", "wait in line, p99", "≤ 300 s", 262.9, "262.9 s", is_met=True),
    ]


def _checks() -> list[Check]:
    return [
        Check("lost", "Answered 202 and not in Kafka", 0),
        Check("refused-present", "Refused, and in Kafka all the same", 0),
        Check("doubled", "Places given twice", 0),
        Check("overtaken", "People overtaken beyond the published bound", 0),
        Check("door", "Windows of 1 s or 10 s with more passes released than the door's rate", 0),
    ]


def _ledger() -> list[LedgerRow]:
    return [
        LedgerRow("sign-ups accepted", 4_873, 4_873, 4_873),
        LedgerRow("samples accepted", 9_153, 9_153, 9_153),
        LedgerRow("passes", 4_873, 4_873, None),
        LedgerRow("refused", 1_204, 1_206, None),
        LedgerRow("answers unknown", 2, None, None),
    ]


def _curve(call: str, count: int, slow: float) -> Curve:
    corrected = [slow * 9 * (1 - min(one, 99.997) / 100) ** -0.45 for one in PERCENTILES]
    return Curve(call, count, PERCENTILES, corrected, [value * 0.9 if one < 99 else value * 0.55 for one, value in zip(PERCENTILES, corrected, strict=True)])


def _heat(call: str, seconds: int) -> HeatMap:
    dice, starts = random.Random(call), [float(start) for start in range(0, seconds, 5)]
    counts = []
    for start in starts:
        column = [0] * len(ABOVE_MS)
        for _ in range(150 if start < seconds - 240 else 12):
            value_ms = dice.lognormvariate(2.4, 0.7) * (12 if 90 <= start < 110 and dice.random() < 0.4 else 1)
            column[max(row for row, above in enumerate(ABOVE_MS) if above <= value_ms)] += 1
        counts.append(column)
    return HeatMap(call, starts, ABOVE_MS, counts)


def _bottlenecks() -> list[Bottleneck]:
    return [
        Bottleneck("downstream", 0.998, 171.0, "20 sign-ups a second, its most: the line is there because of this"),
        Bottleneck("the gateway's busiest worker", 0.62, 9.0, "of one core"),
        Bottleneck("the generator", 0.41, 6.0, "of one core, the busiest process"),
        Bottleneck("Redis", 0.12, 14.0, "of one core; a PING took 0.6 ms at most"),
        Bottleneck("event loop of the worst worker", 0.08, 201.0, "4 ms of 50 ms"),
        Bottleneck("Kafka", math.nan, 0.0, "nobody measured its disk"),
    ]
