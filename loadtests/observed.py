"""All that a rehearsal saw, before anybody judges it: what rehearse.py collects and verdict.py reads."""

from typing import Final

import numpy as np
from msgspec import Struct

from loadtests.recording import Recording
from loadtests.result import Mark
from loadtests.scenario import Scenario

RECORD: Final = np.dtype(
    [
        ("topic", "u1"),  # 0 syncs, 1 sign-ups
        ("partition", "u2"),
        ("offset", "i8"),
        ("arrival", "u4"),  # recording.py's payload_id, of the value's `id` or `signup_id`
        ("sample", "u1"),
        ("event", "S36"),  # ce_id
        ("at_s", "f8"),  # Kafka's timestamp, on the rehearsal's clock
    ]
)
"""One of this rehearsal's records in Kafka, in the order of its partition; those of an earlier one are not among them."""

Series = dict[str, float]
"""A scrape: `name{label="value",...}`, labels in the order of the alphabet, as in /metrics → value; a series that is missing is 0."""

SAMPLED: Final = {
    "at_s": "the rehearsal's clock",
    "depth": "people in line (the gateway's)",
    "lobby": "of them, called",
    "door_per_s": "people a second the door lets in",
    "door_reason": "index into gateway/metrics.py's sluicegate_room_reason",
    "consumer_lag": "sign-ups that wait downstream: as the consumer knows where it is ours, else as the gateway does; nan: unknown",
    "accepted_per_s": "events made durable, in Kafka or on the gateway's disk",
    "spooled_per_s": "of them, on its disk",
    "spool_waits": "records there that wait for Kafka, all workers",
    "replayed_per_s": "records that Kafka has from there",
    "refused_per_s": "requests answered 4xx or 503",
    "shed_per_s": "of them, for overload",
    "ack_p99_ms": "from admission to Kafka's acknowledgement, of this second",
    "loop_lag_ms": "of the worst worker",
    "in_flight": "requests admitted and not answered, all workers",
    "unacked_age_s": "of the oldest batch",
    "workers": "that serve",
    "redis_reason": "index into core/light.py REASONS",
    "kafka_reason": "the same",
    "gateway_cpu": "cores, supervisor and workers together",
    "worker_cpu": "of one core, the busiest worker",
    "generator_cpu": "of one core, the busiest process",
    "redis_cpu": "of one core",
    "kafka_cpu": "cores",
    "redis_ms": "one PING; nan: no answer within a second",
    "downstream_per_s": "sign-ups consumed",
    "downstream_could": "that it could have, by its law, with what waited",
}
"""Columns of the 1 Hz samples; nan where nobody could say (another's gateway, a server that was paused)."""


class Observed(Struct, frozen=True):
    """One rehearsal, unjudged."""

    scenario: Scenario
    run: int  # recording.payload_id's
    began_s: float  # of the epoch: the rehearsal's second 0
    ended_s: float  # of the rehearsal's clock
    recording: Recording
    records: np.ndarray | None  # of RECORD; None: nobody lets us read Kafka
    before: Series
    after: Series  # /metrics, before the first arrival and when all had ended; both empty where there is no ops port
    samples: dict[str, list[float]]  # SAMPLED
    marks: list[Mark]
    machine: dict[str, str]
    tries: int = 1
    is_ours: bool = True  # the gateway: started for this rehearsal, so that it counts nobody else's requests, and all of its own
    died: str = ""  # how the gateway stopped answering before the end
    in_spool: int = 0  # records that still waited for Kafka when it was read: they were waited for, and in vain


def total(series: Series, name: str, **labels: tuple[str, ...]) -> float:
    """The sum of all series of that name whose labels have one of these values each."""

    def is_wanted(key: str) -> bool:
        found, _, inside = key.partition("{")
        pairs = inside.removesuffix("}").split(",")
        return found == name and all(any(f'{label}="{value}"' in pairs for value in values) for label, values in labels.items())

    return sum(value for key, value in series.items() if is_wanted(key))
