"""Frames of the operators' stream, as the contract draws them: a busy morning, a quiet one, none of it working."""

from copy import deepcopy
from typing import Any, Final

START_MS: Final = 1_797_541_200_000  # 06:00 on 18 December 2026, in Seoul
AT_MS: Final = START_MS + 9_960_000
_NO_RATES: Final = {"accepted_per_s": 0.0, "refused_per_s": 0.0, "shed_per_s": 0.0}
Frame = dict[str, Any]


def light(colour: str, reason: str, since_ms: int = START_MS) -> dict[str, object]:
    return {"colour": colour, "reason": reason, "since_ms": since_ms}


_BUSY: Final[Frame] = {
    "v": 1,
    "at_ms": AT_MS,
    "started_ms": START_MS,
    "version": "0.1.0",
    "ready": True,
    "why": "",
    "bottleneck": {"code": "downstream", "reason": "consumption", "worker": None},
    "lights": {
        "workers": light("green", "workers-ok"),
        "kafka": light("green", "ok"),
        "redis": light("green", "redis-ok"),
        "room": light("green", "room-ok"),
        "spool": light("green", "spool-ok"),
    },
    "room": {
        "name": "signup",
        "epoch": 20261218,
        "known": True,
        "state": "open",
        "depth": 5226,
        "uncalled": 5180,
        "lobby": 150,
        "head": 9000,
        "tail": 14180,
        "oldest_wait_s": 1490.0,
        "p50_s": 1490.0,
        "p90_s": 2013.0,
        "rate_per_s": 50.0,
        "floor_per_s": 10.0,
        "ceiling_per_s": 1000.0,
        "told_per_s": None,
        "reason": "consumption",
        "reason_since_ms": AT_MS - 960_000,
        "through_per_s": 49.8,
        "joins_per_s": 120.0,
        "leaving_per_s": 0.8,
        "lag": 130,
        "lag_target": 2000,
        "sign_age_ms": 240,
        "message": "",
        "acts_version": 0,
        "applied": True,
    },
    "traffic": {
        "accepted_per_s": 812.4,
        "refused_per_s": 3.2,
        "shed_per_s": 0.0,
        "by_class": {
            "syncs": {"accepted_per_s": 770.2, "refused_per_s": 2.2, "shed_per_s": 0.0},
            "signups": {"accepted_per_s": 42.2, "refused_per_s": 1.0, "shed_per_s": 0.0},
            "joins": {"accepted_per_s": 120.0, "refused_per_s": 0.0, "shed_per_s": 0.0},
            "looks": {"accepted_per_s": 160.4, "refused_per_s": 0.0, "shed_per_s": 0.0},
        },
        "refused_by_code": {"rate-limited": 2.2, "overloaded": 1.0},
    },
    "ack": {"p50_ms": 4.1, "p99_ms": 18.0},
    "unacked": {"age_ms": 3.0, "bytes": 18000},
    "spool": {
        "bytes": 131_072,
        "bytes_max": 68_719_476_736,
        "fullest": 0.0,
        "records": 0,
        "aside": 0,
        "oldest_s": 0.0,
        "replayed_per_s": 0.0,
        "left_s": None,
    },
    "slo": {
        "answered": {"objective": 0.999, "burn_5m": 0.0, "burn_1h": 0.1},
        "acked": {"objective": 0.99, "burn_5m": 1.4, "burn_1h": 0.6},
    },
    "loop_lag_ms": 1.2,
    "workers": [
        {"worker": index, "state": "serving", "lag_ms": 1.2, "cpu": 0.31, "memory_mb": 88, "restarts": 0, "connections": 1200 + index} for index in range(8)
    ],
    "supervisor": {"cpu": 0.02, "memory_mb": 70},
    "viewers": 3,
}


def busy() -> Frame:
    """A line of five thousand that drains as it should."""
    return deepcopy(_BUSY)


def empty() -> Frame:
    """A gateway without a room, just started, with nothing to do."""
    frame = busy()
    frame |= {"at_ms": START_MS + 40_000, "room": None, "bottleneck": {"code": "none", "reason": "", "worker": None}, "workers": frame["workers"][:2]}
    frame["spool"] = None
    frame["lights"] |= {
        "room": light("grey", "no-room"),
        "spool": light("grey", "no-spool"),
        "kafka": light("grey", "not-asked"),
        "redis": light("grey", "not-asked"),
    }
    frame["traffic"] = {**_NO_RATES, "by_class": {name: dict(_NO_RATES) for name in frame["traffic"]["by_class"]}, "refused_by_code": {}}
    frame["ack"] = {"p50_ms": None, "p99_ms": None}
    frame["slo"] = {name: {"objective": one["objective"], "burn_5m": None, "burn_1h": None} for name, one in frame["slo"].items()}
    return frame


def spooling() -> Frame:
    """Kafka was away for two hours and takes again; a worker's disk is nearly full."""
    frame = busy()
    frame["bottleneck"] = {"code": "spool", "reason": "spool-used", "worker": None}
    frame["lights"]["spool"] = light("amber", "spool-used", AT_MS - 7_260_000)
    frame["spool"] |= {"bytes": 34_800_000_000, "fullest": 0.93, "records": 41_200_000, "oldest_s": 7_260.0, "replayed_per_s": 22_400.0, "left_s": 1_839.0}
    frame["room"] |= {"reason": "spool-filling", "reason_since_ms": AT_MS - 60_000, "rate_per_s": 10.0, "through_per_s": 9.9}
    frame["machine"], frame["machines_heard"] = "gateway-1:8081", 1
    frame["machines"] = [
        {
            "name": "gateway-2:8081",
            "age_ms": 400,
            "ready": True,
            "able": 8,
            "workers": 8,
            "accepted_per_s": 790.1,
            "refused_per_s": 0.0,
            "p99_ms": 21.0,
            "lights": {"spool": "amber"},
            "spool_records": 39_870_000,
        }
    ]
    return frame


def red() -> Frame:
    """Kafka is gone, a worker hangs, the line stands, and there is no spool."""
    frame = busy()
    frame["spool"] = None
    since_ms = AT_MS - 72_000
    frame["bottleneck"] = {"code": "kafka", "reason": "kafka-away", "worker": None}
    frame["lights"] |= {
        "kafka": light("red", "kafka-away", since_ms),
        "workers": light("amber", "worker-silent", since_ms),
        "redis": light("amber", "redis-slow", since_ms),
        "spool": light("grey", "no-spool"),
    }
    frame["room"] |= {
        "through_per_s": 0.4,
        "rate_per_s": 10.0,
        "reason": "acks-stopped",
        "reason_since_ms": since_ms,
        "p50_s": 21_000.0,
        "p90_s": 200_000.0,
        "lag": None,
    }
    frame["room"] |= {"depth": 1_048_576, "joins_per_s": 905.2}
    frame["traffic"] |= {
        "accepted_per_s": 0.0,
        "refused_per_s": 811.9,
        "shed_per_s": 404.0,
        "refused_by_code": {"not-durable": 811.9, "too-many-connections": 0.4},
    }
    frame["ack"] = {"p50_ms": None, "p99_ms": None}
    frame["slo"]["answered"] |= {"burn_5m": 999.0, "burn_1h": 201.5}
    frame["workers"][3] |= {"state": "silent", "lag_ms": 12400.0, "cpu": 1.0, "restarts": 12}
    return frame


def before_the_store() -> Frame:
    """There is a room, and its store has not answered once."""
    frame = busy()
    known = {"name", "epoch", "floor_per_s", "ceiling_per_s", "lag_target"}
    frame["room"] = {name: value if name in known else None for name, value in frame["room"].items()} | {"known": False}
    frame |= {"ready": False, "why": "starting", "bottleneck": {"code": "starting", "reason": "", "worker": None}}
    frame["lights"] |= {"room": light("red", "room-away")}
    return frame
