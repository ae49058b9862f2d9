"""The lights: what an operator is shown of each thing the gateway depends on, and why.

A reason decides its colour: amber, some are served worse or might soon be; red, what depends on it is refused.
On the board a worker posts the reason's index.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple


class Colour(IntEnum):
    """How bad it is; the larger, the worse."""

    GREY = 0  # nobody has asked yet
    GREEN = 1
    AMBER = 2
    RED = 3


class Reason(NamedTuple):
    """One state of a dependency."""

    code: str
    colour: Colour
    says: str


# In the order of the index on the board: only ever appended to.
REASONS: Final = (
    Reason("not-asked", Colour.GREY, "not contacted yet"),
    Reason("ok", Colour.GREEN, "acknowledging"),
    Reason("single-copy-allowed", Colour.GREEN, "acknowledging; fewer than 3 copies or 2 in sync, allowed by deliver.allow_single_copy"),
    Reason("slow", Colour.AMBER, "the oldest batch waits longer than deliver.stall_ms"),
    Reason("connecting", Colour.RED, "no contact with any broker"),
    Reason("topic-missing", Colour.RED, "a topic does not exist"),
    Reason("single-copy", Colour.RED, "a topic has fewer than 3 copies or 2 in sync, and deliver.allow_single_copy is false"),
    Reason("partition-failing", Colour.AMBER, "a partition refuses every batch: its requests are refused, the others go on; the log says why"),
    Reason("redis-ok", Colour.GREEN, "deciding limits"),
    Reason("redis-slow", Colour.AMBER, "answers later than limits.decide_timeout_ms: each worker decides with its share until it is quicker"),
    Reason("redis-away", Colour.AMBER, "no contact: each worker decides limits with its share"),
    Reason("kafka-silent", Colour.AMBER, "has not answered the supervisor for a second"),
    Reason("kafka-away", Colour.RED, "no broker takes connections"),
    Reason("room-ok", Colour.GREEN, "keeping the line"),
    Reason("room-away", Colour.AMBER, "the line's Redis does not answer: places are told from memory, the door runs at its share"),
    Reason("no-room", Colour.GREY, "no waiting room is configured"),
    Reason("no-spool", Colour.GREY, "spool.enabled is false: what Kafka does not take in time is refused"),
    Reason("workers-ok", Colour.GREEN, "all serve"),
    Reason("workers-starting", Colour.AMBER, "not all serve yet"),
    Reason("worker-ended", Colour.AMBER, "a worker ended a moment ago; another takes its place"),
    Reason("worker-silent", Colour.AMBER, "a worker does not beat: it hangs, or its core is full"),
    Reason("no-worker", Colour.RED, "no worker answers"),
    Reason("spool-ok", Colour.GREEN, "takes records, and none waits for Kafka"),
    Reason("spool-used", Colour.AMBER, "records wait for Kafka on this machine's disk"),
    Reason("spool-aside", Colour.RED, "records that Kafka refuses for good, or that cannot be read, stay in it and are not replayed"),
    Reason("spool-full", Colour.RED, "its bytes are used up: what Kafka does not take in time is refused"),
    Reason("spool-failed", Colour.RED, "its disk does not take records: what Kafka does not take in time is refused"),
    Reason("spool-rejected", Colour.AMBER, "records that Kafka refused for good after their 202 are kept in rejected/, for a person"),
)

INDEX: Final = {reason.code: index for index, reason in enumerate(REASONS)}


def worst(indexes: Iterable[int]) -> Reason:
    """The reason shown for a machine whose workers see these; `not-asked` where there is none."""
    return max((REASONS[index] for index in indexes), key=lambda reason: reason.colour, default=REASONS[0])
