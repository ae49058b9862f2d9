"""May this request pass now?  By route and length alone, before its body is read.

Decided here: refusal while draining, beyond the bound of bytes in flight, or
while Kafka takes nothing; and the seconds after which it is worth coming back.
Not decided here: who someone is, quotas, the room (they come with their issues).
Units: bytes, seconds.  The caller keeps the state and passes it in.
"""

import math
from typing import Final, Literal, NamedTuple

# What a request holds beside its body: its task, headers, records and answer (measured about 6 kB).
REQUEST_OVERHEAD_BYTES: Final = 8_192
RETRY_AFTER_MAX_S: Final = 30


class Load(NamedTuple):
    """What is held now, and how fast it goes."""

    in_flight_bytes: int
    drained_bytes_per_s: float  # bytes of requests answered, averaged over the last seconds
    refused_bytes: int  # of requests refused over the last second: they all come back


Code = Literal["draining", "overloaded", "not-durable"]
"""Why not now: the problem's code."""


def decide(*, cost_bytes: int, in_flight_bytes: int, in_flight_bytes_max: int, is_draining: bool, is_stalled: bool) -> Code | None:
    """None to admit, else why not.

    Args:
        cost_bytes: the declared length of the body plus REQUEST_OVERHEAD_BYTES.
        is_stalled: Kafka has not answered for longer than it may; what is sent now would only wait.
    """
    if is_draining:
        return "draining"
    if is_stalled:
        return "not-durable"
    if in_flight_bytes + cost_bytes > in_flight_bytes_max:
        return "overloaded"
    return None


def retry_after_s(code: Code, load: Load, spread: float) -> int:
    """Seconds until what is held and what was refused has drained, spread, rounded up, 1 to 30.

    Args: spread: uniform in [0, 1): spreads those refused over the time their backlog needs.
    """
    if code == "draining":
        return 1  # another process answers the next connection: no need to wait
    backlog_bytes = load.in_flight_bytes + load.refused_bytes
    drain_s = backlog_bytes / load.drained_bytes_per_s if load.drained_bytes_per_s > 0 else RETRY_AFTER_MAX_S
    # At least two seconds wide: else a thousand phones come back in one instant.
    width_s = min(max(drain_s, 2.0), RETRY_AFTER_MAX_S)
    return max(1, math.ceil(spread * width_s))
